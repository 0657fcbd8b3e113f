package consumer

import "time"

// span is a time for which something was held.
type span struct{ from, to moment }

// spans are such times, oldest first: commands do not grow older meanwhile.
type spans []span

// maxSpans is how many are remembered. What was held before that counts for the commands' age, of which there are none so old.
const maxSpans = 128

// hold notes that it is held until a moment: anew from now on, or as it was before.
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
