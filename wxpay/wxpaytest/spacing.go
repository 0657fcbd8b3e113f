package wxpaytest

import (
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
// Source: P:4013080629: of several submissions of one refund in quick succession only the first succeeds, the
// later ones are answered "exceeds the refundable amount"; leave a minute. The simulator makes two things of it.
//
// In the books: a create for an accepted refund, with the same parameters, less than 60 s after the last
// create that was answered with that refund, is refused INVALID_REQUEST. The refused one does not start
// the minute anew. With other parameters it is refused for those.
//
// As a violation: a create less than 60 s after another create of that number, whatever its answer, in
// this host or the other, finished or not — unless the client could know that the earlier one did
// nothing: it was answered, and by
//   - a 401: not executed (WIKI:apiv3_partner/wechatpay/wechatpay3_3.shtml); or
//   - a proven 4xx other than 429 while nothing is recorded under the number: a definite refusal, such as
//     NOT_ENOUGH after which the same number may be sent as soon as there is money; or
//   - a proven err_code of v2 while nothing is recorded, except SYSTEMERROR, BIZERR_NEED_RETRY (unknown)
//     and INVALID_REQ_TOO_MUCH (wait a minute, it says).
//
// Not excused: 200 (ask, do not submit again), 202, 5xx, answers lost, cut, unsigned or forged (a discarded
// answer may be that of a refund), read timeouts, and 429, which on refunds means "in acceptance"
// (M:4013071036) even when the script did not apply it: the client cannot tell. In v2 FREQUENCY_LIMITED says
// "not accepted" (V2M:4011937624) and is excused; an unsigned return_code FAIL proves nothing. Nor is a 4xx on
// a number that has a refund: an INVALID_REQUEST to a second attempt proves nothing. Requests that never
// reached the money books (401, bad form) count for nothing.

// begin registers an attempt and says whether it comes too early.
func (n *number) begin(now time.Time) (a *attempt, early bool) {
	at := now.UnixNano()
	n.unproven = slices.DeleteFunc(n.unproven, func(earlier int64) bool { return at-earlier >= int64(spacing) })
	early = len(n.unproven) > 0
	n.unproven = append(n.unproven, at)
	return &attempt{at, n}, early
}

// conclude takes note of what an exchange is about to tell the client.
func (b *books) conclude(x *exchange, p *parcel) {
	if x.attempt == nil && x.told == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if x.told != nil && p.proven() && p.code == "" {
		x.told.linked = true
	}
	if x.attempt == nil {
		return
	}
	n := x.attempt.number
	if i := slices.Index(n.unproven, x.attempt.at); i >= 0 && n.refund == nil && p.nothingHappened() {
		n.unproven = slices.Delete(n.unproven, i, i+1)
	}
}

// tells notes that the answer shows both numbers of an order, where there are two.
func (x *exchange) tells(o *order) {
	if o.outTradeNo != "" {
		x.told = o
	}
}

// spaced is the minute between two refunds of one order. It goes by the order, whichever of its numbers is
// used, v2 and v3 alike; only a client that could not know that two numbers are one order is excused: no
// request and no proven answer has named both yet, and this number was not used within the minute.
func (c *refundCreate) spaced(o *order, now time.Time) bool {
	for _, r := range o.refunds {
		if now.Sub(r.createdAt) < spacing && (o.linked || c.namesLike(r)) {
			return false
		}
	}
	return true
}

// namesLike: does c name its order by a number that r used too?
func (c *refundCreate) namesLike(r *refund) bool {
	return c.transactionID != "" && c.transactionID == r.transactionID ||
		c.outTradeNo != "" && c.outTradeNo == r.outTradeNo
}

func (b *books) number(key numberKey) *number {
	n := b.numbers[key]
	if n == nil {
		n = &number{}
		b.numbers[key] = n
	}
	return n
}
