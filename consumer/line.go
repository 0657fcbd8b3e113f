package consumer

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"wxpay-worker/internal/stored"
)

// line keeps the unfinished commands about one thing (a refund number, a complaint) in the order of the stream, also while one
// of them is in back-off: a decision is not overtaken by a later reply to the same complaint.
type line struct {
	mu sync.Mutex
	by map[string][]place // by what they are about, oldest command first; guarded by mu
}

// place is a command in line.
type place struct {
	sequence uint64
	due      time.Time // when it is expected (again); zero while it is in our hands
}

// lineWait is the most that a command waits before it looks again whether those before it are through.
const lineWait = time.Minute

// join puts a command in line, or notes when one that is there is due.
func (l *line) join(about string, sequence uint64, due time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	places := l.by[about]
	i, known := slices.BinarySearchFunc(places, sequence, func(p place, s uint64) int { return cmp.Compare(p.sequence, s) })
	if !known {
		places = slices.Insert(places, i, place{})
	}
	places[i] = place{sequence, due}
	l.by[about] = places
}

// leave takes a command that has ended out of the line.
func (l *line) leave(about string, sequence uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	places := slices.DeleteFunc(l.by[about], func(p place) bool { return p.sequence == sequence })
	if len(places) == 0 {
		delete(l.by, about)
		return
	}
	l.by[about] = places
}

// first returns the oldest unfinished command about the same thing.
func (l *line) first(about string) (place, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if places := l.by[about]; len(places) > 0 {
		return places[0], true
	}
	return place{}, false
}

// clear forgets everything.
func (l *line) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.by)
}

// behind reports whether an older command about the same thing is unfinished, and how long to wait before asking again.
func (l *lane) behind(ctx context.Context, o *order) (time.Duration, bool, error) {
	for {
		p, any := l.line.first(o.about)
		if !any || p.sequence >= o.sequence {
			return 0, false, nil
		}
		// It may have gone without our seeing it: another worker was through with it, or a person removed it.
		_, err := stored.At(ctx, l.nc, l.stream, p.sequence)
		switch {
		case err == nil:
			wait := p.due.Sub(l.clock.Now())
			if wait <= 0 { // in our hands, or late
				wait = lineWait / 4
			}
			return min(wait+l.retry.Initial, lineWait), true, nil
		case !errors.Is(err, stored.ErrNotFound):
			return l.retry.Initial, true, err
		}
		l.line.leave(o.about, p.sequence)
	}
}
