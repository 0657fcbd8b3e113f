package wxpaytest

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// A host is one of the two addresses of the API.
type host struct {
	name   string
	tls    *tls.Config
	handle func(host string, w http.ResponseWriter, r *http.Request)

	mu      sync.Mutex
	again   bool          // guarded by mu; was up before, so its port should be free or soon be
	address string        // guarded by mu; after the first start the real one, with its port
	server  *http.Server  // guarded by mu; nil = stopped
	done    chan struct{} // guarded by mu; closed when the goroutine serving server has ended
}

// start listens; on a host that is up it does nothing.
func (h *host) start() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.server != nil {
		return nil
	}
	listener, err := h.listen()
	if err != nil {
		return fmt.Errorf("start %s host: %w", h.name, err)
	}
	h.address = listener.Addr().String()
	server := &http.Server{
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.handle(h.name, w, r) }),
		TLSConfig: h.tls.Clone(),
		// HTTP/1.1 only: a connection that is closed without a byte is then one lost answer, not many.
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	done := make(chan struct{})
	h.server, h.done, h.again = server, done, true
	go func() { // ended by stop, which waits for it
		defer close(done)
		_ = server.ServeTLS(listener, "", "") // always ErrServerClosed
	}()
	return nil
}

// listen tries for a while: a port that was just given up may need a moment.
func (h *host) listen() (net.Listener, error) {
	for tries := 0; ; tries++ {
		listener, err := net.Listen("tcp", h.address)
		if err == nil || !h.again || tries == 20 {
			return listener, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// stop closes the listener and cuts all connections; on a host that is down it does nothing.
func (h *host) stop() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.server == nil {
		return nil
	}
	err := h.server.Close()
	<-h.done
	h.server, h.done = nil, nil
	if err != nil {
		return fmt.Errorf("stop %s host: %w", h.name, err)
	}
	return nil
}

func (h *host) url() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	name, port, err := net.SplitHostPort(h.address)
	if err != nil {
		return "https://" + h.address
	}
	if ip := net.ParseIP(name); ip != nil && ip.IsUnspecified() {
		name = "127.0.0.1"
	}
	return "https://" + net.JoinHostPort(name, port)
}
