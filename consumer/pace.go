package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"wxpay-worker/wxpay"
)

// Rate is a limit: at most N calls in any time of length Per, wherever that begins. N 0 is no limit.
type Rate struct {
	N   int
	Per time.Duration // positive, unless N is 0
}

// maxSpread bounds the distance between two calls of a busy pace: as long as some signatures take.
const maxSpread = 8 * time.Millisecond

// spread is the least time between two calls of a pace that spreads, while half of the rate or more is used. Without it a full queue
// would begin each second with a burst, and other merchants' commands would find the processors busy with its signatures. A single burst
// goes through as it is. The distance is three quarters of an even pace, so that nothing of the rate is lost.
func (r Rate) spread() time.Duration { return min(maxSpread, r.Per*3/time.Duration(4*r.N)) }

// pace keeps calls within a rate as WeChat Pay sees them: never more than N arrive in any window of Per, however they bunch. So a call
// leaves no sooner than Per after the end of the Nth call before it, since nobody knows when within that call it arrived. (A token
// bucket would let twice as many through in one window.)
//
// It belongs to whoever holds the lane: the pin makes it hold for the fleet. It starts as if N calls had just been made at an
// even pace, which is what may be true of the worker that had the lane before.
//
// Who wants to make a call gets a turn (turn), makes the call, says that it is over (turn.end), and then what came of it
// (turn.answered, turn.throttled).
type pace struct {
	clock   *Clock
	spreads bool // calls are spread while it is busy

	mu    sync.Mutex
	all   window      // guarded by mu, as all below
	known []time.Time // our own calls before the last restart
	told  []time.Time // those of others, as they were last told
	last  time.Time   // when the newest turn was due

	// A throttled pace is spread: calls are Per/N/factor apart. It recovers by itself.
	factor float64   // 1: full speed
	slowed time.Time // when the factor was last changed

	failing  window // the refused calls: WeChat Pay allows so many of them
	rejected bool   // that budget is used up and nothing has succeeded since: every call that leaves counts as refused
}

const (
	throttleFloor   = 1.0 / 64 // of the full rate: no pace is slower
	throttleRecover = 0.1      // of the full rate: what a throttled pace gains at a time
	recoverEvery    = 10       // windows between two such gains
)

// newPace limits nothing until it is told to.
func newPace(clock *Clock) *pace { return &pace{clock: clock, factor: 1} }

// adjust changes the limits. A limit that is new begins as if it had just been used up at an even pace.
func (p *pace) adjust(limit, failing Rate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all.limit == limit && p.failing.limit == failing {
		return
	}
	p.all.limit, p.failing.limit, p.rejected = limit, failing, false
	p.failing.fill(nil)
	p.begin(nil, time.Time{}) // before anybody gets in line: its window has as many places as the old limit
}

// rate is the limit.
func (p *pace) rate() Rate {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all.limit
}

// used returns the share of the limit that was used in the last window, and how far the pace is slowed down.
func (p *pace) used() (share, factor float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all.limit.N == 0 {
		return 0, 1
	}
	since, n := p.clock.Now().Add(-p.all.limit.Per), 0
	for _, t := range p.all.calls {
		if t != nil && t.due.After(since) { // ours, not what was supposed of others
			n++
		}
	}
	p.recover(p.clock.Now())
	return float64(n) / float64(p.all.limit.N), p.factor
}

// restart fills the window anew, for calls of which somebody else may have made some. It supposes that he makes N calls at an even pace
// up to until (now, if that is past); where a call that is known of is later than a supposed one, it takes its place: our own, and
// others', which known gives by the times up to which they may have arrived. All of others' that still count are to be told each time: they take
// the place of those that were told before; nil: nothing new is known of them. Whoever is in line gets in line anew.
func (p *pace) restart(known []time.Time, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begin(known, until)
}

// begin is restart for who has locked p.mu.
func (p *pace) begin(known []time.Time, until time.Time) {
	now, limit := p.clock.Now(), p.all.limit
	until = latest(until, now)
	ended, making := p.ownCalls()
	if known != nil {
		p.told = known
	}
	over := func(at time.Time) bool { return now.Sub(at) >= limit.Per }
	p.known, p.told = slices.DeleteFunc(append(p.known, ended...), over), slices.DeleteFunc(p.told, over)
	known = slices.Concat(p.known, p.told)
	slices.SortFunc(known, time.Time.Compare)
	ends := make([]time.Time, limit.N)
	for i := range ends {
		ends[i] = until.Add(limit.Per*time.Duration(i+1)/time.Duration(limit.N) - limit.Per)
	}
	for i := 1; i <= min(len(ends), len(known)); i++ {
		ends[len(ends)-i] = latest(ends[len(ends)-i], known[len(known)-i])
	}
	p.all.fill(ends)
	for _, t := range making[max(0, len(making)-limit.N):] { // they end when they end
		p.all.add(t)
	}
	p.last = until
}

// ownCalls returns the calls of the window that were, or are being, made here, oldest first: when those that are over ended, and those that are
// not. The turns of calls that are still in line are void from then on.
func (p *pace) ownCalls() (ended []time.Time, making []*turn) {
	for _, t := range slices.Concat(p.all.calls[p.all.next:], p.all.calls[:p.all.next]) { // oldest first
		if t == nil {
			continue // supposed, or known
		}
		for t.pace != nil && !t.came && !t.isOver() { // in line, behind one that is older
			close(t.void)
			t = t.after[0]
		}
		switch {
		case t.pace == nil: // supposed, or known
		case t.isOver():
			ended = append(ended, t.ended)
		default:
			making = append(making, t)
		}
	}
	return ended, making
}

// latest is the later of two times.
func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// window is the last N calls, granted or made, as a ring. Of calls that were not made here it keeps the times when they ended and no
// more: the window of a merchant that makes few calls holds hundreds of those.
type window struct {
	limit Rate
	calls []*turn     // nil: not made here
	ends  []time.Time // of those, in their places
	next  int         // the oldest of them
}

// fill replaces all calls of the window by calls that ended at those times, oldest first; nil: long ago.
func (w *window) fill(ends []time.Time) {
	w.calls, w.ends, w.next = make([]*turn, w.limit.N), ends, 0
}

// oldest is the call that the next one comes after.
func (w *window) oldest() *turn {
	t := w.calls[w.next]
	if t == nil {
		t = &turn{over: closed}
		if w.ends != nil {
			t.ended = w.ends[w.next]
		}
	}
	return t
}

// add puts a call in the place of the oldest one and returns that.
func (w *window) add(t *turn) (oldest *turn) {
	oldest, w.calls[w.next] = w.oldest(), t
	w.next = (w.next + 1) % len(w.calls)
	return oldest
}

// turn is a call's place under a pace. The zero value is under none.
type turn struct {
	pace *pace
	// The turn comes at due, but no sooner than apart[i] after after[i] is over. after[0] is in the quota's window. after and apart are
	// dropped when the turn has come. due, failed and came are written under the pace's mu.
	due    time.Time
	after  []*turn
	apart  []time.Duration
	failed bool // it is in the window of refused calls
	came   bool // the call is being made

	void  chan struct{} // closed when the pace has been restarted before the turn has come
	over  chan struct{} // closed when the call has ended
	ended time.Time     // when that was; set before over is closed
}

// turn waits until the next call may be made. Whoever has a turn must end it. idle does the waiting: it returns when the channel that it
// is given is closed, or with the error that turn is to return.
func (p *pace) turn(idle func(<-chan struct{}) error) (*turn, error) {
	for {
		t := p.reserve()
		err := t.come(idle)
		if err == nil {
			return t, nil
		}
		if t.end(); !errors.Is(err, errVoid) {
			return nil, err
		}
	}
}

// errVoid says that a turn counts no more, since the pace was restarted.
var errVoid = errors.New("the turn is void")

// reserve gets in line for the next call.
func (p *pace) reserve() *turn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all.limit.N == 0 {
		return &turn{}
	}
	now := p.clock.Now()
	p.recover(now)
	t := &turn{pace: p, due: latest(now, p.last), void: make(chan struct{}), over: make(chan struct{})}
	t.comeAfter(p.all.add(t), p.all.limit.Per)
	if oldest := t.after[0]; p.spreads && (!oldest.isOver() || now.Sub(oldest.ended) < 2*p.all.limit.Per) {
		t.due = latest(t.due, p.last.Add(p.all.limit.spread()))
	}
	if p.factor < 1 {
		t.due = latest(t.due, p.last.Add(time.Duration(float64(p.all.limit.Per)/float64(p.all.limit.N)/p.factor)))
	}
	if p.rejected {
		t.failed = true
		t.comeAfter(p.failing.add(t), p.failing.limit.Per)
		t.due = latest(t.due, p.last.Add(p.failing.limit.Per/time.Duration(p.failing.limit.N)))
	}
	p.last = t.due
	return t
}

// comeAfter lets the turn come no sooner than so long after another is over. It does not wait: come does.
func (t *turn) comeAfter(before *turn, apart time.Duration) {
	t.after, t.apart = append(t.after, before), append(t.apart, apart)
	if before.isOver() {
		t.due = latest(t.due, before.ended.Add(apart))
	}
}

// come returns when the turn has come, errVoid if it counts no more, or what idle returned.
func (t *turn) come(idle func(<-chan struct{}) error) error {
	if t.pace == nil {
		return nil
	}
	due := t.due
	for i, before := range t.after {
		if !before.isOver() {
			if err := t.await(before.over, idle); err != nil {
				return err
			}
			if !before.isOver() {
				return errVoid
			}
		}
		due = latest(due, before.ended.Add(t.apart[i]))
	}
	if wait := due.Sub(t.pace.clock.Now()); wait > 0 {
		come := make(chan struct{})
		timer := time.AfterFunc(t.pace.clock.Wall(wait), func() { close(come) })
		defer timer.Stop()
		if err := t.await(come, idle); err != nil {
			return err
		}
	}
	t.pace.mu.Lock()
	defer t.pace.mu.Unlock()
	select {
	case <-t.void:
		return errVoid
	default:
		t.came, t.due = true, due
		t.after, t.apart = nil, nil // or every call would keep all before it in memory
		return nil
	}
}

// await idles until the channel is closed, or the turn is void.
func (t *turn) await(ready <-chan struct{}, idle func(<-chan struct{}) error) error {
	woken, enough := make(chan struct{}), make(chan struct{})
	defer close(enough)
	go func() {
		select {
		case <-ready:
		case <-t.void:
		case <-enough:
		}
		close(woken)
	}()
	return idle(woken)
}

func (t *turn) isOver() bool {
	select {
	case <-t.over:
		return true
	default:
		return false
	}
}

// end says that the call was answered, or given up, or not made. It may be called again.
func (t *turn) end() {
	if t.pace == nil {
		return
	}
	if !t.isOver() {
		t.ended = t.pace.clock.Now()
		close(t.over)
	}
}

// throttled notes that WeChat Pay asked for fewer calls: the pace is halved, once for all calls that were already on their way.
func (t *turn) throttled() {
	if p := t.pace; p != nil {
		p.throttle()
	}
}

func (p *pace) throttle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	if now.Sub(p.slowed) >= p.all.limit.Per {
		p.factor, p.slowed = max(p.factor/2, throttleFloor), now
	}
}

// recover speeds a throttled pace up again, a tenth of the full rate at a time.
func (p *pace) recover(now time.Time) {
	if p.factor < 1 && now.Sub(p.slowed) >= p.all.limit.Per*recoverEvery {
		p.factor, p.slowed = min(1, p.factor+throttleRecover), now
	}
}

// answered notes whether an ended call succeeded. Failing refunds have a budget of their own at WeChat Pay: once it is used up,
// no more calls are made than it allows, until one succeeds.
func (t *turn) answered(ok bool) {
	p := t.pace
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failing.limit.N == 0 {
		return
	}
	switch {
	case ok && p.rejected:
		p.rejected = false
		p.failing.fill(nil)
	case ok, t.failed:
	default:
		t.failed = true
		p.failing.add(t)
		if !p.rejected { // else it is known, and calls in the window may be on their way
			oldest := p.failing.oldest()
			p.rejected = oldest.failed && t.ended.Sub(oldest.ended) < p.failing.limit.Per
		}
	}
}

// paced tells a turn's pace what came of its call, which must be over.
func paced(t *turn, v Verdict, err error) {
	var answer *wxpay.Error
	switch answered := errors.As(err, &answer); {
	case v == Done:
		t.answered(true)
	case answered && throttled(answer):
		t.throttled()
	case answered && answer.HTTPStatus < 500:
		t.answered(false)
	}
}

// errNoTurn says that a call was not made, because its turn did not come in time or the lane may not be ours any more. It says nothing
// about WeChat Pay or the merchant's setup.
var errNoTurn = errors.New("no turn")

// under waits for a turn under a quota, keeping the delivery's lease alive meanwhile. The error, if there is one, is an errNoTurn;
// otherwise the caller must end the turn.
//
// The call is to be made with the returned context. Once it is signed, and before it is sent, that context asks again whether the lane is
// known to be ours and whether may says yes; if not, the call is not sent and fails with errNoTurn.
func (l *lane) under(ctx context.Context, o *job, p *pace, may func() bool) (*turn, context.Context, error) {
	t, err := p.turn(func(ready <-chan struct{}) error {
		l.paused.Add(1)
		defer func() {
			l.paused.Add(-1)
			l.nudge()
		}()
		return o.wait(ctx, ready)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errNoTurn, err)
	}
	still := func(ctx context.Context) error {
		if !may() {
			return fmt.Errorf("%w: too little is left of the lease", errNoTurn)
		}
		if err := l.stillOurs(ctx, o.delivery); err != nil {
			return fmt.Errorf("%w: %w", errNoTurn, err)
		}
		return nil
	}
	if err := still(ctx); err != nil { // before a signature is made for nothing
		t.end()
		return nil, nil, err
	}
	return t, wxpay.BeforeSending(ctx, still), nil
}

// always is under's may for calls that change nothing that matters at WeChat Pay: they may be made for as long as there is a lease.
func always() bool { return true }
