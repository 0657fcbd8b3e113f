package consumer

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func fullPace(limit, failing Rate) *pace {
	p := newPace(nil)
	p.spreads = true
	p.adjust(limit, failing)
	return p
}

// next waits for the next turn.
func (p *pace) next() *turn {
	t, err := p.turn(func(ready <-chan struct{}) error { <-ready; return nil })
	if err != nil {
		panic(err)
	}
	return t
}

// granted makes n calls as fast as the pace allows and returns when each was made, since the start.
func granted(p *pace, n int) (at []time.Duration) {
	start := time.Now()
	for range n {
		p.next().end() // by the bubble's clock
		at = append(at, time.Since(start))
	}
	return at
}

// most is the most calls in any window.
func most(at []time.Duration, window time.Duration) (n int) {
	for i, first := range at {
		for j := i; j < len(at) && at[j]-first < window; j++ {
			n = max(n, j-i+1)
		}
	}
	return n
}

// No window of a second, or a minute, ever holds more calls than the quota, however they bunch; nor is much less used.
func TestPaceHoldsInEveryWindow(t *testing.T) {
	for name, r := range map[string]Rate{"refunds": {150, time.Second}, "complaints": {60, time.Minute}, "one": {1, time.Second}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := fullPace(r, Rate{})
				time.Sleep(r.Per * 3 / 2) // a burst is ready
				at := granted(p, 5*r.N)
				if n := most(at, r.Per); n > r.N {
					t.Errorf("%d calls in %s", n, r.Per)
				}
				if took := at[len(at)-1]; took > r.Per*5 {
					t.Errorf("%d calls took %s", len(at), took)
				}
			})
		})
	}
}

// A burst goes through at once, but what waits for the quota does not come in one: a queue would take all processors at the beginning of
// each second. What is used stays the same.
func TestPaceSpreadsABusyQueue(t *testing.T) {
	for name, r := range map[string]Rate{"refunds": {150, time.Second}, "queries": {300, time.Second}, "complaints": {60, time.Minute}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := fullPace(r, Rate{})
				time.Sleep(3 * r.Per)
				at := granted(p, 5*r.N)
				if burst := at[r.N-1]; burst > 0 {
					t.Errorf("a burst took %s", burst)
				}
				for i := r.N + 1; i < len(at); i++ {
					if gap := at[i] - at[i-1]; gap < min(r.Per/time.Duration(r.N)/2, 5*time.Millisecond) {
						t.Fatalf("calls %d and %d are %s apart", i, i+1, gap)
					}
				}
				if took := at[len(at)-1]; took > 5*r.Per {
					t.Errorf("%d calls took %s", len(at), took)
				}
			})
		})
	}
}

// Calls that take long are counted as WeChat Pay may see them: one may arrive at any time until it is answered.
func TestPaceCountsACallUntilItIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fullPace(Rate{10, time.Second}, Rate{})
		time.Sleep(time.Minute)
		slow := p.next()
		granted(p, 9)
		done := make(chan time.Time)
		go func() {
			p.next().end()
			done <- time.Now()
		}()
		time.Sleep(3 * time.Second)
		slow.end()
		ended := time.Now()
		if next := <-done; next.Sub(ended) < time.Second {
			t.Errorf("the eleventh left %s after the first, which had arrived late", next.Sub(ended))
		}
	})
}

// Who takes a lane over counts the calls that are known of, whenever within the window they were.
func TestPaceInheritsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fullPace(Rate{60, time.Minute}, Rate{})
		var calls []time.Time
		for range 58 {
			calls = append(calls, time.Now())
		}
		p.restart(calls, time.Time{})
		if at := granted(p, 4); at[1] > 3*time.Second || at[2] < time.Minute {
			t.Errorf("first calls after %v", at)
		}
	})
}

// A connection that breaks makes us suppose that another had the lane meanwhile; our own calls count all the same.
func TestPaceRemembersItsOwnCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fullPace(Rate{60, time.Minute}, Rate{})
		time.Sleep(2 * time.Minute)
		granted(p, 60) // a burst
		time.Sleep(time.Second)
		p.restart(nil, time.Time{})
		if at := granted(p, 1); at[0] < 58*time.Second {
			t.Errorf("the next call after %s", at[0])
		}
	})
}

// Calls that are in line when the connection breaks are counted when they are made, beside those that come after them.
func TestPaceRestartsWithCallsInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 40
		p := fullPace(Rate{n, time.Second}, Rate{})
		time.Sleep(time.Minute)
		start := time.Now()
		at := granted(p, n)
		made := make(chan time.Duration)
		call := func() {
			p.next().end()
			made <- time.Since(start)
		}
		for range n {
			go call()
		}
		time.Sleep(500 * time.Millisecond)
		p.restart(nil, time.Time{})
		for range n {
			go call()
		}
		for range 2 * n {
			at = append(at, <-made)
		}
		slices.Sort(at)
		if got := most(at, time.Second); got > n {
			t.Errorf("%d calls in a second", got)
		}
		if took := at[len(at)-1]; took > 3*time.Second {
			t.Errorf("%d calls took %s", len(at), took)
		}
	})
}

// Who gives up while in line leaves nothing behind: a goroutine that is left would fail the test.
func TestPaceIsLeftInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fullPace(Rate{1, time.Minute}, Rate{})
		enough := errors.New("enough")
		giveUp := func(<-chan struct{}) error { return enough }
		if _, err := p.turn(giveUp); !errors.Is(err, enough) { // before its time has come
			t.Error(err)
		}
		time.Sleep(time.Hour)
		first := p.next()
		if _, err := p.turn(giveUp); !errors.Is(err, enough) { // before the one ahead is over
			t.Error(err)
		}
		first.end()
		if at := granted(p, 1); at[0] > time.Minute {
			t.Errorf("the next one after %s", at[0])
		}
	})
}

// What is being made when the lane changes hands counts until it is answered, and the other's calls until it has heard of that.
func TestPaceRestartsBehindOpenCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fullPace(Rate{2, time.Second}, Rate{})
		time.Sleep(time.Minute)
		open := p.next()
		p.restart(nil, time.Now().Add(5*time.Second))
		go func() {
			time.Sleep(10 * time.Second)
			open.end()
		}()
		at := granted(p, 2)
		if at[0] < 5*time.Second || at[0] > 6*time.Second || at[1] < 11*time.Second {
			t.Errorf("calls after %s", at)
		}
	})
}

// A limit may be taken away, and come back, while calls are being made and in line.
func TestPaceWithoutALimitAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fullPace(Rate{2, time.Second}, Rate{})
		time.Sleep(time.Minute)
		open := p.next()
		line := make(chan *turn)
		for range 3 {
			go func() { line <- p.next() }()
		}
		synctest.Wait()
		p.adjust(Rate{}, Rate{})
		for range 3 {
			(<-line).end()
		}
		p.adjust(Rate{1, time.Second}, Rate{})
		open.end()
		granted(p, 2)
	})
}

// A lane just taken over begins as if the one before had used its quota: together they stay within it at an even pace.
func TestPaceStartsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fullPace(Rate{60, time.Minute}, Rate{})
		if at := granted(p, 3); at[0] < time.Second || at[2] < 3*time.Second || at[2] > 5*time.Second {
			t.Errorf("first calls after %v", at)
		}
	})
}

// What is told of a quota are the calls that were made here, not those that are supposed of others.
func TestPaceTellsWhatIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fullPace(Rate{4, time.Second}, Rate{})
		if share, _ := p.used(); share != 0 {
			t.Errorf("used %g before the first call", share)
		}
		granted(p, 2)
		if share, _ := p.used(); share != 0.5 {
			t.Errorf("used %g after two of four", share)
		}
		time.Sleep(2 * time.Second)
		if share, _ := p.used(); share != 0 {
			t.Errorf("used %g when the second is over", share)
		}
	})
}

// A 429 halves the pace, once for all the calls that were on their way; it recovers by and by.
func TestThrottledPaceHalvesAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fullPace(Rate{100, time.Second}, Rate{})
		time.Sleep(time.Minute)
		for range 10 {
			p.throttle()
		}
		if n := most(granted(p, 100), time.Second); n > 51 || n < 45 {
			t.Errorf("%d calls a second after one 429", n)
		}
		time.Sleep(time.Second)
		p.throttle()
		if n := most(granted(p, 100), time.Second); n > 26 {
			t.Errorf("%d calls a second after two", n)
		}
		for range 10 {
			time.Sleep(11 * time.Second)
			p.next().end()
		}
		time.Sleep(time.Minute)
		if n := most(granted(p, 200), time.Second); n < 95 {
			t.Errorf("%d calls a second after it has recovered", n)
		}
	})
}

// Failing refunds have a budget of their own: once it is used up, calls go no faster than it, until one succeeds.
func TestFailingRefundsSlowThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fullPace(Rate{150, time.Second}, Rate{6, time.Second})
		time.Sleep(time.Minute)
		refused := func() {
			call := p.next()
			call.end()
			call.answered(false)
		}
		for range 6 {
			refused()
		}
		var at []time.Duration
		for start := time.Now(); len(at) < 30; refused() {
			at = append(at, time.Since(start))
		}
		if n := most(at, time.Second); n > 6 {
			t.Errorf("%d failing calls in a second", n)
		}
		call := p.next()
		call.end()
		call.answered(true)
		if n := most(granted(p, 100), time.Second); n < 90 {
			t.Errorf("%d calls a second after a success", n)
		}
	})
}

// Who gets in line while a merchant without a quota is given one gets in line: a panic would bury its command.
func TestALimitThatIsNewWhileCallsAreMade(t *testing.T) {
	t.Parallel()
	for range 300 {
		p := newPace(nil)
		var calls sync.WaitGroup
		limited := make(chan struct{})
		for range 8 {
			calls.Go(func() {
				for {
					select {
					case <-limited:
						return
					default:
						p.reserve().end()
					}
				}
			})
		}
		p.adjust(Rate{150, time.Second}, Rate{6, time.Second})
		close(limited)
		calls.Wait()
	}
}
