package consumertest

import (
	"bytes"
	"errors"
	"net"
	"sync"

	"github.com/nats-io/nats.go"
)

// Cut is a wire to the NATS server that breaks once, when the worker is about to write what holds At: before the server has it
// (Lost: the write is lost) or right after (the answer is). If it is Dead it stays broken, which is what a kill looks like from outside.
type Cut struct {
	At   string
	Lost bool
	Dead bool

	mu       sync.Mutex
	happened bool // guarded by mu
}

var errCut = errors.New("wire cut")

// Dial implements nats.CustomDialer.
func (c *Cut) Dial(network, address string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.happened && c.Dead {
		return nil, errCut
	}
	conn, err := net.Dial(network, address)
	return &cutConn{conn, c}, err
}

// Broken reports whether it has happened.
func (c *Cut) Broken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.happened
}

type cutConn struct {
	net.Conn
	c *Cut
}

func (w *cutConn) Write(p []byte) (int, error) {
	w.c.mu.Lock()
	now := !w.c.happened && bytes.Contains(p, []byte(w.c.At))
	w.c.happened = w.c.happened || now
	w.c.mu.Unlock()
	if !now {
		return w.Conn.Write(p)
	}
	if !w.c.Lost {
		if _, err := w.Conn.Write(p); err != nil {
			return 0, err
		}
	}
	return 0, errors.Join(errCut, w.Conn.Close())
}

// Gate is a wire to the NATS server on which nothing moves from the moment at which something is about to be written until
// it is opened.
type Gate struct {
	Via  nats.CustomDialer // nil = the network
	At   string            // what that holds
	Shut chan struct{}     // closed when that moment has come
	Open chan struct{}     // closed by the test

	once sync.Once
}

// NewGate returns a gate that shuts when what holds at is about to be written.
func NewGate(at string) *Gate {
	return &Gate{At: at, Shut: make(chan struct{}), Open: make(chan struct{})}
}

// Dial implements nats.CustomDialer.
func (g *Gate) Dial(network, address string) (net.Conn, error) {
	dial := net.Dial
	if g.Via != nil {
		dial = g.Via.Dial
	}
	conn, err := dial(network, address)
	return &gatedConn{conn, g}, err
}

type gatedConn struct {
	net.Conn
	g *Gate
}

func (w *gatedConn) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	select {
	case <-w.g.Shut:
		<-w.g.Open
	default:
	}
	return n, err
}

func (w *gatedConn) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(w.g.At)) {
		w.g.once.Do(func() { close(w.g.Shut); <-w.g.Open })
	}
	return w.Conn.Write(p)
}
