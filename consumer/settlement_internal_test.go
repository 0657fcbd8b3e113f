package consumer

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Looks that found no place come again no faster than the merchant may look, each behind those before it.
func TestLooksWithoutAPlaceStandInLine(t *testing.T) {
	t.Parallel()
	complaints, _ := laneOf(t, 0)
	w := newSettler(complaints.shared)
	l := newLane(complaints.shared, Merchant{MchID: "1900000001"}, familyRefund)
	l.looks.adjust(Rate{N: 2, Per: time.Hour}, Rate{})
	for n, want := range []time.Duration{30 * time.Minute, time.Hour, 90 * time.Minute} {
		if got := w.inLine(l.mchid, l.looks.rate()); want-got < 0 || want-got > time.Minute {
			t.Errorf("the %d. waits %s, want %s", n+1, got, want)
		}
	}
	other := newLane(complaints.shared, Merchant{MchID: "1900000002"}, familyRefund)
	if got := w.inLine(other.mchid, other.looks.rate()); got > time.Second {
		t.Errorf("another merchant's waits %s", got)
	}
}

// ahead is a JetStream whose server's clock is ahead of ours.
type ahead struct {
	jetstream.JetStream
	by time.Duration
}

func (a ahead) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	s, err := a.JetStream.Stream(ctx, name)
	return aheadStream{s, a.by}, err
}

type aheadStream struct {
	jetstream.Stream
	by time.Duration
}

func (s aheadStream) CachedInfo() *jetstream.StreamInfo {
	info := *s.Stream.CachedInfo()
	info.TimeStamp = info.TimeStamp.Add(s.by)
	return &info
}

// What is overdue is so by the clock of the server that has the schedules. By that of a worker that is minutes ahead of it, what is not due yet
// would be put off again and again.
func TestOverdueIsByTheServersClock(t *testing.T) {
	t.Parallel()
	complaints, _ := laneOf(t, 0)
	w := newSettler(complaints.shared)
	schedule := &nats.Msg{Subject: w.subjects.SettlementAt("1900000001", "R1"), Header: nats.Header{}}
	if err := w.dueAfter(schedule, w.subjects.SettlementDue("1900000001"), time.Hour); err != nil {
		t.Fatal(err)
	}
	real := w.js
	for by, want := range map[time.Duration]int{0: 0, time.Hour: 0, time.Hour + 3*time.Minute: 1} {
		w.js = ahead{real, by}
		n, err := w.renewOverdue(t.Context())
		if err != nil || n != want {
			t.Errorf("a server that is %s ahead: %d are overdue, %v", by, n, err)
		}
		w.js = real
		if err := w.dueAfter(schedule, w.subjects.SettlementDue("1900000001"), time.Hour); err != nil { // as before
			t.Fatal(err)
		}
	}
}
