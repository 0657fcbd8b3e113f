package consumer

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A delivery that waits to hear whose its lane is makes no call if the lane went away and came back meanwhile, though it is ours then:
// what goes before it may have come after it.
func TestWhatWaitsForAnAnswerGoesByItsOwnPin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := &queue{shared: &shared{pinnedTTL: 4 * time.Second}}
		q.owned.asking = make(chan struct{}, 1)
		first, second := "first", "second"
		q.pinned.Store(&first)
		q.owned.asking <- struct{}{} // somebody asks
		answer := make(chan error)
		go func() { answer <- q.stillOurs(t.Context(), &delivery{pin: first}) }()
		synctest.Wait() // until that waits, too
		q.pinned.Store(&second)
		q.owned.extend(time.Now(), q.tenure())
		<-q.owned.asking
		if err := <-answer; !errors.Is(err, errTaken) {
			t.Errorf("may go on: %v", err)
		}
	})
}
