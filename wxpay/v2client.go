package wxpay

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// V2Config describes one merchant for version 2 of the API. It prints without its keys.
type V2Config struct {
	// MchID is the merchant (商户号): the provider itself in provider mode (服务商). Digits.
	MchID string

	// AppID is any appid that is bound to MchID, 1 to 32 letters and digits ("wx…").
	AppID string

	// SubAppID is the sub-merchants' appid in provider mode; optional, like AppID. Sent with a SubMchID only.
	SubAppID string

	// APIKey is the APIv2 key (APIv2密钥): 32 bytes. It signs requests and answers.
	APIKey []byte `json:"-"`

	// SignType is how both are signed; empty = V2HMACSHA256.
	SignType V2SignType

	// Certificate is the merchant API certificate with its private key, which refunds are asked for with (双向证书). Its dates
	// are not checked here. Queries go without it, so what became of a refund can be learned after it has expired.
	Certificate tls.Certificate `json:"-"`

	// Hosts as in Config.
	Hosts []string

	// Transport carries the queries; nil = the one that all clients of this process share. Refunds are carried by a copy of
	// it that shows Certificate: connections with a certificate are their merchant's own.
	Transport *http.Transport `json:"-"`

	// Timeout bounds one attempt, as in Config: up to 10 minutes; 0 = 10 s.
	Timeout time.Duration

	// UserAgent as in Config; empty = DefaultUserAgent.
	UserAgent string

	// Now is the clock by which hosts are judged; version 2 signs no times. nil = time.Now.
	Now func() time.Time `json:"-"`
}

// Format prints which merchant this is, whatever the verb, and none of its keys.
func (c V2Config) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "wxpay.V2Config{MchID:%s AppID:%s SignType:%s Hosts:%v Timeout:%v}", c.MchID, c.AppID, c.SignType, c.Hosts, c.Timeout)
}

// V2Client calls version 2 of the API for one merchant: refunds, in the words of version 3, so that whoever refunds need
// not know which version does it. It is safe for concurrent use; it owns no goroutine and needs no closing.
//
// An answer of version 2 is signed with the same key as the request and names neither a time nor the request, so its
// signature proves who made it, not when. That it is new rests on TLS.
type V2Client struct {
	plain, mutual          courier // without and with the merchant's certificate, judging hosts together
	mchID, appID, subAppID string
	apiKey                 string
	signType               V2SignType
}

// NewV2 returns the merchant's client for version 2, or an error that names the field and what was expected.
func NewV2(config V2Config) (*V2Client, error) {
	c := &V2Client{
		mchID: config.MchID, appID: config.AppID, subAppID: config.SubAppID,
		apiKey: string(config.APIKey), signType: config.SignType,
	}
	if !all(c.mchID, 32, isDigit) {
		return nil, errors.New("wxpay: MchID: want 1 to 32 digits")
	}
	if !all(c.appID, 32, isAlnum) {
		return nil, errors.New("wxpay: AppID: want 1 to 32 letters and digits")
	}
	if c.subAppID != "" && !all(c.subAppID, 32, isAlnum) {
		return nil, errors.New("wxpay: SubAppID: want up to 32 letters and digits")
	}
	if n := len(c.apiKey); n != 32 {
		return nil, fmt.Errorf("wxpay: APIKey: %d bytes, want 32", n)
	}
	switch c.signType {
	case "":
		c.signType = V2HMACSHA256
	case V2HMACSHA256, V2MD5:
	default:
		return nil, fmt.Errorf("wxpay: SignType: want %s or %s", V2HMACSHA256, V2MD5)
	}
	if err := checkCertificate(&config.Certificate); err != nil {
		return nil, fmt.Errorf("wxpay: Certificate: %w", err)
	}
	if config.Transport == nil {
		config.Transport = sharedTransport()
	}
	var err error
	c.plain, err = newCourier(config.Hosts, config.Transport, config.Timeout, config.UserAgent, config.Now)
	if err != nil {
		return nil, err
	}
	c.mutual = c.plain // with its hosts: what is learned of one by a query serves the next refund
	c.mutual.transport = withCertificate(config.Transport, config.Certificate)
	return c, nil
}

// checkCertificate says whether certificate and private key are there and belong together.
func checkCertificate(c *tls.Certificate) error {
	if len(c.Certificate) == 0 || c.PrivateKey == nil {
		return errors.New("want a certificate and its private key")
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return errors.New("not a certificate")
	}
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	key, isSigner := c.PrivateKey.(crypto.Signer)
	if !ok || !isSigner || !public.Equal(key.Public()) {
		return errors.New("the private key is another certificate's")
	}
	return nil
}

// MchID returns the merchant that this client signs for.
func (c *V2Client) MchID() string { return c.mchID }

// Host returns the address that calls go to now, as that of Client.
func (c *V2Client) Host() string { return c.plain.hosts.current() }

// Format prints which merchant's client this is, whatever the verb, and none of its keys.
func (c *V2Client) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "wxpay.V2Client{MchID:%s}", c.mchID) }

// do makes one call of version 2: sign, send once, read bounded, decode, judge. It is the only place where an answer of
// version 2 becomes an error. read gets parameters that are proven to be this merchant's success, and returns nil if they are
// not about what was asked for.
//
// The order of judgement is WeChat Pay's: return_code (the call), then result_code (the business), then the state.
// Source: 接口规则, https://pay.weixin.qq.com/doc/v2/merchant/4011986592
func (c *V2Client) do(ctx context.Context, by *courier, e endpoint, params map[string]string, read func(map[string]string) *Refund) (*Refund, error) {
	params["appid"], params["mch_id"] = c.appID, c.mchID
	params["nonce_str"], params["sign_type"] = by.nonce(), string(c.signType)
	params["sign"] = SignV2(params, c.apiKey, c.signType)
	uri, err := e.uri()
	if err != nil {
		return nil, err
	}
	a, err := by.exchange(ctx, e, uri, http.Header{
		"Accept":       {"text/xml"},
		"Content-Type": {"text/xml; charset=utf-8"},
		"User-Agent":   {by.userAgent},
	}, encodeV2(params))
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		// Not documented for version 2. Whoever it is, nothing of it is signed, and the call may have been executed.
		return nil, &Error{Op: e.op, HTTPStatus: a.status, RequestID: a.requestID, Cause: ErrV2Status}
	}
	got, err := decodeV2(a.body)
	if err != nil {
		return nil, a.useless(e, fmt.Errorf("%w: %w", ErrUnusable, err))
	}
	proof := VerifyV2(got, c.apiKey, c.signType)
	switch {
	case got["return_code"] == "FAIL":
		if proof == nil {
			proof = ErrV2ReturnCode
		}
		return nil, newV2Error(e.op, a, got, got["return_code"], got["return_msg"], proof)
	case got["return_code"] != "SUCCESS":
		return nil, a.useless(e, fmt.Errorf("%w: no return_code", ErrUnusable))
	case got["result_code"] == "FAIL" && proof != nil:
		return nil, newV2Error(e.op, a, got, "", "", proof)
	case proof != nil:
		return nil, &SignatureError{Op: e.op, HTTPStatus: a.status, RequestID: a.requestID, Err: proof}
	case got["mch_id"] != c.mchID:
		return nil, a.useless(e, fmt.Errorf("%w: another merchant's", ErrUnusable))
	case got["result_code"] == "FAIL" && isCode(got["err_code"]):
		return nil, newV2Error(e.op, a, got, "", "", nil)
	case got["result_code"] != "SUCCESS": // or FAIL without a code, which might be any, SYSTEMERROR too
		return nil, a.useless(e, fmt.Errorf("%w: no result_code, or no err_code", ErrUnusable))
	}
	refund := read(got)
	if refund == nil {
		return nil, a.useless(e, ErrUnusable)
	}
	return refund, nil
}

// newV2Error reads a refusal. code and message stand in where err_code and err_code_des are missing.
func newV2Error(op string, a *answer, got map[string]string, code, message string, proof error) *Error {
	if isCode(got["err_code"]) {
		code = got["err_code"]
	}
	if got["err_code_des"] != "" {
		message = got["err_code_des"]
	}
	return &Error{
		Op: op, HTTPStatus: a.status, RequestID: a.requestID, Code: once(code), Message: once(bounded(message, maxMessage)),
		Proven: proof == nil, Cause: proof,
	}
}
