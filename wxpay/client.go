package wxpay

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// DefaultUserAgent is sent when Config.UserAgent is empty. WeChat Pay refuses requests without one.
	DefaultUserAgent = "wxpay-worker/1.0"

	defaultTimeout = 10 * time.Second
	maxTimeout     = 10 * time.Minute
	maxBody        = 1 << 20 // bytes of an answer; real ones are a few KB
	maxUserAgent   = 256     // bytes
)

// Config describes one merchant. It prints without its keys.
type Config struct {
	// MchID is the merchant (商户号): the provider itself in provider mode (服务商), never a sub-merchant. Digits.
	MchID string

	// SerialNo is the serial number of the merchant API certificate that belongs to Signer, upper-case hex ([SerialNo]). 1 to 128 letters
	// and digits; whether it is the right one, WeChat Pay says (401).
	SerialNo string

	// Signer is the merchant's API private key (商户API私钥): RSA, at least 2048 bits, on disk or in a KMS. It is asked
	// for PKCS #1 v1.5 with SHA-256, by many goroutines. It is not told when a call is cancelled.
	Signer crypto.Signer `json:"-"`

	// Keys are WeChat Pay's keys, by which answers are verified.
	Keys KeySource `json:"-"`

	// Hosts are the addresses of the API, the preferred one first: https://api.mch.weixin.qq.com, then its backup
	// https://api2.mch.weixin.qq.com. At least one; scheme and host only; https, or http for this machine itself. A call
	// goes to the preferred host as long as that answers; to find out how one host is, make a client with only that one.
	Hosts []string

	// Transport carries the calls of all merchants; nil = one that all clients of this process share. Another one than
	// NewTransport's must not decompress, follow redirects or repeat a POST.
	Transport http.RoundTripper `json:"-"`

	// Timeout bounds one attempt, from asking for a connection to the answer's last byte: up to 10 minutes; 0 = 10 s. A call makes a
	// second attempt only when nothing was sent in the first.
	Timeout time.Duration

	// UserAgent is printable ASCII, at most 256 bytes; empty = DefaultUserAgent.
	UserAgent string

	// Now is the clock that requests are signed and answers are judged by; nil = time.Now.
	Now func() time.Time `json:"-"`
}

// Format prints which merchant this is, whatever the verb, and none of its keys.
func (c Config) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "wxpay.Config{MchID:%s SerialNo:%s Hosts:%v Timeout:%v}", c.MchID, c.SerialNo, c.Hosts, c.Timeout)
}

// Client calls WeChat Pay for one merchant. It is safe for concurrent use; it owns no goroutine and needs no closing.
type Client struct {
	courier
	mchID, serialNo string
	signer          crypto.Signer
	keys            KeySource
}

// New returns the merchant's client, or an error that names the field and what was expected.
func New(config Config) (*Client, error) {
	c := &Client{mchID: config.MchID, serialNo: config.SerialNo, signer: config.Signer, keys: config.Keys}
	if !all(c.mchID, 32, isDigit) {
		return nil, errors.New("wxpay: MchID: want 1 to 32 digits")
	}
	if !all(c.serialNo, maxToken, isAlnum) {
		return nil, errors.New("wxpay: SerialNo: want the certificate's serial number in hex")
	}
	if c.signer == nil {
		return nil, errors.New("wxpay: Signer: missing")
	}
	if err := checkPublicKey(c.signer.Public()); err != nil {
		return nil, fmt.Errorf("wxpay: Signer: %w", err)
	}
	if c.keys == nil {
		return nil, errors.New("wxpay: Keys: missing")
	}
	var err error
	c.courier, err = newCourier(config.Hosts, config.Transport, config.Timeout, config.UserAgent, config.Now)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// MchID returns the merchant that this client signs for.
func (c *Client) MchID() string { return c.mchID }

// Host returns the address that calls go to now: the preferred one of Config.Hosts, or the next while that one is down.
func (c *Client) Host() string { return c.hosts.current() }

// Format prints which merchant's client this is, whatever the verb, and none of its keys.
func (c *Client) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "wxpay.Client{MchID:%s}", c.mchID) }

// endpoint is one API of WeChat Pay, as its documents write it. op is "METHOD template"; it names the call in errors.
type endpoint struct {
	op string
	// repeatable: asking twice does no harm, so this call may find out whether a host is well again.
	repeatable bool
}

func (e endpoint) method() string {
	method, _, _ := strings.Cut(e.op, " ")
	return method
}

// argument is one value that goes into the path or the query.
type argument struct {
	name, value string
	ok          bool
	rule        string
}

// uri fills the endpoint's template, in order, and returns the escaped path. This very string is signed and sent.
//
// Everything but letters, digits and "-_.~" is escaped, as WeChat Pay's own SDKs do; arguments are checked before, so
// that none of them can be "..".
func (e endpoint) uri(args ...argument) (string, error) {
	_, path, _ := strings.Cut(e.op, " ")
	for _, a := range args {
		if !a.ok {
			return "", &ArgumentError{Op: e.op, Name: a.name, Rule: a.rule}
		}
		path = strings.Replace(path, "{"+a.name+"}", url.QueryEscape(a.value), 1)
	}
	return path, nil
}

// nothing is the answer of an endpoint that answers 204.
type nothing struct{}

// content is what a request carries; the zero value is nothing.
type content struct {
	body      []byte // as it goes on the wire; nil = none
	mediaType string // Content-Type
	signed    []byte // what of it is signed: the body itself, or of a form its part "meta"
}

// do is call for the endpoints that take JSON, or nothing (request is nil).
func do[A any](ctx context.Context, c *Client, e endpoint, uri string, request any, check func(*A) bool) (*A, error) {
	body, err := encode(request)
	if err != nil {
		return nil, &ArgumentError{Op: e.op, Name: "body", Rule: "cannot be written as JSON"}
	}
	return call(ctx, c, e, uri, content{body: body, mediaType: "application/json", signed: body}, check)
}

// call makes one call: sign, send once, read bounded, verify, decode. It is the way of all endpoints to WeChat Pay (but for the
// list of certificates, which proves itself), and judge the only place where an answer becomes an error; the endpoints say what to send and,
// with check, what an answer must hold.
func call[A any](ctx context.Context, c *Client, e endpoint, uri string, what content, check func(*A) bool) (*A, error) {
	if keys, ok := c.keys.(interface{ Ready(context.Context) error }); ok {
		// Before the request, not after: an answer that cannot be verified leaves open what happened.
		if err := keys.Ready(ctx); errors.Is(err, ErrNoCertificates) {
			return nil, &NoAnswerError{Op: e.op, Host: c.hosts.byPreference[0], Err: err}
		} else if err != nil {
			return nil, &SigningError{Op: e.op, Err: err}
		}
	}
	a, err := c.send(ctx, e, uri, what)
	if err != nil {
		return nil, err
	}
	if err := judge(ctx, c.keys, e, a, c.now()); err != nil {
		return nil, err
	}

	answer := new(A)
	if check == nil {
		return answer, nil
	}
	if json.Unmarshal(a.body, answer) != nil || !check(answer) {
		return nil, a.useless(e, ErrUnusable)
	}
	return answer, nil
}

// send signs a request and brings back an answer, nothing of it proven.
func (c *Client) send(ctx context.Context, e endpoint, uri string, what content) (*answer, error) {
	authorization, err := c.authorization(e.method(), uri, what.signed)
	if err != nil {
		return nil, &SigningError{Op: e.op, Err: err}
	}
	header := http.Header{
		"Accept":        {"application/json"},
		"Authorization": {authorization},
		"User-Agent":    {c.userAgent},
	}
	if what.body != nil {
		header["Content-Type"] = []string{what.mediaType}
	}
	serial := c.keys.Serial()
	if keys, ok := c.keys.(*Certificates); ok {
		serial = keys.named()
	}
	if serial != "" {
		if !isToken(serial) {
			return nil, &SigningError{Op: e.op, Err: errors.New("the key source names no serial but something else")}
		}
		header["Wechatpay-Serial"] = []string{serial}
	}
	return c.exchange(ctx, e, uri, header, what.body)
}

// judge returns nil for a 2xx that is proven by one of the keys, and the error that any other answer is.
func judge(ctx context.Context, keys KeySource, e endpoint, a *answer, now time.Time) error {
	at, proof := Verify(ctx, keys, a.header, a.body, now)

	if a.status == http.StatusAccepted {
		// Signed or not, it promises nothing. Source: https://pay.weixin.qq.com/doc/v3/merchant/4012081717
		return a.useless(e, ErrAccepted)
	}
	if a.status < 200 || a.status > 299 {
		refusal := newError(e.op, a)
		refusal.Proven, refusal.Cause, refusal.At = proof == nil, proof, at
		refusal.Date, _ = http.ParseTime(a.header.Get("Date"))
		return refusal
	}
	if proof != nil {
		s := &SignatureError{Op: e.op, HTTPStatus: a.status, RequestID: a.requestID, At: at, Err: proof}
		if serial := a.header.Get("Wechatpay-Serial"); isToken(serial) {
			s.Serial = serial
		}
		return s
	}
	return nil
}

// encode writes request as JSON the way it is signed and sent: UTF-8, "&", "<" and ">" as they are, no line end; nil for
// no body. Absent fields are left out by their types, since WeChat Pay refuses null.
//
// Source: APIv3 基本规则, https://pay.weixin.qq.com/doc/v3/merchant/4012081709
func encode(request any) ([]byte, error) {
	if request == nil {
		return nil, nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(request); err != nil {
		return nil, err
	}
	body := bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
	if string(body) == "null" { // a nil request
		return nil, errors.New("nothing to send")
	}
	return body, nil
}
