package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"wxpay-worker/consumer"
	"wxpay-worker/wxpay"
)

// noRefund is a refund number that nobody gives.
const noRefund = "worker-check-there-is-no-such-refund"

// online asks WeChat Pay, with each merchant's credentials, at each host. Nothing is changed there.
func (k *checking) online(ctx context.Context, keys []credentials) {
	transport := wxpay.NewTransport(wxpay.TransportConfig{RootCAs: k.roots, ConnectTimeout: k.config.WechatPay.ConnectTimeout})
	defer transport.CloseIdleConnections()
	clocks := map[string]bool{} // hosts whose clock was compared
	for i := range keys {
		m := &keys[i]
		if m.signer == nil {
			k.unknown("wechatpay", m.mchID, "cannot be asked without a private key", "see above")
			continue
		}
		for _, host := range k.config.WechatPay.Hosts {
			k.askHost(ctx, m, host, transport, clocks)
		}
		if m.apiV3Key != nil {
			k.certificates(ctx, m, transport)
		}
	}
}

// v3Config is what a client of version 3 is made of that calls these hosts for the merchant.
func (k *checking) v3Config(m *credentials, hosts []string, transport *http.Transport) (wxpay.Config, error) {
	config := wxpay.Config{
		MchID: m.mchID, SerialNo: m.serialNo, Signer: m.signer, Hosts: hosts, Transport: transport, Timeout: k.config.WechatPay.Timeout,
	}
	var err error
	config.Keys, err = keySource(m, config, nil)
	return config, err
}

func (k *checking) askHost(ctx context.Context, m *credentials, host string, transport *http.Transport, clocks map[string]bool) {
	name := host
	if u, err := url.Parse(host); err == nil {
		name = u.Host
	}
	subMchID := ""
	if m.subMerchants {
		subMchID = m.mchID // a provider must name one; none of its own is known here
	}
	config, err := k.v3Config(m, []string{host}, transport)
	var client *wxpay.Client
	if err == nil {
		client, err = wxpay.New(config)
	}
	k.judge(ctx, m, name, "v3", client, err, subMchID, clocks)
	if m.v2 != nil {
		v2 := *m.v2
		v2.Hosts, v2.Transport, v2.Timeout = []string{host}, transport, k.config.WechatPay.Timeout
		client, err := wxpay.NewV2(v2)
		k.judge(ctx, m, name, "v2", client, err, subMchID, clocks)
	}
}

// judge asks for the refund that cannot exist, and tells what the answer means.
func (k *checking) judge(ctx context.Context, m *credentials, host, version string, client consumer.Refunds, err error, subMchID string, clocks map[string]bool) {
	subject := m.mchID + " " + version + " " + host
	if err != nil {
		k.unknown("wechatpay", subject, "cannot be asked: "+err.Error(), "see above")
		return
	}
	began := time.Now()
	_, err = client.QueryRefund(ctx, noRefund, subMchID)
	answered := time.Now()
	refusal, refused := errors.AsType[*wxpay.Error](err)
	f := finding{Check: "wechatpay", Subject: subject, Status: checkWrong}
	switch {
	case wxpay.NoSuchRefund(err):
		f.Status, f.Detail = checkOK, "answers, and the answer is proven"
	case refused && refusal.Proven && m.subMerchants && ofNoSubMerchant[refusal.Code]:
		f.Status, f.Detail = checkOK, "answers, and the answer is proven ("+refusal.Code+", since no sub-merchant was named)"
	case err == nil:
		f.Status, f.Detail = checkUnknown, "knows a refund "+noRefund
	default:
		f.Status, f.Detail, f.Mend = whatIsWrong(version, err)
	}
	k.add(f)
	if refused && version == "v3" && !clocks[host] {
		clocks[host] = k.clock(host, refusal, began.Add(answered.Sub(began)/2))
	}
}

// ofNoSubMerchant are the codes, of v3 and v2, that may speak of the sub-merchant that a provider has to name. WeChat Pay does not say which it
// is; whatever else it refuses with speaks of the provider's own setup.
var ofNoSubMerchant = map[string]bool{
	"PARAM_ERROR": true, "INVALID_REQUEST": true, "NO_AUTH": true, "MCH_NOT_EXISTS": true, "NOAUTH": true, "MCHID_NOT_EXIST": true,
}

// whatIsWrong tells what an answer means that is not the one hoped for.
func whatIsWrong(version string, err error) (status checkStatus, detail, mend string) {
	refusal, refused := errors.AsType[*wxpay.Error](err)
	unsigned := errors.Is(err, wxpay.ErrBadSignature) || errors.Is(err, wxpay.ErrNoSignature)
	switch {
	case version == "v2" && (unsigned || errors.Is(err, wxpay.ErrV2Fail) || errors.Is(err, wxpay.ErrV2SignError)):
		return checkWrong, err.Error(), "see v2.api_key_file, v2.sign_type and v2.appid"
	case errors.Is(err, wxpay.ErrUnknownSerial):
		return checkWrong, err.Error(), "see public_keys: WeChat Pay signs with another key; take id and file from the merchant platform"
	case unsigned && !(refused && refusal.HTTPStatus == http.StatusUnauthorized): // which WeChat Pay itself does not sign
		return checkWrong, err.Error(), "see public_keys: is it the key of that id? Or does something stand between this machine and WeChat Pay?"
	case errors.Is(err, wxpay.ErrClockSkew):
		return checkWrong, err.Error(), "set this machine's clock"
	case refused && refusal.HTTPStatus == http.StatusUnauthorized:
		return checkWrong, err.Error(), "see private_key_file, serial_no and this machine's clock: one of them is not what WeChat Pay knows"
	case refused && (refusal.HTTPStatus >= 500 || refusal.HTTPStatus == http.StatusTooManyRequests):
		return checkUnknown, err.Error(), "try again"
	case refused:
		return checkWrong, err.Error(), "see the merchant platform: products and permissions of this merchant"
	}
	return checkWrong, err.Error(), "see wechatpay.hosts and wechatpay.ca_file; is the way to the internet open?"
}

// By how much our clock may differ from WeChat Pay's. At refusedSkew it refuses every request.
// Source: 签名常见问题, https://pay.weixin.qq.com/doc/v3/merchant/4012072670, 2026-08.
const (
	wrongSkew   = time.Minute
	refusedSkew = 5 * time.Minute
)

// clock compares our clock with WeChat Pay's, and reports whether it could.
func (k *checking) clock(host string, answer *wxpay.Error, ours time.Time) bool {
	theirs, how := answer.At, "signed"
	if theirs.IsZero() {
		theirs, how = answer.Date, "unsigned"
	}
	if theirs.IsZero() {
		return false
	}
	skew := ours.Sub(theirs).Round(time.Second) // theirs has whole seconds
	detail, size := fmt.Sprintf("%s ahead of theirs (%s)", skew, how), skew.Abs()
	if skew < 0 {
		detail = fmt.Sprintf("%s behind theirs (%s)", -skew, how)
	}
	switch {
	case size >= refusedSkew:
		k.bad("clock", host, "this machine's clock is "+detail+": WeChat Pay refuses every request", "set the clock (NTP)")
	case size > wrongSkew:
		k.bad("clock", host, "this machine's clock is "+detail+"; at "+refusedSkew.String()+" every request is refused", "set the clock (NTP)")
	default:
		k.ok("clock", host, "this machine's clock is "+detail)
	}
	return true
}

// certificates downloads the platform certificates, as worker run will.
func (k *checking) certificates(ctx context.Context, m *credentials, transport *http.Transport) {
	const check = "platform_certificates"
	config, err := k.v3Config(m, k.config.WechatPay.Hosts, transport)
	source, ok := config.Keys.(*wxpay.Certificates)
	if err != nil || !ok {
		k.unknown(check, m.mchID, "cannot be downloaded", "see above")
		return
	}
	if err := source.Refresh(ctx); err != nil {
		k.bad(check, m.mchID, err.Error(), "see platform_certificates.api_v3_key_file, and the line above")
		return
	}
	until := source.Expires()
	switch {
	case until.IsZero():
		k.ok(check, m.mchID, "none: this merchant's answers are signed with a public key")
	case until.Sub(k.now) < renewal:
		k.warn(check, m.mchID, "the last one expires on "+until.UTC().Format(time.DateOnly), "see the merchant platform: replace it, or change to a public key")
	default:
		k.ok(check, m.mchID, "downloaded; the last one expires on "+until.UTC().Format(time.DateOnly))
	}
}
