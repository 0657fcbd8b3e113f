package consumer

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sirupsen/logrus"

	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
)

// laneOf is a lane of complaints with a commands stream that holds n commands about one complaint.
func laneOf(t *testing.T, n int) (*lane, jetstream.Stream) {
	t.Helper()
	nc := natstest.Connect(t)
	subjects, err := messages.NewSubjects("wxpay")
	if err == nil {
		err = EnsureStreams(t.Context(), nc, Streams{Subjects: subjects, Replicas: 1, MaxWaiting: 10, OutcomesMaxAge: time.Hour})
	}
	var c *Consumer
	if err == nil {
		c, err = New(Options{Conn: nc, Subjects: subjects, Log: logrus.New(), Clock: FastClock(1), Concurrency: 4, AckWait: time.Minute, PinnedTTL: 4 * time.Second})
	}
	if err != nil {
		t.Fatal(err)
	}
	l := newLane(c.shared, Merchant{MchID: "1900000001"}, familyComplaint)
	for range n {
		msg := nats.NewMsg(subjects.Command(l.mchid, messages.KindReply))
		msg.Data = []byte(`{"id":"P1","complaint_id":"C1","complainted_mchid":"1900000001","response_content":"x"}`)
		if _, err := l.js.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := l.js.Stream(t.Context(), l.stream)
	if err != nil {
		t.Fatal(err)
	}
	return l, stream
}

// An older command of which a replica knows nothing is not taken for gone by a replica that does not have the newer one either: commands
// about a complaint would be carried out in the wrong order.
func TestAnOlderCommandIsNotGoneAtAReplicaThatIsBehind(t *testing.T) {
	t.Parallel()
	l, stream := laneOf(t, 2)
	second := &job{sequence: 2, about: "C1"}
	for _, step := range []struct {
		gone   uint64 // this one is not there, from here on
		behind bool
		err    error
	}{{0, true, nil}, {2, true, nil}, {1, true, errBehind}} {
		if step.gone > 0 {
			if err := stream.DeleteMsg(t.Context(), step.gone); err != nil {
				t.Fatal(err)
			}
		}
		l.line.join("C1", 1, time.Time{})
		if _, behind, err := l.behind(t.Context(), second); behind != step.behind || !errors.Is(err, step.err) {
			t.Errorf("without %d: behind %v, %v", step.gone, behind, err)
		}
	}
	l, stream = laneOf(t, 2)
	if err := stream.DeleteMsg(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	l.line.join("C1", 1, time.Time{})
	if _, behind, err := l.behind(t.Context(), second); behind || err != nil {
		t.Errorf("behind one that is gone: %v", err)
	}
}

// What the former holder of a lane left unfinished is not taken from a replica that does not have all of it.
func TestALegacyIsReadWhole(t *testing.T) {
	t.Parallel()
	l, stream := laneOf(t, 3)
	if err := stream.DeleteMsg(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	for pending, want := range map[int]error{2: nil, 3: errBehind} {
		_, _, err := l.readLegacy(t.Context(), func(context.Context) (*jetstream.ConsumerInfo, error) {
			return &jetstream.ConsumerInfo{Delivered: jetstream.SequenceInfo{Stream: 3}, NumAckPending: pending}, nil
		})
		if !errors.Is(err, want) {
			t.Errorf("two commands there, %d unfinished: %v", pending, err)
		}
	}
}

// recordStarted records that the nth reply is begun after so many attempts.
func (l *lane) recordStarted(t *testing.T, n, attempts int) {
	t.Helper()
	o := &messages.Outcome{Kind: messages.KindReply, MchID: l.mchid, Key: fmt.Sprintf("P%d", n), Status: messages.StatusStarted, At: time.Now(), Attempts: attempts}
	data, err := o.Encode()
	if err == nil {
		_, err = l.js.Publish(t.Context(), l.subjects.Outcome(l.mchid, o.Kind, o.Key, o.Status), data)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What the former holder has recorded counts for the quota as the calls that it made, each once, as long as the quota's time.
func TestRecordedCallsCountForTheQuota(t *testing.T) {
	t.Parallel()
	l, _ := laneOf(t, 0)
	l.writes.adjust(Rate{N: 10, Per: time.Minute}, Rate{})
	l.recordStarted(t, 1, 0)
	l.recordStarted(t, 1, 1) // the second call for it
	l.recordStarted(t, 2, 2)
	behind := 2   // readings that must be repeated: a call counts once all the same
	for range 2 { // a lane's legacy is read when the worker starts, and when the lane becomes its own
		l.inherit(t.Context(), &inheritance{read: make(chan struct{})}, func(context.Context) (*jetstream.ConsumerInfo, error) {
			behind--
			return &jetstream.ConsumerInfo{NumAckPending: max(0, behind)}, nil
		})
	}
	l.writes.restart(nil, time.Time{}) // which tells nothing new
	if n := len(l.writes.known) + len(l.writes.told); n != 5 {
		t.Errorf("%d calls are known; want 5", n)
	}
	if calls, err := l.inheritOutcomes(t.Context(), l.clock.Now().Add(time.Minute)); err != nil || len(calls) != 0 {
		t.Errorf("a minute later %d, %v", len(calls), err)
	}
}

// Lanes with many recent outcomes read them a few at a time; those with few do not wait for them.
func TestLongLegaciesAreReadAFewAtATime(t *testing.T) {
	t.Parallel()
	l, _ := laneOf(t, 0)
	places := make(chan struct{}) // none
	l.reading = places
	read := func() error {
		_, err := l.inheritOutcomes(t.Context(), l.clock.Now())
		return err
	}
	for n := range readingMuch - 1 {
		l.recordStarted(t, n, 0)
	}
	if err := read(); err != nil {
		t.Fatalf("few: %v", err)
	}
	l.recordStarted(t, readingMuch, 0)
	done := make(chan error, 1)
	go func() { done <- read() }()
	select {
	case <-places:
	case err := <-done:
		t.Fatalf("ended without a place: %v", err)
	}
	select {
	case places <- struct{}{}:
	case err := <-done:
		t.Fatalf("ended without giving its place back: %v", err)
	}
	if err := <-done; err != nil {
		t.Errorf("many: %v", err)
	}
}
