package consumer

import (
	"context"
	"strconv"
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

// Several merchants whose queries hang leave a place for others, once those that came first have given up what they had too much of.
func TestPlacesForLooksAreShared(t *testing.T) {
	t.Parallel()
	const places = 64
	for hanging := 1; hanging <= 12; hanging++ {
		w := &settler{busy: map[string]int{}, queue: queue{shared: &shared{concurrency: places}}}
		has := make([]int, hanging)
		for round := 0; round < 3*places; round++ {
			for m := range has { // each wants all there is, and one of its looks ends now and then
				if mchid := strconv.Itoa(m); round > places && has[m] > 0 {
					w.leave(mchid)
					has[m]--
				}
			}
			for m := range has {
				for sum(has) < places && w.enter(strconv.Itoa(m)) {
					has[m]++
				}
			}
		}
		if hanging == 1 && has[0] != places/2 {
			t.Errorf("who is alone has %d", has[0])
		}
		if sum(has) >= places || !w.enter("healthy") {
			t.Errorf("%d that hang have all: %v", hanging, has)
		}
	}
}

func sum(all []int) (n int) {
	for _, one := range all {
		n += one
	}
	return n
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
