package consumer

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Whatever the order in which commands about a thing come and go, the oldest of those that are there is the first.
func TestLineKnowsTheOldest(t *testing.T) {
	t.Parallel()
	l := newLine()
	there := map[string]map[uint64]time.Time{"A": {}, "B": {}}
	check := func(about string) {
		t.Helper()
		p, any := l.first(about)
		oldest := uint64(0)
		for sequence := range there[about] {
			if oldest == 0 || sequence < oldest {
				oldest = sequence
			}
		}
		if any != (oldest != 0) || p.sequence != oldest {
			t.Fatalf("first about %s is %d (%t), with %v in line", about, p.sequence, any, there[about])
		}
		if due := there[about][oldest]; any && (due.IsZero() != (p.due == 0) || p.due != 0 && !due.Equal(time.Unix(0, p.due))) {
			t.Fatalf("%d is due at %d, want %s", oldest, p.due, due)
		}
	}
	for range 20_000 {
		about, sequence := string("AB"[rand.IntN(2)]), 1+rand.Uint64N(5)
		switch due := time.Now().Add(rand.N(time.Hour)); rand.IntN(3) {
		case 0:
			due = time.Time{}
			fallthrough
		case 1:
			l.join(about, sequence, due)
			there[about][sequence] = due
		default:
			l.leave(about, sequence)
			delete(there[about], sequence)
		}
		check("A")
		check("B")
	}
	for about, left := range there {
		for sequence := range left {
			l.leave(about, sequence)
		}
	}
	if len(l.oldest)+len(l.behind) > 0 {
		t.Errorf("nothing is in line, and %v, %v are kept", l.oldest, l.behind)
	}
}
