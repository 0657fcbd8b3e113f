// Package natsembed runs a NATS server with JetStream inside this process, so that one binary is a complete installation.
//
// Its store is synced on every write: a confirmed message is on the disk, not in the page cache. Only cmd/worker and tests
// link it; consumer, dlq, messages and wxpay never do (internal/archtest says so).
//
//	server, err := natsembed.StartContext(ctx, natsembed.Options{Listen: "127.0.0.1:4222", Dir: "data/nats"})
//	defer server.Shutdown()
//	nc, err := nats.Connect("", server.InProcess()) // or server.URL(), from another process
package natsembed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Name is what the server calls itself.
const Name = "wxpay-worker-embedded"

// Options of the server.
type Options struct {
	Listen string // host:port for other clients; port 0 takes a free one; "" listens nowhere
	Dir    string // where JetStream keeps its files; created if missing
	NoSync bool   // do not sync every write: for tests of things other than crashes
}

// ListenError says that nothing can listen at Options.Listen.
type ListenError struct{ err error }

func (e *ListenError) Error() string { return "listen for NATS clients: " + e.err.Error() }
func (e *ListenError) Unwrap() error { return e.err }

// Server is a running server. Shutdown ends it.
type Server struct {
	s     *server.Server
	freed chan struct{} // closed when the server has ended and the folder is nobody's
}

// Start is StartContext with a context that never ends.
func Start(o Options) (*Server, error) { return StartContext(context.Background(), o) }

// StartContext starts a server and returns when it takes connections, which is after it has read its store: that may take long. If ctx ends
// before, it returns an error that wraps ctx's cause; once it has returned, ctx means nothing to the server. The error is a *DirError if the
// folder is to blame, a *ListenError if the address is.
func StartContext(ctx context.Context, o Options) (*Server, error) {
	opts, err := o.server()
	if err != nil {
		return nil, err
	}
	held, err := hold(o.Dir)
	if err != nil {
		return nil, err
	}
	s, err := server.NewServer(opts)
	if err != nil {
		held.Close()
		return nil, fmt.Errorf("start embedded NATS server: %w", err)
	}
	e := &Server{s: s, freed: make(chan struct{})}
	go func() { // ended by Shutdown
		s.WaitForShutdown()
		_ = held.Close() // opened for its lock alone
		close(e.freed)
	}()
	done := make(chan error, 1)
	go func() { done <- e.run(o) }() // awaited below, whatever ctx does
	select {
	case err = <-done:
	case <-ctx.Done():
		// Nothing interrupts a server that reads its store. It has confirmed nothing to anybody, so a process that ends now does no
		// more harm than one that is killed; one that goes on has its folder back as soon as it can be given back.
		go func() {
			<-done
			e.Shutdown()
		}()
		return nil, fmt.Errorf("start embedded NATS server: %w", context.Cause(ctx))
	}
	if err != nil {
		e.Shutdown()
		return nil, err
	}
	return e, nil
}

// server checks the options and makes them the server's.
func (o Options) server() (*server.Options, error) {
	opts := &server.Options{
		ServerName: Name, JetStream: true, StoreDir: o.Dir, SyncAlways: !o.NoSync,
		DontListen: o.Listen == "", NoSigs: true, NoLog: true, DisableJetStreamBanner: true,
	}
	if o.Listen == "" {
		return opts, nil
	}
	host, port, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen address %q: %w", o.Listen, err)
	}
	if opts.Port, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("listen address %q: port is not a number", o.Listen)
	}
	if opts.Port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	opts.Host = host
	return opts, probe(o.Listen)
}

// run starts the server and returns when it is ready, or with the server's own words when it did not come up.
func (e *Server) run(o Options) error {
	told := &reporter{}
	e.s.SetLoggerV2(told, false, false, false)
	e.s.Start()
	switch fatal := told.fatal.Load(); {
	case fatal != nil:
		if err := probe(o.Listen); err != nil {
			return err
		}
		return &DirError{err: errors.New(*fatal)} // it needs nothing else
	case !e.s.ReadyForConnections(readyTime) || !e.s.JetStreamEnabled():
		return errors.New("start embedded NATS server: it does not say why")
	}
	return nil
}

// readyTime is how long a server that has started may take to say that it is ready.
const readyTime = 10 * time.Second

// probe finds out beforehand what the server would only log: that the address is taken, or is not this machine's.
func probe(addr string) error {
	if addr == "" {
		return nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return &ListenError{err}
	}
	return l.Close()
}

// URL is where other clients reach the server; "" if it listens nowhere.
func (s *Server) URL() string {
	if s.s.Addr() == nil {
		return ""
	}
	return s.s.ClientURL()
}

// InProcess is the option for nats.Connect that connects without a socket.
func (s *Server) InProcess() nats.Option { return nats.InProcessServer(s.s) }

// Shutdown stops the server and waits until its files are closed; then another one may have the folder.
func (s *Server) Shutdown() {
	s.s.Shutdown()
	<-s.freed
}
