package consumer

import (
	"context"
	"runtime"
	"slices"
	"sync"
)

// together shares round trips. While a request is under way, further ones wait and are then made as one. Whoever asks while none is under way
// is served at once and alone: nobody ever waits for others to come. So the busier the store is, the more it is spared.
type together[In, Out any] struct {
	// do serves all that it is given, and returns what came of each, in the same order, or an error for all of them. It must end by
	// itself: it serves nobody's context.
	do func([]In) ([]Out, error)
	// weight is how much one is of most, which may be done at once. What weighs more than that is done alone.
	weight func(In) int
	most   func() int

	mu   sync.Mutex
	line []*asking[In, Out] // who waits for what is under way to end; guarded by mu, as busy
	busy bool               // something is under way
}

// asking is one who asks.
type asking[In, Out any] struct {
	in   In
	out  Out
	err  error
	done chan struct{} // closed when out or err is there
}

// ask returns what came of in. If ctx ends before that, ask returns ctx's error, and in is done all the same if it is under way by then.
func (t *together[In, Out]) ask(ctx context.Context, in In) (Out, error) {
	a := &asking[In, Out]{in: in, done: make(chan struct{})}
	t.mu.Lock()
	t.line = append(t.line, a)
	if !t.busy {
		t.busy = true
		go t.serve() // ends when nobody is left in line
	}
	t.mu.Unlock()
	select {
	case <-a.done:
		return a.out, a.err
	case <-ctx.Done():
		t.giveUp(a)
		var none Out
		return none, ctx.Err()
	}
}

// giveUp leaves the line.
func (t *together[In, Out]) giveUp(a *asking[In, Out]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.line, a); i >= 0 {
		t.line = slices.Delete(t.line, i, i+1)
	}
}

func (t *together[In, Out]) serve() {
	for {
		runtime.Gosched() // those who are about to ask are not left behind for the next round
		next := t.next()
		if len(next) == 0 {
			return
		}
		ins := make([]In, len(next))
		for i, a := range next {
			ins[i] = a.in
		}
		outs, err := t.do(ins)
		for i, a := range next {
			if a.err = err; err == nil {
				a.out = outs[i]
			}
			close(a.done)
		}
	}
}

// next takes from the line those who are served next. Nobody left in line: nothing is under way any more.
func (t *together[In, Out]) next() []*asking[In, Out] {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, sum, most := 0, 0, t.most()
	for ; n < len(t.line); n++ {
		if sum += t.weight(t.line[n].in); n > 0 && sum > most {
			break
		}
	}
	next := t.line[:n:n]
	if t.line = t.line[n:]; len(t.line) == 0 {
		t.line = nil
	}
	t.busy = n > 0
	return next
}
