package consumer

import (
	"sync"
	"time"
)

// Rate is so many calls in a time, at most, in any such time; N 0 is no limit.
type Rate struct {
	N   int
	Per time.Duration
}

// pace keeps calls within a rate: never more than N in any window of Per, however they bunch. A token bucket would let twice
// as many through in one window.
//
// It belongs to whoever holds the lane: the pin makes it hold for the fleet. It starts as if N calls had just been made at an
// even pace, which is what may be true of the worker that had the lane before.
type pace struct {
	clock *Clock

	mu    sync.Mutex
	limit Rate
	sent  []time.Time // ring of the last N calls, granted or made; guarded by mu
	next  int         // the oldest of them; guarded by mu
	last  time.Time   // the newest; guarded by mu

	// A throttled pace is spread: calls are Per/N/factor apart. It recovers by itself.
	factor   float64   // 1: full speed; guarded by mu
	slowed   time.Time // when the factor was last changed; guarded by mu
	failures []time.Time
	failing  Rate // how many failing calls WeChat Pay bears; guarded by mu
	rejected bool // the failing budget is used up and nothing has succeeded since; guarded by mu
}

// paceMargin keeps calls that leave within the rate within it also when they arrive: the network may bunch them.
const paceMargin = 50 // a fiftieth of the window

const (
	throttleFloor   = 1.0 / 64
	throttleRecover = 0.1 // of the full rate, each
	recoverEvery    = 10  // windows
)

func newPace(clock *Clock, limit, failing Rate) *pace {
	p := &pace{clock: clock, limit: limit, failing: failing, factor: 1, sent: make([]time.Time, limit.N)}
	p.restart()
	return p
}

// restart forgets what we did and supposes that somebody else made N calls at an even pace until now.
func (p *pace) restart() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	for i := range p.sent {
		p.sent[i] = now.Add(p.limit.Per*time.Duration(i+1)/time.Duration(p.limit.N) - p.limit.Per)
	}
	p.next, p.last = 0, now
}

// reserve grants the next call and returns how long to wait before making it. A grant that is not used is lost.
func (p *pace) reserve() time.Duration {
	if p.limit.N == 0 {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	p.recover(now)
	at := later(now, p.last) // grants are in order
	at = later(at, p.sent[p.next].Add(p.limit.Per+p.limit.Per/paceMargin))
	if p.factor < 1 {
		at = later(at, p.last.Add(time.Duration(float64(p.limit.Per)/float64(p.limit.N)/p.factor)))
	}
	if p.rejected && p.failing.N > 0 {
		at = later(at, p.last.Add((p.failing.Per+p.failing.Per/paceMargin)/time.Duration(p.failing.N)))
	}
	p.sent[p.next], p.last = at, at
	p.next = (p.next + 1) % len(p.sent)
	return at.Sub(now)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// throttled notes that WeChat Pay asked for less: half the pace, once for all the calls that were already on their way.
func (p *pace) throttled() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	if now.Sub(p.slowed) >= p.limit.Per {
		p.factor, p.slowed = max(p.factor/2, throttleFloor), now
	}
}

// recover speeds a throttled pace up again, a tenth of the full rate at a time.
func (p *pace) recover(now time.Time) {
	if p.factor < 1 && now.Sub(p.slowed) >= p.limit.Per*recoverEvery {
		p.factor, p.slowed = min(1, p.factor+throttleRecover), now
	}
}

// answered notes whether a call succeeded. Failing refunds have a budget of their own at WeChat Pay: once it is used up, no
// more calls are made than it allows, until one succeeds.
func (p *pace) answered(ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ok {
		p.rejected, p.failures = false, p.failures[:0]
		return
	}
	if p.failing.N == 0 {
		return
	}
	now := p.clock.Now()
	if len(p.failures) >= p.failing.N {
		p.failures = p.failures[1:]
	}
	p.failures = append(p.failures, now)
	p.rejected = p.rejected || len(p.failures) >= p.failing.N && now.Sub(p.failures[0]) < p.failing.Per
}
