package wxpay

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// DefaultUserAgent is sent when Config.UserAgent is empty. WeChat Pay refuses requests without one.
	DefaultUserAgent = "wxpay-worker/1.0"

	defaultTimeout = 10 * time.Second
	maxBody        = 1 << 20 // bytes of an answer; real ones are a few KB
)

// Config describes one merchant. It prints without its keys.
type Config struct {
	// MchID is the merchant (商户号): the provider itself in provider mode (服务商), never a sub-merchant. Digits.
	MchID string

	// SerialNo is the serial number of the merchant API certificate that belongs to Signer, upper-case hex ([SerialNo]).
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

	// Timeout bounds one attempt, from asking for a connection to the answer's last byte. 0 = 10 s. A call makes a second
	// attempt only when nothing was sent in the first.
	Timeout time.Duration

	// UserAgent is printable ASCII; empty = DefaultUserAgent.
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
	mchID, serialNo string
	signer          crypto.Signer
	keys            KeySource
	hosts           *hosts
	transport       http.RoundTripper
	timeout         time.Duration
	userAgent       string
	now             func() time.Time
	nonce           func() string
}

var sharedTransport = sync.OnceValue(func() *http.Transport { return NewTransport(TransportConfig{}) })

// New returns the merchant's client, or an error that names the field and what was expected.
func New(config Config) (*Client, error) {
	c := &Client{
		mchID: config.MchID, serialNo: config.SerialNo, signer: config.Signer, keys: config.Keys,
		transport: config.Transport, timeout: config.Timeout, userAgent: config.UserAgent, now: config.Now, nonce: newNonce,
	}
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
	if len(config.Hosts) == 0 {
		return nil, errors.New("wxpay: Hosts: want at least one")
	}
	var bases []string
	for i, h := range config.Hosts {
		base, err := parseHost(h)
		if err != nil {
			return nil, fmt.Errorf("wxpay: Hosts[%d]: %w", i, err)
		}
		bases = append(bases, base)
	}
	if c.transport == nil {
		c.transport = sharedTransport()
	}
	switch {
	case c.timeout == 0:
		c.timeout = defaultTimeout
	case c.timeout < 0 || c.timeout > 10*time.Minute:
		return nil, errors.New("wxpay: Timeout: want up to 10m")
	}
	if c.userAgent == "" {
		c.userAgent = DefaultUserAgent
	}
	if !all(c.userAgent, 256, func(b byte) bool { return b >= ' ' && b <= '~' }) {
		return nil, errors.New("wxpay: UserAgent: want printable ASCII, at most 256 bytes")
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.hosts = newHosts(bases, c.now)
	return c, nil
}

// MchID returns the merchant that this client signs for.
func (c *Client) MchID() string { return c.mchID }

// Format prints which merchant's client this is, whatever the verb, and none of its keys.
func (c *Client) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "wxpay.Client{MchID:%s}", c.mchID) }

// parseHost returns "scheme://host[:port]".
func parseHost(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Opaque != "" || strings.Trim(u.Path, "/") != "" ||
		u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("want https://host, without path, query or user")
	}
	ip := net.ParseIP(u.Hostname())
	local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme != "https" && !(u.Scheme == "http" && local) {
		return "", errors.New("want https (http only for this machine itself)")
	}
	if ip != nil && ip.To4() == nil {
		return "", errors.New("want a name or an IPv4 address: WeChat Pay is called over IPv4 only")
	}
	return u.Scheme + "://" + u.Host, nil
}

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

// do makes one call: sign, send once, read bounded, verify, decode. It is the only way to WeChat Pay and the only place
// where an answer becomes an error; the endpoints say what to send and, with check, what an answer must hold.
func do[A any](ctx context.Context, c *Client, e endpoint, uri string, request any, check func(*A) bool) (*A, error) {
	body, err := encode(request)
	if err != nil {
		return nil, &ArgumentError{Op: e.op, Name: "body", Rule: "cannot be written as JSON"}
	}
	authorization, err := c.authorization(e.method(), uri, body)
	if err != nil {
		return nil, &SigningError{Op: e.op, Err: err}
	}
	header := http.Header{
		"Accept":        {"application/json"},
		"Authorization": {authorization},
		"User-Agent":    {c.userAgent},
	}
	if body != nil {
		header["Content-Type"] = []string{"application/json"}
	}
	if serial := c.keys.Serial(); serial != "" {
		if !isToken(serial) {
			return nil, &SigningError{Op: e.op, Err: errors.New("the key source names no serial but something else")}
		}
		header["Wechatpay-Serial"] = []string{serial}
	}

	a, err := c.exchange(ctx, e, uri, header, body)
	if err != nil {
		return nil, err
	}
	at, proof := Verify(ctx, c.keys, a.header, a.body, c.now())

	if a.status == http.StatusAccepted {
		// Signed or not, it promises nothing. Source: https://pay.weixin.qq.com/doc/v3/merchant/4012081717
		return nil, a.useless(e, ErrAccepted)
	}
	if a.status < 200 || a.status > 299 {
		refusal := newError(e.op, a)
		refusal.Proven, refusal.Cause = proof == nil, proof
		if refusal.Proven {
			refusal.At = at
		}
		return nil, refusal
	}
	if proof != nil {
		s := &SignatureError{Op: e.op, HTTPStatus: a.status, RequestID: a.requestID, At: at, Err: proof}
		if serial := a.header.Get("Wechatpay-Serial"); isToken(serial) {
			s.Serial = serial
		}
		return nil, s
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

// answer is what came, nothing of it proven.
type answer struct {
	host      string
	status    int
	requestID string
	header    http.Header
	body      []byte
}

func (a *answer) useless(e endpoint, why error) *NoAnswerError {
	return &NoAnswerError{Op: e.op, Host: a.host, Sent: true, HTTPStatus: a.status, RequestID: a.requestID, Err: why}
}

// exchange sends the request until something of it may have left this machine, one host after the other; each at most
// once, so twice in all for the usual two hosts.
//
// Source: 跨城冗灾方案, https://pay.weixin.qq.com/doc/v3/merchant/4012075113, 2025-03-21. It allows repeating on the other
// host after any timeout; we do so only when nothing was sent, since a complaint reply sent twice is seen twice, and
// leave the rest to the caller, who can ask first.
func (c *Client) exchange(ctx context.Context, e endpoint, uri string, header http.Header, body []byte) (*answer, error) {
	var last *NoAnswerError
	order, probe := c.hosts.order(e.repeatable)
	for _, host := range order {
		if err := ctx.Err(); err != nil {
			if last == nil {
				last = &NoAnswerError{Op: e.op, Host: host, Err: newTransportError(err, false)}
			}
			break
		}
		a, failed := c.attempt(ctx, host, e, uri, header, body)
		if failed == nil {
			c.hosts.note(host, true, probe)
			return a, nil
		}
		if !errors.Is(failed, context.Canceled) && !errors.Is(failed, ErrTooLarge) {
			c.hosts.note(host, false, probe)
		}
		if last != nil {
			failed.Err = fmt.Errorf("%w (and before that from %s: %w)", failed.Err, last.Host, last.Err)
		}
		last = failed
		if failed.Sent {
			break
		}
	}
	return nil, last
}

// attempt makes one HTTP exchange.
func (c *Client) attempt(ctx context.Context, host string, e endpoint, uri string, header http.Header, body []byte) (*answer, *NoAnswerError) {
	failed := &NoAnswerError{Op: e.op, Host: host}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()

	// Has anything left? http.Transport reports WroteHeaders when the head is in its 4 KiB buffer, before it flushes that
	// buffer, and our heads are smaller (under 2 KiB): without that report no byte has left. It waits for its writer
	// before it returns an error, so none will leave later. A transport of somebody's own that reports nothing at all
	// proves nothing: then it may have been sent.
	var connecting, written atomic.Bool
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:      func(string) { connecting.Store(true) },
		WroteHeaders: func() { written.Store(true) },
	}), e.method(), host+uri, bytes.NewReader(body))
	if err != nil {
		failed.Err = newTransportError(err, false)
		return nil, failed
	}
	req.Header = header

	// Not http.Client: no redirects, no cookies, and errors that do not repeat the URL.
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		failed.Sent = written.Load() || !connecting.Load()
		failed.Err = newTransportError(withContext(ctx, err), failed.Sent)
		return nil, failed
	}
	defer resp.Body.Close()

	failed.Sent, failed.HTTPStatus = true, resp.StatusCode
	if id := resp.Header.Get("Request-Id"); isToken(id) {
		failed.RequestID = id
	}
	whole, err := readBody(resp)
	if err != nil {
		failed.Err = newTransportError(withContext(ctx, err), true)
		return nil, failed
	}
	return &answer{host, resp.StatusCode, failed.RequestID, resp.Header, whole}, nil
}

// withContext makes an ended context findable in err. net/http reports the cause of a cancellation, if it was given one,
// in the place of context.Canceled.
func withContext(ctx context.Context, err error) error {
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		return fmt.Errorf("%w: %w", ended, err)
	}
	return err
}

// readBody reads the whole body, or fails: a part of it proves nothing.
func readBody(resp *http.Response) ([]byte, error) {
	if resp.ContentLength > maxBody {
		return nil, ErrTooLarge
	}
	var b bytes.Buffer
	if resp.ContentLength > 0 {
		b.Grow(int(resp.ContentLength) + bytes.MinRead)
	}
	if _, err := b.ReadFrom(io.LimitReader(resp.Body, maxBody+1)); err != nil {
		return nil, err
	}
	if b.Len() > maxBody {
		return nil, ErrTooLarge
	}
	return b.Bytes(), nil
}
