package main

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
)

// cable is a way to a NATS server that can be cut.
type cable struct {
	net.Listener
	to string

	mu    sync.Mutex
	cut   bool       // nobody gets through; guarded by mu
	conns []net.Conn // of both ends; guarded by mu
}

func newCable(t *testing.T, url string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &cable{Listener: l, to: strings.TrimPrefix(url, "nats://")}
	t.Cleanup(func() { l.Close(); w.set(true) })
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.join(c)
		}
	}()
	return w
}

func (w *cable) join(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	server, err := net.Dial("tcp", w.to)
	if w.cut || err != nil {
		c.Close()
		return
	}
	w.conns = append(w.conns, c, server)
	go func() { _, _ = io.Copy(server, c); server.Close() }() // each ends with its connection
	go func() { _, _ = io.Copy(c, server); c.Close() }()
}

// set cuts the wire, or mends it.
func (w *cable) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

// lead makes it lead to another server, and cuts what is under way.
func (w *cable) lead(url string) {
	w.mu.Lock()
	w.to = strings.TrimPrefix(url, "nats://")
	w.mu.Unlock()
	w.set(false)
}

// reader waits for somebody who waits for outcomes, other than the one named, and returns his name.
func (i *installation) reader(t *testing.T, other string) string {
	t.Helper()
	js, err := jetstream.New(i.nc)
	if err != nil {
		t.Fatal(err)
	}
	late := patience(t)
	for {
		stream, err := js.Stream(t.Context(), subjects.OutcomesStream())
		if err != nil {
			t.Fatal(err)
		}
		for info := range stream.ListConsumers(t.Context()).Info() {
			if info.NumWaiting > 0 && info.Name != other {
				return info.Name
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-late:
			t.Fatal("nobody waits for outcomes")
		}
	}
}

// tell records an outcome as a worker does.
func (i *installation) tell(t *testing.T, key string, status messages.Status) {
	t.Helper()
	o := &messages.Outcome{Kind: messages.KindRefund, MchID: mchid, Key: key, Status: status, At: time.Now()}
	body, err := o.Encode()
	if err != nil {
		t.Fatal(err)
	}
	msg := &nats.Msg{Subject: subjects.Outcome(mchid, o.Kind, key, status), Header: nats.Header(o.Headers(subjects)), Data: body}
	if _, err := i.nc.RequestMsg(msg, 10*time.Second); err != nil {
		t.Fatal(err)
	}
}

// TestWatchMissesNothing: what is recorded while the connection is lost is printed when it is back, also if nothing had been printed before.
func TestWatchMissesNothing(t *testing.T) {
	t.Parallel()
	i := install(t, "")
	i.streams(t, 10)
	i.tell(t, "R0", messages.StatusSucceeded) // before: not for us
	cable := newCable(t, i.url)
	watch := start(t, "", "watch", "--nats", "nats://"+cable.Addr().String(), "--count", "2")
	first := i.reader(t, "")
	cable.set(true)
	i.tell(t, "R1", messages.StatusAccepted)
	cable.set(false)
	i.reader(t, first)
	i.tell(t, "R1", messages.StatusSucceeded)
	i.tell(t, "R1", messages.StatusFailed)
	watch.exits(exitDone)
	if got := watch.out.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "accepted") || !strings.Contains(got, "succeeded") {
		t.Errorf("printed\n%s", got)
	}
}

// TestWatchEndsAtOnce: a signal ends it also while the server is there and its JetStream is not.
func TestWatchEndsAtOnce(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	i := &installation{url: server.URL(), nc: natstest.Client(t, server)}
	i.streams(t, 10)
	cable := newCable(t, i.url)
	watch := start(t, "", "watch", "--nats", "nats://"+cable.Addr().String(), "--since", "1h")
	i.reader(t, "")
	without := natstest.StartWithoutJetStream(t)
	nc, err := nats.Connect(without)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	asked, err := nc.SubscribeSync("$JS.API.CONSUMER.CREATE.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	cable.lead(without)
	if _, err := asked.NextMsg(time.Minute); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	watch.stop()
	watch.exits(exitDone)
	if took := time.Since(began); took > time.Second {
		t.Errorf("ended %s after the signal", took)
	}
}
