package consumer

import (
	"context"
	"errors"
	"slices"
	"time"

	"wxpay-worker/dlq"
	"wxpay-worker/messages"
)

// lookAll looks at refunds that have become due together, one after the other, and schedules the next look at those that have no end
// yet.
func (l *lane) lookAll(work context.Context, d *delivery, s *schedule) {
	next := &schedule{subject: s.subject, looks: s.looks + 1}
	for i, f := range s.refunds {
		// Crash here, as after each look: all of them come again. Those that have their end by then are found ended.
		e := l.lookAt(work, d, f)
		if e.again && len(s.refunds) == 1 {
			l.lookLater(d, e.delay)
			return
		}
		if !e.again && !e.goesOn {
			continue
		}
		next.refunds = append(next.refunds, f)
		if e.again || e.err != nil && !e.alone {
			// The others may meet the same trouble, each perhaps after a long time-out: end here. They have not been looked at, so they come
			// first the next time.
			next.refunds = slices.Concat(s.refunds[i+1:], next.refunds)
			break
		}
	}
	if len(next.refunds) > 0 {
		if err := l.schedule(next); err != nil {
			l.log.WithError(err).Warn("next look not scheduled: this one comes again")
			l.lookLater(d, l.retry.Initial)
			return
		}
		// Crash here: the next look is scheduled and this one comes again. It replaces the schedule.
	}
	if err := d.ack(); err != nil {
		l.log.WithError(err).Warn("looks not acknowledged: they come again, and change nothing")
	}
}

// lookLater hands back what was due, to come again.
func (l *lane) lookLater(d *delivery, delay time.Duration) {
	if err := d.nak(delay); err != nil {
		l.log.WithError(err).WithField(fieldDelay, delay.String()).Warn("looks not handed back: they come again after ack_wait")
	}
}

// lookAt looks at one of the refunds of a delivery.
func (l *lane) lookAt(work context.Context, d *delivery, f followed) end {
	o := &job{
		delivery: d, followed: true, kind: messages.KindRefund, subject: l.subjects.Command(l.mchid, messages.KindRefund), header: f.Header, body: f.Command,
		sequence: headerUint(f.Header, messages.HeaderStreamSeq), began: headerTime(f.Header, messages.HeaderFirstAt),
	}
	o.cmd, o.malformed = l.decode(o.kind, o.header, o.body)
	observed := l.begin(work, o)
	e := again("not begun", 0, nil)
	if e.err = d.wait(work, closed); e.err == nil { // those before it may have taken long
		ctx, cancel := o.untilLeaseEnd(observed)
		defer cancel()
		var panicked bool
		if e, panicked = l.protect(func() end { return l.look(ctx, o) }); panicked {
			e = end{verdict: "panicked", goesOn: true}
		}
	}
	l.report(observed, o, e, nil)
	return e
}

// look asks what has become of a refund and records it if it has ended.
func (l *lane) look(ctx context.Context, o *job) end {
	cmd, ok := o.cmd.(*messages.RefundCommand)
	if !ok || cmd.Validate() != nil { // this version cannot read it: a newer one may
		return end{verdict: "unreadable", goesOn: true}
	}
	e, err := l.ledger.read(ctx, l.mchid, messages.KindRefund, cmd.OutRefundNo)
	if err != nil {
		return again("ledger unread", l.retry.Initial, err)
	}
	accepted := headerTime(o.header, headerAcceptedAt)
	if (e.status() == messages.StatusAccepted || e.status() == messages.StatusAbnormal) && e.commandSeq > o.sequence && e.digest == cmd.Digest() {
		// What this followed was given up, and sent again. Once that is told, it is the later try which is followed, and has all the time there is.
		if e, buried := l.buried(ctx, o, cmd, accepted); buried && e.again {
			return e
		}
		o.sequence, accepted = e.commandSeq, e.outcome.At
	}
	givenUp := l.clock.Now().Sub(accepted) >= l.settlement.GiveUp
	if givenUp || o.delivered > 1 { // somebody may have given it up sooner than we would
		// Crash after the dead letter was stored: it is there, its `failed` may not be.
		if e, buried := l.buried(ctx, o, cmd, accepted); buried {
			return e
		}
	}
	if stop := nothingToFollow(e, cmd, o); stop != nil {
		return *stop
	}
	turn, err := l.looks.turn(func(ready <-chan struct{}) error { return o.wait(ctx, ready) })
	if err != nil {
		return again("out of budget", l.retry.Initial, err)
	}
	defer turn.end()
	found, err := l.merchant().Refunds.QueryRefund(ctx, cmd.OutRefundNo, cmd.SubMchID)
	turn.end()
	made := int(headerUint(o.header, messages.HeaderAttempts))
	recorded := false
	if err == nil && SameRefund(&cmd.RefundParams, found) {
		out := refundOutcome(cmd, found, max(made, 1))
		if out.Status != messages.StatusAccepted && out.Status != e.status() {
			if e, err = l.write(ctx, o, e, out); err != nil {
				return l.unrecorded("unrecorded", nil, err)
			}
			// Crash here: recorded, and the look comes again. It finds the end, or goes on following what is abnormal.
			recorded = true
		}
		if out.Status == messages.StatusSucceeded || out.Status == messages.StatusClosed {
			return end{verdict: Done.String(), status: out.Status}
		}
	}
	if givenUp && !ourFault(err, cmd.SubMchID) {
		if e.status() == messages.StatusAbnormal {
			return end{verdict: "given up", status: messages.StatusAbnormal} // it has its final outcome already
		}
		return l.bury(ctx, o, deadEnd{
			reason: messages.ReasonUnresolved, message: "accepted, and without an end for as long as it was followed", cause: err,
			attempts: &attempts{writes: clampWrites(made), first: l.clock.momentOf(o.began)},
		})
	}
	verdict := "looked"
	if recorded { // it is abnormal now
		verdict = Done.String()
	}
	return end{verdict: verdict, status: e.status(), err: err, alone: itsOwn(err, cmd.SubMchID), goesOn: true}
}

// nothingToFollow is how a look ends if the ledger says that its refund has ended, or that the number is another command's by now; nil if there is
// something to follow.
func nothingToFollow(e *entry, cmd *messages.RefundCommand, o *job) *end {
	switch e.status() {
	case "", messages.StatusAccepted, messages.StatusAbnormal: // "": the worker died before `accepted`; its command comes again
		if e.digest != "" && e.digest != cmd.Digest() {
			return &end{verdict: "another command's"}
		}
		return nil
	}
	if e.standing(cmd.Digest(), o) == standingRetry { // an earlier try's `failed`; this one's `accepted` is missing, as above
		return nil
	}
	return &end{verdict: "ended before", status: e.status()}
}

// buried tells of the dead letter with which a refund that was accepted at that time, and is followed, was given up, if it was, and returns how
// its look ends then.
func (l *lane) buried(ctx context.Context, o *job, cmd *messages.RefundCommand, accepted time.Time) (e end, buried bool) {
	letter, err := l.letters.Find(ctx, l.mchid, messages.KindRefund, cmd.OutRefundNo, o.sequence)
	switch {
	case err == nil && (letter.Reason != messages.ReasonUnresolved || l.clock.At(letter.Time).Before(accepted.Add(-storesApart))):
		return end{}, false // of another command, which had the sequence before the stream was made anew
	case err == nil:
		return l.announce(ctx, o, &letter.DeadLetter, letter.Sequence), true
	case errors.Is(err, dlq.ErrNotFound):
		return end{}, false
	}
	return again("dead letters unread", l.retry.Initial, err), true
}
