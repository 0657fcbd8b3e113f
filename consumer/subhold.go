package consumer

import (
	"math/rand/v2"
	"time"
)

// subHold says that a sub-merchant has too little balance. Only its own refunds wait: they are handed back, since they share the lane with
// the other sub-merchants', and one of them at a time is let through as a probe.
type subHold struct {
	times   int       // holds since the last success; 0: it is not held
	until   time.Time // when the next of its commands is let through; when it was released
	probing bool      // one of them is under way
	spans   spans     // when it was held
}

// maxSubHold bounds the time between two probes of a sub-merchant. It is short because commands that were handed back do not come sooner
// when the sub-merchant is released.
const maxSubHold = time.Minute

// subTurn lets a command of the sub-merchant go on, or returns how long it has to wait. done is called when the command is through.
func (l *lane) subTurn(subMchID string) (wait time.Duration, done func()) {
	l.hold.mu.Lock()
	defer l.hold.mu.Unlock()
	s := l.hold.subs[subMchID]
	if s == nil || s.times == 0 {
		return 0, func() {}
	}
	if wait = s.until.Sub(l.clock.Now()); wait <= 0 && s.probing {
		wait = min(maxSubHold, l.retry.Delay(s.times))
	}
	if wait > 0 {
		return wait + rand.N(wait), nil // not all at once
	}
	s.probing = true
	return 0, func() {
		l.hold.mu.Lock()
		defer l.hold.mu.Unlock()
		s.probing = false
	}
}

// holdSub holds a sub-merchant and returns how the delivery that showed its want of balance ends.
func (l *lane) holdSub(subMchID string, err error) end {
	l.hold.mu.Lock()
	s, now := l.hold.subs[subMchID], l.clock.Now()
	if s == nil {
		s = &subHold{}
		l.hold.subs[subMchID] = s
	}
	if s.times == 0 || !s.until.After(now) { // else another delivery of the same moment was first
		s.times++
		s.until = now.Add(min(maxSubHold, l.retry.Delay(s.times)))
		s.spans.hold(l.clock.moment(), l.clock.momentOf(s.until), s.times == 1)
	}
	wait := s.until.Sub(now)
	l.hold.mu.Unlock()
	l.log.WithField(fieldDelay, wait.String()).WithError(err).Error("sub-merchant held: its refunds wait, unharmed, until this is mended")
	return again(Hold.String(), heldDelay(wait), err)
}

// releaseSub ends the hold of a sub-merchant: one of its refunds has succeeded.
func (l *lane) releaseSub(subMchID string) {
	l.hold.mu.Lock()
	defer l.hold.mu.Unlock()
	if s := l.hold.subs[subMchID]; s != nil && s.times > 0 {
		s.times, s.until = 0, l.clock.Now()
		l.log.Warn("sub-merchant released")
	}
}
