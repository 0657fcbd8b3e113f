package wxpay

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTransportIsIPv4Only(t *testing.T) {
	t.Parallel()
	transport := NewTransport(TransportConfig{})
	for _, addr := range []string{"[::1]:443", "[2001:db8::1]:443"} {
		conn, err := transport.DialContext(t.Context(), "tcp", addr)
		if _, ok := errors.AsType[*net.AddrError](err); !ok {
			t.Errorf("%s: %v, %v; want no suitable address", addr, conn, err)
		}
	}
}

// TestTransportProtocol: a server that would rather speak HTTP/2 is not given the choice, and no Accept-Encoding is sent.
func TestTransportProtocol(t *testing.T) {
	t.Parallel()
	s := serve(t, always(signed(200, refundBody)))
	_, roots := tlsIdentity()
	transport := NewTransport(TransportConfig{RootCAs: roots})
	t.Cleanup(transport.CloseIdleConnections)
	transport.Proxy = nil
	// By address, without the test's own dialer.
	c := newTestClient(t, nil, func(c *Config) { c.Transport, c.Hosts = transport, []string{"https://" + s.addr} })
	if _, err := c.CreateRefund(t.Context(), refundRequest()); err != nil {
		t.Fatal(err)
	}
	got := s.received()[0]
	if got.http.Proto != "HTTP/1.1" || got.http.Header.Get("Accept-Encoding") != "" || strings.Contains(s.protos[0], "h2") {
		t.Errorf("%s over %q: %v", got.http.Proto, s.protos[0], got.http.Header)
	}
}

func TestTransportRefusesOldTLS(t *testing.T) {
	t.Parallel()
	cert, roots := tlsIdentity()
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	go tls.Server(server, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}).Handshake()
	transport := NewTransport(TransportConfig{RootCAs: roots})
	transport.Proxy = nil
	transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return client, nil }
	c := newTestClient(t, nil, func(c *Config) { c.Transport = transport })
	_, err := c.CreateRefund(t.Context(), refundRequest())
	if n, ok := errors.AsType[*NoAnswerError](err); !ok || n.Sent {
		t.Errorf("%#v", err)
	}
}

// TestTransportReusesConnections: sixty-four calls at once, again and again, over at most sixty-four connections.
func TestTransportReusesConnections(t *testing.T) {
	t.Parallel()
	const inFlight, rounds = 64, 4
	s := serve(t, always(signed(200, refundBody)))
	c := newTestClient(t, s)
	for range rounds {
		var wg sync.WaitGroup
		for range inFlight {
			wg.Go(func() {
				if _, err := c.CreateRefund(t.Context(), refundRequest()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) != inFlight*rounds || len(s.protos) > inFlight {
		t.Errorf("%d requests over %d connections", len(s.requests), len(s.protos))
	}
}

// http.ProxyFromEnvironment reads the environment once per process, so only what holds in any environment is tested.
func TestTransportProxy(t *testing.T) {
	t.Parallel()
	req, _ := http.NewRequest(http.MethodGet, "https://127.0.0.1/", nil)
	if u, err := proxyFromEnvironment(req); u != nil || err != nil {
		t.Errorf("this machine itself is reached through %v, %v", u, err)
	}
}

func TestTransportTuning(t *testing.T) {
	t.Parallel()
	tr := NewTransport(TransportConfig{ConnectTimeout: time.Second, MaxConnsPerHost: 7})
	if tr.MaxConnsPerHost != 7 || tr.MaxIdleConnsPerHost != 7 || tr.TLSHandshakeTimeout != time.Second || !tr.DisableCompression {
		t.Errorf("%+v", tr)
	}
	if tr = NewTransport(TransportConfig{}); tr.MaxConnsPerHost != 0 || tr.MaxIdleConnsPerHost < 64 || tr.TLSHandshakeTimeout != 3*time.Second {
		t.Errorf("%+v", tr)
	}
}
