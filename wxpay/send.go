package wxpay

import (
	"bytes"
	"context"
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

// courier carries requests to WeChat Pay's hosts and brings back answers, whatever they say: what the clients of v3 and v2
// have in common. newCourier checks and completes its fields.
type courier struct {
	hosts     *hosts
	transport http.RoundTripper
	timeout   time.Duration
	userAgent string
	now       func() time.Time
	nonce     func() string
}

var sharedTransport = sync.OnceValue(func() *http.Transport { return NewTransport(TransportConfig{}) })

// newCourier checks the fields that Config and V2Config share, and fills in what is missing.
func newCourier(addresses []string, transport http.RoundTripper, timeout time.Duration, userAgent string, now func() time.Time) (courier, error) {
	c := courier{transport: transport, timeout: timeout, userAgent: userAgent, now: now, nonce: newNonce}
	if len(addresses) == 0 {
		return c, errors.New("wxpay: Hosts: want at least one")
	}
	var bases []string
	for i, h := range addresses {
		base, err := parseHost(h)
		if err != nil {
			return c, fmt.Errorf("wxpay: Hosts[%d]: %w", i, err)
		}
		bases = append(bases, base)
	}
	if c.transport == nil {
		c.transport = sharedTransport()
	}
	switch {
	case c.timeout == 0:
		c.timeout = defaultTimeout
	case c.timeout < 0 || c.timeout > maxTimeout:
		return c, errors.New("wxpay: Timeout: want up to 10m")
	}
	if c.userAgent == "" {
		c.userAgent = DefaultUserAgent
	}
	if !all(c.userAgent, maxUserAgent, func(b byte) bool { return b >= ' ' && b <= '~' }) {
		return c, errors.New("wxpay: UserAgent: want printable ASCII, at most 256 bytes")
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.hosts = newHosts(bases, c.now)
	return c, nil
}

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

// beforeSending is the context key of BeforeSending.
type beforeSending struct{}

// BeforeSending returns a context for calls that must ask once more before they are sent: when a call made with it has been signed, and each
// time before it is sent to a host, it asks may. If may returns an error nothing is sent, and the call fails with a *NoAnswerError that says
// so and wraps the error.
//
// It is for whoever may lose the right to make a call while the call stands in line for its signature, which takes a processor for a
// millisecond. Connecting to the host, if no connection is open, comes after it and may take time.
func BeforeSending(ctx context.Context, may func(context.Context) error) context.Context {
	return context.WithValue(ctx, beforeSending{}, may)
}

// maySend asks whoever makes the call.
func maySend(ctx context.Context) error {
	if may, asked := ctx.Value(beforeSending{}).(func(context.Context) error); asked {
		return may(ctx)
	}
	return nil
}

// exchange sends the request until something of it may have left this machine, one host after the other; each at most
// once, so twice in all for the usual two hosts.
//
// Source: 跨城冗灾方案, https://pay.weixin.qq.com/doc/v3/merchant/4012075113, 2025-03-21. It allows repeating on the other
// host after any timeout; we do so only when nothing was sent, since a complaint reply sent twice is seen twice, and
// leave the rest to the caller, who can ask first.
func (c *courier) exchange(ctx context.Context, e endpoint, uri string, header http.Header, body []byte) (*answer, error) {
	var last *NoAnswerError
	order, probe := c.hosts.order(e.repeatable)
	for _, host := range order {
		if err := ctx.Err(); err != nil {
			if last == nil {
				last = &NoAnswerError{Op: e.op, Host: host, Err: newTransportError(err, false)}
			}
			break
		}
		if err := maySend(ctx); err != nil {
			return nil, &NoAnswerError{Op: e.op, Host: host, Err: err}
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
func (c *courier) attempt(ctx context.Context, host string, e endpoint, uri string, header http.Header, body []byte) (*answer, *NoAnswerError) {
	failed := &NoAnswerError{Op: e.op, Host: host}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()

	// Has anything left? http.Transport reports WroteHeaders when the head is in its buffer (WriteBufferSize), before it flushes
	// that, and our heads are smaller (under 2 KiB): without that report no byte has left, or, through a smaller buffer, a part
	// of a head, on which no host can act. It waits for its writer before it returns an error, so none will leave later. A
	// transport of somebody's own that reports nothing at all proves nothing: then it may have been sent.
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
		failed.RequestID = strings.Clone(id) // a part of the whole head, and callers keep it with errors
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
