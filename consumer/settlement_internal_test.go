package consumer

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"wxpay-worker/internal/stored"
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

// What is overdue is so by the clock of the server that has the schedules. By that of a worker that is minutes ahead, what is not due yet
// would be put off again and again.
func TestOverdueIsByTheServersClock(t *testing.T) {
	t.Parallel()
	complaints, _ := laneOf(t, 0)
	w := newSettler(complaints.shared)
	schedule := &nats.Msg{Subject: w.subjects.SettlementAt("1900000001", "R1"), Header: nats.Header{}}
	if err := w.dueAfter(schedule, w.subjects.SettlementDue("1900000001"), time.Hour); err != nil {
		t.Fatal(err)
	}
	server, err := w.serverTime(t.Context())
	if off := time.Since(server).Abs(); err != nil || off > 10*time.Second {
		t.Fatalf("the server's time is %s off, %v", off, err)
	}
	for ahead, want := range map[time.Duration]int{0: 0, time.Hour + 3*time.Minute: 1} {
		n, err := w.renewDue(t.Context(), server.Add(ahead))
		if err != nil || n != want {
			t.Errorf("%s later: %d are overdue, %v", ahead, n, err)
		}
	}
	if _, err := stored.Last(t.Context(), w.nc, w.stream, schedule.Subject); err != nil {
		t.Error(err)
	}
}
