package chaos

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// wire is what a worker's connections to one NATS node go through. It can be cut, slowed and blocked.
type wire struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	conns map[net.Conn]bool // both ends of each; guarded by mu
	cut   bool              // takes no connections; guarded by mu
	delay time.Duration     // before each piece, both ways; guarded by mu
	open  chan struct{}     // closed unless the wire is blocked; guarded by mu
}

func newWire(to string) (*wire, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &wire{listener: listener, to: to, conns: map[net.Conn]bool{}, open: make(chan struct{})}
	close(w.open)
	go w.serve() // ends with the listener
	return w, nil
}

func (w *wire) url() string { return "nats://" + w.listener.Addr().String() }

func (w *wire) serve() {
	for {
		near, err := w.listener.Accept()
		if err != nil {
			return
		}
		go w.connect(near)
	}
}

// connect joins two connections until one of them ends.
func (w *wire) connect(near net.Conn) {
	far, err := net.Dial("tcp", w.to)
	if err != nil {
		near.Close()
		return
	}
	w.mu.Lock()
	refused := w.cut
	w.conns[near], w.conns[far] = true, true
	w.mu.Unlock()
	if !refused {
		back := make(chan struct{})
		go func() { w.carry(near, far); close(back) }()
		w.carry(far, near)
		<-back
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, near)
	delete(w.conns, far)
	near.Close()
	far.Close()
}

// carry copies from one end to the other, as fast as the wire is, and ends both when one has ended.
func (w *wire) carry(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	piece := make([]byte, 64<<10)
	for {
		n, err := from.Read(piece)
		if n > 0 {
			w.mu.Lock()
			delay, open := w.delay, w.open
			w.mu.Unlock()
			<-open
			if delay > 0 {
				time.Sleep(delay) // what a slow wire is
			}
			if _, err := to.Write(piece[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// sever ends all connections; cut says whether new ones are refused.
func (w *wire) sever(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	for c := range w.conns {
		c.Close()
	}
}

// slow delays every piece from now on.
func (w *wire) slow(delay time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay = delay
}

// block lets nothing through, and breaks no connection, until the returned function is called.
func (w *wire) block() (unblock func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	open := make(chan struct{})
	w.open = open
	return sync.OnceFunc(func() { close(open) })
}

func (w *wire) close() error {
	err := w.listener.Close()
	w.sever(true)
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
