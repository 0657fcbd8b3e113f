package consumer

import "time"

// span is a time for which something was held.
type span struct{ from, to moment }

// spans are the times for which a lane, or a sub-merchant, was held, oldest first: commands do not grow older meanwhile.
type spans []span

// maxSpans is how many are remembered. The time of older ones counts for the age of commands, but hardly any command is that old.
const maxSpans = 128

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
