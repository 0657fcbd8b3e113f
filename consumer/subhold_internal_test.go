package consumer

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
)

// A sub-merchant without balance is probed by one command at a time, less and less often, until one succeeds; the others are not held.
func TestASubMerchantIsProbedByOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := logrus.New()
		log.SetOutput(io.Discard)
		l := &lane{queue: queue{log: log, shared: &shared{retry: Retry{Initial: time.Second, Multiplier: 2, Max: time.Hour, MaxAttempts: 25, MaxAge: time.Hour}}}}
		l.hold.subs = map[string]*subHold{}
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
			if wait, _ := l.subTurn("poor"); wait < least || wait > 2*least {
				t.Errorf("waits %s, not %s to %s", wait, least, 2*least)
			}
		}
		turn("poor")() // not held yet
		for n := range 8 {
			next := min(maxSubHold, time.Second<<n)
			for range 2 { // of the same moment
				if e := l.holdSub("poor", errors.New("NOT_ENOUGH")); !e.again || e.delay < next {
					t.Errorf("ends %+v", e)
				}
			}
			waits(next)
			turn("rich")()
			time.Sleep(next)
			done := turn("poor")
			waits(next)
			done()
		}
		if held := l.heldSince(l.clock.moment()-moment(time.Hour), "poor"); held != 3*time.Minute+3*time.Second {
			t.Errorf("held for %s", held) // 1, 2, 4, … 32 seconds and two minutes
		}
		l.releaseSub("poor")
		turn("poor")
		turn("poor")
	})
}
