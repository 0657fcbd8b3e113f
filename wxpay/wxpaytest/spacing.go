package wxpaytest

import (
	"net/http"
	"slices"
	"time"
)

// A number is what the judge remembers of an out_refund_no, accepted or not.
type number struct {
	creates  int
	refund   *refund // nil: nothing recorded
	unproven []int64 // Unix nanoseconds of the last minute's creates that the client must take for possibly executed
}

type numberKey struct{ mchID, outRefundNo string }

// An attempt is one create call that reached the money books.
type attempt struct {
	at     int64 // Unix nanoseconds
	number *number
}

// The minute between two submissions
//
// Facts section 5 rule 4 (P:4013080629): several submissions of one refund in quick succession: only the
// first succeeds, the later ones are answered "exceeds the refundable amount"; leave a minute. The
// simulator makes two things of it.
//
// In the books: a create for an accepted refund, with the same parameters, less than 60 s after the last
// create that was answered with that refund, is refused INVALID_REQUEST. The refused one does not start
// the minute anew. With other parameters it is refused for those.
//
// As a violation: a create less than 60 s after another create of that number, whatever its answer, in
// this host or the other, finished or not — unless the client could know that the earlier one did
// nothing: it was answered, and by
//   - a 401: not executed (section 2); or
//   - a proven 4xx other than 429 while nothing is recorded under the number: a definite refusal, such as
//     NOT_ENOUGH after which the same number may be sent as soon as there is money.
//
// Not excused: 200 (ask, do not submit again), 202, 5xx, answers lost, cut, unsigned or forged (section 9
// no. 1), read timeouts, and 429, which on refunds means "in acceptance" (section 4h) even when the
// script did not apply it: the client cannot tell. Nor is a 4xx on a number that has a refund: an
// INVALID_REQUEST to a second attempt proves nothing. Requests that never reached the money books (401,
// bad form) count for nothing.

// begin registers an attempt and says whether it comes too early.
func (n *number) begin(now time.Time) (a *attempt, early bool) {
	at := now.UnixNano()
	n.unproven = slices.DeleteFunc(n.unproven, func(earlier int64) bool { return at-earlier >= int64(spacing) })
	early = len(n.unproven) > 0
	n.unproven = append(n.unproven, at)
	return &attempt{at, n}, early
}

// conclude takes note of how an attempt is about to be answered.
func (b *books) conclude(x *exchange, p *parcel) {
	if x.attempt == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	n := x.attempt.number
	told := !p.lost && !p.cut
	notExecuted := told && p.status == http.StatusUnauthorized
	refused := p.proven() && p.status >= 400 && p.status < 500 && p.status != http.StatusTooManyRequests
	if i := slices.Index(n.unproven, x.attempt.at); i >= 0 && n.refund == nil && (notExecuted || refused) {
		n.unproven = slices.Delete(n.unproven, i, i+1)
	}
}

func (b *books) number(key numberKey) *number {
	n := b.numbers[key]
	if n == nil {
		n = &number{}
		b.numbers[key] = n
	}
	return n
}
