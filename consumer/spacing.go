package consumer

import (
	"hash/maphash"
	"sync"
	"time"
)

// spacing keeps the refunds of one order apart.
//
// It keeps what it must know of a minute's orders, which are many, in a few dozen bytes each: hashes for numbers. Two orders of which the
// hashes are equal, one pair in 2⁶⁴, would wait for each other for a minute.
type spacing struct {
	clock *Clock
	seed  maphash.Seed
	begun time.Time // what times are counted from

	mu   sync.Mutex
	by   map[uint64]spaced // when an order was last refunded, by the hash of each of its numbers; guarded by mu
	past []marked          // every mark that was made, oldest first; guarded by mu
}

func newSpacing(clock *Clock) *spacing {
	return &spacing{clock: clock, seed: maphash.MakeSeed(), begun: clock.Now(), by: map[uint64]spaced{}}
}

// marked is a mark that is forgotten when its minute is over, unless there is a newer one.
type marked struct {
	order uint64
	at    time.Duration
}

// spaced is the last refund of an order.
type spaced struct {
	at time.Duration
	of uint64 // the hash of its out_refund_no, which the rule lets through: when it may be repeated is decided elsewhere; 0 if there are several
}

// hash stands for a number.
func (s *spacing) hash(number string) uint64 { return max(1, maphash.String(s.seed, number)) }

// since is when a time was.
func (s *spacing) since(at time.Time) time.Duration { return at.Sub(s.begun) }

// claim takes the order for a refund now, or returns how long it must still wait. Refunds of one order less than a minute
// apart are refused.
// Source: WeChat Pay, 申请退款, pay.weixin.qq.com/doc/v3/merchant/4013071036, 2026-08.
func (s *spacing) claim(numbers []string, outRefundNo string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, of := s.since(s.clock.Now()), s.hash(outRefundNo)
	s.forget(now)
	wait := time.Duration(0)
	for _, number := range numbers {
		if last, recent := s.by[s.hash(number)]; recent && last.of != of {
			wait = max(wait, absenceDelay-(now-last.at))
		}
	}
	if wait > 0 {
		return wait
	}
	s.mark(now, numbers, of)
	return 0
}

// release gives a claim back: the refund did not come about.
func (s *spacing) release(numbers []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, number := range numbers {
		delete(s.by, s.hash(number))
	}
}

// called notes that a refund call for the order has ended just now: that is when the minute begins, since nobody knows when
// within the call it was carried out.
func (s *spacing) called(numbers []string, outRefundNo string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mark(s.since(s.clock.Now()), numbers, s.hash(outRefundNo))
}

func (s *spacing) mark(at time.Duration, numbers []string, of uint64) {
	for _, number := range numbers {
		order := s.hash(number)
		s.by[order] = spaced{at, of}
		s.past = append(s.past, marked{order, at})
	}
}

// forget drops what is older than a minute. Each mark is looked at once.
func (s *spacing) forget(now time.Duration) {
	n := 0
	for n < len(s.past) && now-s.past[n].at >= absenceDelay {
		if order := s.past[n].order; s.by[order].at == s.past[n].at {
			delete(s.by, order)
		}
		n++
	}
	if s.past = s.past[n:]; n > 0 && len(s.past) == 0 {
		s.past, s.by = nil, map[uint64]spaced{} // a map does not give back what it once held
	}
}

// inherited notes that somebody may have called for a refund of the order up to that time. Where there are several of one
// order, any of them may have been the last.
func (s *spacing) inherited(at time.Time, numbers []string, outRefundNo string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, number := range numbers {
		of := s.hash(outRefundNo)
		if last, known := s.by[s.hash(number)]; known && last.of != of {
			of = 0
		}
		s.mark(s.since(at), []string{number}, of)
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
