package dlq_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/dlq"
	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
)

// varied are n letters of every sort, as far as a filter tells them apart.
func varied(n int) (all []*messages.DeadLetter) {
	for i := range n {
		d := letter(fmt.Sprintf("R*%d", i%11), uint64(i+1))
		d.MchID = fmt.Sprint(1900000000 + i%3)
		d.Kind = messages.Kinds[i%4]
		d.Reason = messages.Reasons[i%5] // none of the last
		d.Code = []string{"PARAM_ERROR", "", "NO_AUTH"}[i%3]
		d.FailedAt = d.FirstAt.Add(time.Duration(i) * time.Minute)
		all = append(all, d)
	}
	return all
}

// putVaried puts n letters of every sort and returns them.
func putVaried(t *testing.T, q *dlq.Queue, n int) []*messages.DeadLetter {
	t.Helper()
	letters := varied(n)
	for _, d := range letters {
		must(q.Put(t.Context(), d))
	}
	return letters
}

func selected(t *testing.T, q *dlq.Queue, f dlq.Filter) (got []*dlq.Letter) {
	t.Helper()
	for l, err := range q.Select(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, l)
	}
	return got
}

func seqs(letters []*dlq.Letter) (out []uint64) {
	for _, l := range letters {
		out = append(out, l.Sequence)
	}
	return out
}

// What the server is asked for and what is chosen here together give what the filter says, oldest first.
func TestSelect(t *testing.T) {
	t.Parallel()
	q, _ := setup(t)
	const n = 120
	putVaried(t, q, n)
	at := func(minutes int) time.Time { return letter("", 1).FirstAt.Add(time.Duration(minutes) * time.Minute) }
	var manyKeys []string
	for i := range 200 {
		manyKeys = append(manyKeys, fmt.Sprint("K", i))
	}
	filters := []dlq.Filter{
		{},
		{MchID: []string{"1900000001"}},
		{MchID: []string{"1900000001", "1900000002", "1900000001"}, Kind: []messages.Kind{messages.KindReply}},
		{Kind: []messages.Kind{messages.KindRefund, messages.KindComplete}, Reason: []messages.Reason{messages.ReasonRejected, messages.ReasonMalformed}},
		{Reason: []messages.Reason{messages.ReasonPoison}},
		{Key: []string{"R*3"}},
		{Key: append(manyKeys, "R*3"), Reason: []messages.Reason{messages.ReasonConflict}},
		{Code: []string{"NO_AUTH"}},
		{Code: []string{""}},
		{Since: at(100)},
		{Until: at(10)},
		{Since: at(10), Until: at(20), Kind: []messages.Kind{messages.KindRefund}},
		{MchID: []string{"*"}},
		{Key: []string{">", "R*3"}},
	}
	all := selected(t, q, dlq.Filter{})
	if len(all) != n {
		t.Fatalf("%d letters", len(all))
	}
	for i, f := range filters {
		for _, newest := range []int{0, 1, 7, n - 1, n, 2 * n, math.MaxInt/2 + 1, math.MaxInt} {
			var want []uint64
			for _, l := range all {
				if f.Match(l) {
					want = append(want, l.Sequence)
				}
			}
			if newest > 0 {
				want = want[max(0, len(want)-newest):]
			}
			f.Newest = newest
			if got := seqs(selected(t, q, f)); !slices.Equal(got, want) {
				t.Errorf("filter %d, newest %d: got %v, want %v", i, newest, got, want)
			}
		}
	}
	for _, l := range all[:3] {
		if l.Command != nil {
			t.Errorf("letter %d comes with its command", l.Sequence)
		}
	}
}

// Match is about values, so it is checked against its own words once.
func TestMatch(t *testing.T) {
	l := &dlq.Letter{Sequence: 1, Time: time.Unix(2000, 0), DeadLetter: *letter("R1", 1)}
	l.FailedAt = time.Unix(1000, 0)
	for name, f := range map[string]dlq.Filter{
		"merchant": {MchID: []string{"1900000002"}}, "kind": {Kind: []messages.Kind{messages.KindReply}}, "reason": {Reason: []messages.Reason{messages.ReasonPoison}},
		"code": {Code: []string{"NO_AUTH", ""}}, "key": {Key: []string{"R2"}}, "since": {Since: time.Unix(1000, 1)}, "until": {Until: time.Unix(1000, 0)},
	} {
		if f.Match(l) {
			t.Errorf("%s does not keep it out", name)
		}
	}
	if f := (dlq.Filter{Since: time.Unix(1000, 0), Until: time.Unix(1000, 1), Code: []string{"X", "PARAM_ERROR"}}); !f.Match(l) {
		t.Error("it is kept out")
	}
	if l.FailedAt = (time.Time{}); !l.At().Equal(l.Time) {
		t.Error("a letter that does not say when is not dated by the stream")
	}
}

// The newest of a rare sort are found, however far back they lie.
func TestNewestLooksBackAsFarAsItMust(t *testing.T) {
	t.Parallel()
	q, nc := setup(t)
	rare := letter("RARE", 1)
	rare.Reason = messages.ReasonPoison
	first := must(q.Put(t.Context(), rare))
	flood(t, nc, 3000)
	if got := selected(t, q, dlq.Filter{Reason: []messages.Reason{messages.ReasonPoison}, Newest: 2}); len(got) != 1 || got[0].Sequence != first {
		t.Errorf("found %v", seqs(got))
	}
	if got := seqs(selected(t, q, dlq.Filter{Newest: 2})); !slices.Equal(got, []uint64{3000, 3001}) {
		t.Errorf("newest %v", got)
	}
}

// flood stores n plain letters quickly.
func flood(t *testing.T, nc *nats.Conn, n int) {
	t.Helper()
	js := must(jetstream.New(nc))
	for i := range n {
		d := letter(fmt.Sprint("F", i), uint64(1000+i))
		must(js.PublishMsgAsync(&nats.Msg{Subject: "wxpay.deadletter.1900000001.refund.rejected." + d.Key, Header: d.Headers(), Data: d.Command}))
	}
	<-js.PublishAsyncComplete()
}

// Letters that come while the queue is being read are not among them, so putting back what fails again comes to an end; letters
// that go meanwhile disturb nobody.
func TestSelectWhileItChanges(t *testing.T) {
	t.Parallel()
	q, nc := setup(t)
	flood(t, nc, 4500) // more than two pages
	n := 0
	for l, err := range q.Select(t.Context(), dlq.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 1 {
			must(q.Put(t.Context(), letter("LATE", 9999)))
			js := must(jetstream.New(nc))
			stream := must(js.Stream(t.Context(), "WXPAY_DEADLETTERS"))
			if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(4400)); err != nil {
				t.Fatal(err)
			}
		}
		if l.Key == "LATE" {
			t.Error("a letter that came later is among them")
		}
	}
	// The first page was on its way when the others went.
	if n < 101 || n > 2000+101 {
		t.Errorf("%d letters", n)
	}
}

// A letter that cannot be read is reported, and the others are not lost over it.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	q, nc := setup(t)
	must(q.Put(t.Context(), letter("R1", 1)))
	js := must(jetstream.New(nc))
	bad := must(js.Publish(t.Context(), "wxpay.deadletter.1900000001.refund.rejected.R2", []byte("{}"))).Sequence
	must(q.Put(t.Context(), letter("R3", 3)))
	for _, f := range []dlq.Filter{{}, {Newest: 3}, {Code: []string{"PARAM_ERROR"}}} {
		good, found := 0, []uint64(nil)
		for _, err := range q.Select(t.Context(), f) {
			if unreadable, ok := errors.AsType[*dlq.UnreadableError](err); ok {
				found = append(found, unreadable.Sequence)
			} else if err != nil {
				t.Fatal(err)
			} else {
				good++
			}
		}
		if good != 2 || !slices.Equal(found, []uint64{bad}) {
			t.Errorf("filter %+v: %d letters, unreadable %v", f, good, found)
		}
	}
	if _, err := q.Get(t.Context(), bad); !isUnreadable(err) {
		t.Errorf("Get: %v", err)
	}
	if stats, err := q.Stats(t.Context(), dlq.Filter{}); len(stats) != 1 || stats[0].Count != 2 || !isUnreadable(err) {
		t.Errorf("Stats: %v, %v", stats, err)
	}
}

func isUnreadable(err error) bool {
	_, ok := errors.AsType[*dlq.UnreadableError](err)
	return ok
}

func TestStats(t *testing.T) {
	t.Parallel()
	q, _ := setup(t)
	all := putVaried(t, q, 60)
	stats := must(q.Stats(t.Context(), dlq.Filter{MchID: []string{"1900000000", "1900000001"}}))
	sum := 0
	for i, s := range stats {
		var of []*messages.DeadLetter
		for _, d := range all {
			if d.MchID == s.MchID && d.Kind == s.Kind && d.Reason == s.Reason && d.Code == s.Code {
				of = append(of, d)
			}
		}
		if len(of) != s.Count || len(of) == 0 || !s.Oldest.Equal(of[0].FailedAt) || !s.Newest.Equal(of[len(of)-1].FailedAt) {
			t.Errorf("%+v, want %d", s, len(of))
		}
		sum += s.Count
		if i > 0 && !inOrder(stats[i-1], s) {
			t.Errorf("%+v comes after %+v", s, stats[i-1])
		}
	}
	if sum != 40 {
		t.Errorf("%d letters counted", sum)
	}
	if stats := must(q.Stats(t.Context(), dlq.Filter{MchID: []string{"7"}})); len(stats) != 0 {
		t.Errorf("statistics of nothing: %v", stats)
	}
}

// inOrder: by merchant, then by kind and reason in the order of the contract.
func inOrder(a, b *dlq.Stat) bool {
	rank := func(s *dlq.Stat) string {
		return fmt.Sprint(s.MchID, slices.Index(messages.Kinds, s.Kind), slices.Index(messages.Reasons, s.Reason), s.Code)
	}
	return rank(a) < rank(b)
}

func TestEmptyAndMissing(t *testing.T) {
	t.Parallel()
	q, _ := setup(t)
	for _, f := range []dlq.Filter{{}, {Newest: 5}} {
		if got := selected(t, q, f); len(got) != 0 {
			t.Errorf("letters of an empty queue: %v", got)
		}
	}
	none := must(dlq.New(natstest.Connect(t), messages.Subjects{Prefix: "wxpay"}))
	for _, err := range none.Select(t.Context(), dlq.Filter{}) {
		if !errors.Is(err, dlq.ErrNoStream) {
			t.Errorf("Select: %v", err)
		}
	}
	if _, err := none.Get(t.Context(), 1); !errors.Is(err, dlq.ErrNoStream) {
		t.Errorf("Get: %v", err)
	}
	if _, err := q.Get(t.Context(), 0); !errors.Is(err, dlq.ErrNotFound) {
		t.Errorf("Get(0): %v", err)
	}
}

func TestSelectEndsWithItsContext(t *testing.T) {
	t.Parallel()
	q, nc := setup(t)
	flood(t, nc, 4500)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	var last error
	for _, err := range q.Select(ctx, dlq.Filter{}) {
		if n++; n == 10 {
			cancel()
		}
		last = err
	}
	if !errors.Is(last, context.Canceled) || n > 2001 {
		t.Errorf("%d letters, then %v", n, last)
	}
}

// flaky is a wire to the NATS server that breaks once, after so many bytes have come from it.
type flaky struct {
	mu   sync.Mutex
	left int // guarded by mu; broken once below zero
	once bool
}

func (f *flaky) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	return &flakyConn{c, f}, err
}

type flakyConn struct {
	net.Conn
	f *flaky
}

func (c *flakyConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	if c.f.left -= n; c.f.left < 0 && !c.f.once {
		c.f.once = true
		return 0, errors.Join(errors.New("wire cut"), c.Conn.Close())
	}
	return n, err
}

// A wire that breaks in the middle costs letters that were on their way: they are read again, none is missed and none comes twice.
func TestSelectOverABrokenWire(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	q, nc := setupOn(t, server)
	flood(t, nc, 4500)
	want := seqs(selected(t, q, dlq.Filter{}))
	f := &flaky{left: 1_500_000}
	broken := must(nats.Connect(server.URL(), nats.SetCustomDialer(f), nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond), nats.ReconnectJitter(0, 0)))
	defer broken.Close()
	got := seqs(selected(t, must(dlq.New(broken, messages.Subjects{Prefix: "wxpay"})), dlq.Filter{}))
	if !f.once {
		t.Fatal("the wire has held")
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d letters instead of %d", len(got), len(want))
	}
}

// deaf is a wire to the NATS server on which requests for letters are lost.
type deaf struct{}

func (deaf) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	return &deafConn{c}, err
}

type deafConn struct{ net.Conn }

func (c *deafConn) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("CONSUMER.MSG.NEXT")) {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// Silence is not the end: who is not sent what there is says so, and does not take the queue for empty.
func TestSelectTakesSilenceForAnError(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	_, nc := setupOn(t, server)
	flood(t, nc, 3)
	silent := must(nats.Connect(server.URL(), nats.SetCustomDialer(deaf{})))
	defer silent.Close()
	n, last := 0, error(nil)
	for _, err := range must(dlq.New(silent, messages.Subjects{Prefix: "wxpay"})).Select(t.Context(), dlq.Filter{}) {
		n, last = n+1, err
	}
	if n != 1 || last == nil || !strings.Contains(last.Error(), "the server sends nothing of what it has") {
		t.Errorf("%d results, %v", n, last)
	}
}
