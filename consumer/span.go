package consumer

import (
	"slices"
	"strings"
	"time"
)

// span is a time for which something was held.
type span struct{ from, to moment }

// spans are the times for which a lane, or a sub-merchant, was held, oldest first: commands do not grow older meanwhile.
type spans []span

// maxSpans is how many are remembered. The time of older ones counts for the age of commands, but hardly any command is that old.
const maxSpans = 128

// heldKept is how many spans a lane's consumer tells of: the newest.
const heldKept = 8

// text is how the lane's consumer tells of spans: <from>/<to> in RFC 3339, separated by blanks.
func (s spans) text(c *Clock) string {
	var all []string
	for _, p := range s[max(0, len(s)-heldKept):] {
		all = append(all, c.timeOf(p.from).UTC().Format(time.RFC3339)+"/"+c.timeOf(p.to).UTC().Format(time.RFC3339))
	}
	return strings.Join(all, " ")
}

// spansOf reads what text has written, and passes over what it has not.
func spansOf(text string, c *Clock) (s spans) {
	for field := range strings.FieldsSeq(text) {
		first, last, _ := strings.Cut(field, "/")
		from, err1 := time.Parse(time.RFC3339, first)
		to, err2 := time.Parse(time.RFC3339, last)
		if err1 == nil && err2 == nil && !to.Before(from) {
			s = append(s, span{c.momentOf(from), c.momentOf(to)})
		}
	}
	return s
}

// merge adds the spans that others tell of. Those that overlap are one.
func (s *spans) merge(others spans) {
	all := slices.Concat(*s, others)
	slices.SortFunc(all, func(a, b span) int { return int(a.from - b.from) })
	*s = (*s)[:0]
	for _, p := range all {
		s.hold(p.from, p.to, len(*s) == 0 || (*s)[len(*s)-1].to < p.from)
	}
}

// hold notes a hold until a moment: a new one from now on (anew), or an extension of the newest.
func (s *spans) hold(now, until moment, anew bool) {
	if n := len(*s); !anew && n > 0 {
		(*s)[n-1].to = max((*s)[n-1].to, until)
		return
	}
	if len(*s) == maxSpans {
		*s = append((*s)[:0], (*s)[1:]...)
	}
	*s = append(*s, span{now, until})
}

// within is for how long it was held between two moments.
func (s spans) within(from, to moment) (held time.Duration) {
	for _, p := range s {
		held += time.Duration(max(0, min(p.to, to)-max(p.from, from)))
	}
	return held
}
