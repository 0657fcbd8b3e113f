package consumer

import (
	"sync"
	"time"
)

// spacing keeps the refunds of one order apart.
type spacing struct {
	clock *Clock
	mu    sync.Mutex
	by    map[string]spaced // when an order was last refunded, by each of its numbers; guarded by mu
	past  []marked          // every mark that was made, oldest first; guarded by mu
}

// marked is a mark that is forgotten when its minute is over, unless there is a newer one.
type marked struct {
	number string
	at     time.Time
}

// spaced is the last refund of an order.
type spaced struct {
	at time.Time
	of string // its out_refund_no, which the rule lets through: when it may be repeated is decided elsewhere; "" if there are several
}

// claim takes the order for a refund now, or returns how long it must still wait. Refunds of one order less than a minute
// apart are refused.
// Source: WeChat Pay, 申请退款, pay.weixin.qq.com/doc/v3/merchant/4013071036, 2026-08.
func (s *spacing) claim(numbers []string, outRefundNo string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	s.forget(now)
	wait := time.Duration(0)
	for _, number := range numbers {
		if last, recent := s.by[number]; recent && last.of != outRefundNo {
			wait = max(wait, absenceDelay-now.Sub(last.at))
		}
	}
	if wait > 0 {
		return wait
	}
	s.mark(now, numbers, outRefundNo)
	return 0
}

// release gives a claim back: the refund did not come about.
func (s *spacing) release(numbers []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, number := range numbers {
		delete(s.by, number)
	}
}

// called notes that a refund call for the order has ended just now: that is when the minute begins, since nobody knows when
// within the call it was carried out.
func (s *spacing) called(numbers []string, outRefundNo string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mark(s.clock.Now(), numbers, outRefundNo)
}

func (s *spacing) mark(at time.Time, numbers []string, outRefundNo string) {
	for _, number := range numbers {
		s.by[number] = spaced{at, outRefundNo}
		s.past = append(s.past, marked{number, at})
	}
}

// forget drops what is older than a minute. Each mark is looked at once.
func (s *spacing) forget(now time.Time) {
	n := 0
	for n < len(s.past) && now.Sub(s.past[n].at) >= absenceDelay {
		if number := s.past[n].number; s.by[number].at.Equal(s.past[n].at) {
			delete(s.by, number)
		}
		n++
	}
	if s.past = s.past[n:]; len(s.past) == 0 {
		s.past = nil
	}
}

// inherited notes that somebody may have called for a refund of the order up to that time. Where there are several of one
// order, any of them may have been the last.
func (s *spacing) inherited(at time.Time, numbers []string, outRefundNo string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, number := range numbers {
		of := outRefundNo
		if last, known := s.by[number]; known && last.of != of {
			of = ""
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
