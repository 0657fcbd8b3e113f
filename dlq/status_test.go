package dlq_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"wxpay-worker/dlq"
	"wxpay-worker/messages"
)

// statuses are values of a header Status with which a NATS server says something of its own, and one that none says.
var statuses = []string{"100", "400", "404", "408", "409", "423", "503", "mine"}

// withStatus stores letters one after the other, those at the given places with a header Status, and returns how many there are.
func withStatus(t *testing.T, q *dlq.Queue, n int, at func(i int) bool) {
	t.Helper()
	for i, d := range varied(n) {
		if at(i) {
			d.Original = maps.Clone(d.Original)
			d.Original["Status"] = []string{statuses[i%len(statuses)]}
		}
		must(q.Put(t.Context(), d))
	}
}

// A header Status of the command's publisher hides no letter: neither its own nor the others, wherever it stands and whatever is asked for.
func TestAHeaderStatusHidesNoLetter(t *testing.T) {
	t.Parallel()
	const n = 90
	for name, at := range map[string]func(i int) bool{
		"the first":         func(i int) bool { return i == 0 },
		"in the middle":     func(i int) bool { return i == n/2 },
		"the last":          func(i int) bool { return i == n-1 },
		"several":           func(i int) bool { return i == 0 || i == 1 || i == n/2 || i == n/2+2 || i >= n-2 },
		"far from another":  func(i int) bool { return i == 3 || i == n-3 },
		"every second":      func(i int) bool { return i%2 == 0 },
		"every one of them": func(int) bool { return true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q, _ := setup(t)
			withStatus(t, q, n, at)
			whole := all(t, q, "", "")
			if len(whole) != n {
				t.Fatalf("All has read %d letters", len(whole))
			}
			for _, f := range []dlq.Filter{
				{},
				{MchID: []string{"1900000000"}},
				{MchID: []string{"1900000001", "1900000002"}, Kind: []messages.Kind{messages.KindRefund, messages.KindReply}},
				{Reason: messages.Reasons[:3]},
				{Key: []string{"R*3", "R*0", "R*1"}},
				{Code: []string{"NO_AUTH"}},
			} {
				var want []uint64
				for _, l := range whole {
					if f.Match(l) {
						want = append(want, l.Sequence)
					}
				}
				for _, newest := range []int{0, 1, 7, n} {
					f.Newest = newest
					chosen := want
					if newest > 0 {
						chosen = want[max(0, len(want)-newest):]
					}
					got := selected(t, q, f)
					if !slices.Equal(seqs(got), chosen) {
						t.Errorf("%+v: got %v, want %v", f, seqs(got), chosen)
					}
					for _, l := range got {
						if l.Command != nil || at(int(l.Sequence-1)) != (messages.Get(l.Original, "Status") != "") {
							t.Errorf("letter %d: command %s, headers %v", l.Sequence, l.Command, l.Original)
						}
					}
				}
			}
			counted := 0
			for _, s := range must(q.Stats(t.Context(), dlq.Filter{})) {
				counted += s.Count
			}
			if counted != n {
				t.Errorf("%d letters counted", counted)
			}
		})
	}
}

// A letter whose command has no body may be put by others than the worker, and be nothing but its headers.
func TestAHeaderStatusWithoutABody(t *testing.T) {
	t.Parallel()
	q, _ := setup(t)
	for i, status := range append(statuses, "") {
		d := letter(fmt.Sprint("R", i), uint64(i+1))
		d.Original, d.Command = messages.Header{"Status": {status}}, nil
		must(q.Put(t.Context(), d))
	}
	if got, want := len(all(t, q, "", "")), len(statuses)+1; got != want {
		t.Errorf("All has read %d of %d", got, want)
	}
	if got, want := len(selected(t, q, dlq.Filter{})), len(statuses)+1; got != want {
		t.Errorf("%d of %d selected", got, want)
	}
}
