package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wxpay-worker/wxpay"
	"wxpay-worker/wxpay/wxpaytest"
)

// TestCheckOnline: what each wrong credential looks like, and a clock that is off.
func TestCheckOnline(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		ahead  time.Duration // of WeChat Pay's clock
		fault  *wxpaytest.Fault
		edit   func(i *installation, text string) string
		check  string
		detail string
		mend   string
	}{
		{name: "serial_no", edit: func(_ *installation, text string) string {
			return strings.Replace(text, "serial_no: \"", "serial_no: \"AA", 1)
		}, check: "wechatpay", detail: "401 SIGN_ERROR", mend: "see private_key_file, serial_no and this machine's clock"},
		{name: "public key of another name", edit: func(_ *installation, text string) string {
			return strings.Replace(text, "id: PUB_KEY_ID_0", "id: PUB_KEY_ID_9", 1)
		}, check: "wechatpay", detail: "PARAM_ERROR", mend: "public_keys"},
		{name: "forged answers", fault: &wxpaytest.Fault{Times: -1, Answer: wxpaytest.AnswerForged}, check: "wechatpay", detail: "wrong signature", mend: "public_keys"},
		{name: "unsigned answers", fault: &wxpaytest.Fault{Times: -1, Answer: wxpaytest.Answer502HTML}, check: "wechatpay", detail: "502", mend: "stand between"},
		{name: "another key", fault: &wxpaytest.Fault{Times: -1, Answer: wxpaytest.AnswerUnknownSerial}, check: "wechatpay", detail: "unknown key", mend: "public_keys"},
		{name: "no permission", fault: &wxpaytest.Fault{Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 403, Code: "NO_AUTH"}, check: "wechatpay", detail: "403 NO_AUTH", mend: "merchant platform"},
		{name: "no answer", edit: func(i *installation, text string) string {
			return strings.ReplaceAll(strings.ReplaceAll(text, i.sim.URL(), "https://127.0.0.1:1"), i.sim.BackupURL(), "https://127.0.0.1:2")
		}, check: "wechatpay", detail: "nothing sent", mend: "wechatpay.hosts"},
		{name: "clock behind", ahead: 2 * time.Minute, check: "clock", detail: "behind theirs (signed); at 5m0s every request is refused", mend: "NTP"},
		{name: "clock ahead", ahead: -2 * time.Minute, check: "clock", detail: "ahead of theirs (signed); at 5m0s every request is refused", mend: "NTP"},
		{name: "clock hopeless", ahead: time.Hour, check: "clock", detail: "behind theirs (unsigned): WeChat Pay refuses every request", mend: "NTP"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			i := installWith(t, "", wxpaytest.Options{OpenBooks: true, Now: func() time.Time { return time.Now().Add(tt.ahead) }})
			run(t, exitDone, "", "setup", "-c", i.config)
			if tt.fault != nil {
				i.sim.Fault(*tt.fault)
			}
			if tt.edit != nil {
				writeFile(t, i.config, tt.edit(i, readFile(t, i.config)))
			}
			c := checkConfig(t, exitFailed, i.config, "--online")
			for _, f := range c.findings {
				if f.Check == tt.check && f.Status == checkWrong && strings.Contains(f.Detail, tt.detail) && strings.Contains(f.Mend, tt.mend) {
					return
				}
			}
			t.Errorf("got %s", c.out)
		})
	}
}

// TestCheckOnlineOfAProvider: a provider has no refund to ask about without a sub-merchant; a proven answer is enough. With v2, a
// wrong API key shows.
func TestCheckOnlineOfAProvider(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sim := wxpaytest.New(t)
	m := sim.AddMerchant(wxpaytest.Merchant{MchID: mchid, Provider: true, SubMchIDs: []string{"1900000555"}})
	for name, text := range map[string]string{
		"key.pem": string(m.PrivateKeyPEM()), "v2.key": m.APIv2Key, "pub.pem": string(m.PublicKeyPEM()), "cert.pem": string(m.CertificatePEM), "ca.pem": string(sim.CAPEM()),
	} {
		writeFile(t, filepath.Join(dir, name), text)
	}
	file := writeFile(t, filepath.Join(dir, "worker.yaml"), fmt.Sprintf(`nats: {embedded: {listen: "127.0.0.1:1"}}
wechatpay: {hosts: [%q], ca_file: ca.pem}
merchants:
  - mchid: %q
    serial_no: %q
    private_key_file: key.pem
    public_keys: [{id: %s, file: pub.pem}]
    sub_merchants: true
    refund_api: v2
    v2: {appid: %s, api_key_file: v2.key, client_cert_file: cert.pem, client_key_file: key.pem}
`, sim.URL(), mchid, m.SerialNo, m.PublicKeyID, m.AppID))
	host := strings.TrimPrefix(sim.URL(), "https://")
	c := checkConfig(t, exitDone, file, "--online")
	c.says("wechatpay", mchid+" v3 "+host, checkOK, "the answer is proven (NO_AUTH")
	c.says("wechatpay", mchid+" v2 "+host, checkOK, "the answer is proven")
	writeFile(t, filepath.Join(dir, "v2.key"), strings.Repeat("x", 32))
	f := checkConfig(t, exitFailed, file, "--online").says("wechatpay", mchid+" v2 "+host, checkWrong, "unproven")
	if !strings.Contains(f.Mend, "v2.api_key_file") {
		t.Errorf("mend: %s", f.Mend)
	}
}

// TestCheckOnlineOfAProviderWhoseSetupIsWrong: what has nothing to do with a sub-merchant is not put down to the lack of one.
func TestCheckOnlineOfAProviderWhoseSetupIsWrong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		version string
		answer  wxpay.Error
		want    checkStatus
	}{
		{"v2", wxpay.Error{HTTPStatus: 200, Code: "APPID_NOT_EXIST"}, checkWrong},
		{"v2", wxpay.Error{HTTPStatus: 200, Code: "CERT_ERROR"}, checkWrong},
		{"v2", wxpay.Error{HTTPStatus: 200, Code: "NOAUTH"}, checkOK},
		{"v3", wxpay.Error{HTTPStatus: 403, Code: "USER_ACCOUNT_ABNORMAL"}, checkWrong},
		{"v3", wxpay.Error{HTTPStatus: 403, Code: "NO_AUTH"}, checkOK},
	} {
		var out bytes.Buffer
		k := &checking{printer: printer{&out, true}}
		tt.answer.Proven = true
		k.judge(t.Context(), &credentials{mchID: mchid, subMerchants: true}, "h", tt.version, answering{&tt.answer}, nil, mchid, map[string]bool{"h": true})
		if wrong := k.wrong > 0; wrong != (tt.want == checkWrong) {
			t.Errorf("%s %s: %s", tt.version, tt.answer.Code, &out)
		}
	}
}

// answering answers all calls alike.
type answering struct{ err error }

func (a answering) CreateRefund(context.Context, *wxpay.RefundRequest) (*wxpay.Refund, error) {
	return nil, a.err
}

func (a answering) QueryRefund(context.Context, string, string) (*wxpay.Refund, error) {
	return nil, a.err
}
