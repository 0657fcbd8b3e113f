// Package natsembed runs a NATS server with JetStream inside this process, so that one binary is a complete installation.
//
// Its store is synced on every write: a confirmed message is on the disk, not in the page cache. Only cmd/worker and tests
// link it; consumer, dlq, messages and wxpay never do (internal/archtest says so).
package natsembed

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Name is what the server calls itself.
const Name = "wxpay-worker-embedded"

// Options of the server.
type Options struct {
	Listen string        // host:port for other clients; port 0 takes a free one; "" listens nowhere
	Dir    string        // where JetStream keeps its files; created if missing
	NoSync bool          // do not sync every write: for tests of things other than crashes
	Ready  time.Duration // how long the start may take; 0: 10 s
}

// lockFile is in Options.Dir and held by a server for as long as it runs.
const lockFile = "worker.lock"

// DirError says that Options.Dir cannot hold the store.
type DirError struct {
	Taken bool // another server uses it at this moment
	err   error
}

func (e *DirError) Error() string { return "store of the embedded NATS server: " + e.err.Error() }
func (e *DirError) Unwrap() error { return e.err }

// errTaken is what lock says of a file that somebody holds.
var errTaken = errors.New("held by another process")

// hold makes the folder and takes it: two servers in one folder would write over each other what both have confirmed.
func hold(dir string) (*os.File, error) {
	err := os.MkdirAll(dir, 0o700)
	if err != nil {
		return nil, &DirError{err: err}
	}
	f, err := lock(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, &DirError{Taken: errors.Is(err, errTaken), err: err}
	}
	return f, nil
}

// Server is a running server. Shutdown ends it.
type Server struct {
	s    *server.Server
	lock *os.File // held until its files are closed
}

// Start runs a server and returns when it takes connections. The error is a *DirError if the folder is to blame.
func Start(o Options) (_ *Server, err error) {
	held, err := hold(o.Dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			held.Close()
		}
	}()
	opts := &server.Options{
		ServerName: Name, JetStream: true, StoreDir: o.Dir, SyncAlways: !o.NoSync,
		DontListen: o.Listen == "", NoSigs: true, NoLog: true, DisableJetStreamBanner: true,
	}
	if o.Listen != "" {
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
		if err := probe(o.Listen); err != nil {
			return nil, err
		}
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("start embedded NATS server: %w", err)
	}
	s.Start()
	if o.Ready == 0 {
		o.Ready = 10 * time.Second
	}
	if !s.ReadyForConnections(o.Ready) || !s.JetStreamEnabled() {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, errors.New("start embedded NATS server: not ready in time: is another server using the store directory or the port?")
	}
	return &Server{s: s, lock: held}, nil
}

// probe says in time what the server would only log: that the address is taken.
func probe(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen for NATS clients: %w", err)
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
	s.s.WaitForShutdown()
	_ = s.lock.Close() // the second time it is closed already
}
