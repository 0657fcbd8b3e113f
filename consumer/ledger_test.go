package consumer

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
)

// What we have just recorded is not taken for absent because the server that was asked does not have it: a replica that is behind
// would make us send again what it knows nothing of yet.
func TestAReplicaThatIsBehindIsNotBelieved(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t)
	subjects, err := messages.NewSubjects("wxpay")
	if err != nil {
		t.Fatal(err)
	}
	if err := EnsureStreams(t.Context(), nc, Streams{Subjects: subjects, Replicas: 1, MaxWaiting: 10, OutcomesMaxAge: time.Hour}); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	l := &ledger{nc: nc, js: js, subjects: subjects, worker: "w"}
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
	outcomes, err := js.Stream(t.Context(), subjects.OutcomesStream())
	if err != nil {
		t.Fatal(err)
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
