package consumer

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
)

// newTestLedger is a ledger at a server of its own.
func newTestLedger(t *testing.T) (*ledger, jetstream.Stream) {
	t.Helper()
	nc := natstest.Connect(t)
	subjects, err := messages.NewSubjects("wxpay")
	if err == nil {
		err = EnsureStreams(t.Context(), nc, Streams{Subjects: subjects, Replicas: 1, MaxWaiting: 10, OutcomesMaxAge: time.Hour})
	}
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	outcomes, err := js.Stream(t.Context(), subjects.OutcomesStream())
	if err != nil {
		t.Fatal(err)
	}
	return newLedger(nc, js, subjects), outcomes
}

// What we have just recorded is not taken for absent because the server that was asked does not have it: a replica that is behind
// would make us send again what it knows nothing of yet.
func TestAReplicaThatIsBehindIsNotBelieved(t *testing.T) {
	t.Parallel()
	l, outcomes := newTestLedger(t)
	read := func() (*entry, error) { return l.read(t.Context(), "1900000001", messages.KindReply, "P1") }
	e, err := read()
	if err != nil || e.outcome != nil {
		t.Fatalf("%+v, %v", e, err)
	}
	var newest uint64
	for _, status := range []messages.Status{messages.StatusStarted, messages.StatusSucceeded} {
		o := &messages.Outcome{Kind: messages.KindReply, MchID: "1900000001", Key: "P1", Status: status, At: time.Now()}
		if e, err = l.write(t.Context(), e, o, note{digest: "d", commandSeq: 1}); err != nil {
			t.Fatal(err)
		}
		newest = e.sequence
	}
	if e, err := read(); err != nil || e.status() != messages.StatusSucceeded {
		t.Fatalf("%+v, %v", e, err)
	}
	if err := outcomes.DeleteMsg(t.Context(), newest); err != nil {
		t.Fatal(err)
	}
	if e, err := read(); !errors.Is(err, errBehind) {
		t.Errorf("one record missing: %+v, %v", e, err)
	}
	if err := outcomes.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e, err := read(); !errors.Is(err, errBehind) {
		t.Errorf("both records missing: %+v, %v", e, err)
	}
}

// Keys that are looked up together are told apart: each has its newest record, or none. One whose record cannot be read is not taken for
// one without, and is nobody else's trouble.
func TestKeysAreLookedUpTogether(t *testing.T) {
	t.Parallel()
	l, _ := newTestLedger(t)
	const mchid = "1900000001"
	var filters []string
	want := map[string]string{}
	for n := range 40 {
		key := fmt.Sprintf("R*%d", n)
		filter := l.subjects.OutcomeFilter(mchid, messages.KindRefund, key)
		filters = append(filters, filter)
		e := &entry{filter: filter}
		for _, status := range []messages.Status{messages.StatusAccepted, messages.StatusAbnormal, messages.StatusSucceeded}[:n%4] {
			var err error
			o := &messages.Outcome{Kind: messages.KindRefund, MchID: mchid, Key: key, Status: status, At: time.Now()}
			if e, err = l.write(t.Context(), e, o, note{digest: "d", commandSeq: 1}); err != nil {
				t.Fatal(err)
			}
			want[filter] = l.subjects.Outcome(mchid, messages.KindRefund, key, status)
		}
	}
	filters = append(filters, filters[3], filters[3]) // asked for more than once
	got, err := l.lookUp(filters)
	if err != nil {
		t.Fatal(err)
	}
	for i, filter := range filters {
		have := ""
		if got[i].record != nil {
			have = got[i].record.Subject
		}
		if have != want[filter] || got[i].err != nil {
			t.Errorf("%s: %q, %v; want %q", filter, have, got[i].err, want[filter])
		}
	}

	var all sync.WaitGroup
	for n := range 40 {
		all.Go(func() {
			e, err := l.read(t.Context(), mchid, messages.KindRefund, fmt.Sprintf("R*%d", n))
			if status := []messages.Status{"", messages.StatusAccepted, messages.StatusAbnormal, messages.StatusSucceeded}[n%4]; err != nil || e.status() != status {
				t.Errorf("R*%d: %+v, %v", n, e, err)
			}
		})
	}
	all.Wait()

	natstest.PublishRaw(t, l.nc.ConnectedUrl(), l.subjects.Outcome(mchid, messages.KindRefund, "R*1", messages.StatusSucceeded), "NATS/1.0\r\nno header at all\r\n\r\n", "{}")
	if _, err := l.js.Publish(t.Context(), l.subjects.Outcome(mchid, messages.KindRefund, "other", messages.StatusAccepted), []byte("{}")); err != nil {
		t.Fatal(err) // what was published before it is stored when this is
	}
	if got, err = l.lookUp(filters); err != nil {
		t.Fatal(err)
	}
	for i, filter := range filters {
		if broken := i == 1; broken != (got[i].err != nil) || !broken && (got[i].record != nil) != (want[filter] != "") {
			t.Errorf("%s beside one that cannot be read: %+v", filter, got[i])
		}
	}
}
