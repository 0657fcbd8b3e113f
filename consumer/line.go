package consumer

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"wxpay-worker/internal/stored"
)

// line keeps the unfinished commands about one thing (a refund number, a complaint) in the order of the stream, also while one
// of them is in back-off: a decision is not overtaken by a later reply to the same complaint.
//
// It keeps hashes instead of names, as spacing does, and no list for a thing with a single command, which nearly all have: a hundred thousand
// commands may be in back-off. Commands about two things with equal hashes would be kept in order as if they were about one.
type line struct {
	seed maphash.Seed

	mu     sync.Mutex
	oldest map[uint64]place   // the oldest command about a thing, by the thing's hash; guarded by mu
	behind map[uint64][]place // those behind it, oldest first; no entry where there are none; guarded by mu
}

func newLine() line {
	return line{seed: maphash.MakeSeed(), oldest: map[uint64]place{}, behind: map[uint64][]place{}}
}

// place is a command in line.
type place struct {
	sequence uint64
	due      int64 // when it is expected (again), Unix time in ns; 0 while it is in our hands
}

// lineWait is the longest time after which a command looks again whether those before it have ended.
const lineWait = time.Minute

// join puts a command in line, or notes when one that is there is due.
func (l *line) join(about string, sequence uint64, due time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := place{sequence: sequence}
	if !due.IsZero() {
		p.due = due.UnixNano()
	}
	thing := maphash.String(l.seed, about)
	oldest, any := l.oldest[thing]
	if !any || p.sequence <= oldest.sequence {
		l.oldest[thing] = p
		if !any || p.sequence == oldest.sequence {
			return
		}
		p = oldest
	}
	places := l.behind[thing]
	i, known := slices.BinarySearchFunc(places, p.sequence, func(p place, s uint64) int { return cmp.Compare(p.sequence, s) })
	if !known {
		places = slices.Insert(places, i, p)
	}
	places[i] = p
	l.behind[thing] = places
}

// leave takes a command that has ended out of the line.
func (l *line) leave(about string, sequence uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	thing := maphash.String(l.seed, about)
	places := l.behind[thing]
	switch oldest := l.oldest[thing]; {
	case oldest.sequence != sequence:
		places = slices.DeleteFunc(places, func(p place) bool { return p.sequence == sequence })
	case len(places) > 0:
		l.oldest[thing], places = places[0], places[1:]
	default:
		delete(l.oldest, thing)
	}
	if len(places) == 0 {
		delete(l.behind, thing)
		return
	}
	l.behind[thing] = places
}

// first returns the oldest unfinished command about the same thing.
func (l *line) first(about string) (place, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, any := l.oldest[maphash.String(l.seed, about)]
	return p, any
}

// clear forgets everything.
func (l *line) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.oldest)
	clear(l.behind)
}

// behind reports whether an older command about the same thing is unfinished, and how long to wait before asking again.
func (l *lane) behind(ctx context.Context, o *job) (time.Duration, bool, error) {
	for {
		p, any := l.line.first(o.about)
		if !any || p.sequence >= o.sequence {
			return 0, false, nil
		}
		// It may have gone without our seeing it: another worker has ended it, or a person has removed it. A replica that is behind may not
		// have it yet; but then it does not have the command that we hold either, which is stored later.
		next, err := stored.Next(ctx, l.nc, l.stream, l.filter, p.sequence)
		switch {
		case err == nil && next.Sequence == p.sequence:
			wait := time.Unix(0, p.due).Sub(l.clock.Now())
			if wait <= 0 { // in our hands, or late: nobody knows how long it takes
				wait = lineWait / 4
			}
			return min(wait+l.retry.Initial, lineWait), true, nil
		case err == nil && next.Sequence > o.sequence, errors.Is(err, stored.ErrNotFound):
			return l.retry.Initial, true, errBehind
		case err != nil:
			return l.retry.Initial, true, err
		}
		l.line.leave(o.about, p.sequence)
	}
}
