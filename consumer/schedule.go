package consumer

import (
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Retry says how a command is tried again. Every field must be set; the defaults are the configuration's (cmd/worker). What a held lane
// tries does not count, nor does the time for which it is held.
type Retry struct {
	Initial     time.Duration // wait after the first failed attempt
	Multiplier  float64       // each further wait is this many times longer
	Max         time.Duration // no wait is longer, jitter aside
	Jitter      float64       // each wait is spread by this fraction in both directions, 0–1
	MaxAttempts int           // deliveries that made a writing call before the command is given up
	MaxAge      time.Duration // time since the first such attempt before the command is given up
}

// Delay is the wait after the nth attempt, counted from 1.
func (r Retry) Delay(attempt int) time.Duration {
	return grow(r.Initial, r.Multiplier, r.Max, r.Jitter, min(attempt, r.MaxAttempts))
}

// grow is the nth wait of backoff's exponential policy, counted from 1.
//
// The policy is made anew for each answer, since the commands of a lane share nothing: the nth value of a fresh policy is
// the nth wait of this command. MaxElapsedTime is off: when to give up is decided by attempts and age, not by the policy.
func grow(initial time.Duration, multiplier float64, most time.Duration, jitter float64, n int) time.Duration {
	policy := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(initial),
		backoff.WithMultiplier(multiplier),
		backoff.WithMaxInterval(most),
		backoff.WithRandomizationFactor(jitter),
		backoff.WithMaxElapsedTime(0),
	)
	delay := policy.NextBackOff()
	for i := 1; i < n; i++ {
		delay = policy.NextBackOff()
	}
	return delay
}

// Settlement says how an accepted refund is followed to its end. Every field must be set.
type Settlement struct {
	First  time.Duration // between the first looks
	Max    time.Duration // between later ones, at most
	GiveUp time.Duration // since it was accepted: then it is a dead letter
}

const (
	evenLooks        = 5 // First apart; after them every wait is twice the one before
	settlementGrowth = 2
	settlementJitter = 0.2 // 50,000 schedules due in one second stall a stream: measured
)

// Delay is the wait before the nth look, counted from 1.
// Source: WeChat Pay, 查询退款, pay.weixin.qq.com/doc/v3/merchant/4013071041, 2026-08: every minute for five minutes, then
// after 5, 10, 20, 30 minutes.
func (s Settlement) Delay(look int) time.Duration {
	if look <= evenLooks {
		return grow(s.First, 1, s.First, settlementJitter, 1)
	}
	return grow(min(evenLooks*s.First, s.Max), settlementGrowth, s.Max, settlementJitter, look-evenLooks)
}

// absenceDelay is the least time between two submissions of one refund, and between any call and the reading back that is
// believed when it shows nothing: sooner, a second submission may be answered "exceeds the refundable amount" although
// the first is being carried out, and a query may not see the newest refunds.
// Source: WeChat Pay, 申请退款 and 查询退款, pay.weixin.qq.com/doc/v3/partner/4013080629, 2026-08.
const absenceDelay = 60 * time.Second

// complaintSettling is how long after a call of unknown effect its complaint is read back, so that the history can show it.
// WeChat Pay states no figure; ours.
const complaintSettling = 5 * time.Second

// readBackSkew is how much earlier than our first attempt an entry of the negotiation history may be dated and still be ours:
// the most by which our clock and WeChat Pay's can differ, since it refuses requests further off.
// Source: WeChat Pay, 签名常见问题, pay.weixin.qq.com/doc/v3/merchant/4012072670, 2026-08.
const readBackSkew = 5 * time.Minute
