package consumer

import (
	"hash/maphash"
	"sync"
	"time"
)

// spacing keeps the refunds of one order apart.
//
// A minute has many orders, so each takes a few dozen bytes only: hashes stand for the numbers. Two orders with equal hashes, one pair in
// 2⁶⁴, would wait for each other for a minute.
type spacing struct {
	clock *Clock
	seed  maphash.Seed

	mu sync.Mutex
	by fading[uint64, spaced] // when an order was last refunded, by the hash of each of its numbers; guarded by mu
}

func newSpacing(clock *Clock) *spacing {
	return &spacing{clock: clock, seed: maphash.MakeSeed(), by: fading[uint64, spaced]{lasts: absenceDelay, now: clock.Now}}
}

// spaced is the last refund of an order.
type spaced struct {
	at moment
	// of is the hash of its out_refund_no; 0 if several refunds may have been the last. The same refund does not wait for itself: when it may
	// be sent again is decided elsewhere.
	of uint64
}

// hash stands for a number.
func (s *spacing) hash(number string) uint64 { return max(1, maphash.String(s.seed, number)) }

// claim takes the order for a refund that is about to be sent and returns 0, or returns how long the refund must still wait. WeChat Pay
// refuses refunds of one order that are less than a minute apart.
// Source: WeChat Pay, 申请退款, pay.weixin.qq.com/doc/v3/merchant/4013071036, 2026-08.
func (s *spacing) claim(numbers []string, outRefundNo string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.hash(outRefundNo)
	wait := time.Duration(0)
	for _, number := range numbers {
		if last, known := s.by.get(s.hash(number)); known && last.of != of {
			wait = max(wait, absenceDelay-s.clock.since(last.at))
		}
	}
	if wait > 0 {
		return wait
	}
	s.mark(s.clock.Now(), numbers, of)
	return 0
}

// release gives a claim back: the refund did not come about.
func (s *spacing) release(numbers []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, number := range numbers {
		s.by.delete(s.hash(number))
	}
}

// called notes that a refund call for the order has ended just now: that is when the minute begins, since nobody knows when
// within the call it was carried out.
func (s *spacing) called(numbers []string, outRefundNo string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mark(s.clock.Now(), numbers, s.hash(outRefundNo))
}

// mark notes a refund of an order at a time that is not in the future; mu must be held.
func (s *spacing) mark(at time.Time, numbers []string, of uint64) {
	for _, number := range numbers {
		s.by.put(s.hash(number), spaced{s.clock.momentOf(at), of})
	}
}

// inherited notes that somebody may have called for a refund of the order up to that time. Where there are several of one
// order, any of them may have been the last.
func (s *spacing) inherited(at time.Time, numbers []string, outRefundNo string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, number := range numbers {
		of := s.hash(outRefundNo)
		if last, known := s.by.get(s.hash(number)); known && last.of != of && s.clock.since(last.at) < absenceDelay {
			of = 0
		}
		s.mark(at, []string{number}, of)
	}
}

// orderNumbers are the names under which an order is known, ours and WeChat Pay's apart.
func orderNumbers(transactionID, outTradeNo string) (numbers []string) {
	if transactionID != "" {
		numbers = append(numbers, "transaction_id "+transactionID)
	}
	if outTradeNo != "" {
		numbers = append(numbers, "out_trade_no "+outTradeNo)
	}
	return numbers
}
