package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/sirupsen/logrus"

	"wxpay-worker/wxpay"
)

// hold is a lane's own trouble: wrong credentials, no permission, no balance, an outage. While it lasts the lane's commands
// wait, unharmed and uncounted; then one at a time is let through, until one succeeds.
//
// It is a pause of the lane's consumer on the server, so that it holds for the whole fleet, survives restarts, shows in any
// NATS tool and can be ended by a person. The reason is in the consumer's metadata, as is when the lane was held: who takes it over knows by
// that for how long commands have not grown older.
type hold struct {
	mu      sync.Mutex
	times   int                 // holds since the last success; guarded by mu, as all below
	until   time.Time           // when the next command is let through
	reason  string              // "" if all is well
	spans   spans               // when it was held
	subs    map[string]*subHold // provider mode: sub-merchants that are, or were, without balance
	told    bool                // whether the server knows of until and reason, or is being told
	retell  time.Time           // when to try again to tell it, by the wall clock
	trouble []string            // different commands in a row that met trouble which may be the lane's
}

const (
	holdMetadata = "wxpay_hold"     // the reason
	heldMetadata = "wxpay_held"     // the newest spans
	maxHold      = 10 * time.Minute // between two probes: somebody may have mended it meanwhile
	// troublesome is how many different commands in a row must meet an outage or a missing permission before it is believed
	// to be the lane's: until then it may be the command's.
	troublesome = 3
)

// holding returns how long commands have to wait for the lane, 0 if not at all.
func (l *lane) holding() time.Duration {
	l.hold.mu.Lock()
	defer l.hold.mu.Unlock()
	return max(l.hold.until.Sub(l.clock.Now()), 0)
}

// holdNow holds the lane and returns how the delivery that showed the trouble ends.
func (l *lane) holdNow(verdict Verdict, err error) end {
	reason := holdReason(err)
	l.hold.mu.Lock()
	if wait := l.hold.until.Sub(l.clock.Now()); wait <= 0 { // or another delivery of the same moment was first
		l.hold.times++
		l.hold.until = l.clock.Now().Add(min(maxHold, l.retry.Delay(l.hold.times)))
	}
	l.hold.spans.hold(l.clock.moment(), l.clock.momentOf(l.hold.until), l.hold.reason == "")
	l.hold.reason, l.hold.told, l.hold.trouble = reason, false, nil
	wait := l.hold.until.Sub(l.clock.Now())
	l.hold.mu.Unlock()
	l.nudge()
	l.log.WithFields(logrus.Fields{fieldReason: reason, fieldDelay: wait.String()}).WithError(err).
		Error("lane held: its commands wait, unharmed, until this is mended")
	return again(verdict.String(), heldDelay(wait), err)
}

// waitOrHold is heldOver for a delivery that has no other end: it comes again as e says unless the lane is held.
func (l *lane) waitOrHold(key string, verdict Verdict, e end) end {
	if held := l.heldOver(key, verdict, e); held != nil {
		return *held
	}
	return e
}

// heldOver is told of trouble that a delivery met, which would come again as e says. If the trouble turns out to be the lane's, it holds
// the lane and returns how the delivery ends; otherwise it returns nil. Ask it before ranOut: nothing is given up over the lane's trouble.
func (l *lane) heldOver(key string, verdict Verdict, e end) *end {
	if !l.troubled(key, verdict, e.err) {
		return nil
	}
	held := l.holdNow(verdict, e.err)
	held.delay = max(held.delay, e.delay)
	return &held
}

// ranOut reports whether a command's tries have run out, by number or by age. Attempts over which the lane was held do not count, nor does
// the time for which the lane was held, or the sub-merchant; subMchID is "" if there is none.
func (l *lane) ranOut(a *attempts, subMchID string) bool {
	return a.ranOut(l.retry, l.clock.moment(), l.heldSince(a.first, subMchID))
}

// heldSince is for how long the lane, and the sub-merchant if there is one, was held since a moment. A hold that goes on counts only up to
// when its next command is let through: what that command meets then may be trouble of its own.
func (l *lane) heldSince(from moment, subMchID string) time.Duration {
	l.hold.mu.Lock()
	defer l.hold.mu.Unlock()
	now := l.clock.moment()
	held := l.hold.spans.within(from, now)
	if s := l.hold.subs[subMchID]; s != nil {
		held += s.spans.within(from, now)
	}
	return held
}

// heldDelay lets others be the next probe before the command that met the trouble comes again.
func heldDelay(wait time.Duration) time.Duration { return wait + wait/4 }

// holdReason is what the trouble is called in the consumer's metadata: never a message's text, nor a code that anybody between us
// and WeChat Pay may have made up.
func holdReason(err error) string {
	var answer *wxpay.Error
	var noAnswer *wxpay.NoAnswerError
	var forged *wxpay.SignatureError
	known := func(code string) bool { _, documented := judgements[code]; return documented }
	switch {
	case errors.As(err, &answer) && answer.Code != "" && (answer.Proven || known(answer.Code)):
		return fmt.Sprintf("HTTP %d %s", answer.HTTPStatus, answer.Code)
	case errors.As(err, &answer):
		return fmt.Sprintf("HTTP %d", answer.HTTPStatus)
	case errors.As(err, &noAnswer):
		return "no answer"
	case errors.As(err, &forged):
		return "answers whose signature cannot be verified"
	}
	return "requests cannot be signed"
}

// troubled notes the answer to a call, and reports whether it makes the lane hold: at once while it is being probed, else when
// three different commands in a row met trouble that may be the lane's.
func (l *lane) troubled(key string, verdict Verdict, err error) bool {
	if verdict == Done {
		l.release()
		return false
	}
	if verdict != Unknown && verdict != Unreached && !ours(err) {
		l.hold.mu.Lock()
		l.hold.trouble = nil // a definite answer: WeChat Pay is there, and knows us
		l.hold.mu.Unlock()
		return false
	}
	l.hold.mu.Lock()
	defer l.hold.mu.Unlock()
	if !slices.Contains(l.hold.trouble, key) {
		l.hold.trouble = append(l.hold.trouble, key)
	}
	return l.hold.reason != "" || len(l.hold.trouble) >= troublesome
}

// release ends a hold: a command has succeeded.
func (l *lane) release() {
	l.hold.mu.Lock()
	defer l.hold.mu.Unlock()
	l.hold.trouble = nil
	if l.hold.reason == "" {
		return
	}
	l.log.WithField(fieldReason, l.hold.reason).Warn("lane released")
	l.hold.times, l.hold.until, l.hold.reason, l.hold.told = 0, time.Time{}, "", false
	l.nudge()
}

// probing reports whether the lane takes one command at a time.
func (l *lane) probing() bool {
	l.hold.mu.Lock()
	defer l.hold.mu.Unlock()
	return l.hold.reason != ""
}

// adopt takes over what is on the lane's consumer already, by another worker or before a restart.
func (l *lane) adopt(info *jetstream.ConsumerInfo) {
	l.suspicion.adopt(info.Config.Metadata)
	l.adoptHold(info)
	l.nudge()
}

// adoptHold takes over what the lane's consumer says of a hold, or that it says nothing any more: another worker may have had the lane.
func (l *lane) adoptHold(info *jetstream.ConsumerInfo) {
	reason := info.Config.Metadata[holdMetadata]
	l.hold.mu.Lock()
	defer l.hold.mu.Unlock()
	l.hold.spans.merge(spansOf(info.Config.Metadata[heldMetadata], l.clock))
	switch {
	case reason == "" && l.hold.reason != "" && l.hold.told:
		l.hold.times, l.hold.until, l.hold.reason = 0, time.Time{}, ""
	case reason != "" && l.hold.reason == "":
		l.hold.reason, l.hold.told, l.hold.times = reason, true, 1
		if info.Paused {
			l.hold.until = l.clock.Now().Add(time.Duration(float64(info.PauseRemaining) / float64(l.clock.Wall(time.Second)) * float64(time.Second)))
		}
		now := l.clock.moment() // the newest hold goes on, also if nobody has served the lane since
		l.hold.spans.hold(now, max(now, l.clock.momentOf(l.hold.until)), len(l.hold.spans) == 0)
	}
}

// tendHold keeps the server's pause in step with the hold. It belongs to the queue's goroutine. A pull that is open would be
// filled the moment the pause ends: the pause waits for it.
func (l *lane) tendHold(ctx context.Context, open bool) {
	l.hold.mu.Lock()
	reason, until, told := l.hold.reason, l.hold.until, l.hold.told
	tell := !told && (reason == "" || !open) && !time.Now().Before(l.hold.retell)
	l.hold.told = told || tell // what changes meanwhile is to be told anew
	l.hold.mu.Unlock()
	if tell {
		if err := l.tell(ctx, reason, until); err != nil && ctx.Err() == nil {
			// It holds, or is over, here all the same; another worker would find out for itself.
			l.log.WithError(err).Warn("hold not shown on the lane's consumer as it is; once more in a moment")
			l.hold.mu.Lock()
			l.hold.told, l.hold.retell = false, time.Now().Add(pullGrace)
			l.hold.mu.Unlock()
		}
		return
	}
	// While another worker has the lane it is that one's to release it.
	if told && reason != "" && (!open && l.clock.Now().Before(until) || l.pull.pin == "") {
		l.lookAtHold(ctx)
	}
}

// tell writes the hold, or its end, to the lane's consumer. Crash between pause and reason: the lane is paused as if by a
// person, and is not probed but served in full when that ends.
func (l *lane) tell(ctx context.Context, reason string, until time.Time) error {
	if reason != "" {
		paused := time.Now().Add(l.clock.Wall(until.Sub(l.clock.Now())))
		if _, err := l.js.PauseConsumer(ctx, l.stream, l.name, paused); err != nil {
			return fmt.Errorf("pause lane %s: %w", l.name, err)
		}
	}
	l.hold.mu.Lock()
	held := l.hold.spans.text(l.clock)
	l.hold.mu.Unlock()
	return l.annotate(ctx, func(metadata map[string]string) {
		metadata[heldMetadata] = held
		delete(metadata, holdMetadata)
		if reason != "" {
			metadata[holdMetadata] = reason
		}
	})
}

// annotate changes the metadata of the lane's consumer, which is all that workers tell each other of a lane.
func (l *lane) annotate(ctx context.Context, change func(metadata map[string]string)) error {
	ctx, cancel := context.WithTimeout(ctx, l.storeTimeout)
	defer cancel()
	l.notes.Lock()
	defer l.notes.Unlock()
	have, err := l.js.Consumer(ctx, l.stream, l.name)
	if err != nil {
		return fmt.Errorf("read lane %s: %w", l.name, err)
	}
	config := l.config()
	config.Metadata = map[string]string{}
	maps.Copy(config.Metadata, have.CachedInfo().Config.Metadata)
	change(config.Metadata)
	if _, err := l.js.UpdateConsumer(ctx, l.stream, config); err != nil {
		return fmt.Errorf("update lane %s: %w", l.name, err)
	}
	return nil
}

// lookAtHold notices that another worker has released the lane, or that a person has ended the pause early.
func (l *lane) lookAtHold(ctx context.Context) {
	have, err := l.js.Consumer(ctx, l.stream, l.name)
	if err != nil {
		return // out of reach: the hold ends by itself
	}
	info := have.CachedInfo()
	l.adoptHold(info)
	l.hold.mu.Lock()
	defer l.hold.mu.Unlock()
	if now := l.clock.Now(); !info.Paused && now.Before(l.hold.until) {
		l.hold.until = now
	}
}
