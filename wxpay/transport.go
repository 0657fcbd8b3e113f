package wxpay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"
)

// TransportConfig is for NewTransport; its zero value is ready for use.
type TransportConfig struct {
	RootCAs        *x509.CertPool // trusted roots; nil = the system's
	ConnectTimeout time.Duration  // for the TCP connection, and again for the TLS handshake; 0 = 3 s
	// MaxConnsPerHost bounds the connections to one host, in use or idle; calls beyond it wait, and if their time ends
	// while they wait, nothing was sent. 0 = no bound, so that one merchant's slow calls never take another's
	// connections: what is in flight is bounded by the callers.
	MaxConnsPerHost int
}

// NewTransport returns the transport that all merchants' clients share: one pool of connections to WeChat Pay's few hosts.
//
//   - IPv4 only: resolving IPv6 addresses may time out.
//     Source: 网络常见问题, https://pay.weixin.qq.com/doc/v3/merchant/4012076544
//   - TLS 1.2 or newer, HTTP/1.1 only, no compression: the bytes of a body are what is signed.
//   - Up to 1024 idle connections per host (64 calls in flight for each of many merchants), each for 30 s at most: a
//     connection that the other side gave up meanwhile turns a POST into a doubt, and handshakes are cheap beside
//     signatures.
//   - Proxies are taken from HTTPS_PROXY and NO_PROXY (http.ProxyFromEnvironment), as operators expect; they see the
//     host's name only. A proxy that strips Wechatpay-* headers by opening TLS makes every answer unproven.
//   - Never retries a request of which a byte was written, except a GET. (http.Transport sends a POST again only when
//     the connection it took from the pool turned out dead before a single byte was written.)
//
// Timeouts of whole calls are the Client's.
func NewTransport(c TransportConfig) *http.Transport {
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = 3 * time.Second
	}
	idle := 1024
	if c.MaxConnsPerHost > 0 {
		idle = c.MaxConnsPerHost
	}
	dialer := &net.Dialer{Timeout: c.ConnectTimeout, KeepAlive: 15 * time.Second}
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	return &http.Transport{
		Proxy: proxyFromEnvironment,
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp4", addr)
		},
		TLSClientConfig: &tls.Config{
			RootCAs:            c.RootCAs,
			MinVersion:         tls.VersionTLS12,
			ClientSessionCache: tls.NewLRUClientSessionCache(64),
		},
		TLSHandshakeTimeout:    c.ConnectTimeout,
		Protocols:              http1,
		DisableCompression:     true,
		MaxConnsPerHost:        max(c.MaxConnsPerHost, 0),
		MaxIdleConnsPerHost:    idle,
		IdleConnTimeout:        30 * time.Second,
		ReadBufferSize:         1 << 10, // beside those of TLS: small, for there may be hundreds of connections
		WriteBufferSize:        2 << 10, // one write for a request without pictures
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// withCertificate returns a copy of t, with connections of its own, that shows the certificate to every host that asks.
func withCertificate(t *http.Transport, certificate tls.Certificate) *http.Transport {
	t = t.Clone()
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	// Always this one: by default Go leaves it out when the server names issuers that it does not recognize the chain by, and
	// the server then sees no certificate instead of one it can refuse by name.
	t.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
	// A session that was begun without the certificate, or with another merchant's, would be resumed without it.
	t.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	return t
}

// proxyFromEnvironment is http.ProxyFromEnvironment without repeating a malformed address, which may hold a password.
func proxyFromEnvironment(r *http.Request) (*url.URL, error) {
	u, err := http.ProxyFromEnvironment(r)
	if err != nil {
		return nil, errors.New("the proxy in the environment is not a URL")
	}
	return u, nil
}
