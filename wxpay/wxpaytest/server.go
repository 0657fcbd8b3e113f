package wxpaytest

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"sync"
)

// A Server is WeChat Pay: two hosts, one set of books, and a judge at the door.
// All its methods may be called from many goroutines.
type Server struct {
	options Options
	routes  []route
	primary *host
	backup  *host
	books   *books
	script  script
	history history
	nonces  nonceSet

	merchantsMu sync.RWMutex
	merchants   map[string]*merchant // guarded by merchantsMu
	slots       map[string]int       // guarded by merchantsMu; place of a merchant's key in the pool

	requestIDs requestIDs
	report     func(format string, args ...any) // misuse by a test; never nil

	closing  chan struct{}  // closed by Close: ends every wait of a handler
	gate     sync.Mutex     // orders handlers.Add before handlers.Wait
	closed   bool           // guarded by gate
	handlers sync.WaitGroup // requests being handled; Close waits for them
}

// TB is what New needs of a testing.TB; spelled out so that programs do not link package testing.
type TB interface {
	Helper()
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// New starts a simulator for a test and closes it at the test's end. If the test failed it prints the
// script of faults and the violations, so that the run can be repeated.
func New(t TB, o ...Options) *Server {
	t.Helper()
	var options Options
	if len(o) > 0 {
		options = o[0]
	}
	s, err := Start(options)
	if err != nil {
		t.Fatalf("wxpaytest: %v", err)
	}
	s.report = t.Errorf
	t.Cleanup(func() {
		s.Close()
		if !t.Failed() {
			return
		}
		if script := s.script.String(); script != "" {
			t.Logf("wxpaytest: script:\n%s", script)
		}
		for _, v := range s.Violations() {
			t.Logf("wxpaytest: violation: %s", v)
		}
	})
	return s
}

// Start starts a simulator for a program, which must Close it.
func Start(o Options) (*Server, error) {
	o = o.withDefaults()
	s := &Server{
		options:   o,
		routes:    routes(o),
		books:     newBooks(o),
		history:   history{keep: o.KeepRequests},
		merchants: map[string]*merchant{},
		slots:     map[string]int{},
		report:    func(string, ...any) {},
		closing:   make(chan struct{}),
	}
	config, err := tlsConfig(o.Hostnames)
	if err != nil {
		return nil, err
	}
	s.books.address = s.URL
	s.primary = &host{name: "primary", address: o.Listen, tls: config, handle: s.serve}
	s.backup = &host{name: "backup", address: o.ListenBackup, tls: config, handle: s.serve}
	if err := s.primary.start(); err != nil {
		return nil, err
	}
	if err := s.backup.start(); err != nil {
		return nil, errors.Join(err, s.primary.stop())
	}
	return s, nil
}

// URL is the primary host's, https://127.0.0.1:port.
func (s *Server) URL() string { return s.primary.url() }

// BackupURL is the other host's: same books, same judge.
func (s *Server) BackupURL() string { return s.backup.url() }

// Close stops both hosts, ends held and slow answers and waits for the handlers. It may be called twice.
func (s *Server) Close() {
	s.gate.Lock()
	first := !s.closed
	s.closed = true
	s.gate.Unlock()
	if first {
		close(s.closing)
		_, _ = s.primary.stop(), s.backup.stop()
	}
	s.handlers.Wait()
}

// enter admits a request; false once the server is closed.
func (s *Server) enter() bool {
	s.gate.Lock()
	defer s.gate.Unlock()
	if !s.closed {
		s.handlers.Add(1)
	}
	return !s.closed
}

// StopHost closes a host: open connections are cut, new ones refused. The books stay.
func (s *Server) StopHost(primary bool) error { return s.host(primary).stop() }

// StartHost opens a stopped host again, on the port it had.
func (s *Server) StartHost(primary bool) error {
	select {
	case <-s.closing:
		return errors.New("start host: server is closed")
	default:
		return s.host(primary).start()
	}
}

func (s *Server) host(primary bool) *host {
	if primary {
		return s.primary
	}
	return s.backup
}

// ServeHTTP answers as the primary host does. Requests that did not come over TLS are refused.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.serve("primary", w, r) }

// serve is one exchange: read, judge, look up the script, execute, answer.
func (s *Server) serve(host string, w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		panic(http.ErrAbortHandler)
	}
	defer s.handlers.Done()

	x := s.receive(host, w, r)
	op, no := s.judge(x)
	if x.bodyError == nil {
		x.fault = s.script.take(x.seen.Endpoint, x.seen.MchID, x.seen.ID)
		x.seen.Fault = x.fault
	}
	var a answer
	if no != nil {
		a = answer{refusal: no}
	} else {
		a = s.execute(x, op)
	}
	if a.refusal != nil {
		x.seen.Refusal = a.refusal.rule
		if a.refusal.violation {
			x.violate(a.refusal.rule)
		}
	}
	s.history.add(x.seen)
	for _, rule := range x.violations {
		s.history.violate(x.seen, rule)
	}
	s.deliver(w, x, a)
}

// An exchange is one request on its way through the server.
type exchange struct {
	context     context.Context
	header      http.Header
	overTLS     bool
	certificate *x509.Certificate // the client's; nil = none
	body        []byte
	form        *uploadForm // the body of an upload; nil = not a form
	bodyError   error
	seen        *Request
	fault       *Fault
	violations  []string
	v2          *v2call // nil: not a call of v2

	merchant    *merchant // who signed the request, once its signature was accepted
	signer      signer    // who will sign the answer, once merchant is known; not for v2
	serialRight bool      // Wechatpay-Serial names signer, or nothing where it may
	nonce       *nonceUse
	attempt     *attempt // of a refund create that reached the money books
	told        *order   // both numbers of it stand in the answer
}

func (x *exchange) violate(rule string) { x.violations = append(x.violations, rule) }

// maxBody bounds a request, uploads excepted; no other call comes near it.
const maxBody = 1 << 20

func (s *Server) receive(host string, w http.ResponseWriter, r *http.Request) *exchange {
	body, err := readAll(w, r)
	x := &exchange{
		context:   r.Context(),
		header:    r.Header,
		overTLS:   r.TLS != nil,
		body:      body,
		bodyError: err,
		seen: &Request{
			At:     s.options.Now(),
			Host:   host,
			Method: r.Method,
			URL:    r.RequestURI,
			Header: r.Header,
			Body:   body,
		},
	}
	if x.overTLS && len(r.TLS.PeerCertificates) > 0 {
		x.certificate = r.TLS.PeerCertificates[0]
		x.seen.ClientCertificate = fmt.Sprintf("%X", x.certificate.SerialNumber)
	}
	return x
}

// execute lets the operation look at the books and, unless the script forbids it, change them.
func (s *Server) execute(x *exchange, op operation) answer {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	a, effect := op.plan(s.books, x)
	if a.refusal == nil && effect != nil && (x.fault == nil || x.fault.Apply) {
		effect()
		x.seen.Applied = true
	}
	return a
}

// An operation is a well-formed request of a known merchant.
type operation interface {
	// plan says what the answer is and what would change in the books. It changes nothing itself but
	// what the judge remembers. Called with books.mu held.
	plan(b *books, x *exchange) (a answer, effect func())
}

// An answer is a refusal, or a status with a body (nil: none).
type answer struct {
	status  int
	body    any
	refusal *refusal
}

func no(r *refusal) (answer, func()) { return answer{refusal: r}, nil }

// misuse tells a test that it asked for something impossible.
func (s *Server) misuse(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	s.report("wxpaytest: %v", err)
	return err
}
