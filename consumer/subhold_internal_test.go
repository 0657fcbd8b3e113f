package consumer

import (
	"errors"
	"testing"
	"time"
)

// A sub-merchant without balance is probed by one command at a time, less and less often, until one succeeds; the others are not held.
func TestASubMerchantIsProbedByOne(t *testing.T) {
	t.Parallel()
	complaints, _ := laneOf(t, 0)
	complaints.clock, complaints.retry = FastClock(100), Retry{Initial: time.Second, Multiplier: 2, Max: time.Hour, MaxAttempts: 25, MaxAge: time.Hour}
	l := newLane(complaints.shared, Merchant{MchID: "1900000001"}, familyRefund)
	turn := func(sub string) (done func()) {
		t.Helper()
		wait, done := l.subTurn(sub)
		if wait > 0 {
			t.Fatalf("%s waits %s", sub, wait)
		}
		return done
	}
	waits := func(least time.Duration) {
		t.Helper()
		if wait, _ := l.subTurn("poor"); wait < least || wait > 2*maxSubHold {
			t.Errorf("waits %s, not %s to %s", wait, least, 2*maxSubHold)
		}
	}
	turn("poor")() // not held yet
	for n := range 8 {
		l.holdSub("poor", errors.New("NOT_ENOUGH"))
		l.holdSub("poor", errors.New("NOT_ENOUGH")) // of the same moment
		least := min(maxSubHold, time.Second<<n)
		waits(least * 9 / 10)
		turn("rich")()
		time.Sleep(l.clock.Wall(least)) // by the lane's clock
		done := turn("poor")
		waits(time.Second)
		done()
	}
	l.releaseSub("poor")
	turn("poor")
	turn("poor")
}
