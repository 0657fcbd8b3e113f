package consumer

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go"

	"wxpay-worker/messages"
)

// job is a delivered command on its way through a lane. (Not an order: those are WeChat Pay's, which refunds are for.)
type job struct {
	*delivery        // by which it came; that of a settlement may bring several
	subject   string // the command's, as all of this; a settlement is delivered on another
	sequence  uint64
	stored    time.Time   // when the server stored it; zero if it is followed
	header    nats.Header // the publisher's, and what the worker has added
	body      []byte
	kind      messages.Kind
	about     string                   // the thing about which commands are in line; "" if it is in none
	cmd       messages.Command         // nil if the message could not be decoded
	malformed *messages.MalformedError // why nobody can carry it out, nil if it keeps to the contract
	digest    string                   // of cmd, once it was needed
	began     time.Time
	suspect   bool              // whether it may have killed those who handled it before
	observed  *Delivery         // what the observer was told; nil if it was not
	followed  bool              // whether this is a look at an accepted refund, not a command
	wrote     bool              // whether this delivery has made a writing call
	untouched bool              // whether, as far as we know, no earlier delivery has made one either
	expired   bool              // whether it may have begun, though there is no record of it: that may be gone
	media     map[string]string // media_ids of the pictures that the command names as objects, by their references
}

// newJob is the job that a lane's delivery brings.
func (l *lane) newJob(d *delivery) *job {
	o := &job{
		delivery: d, subject: d.msg.Subject, sequence: d.sequence, stored: d.stored, header: d.msg.Header, body: d.msg.Data, began: l.clock.Now(),
	}
	_, o.kind, _ = l.subjects.ParseCommand(d.msg.Subject) // one of the lane's: the stream takes no others
	return o
}

// storedAfter reports whether the command was stored after a time that its own stream has told. Its sequence may say otherwise, if the stream
// was made anew, or restored from a backup, in between: then sequences are given out once more. Nothing is after an unknown time.
func (o *job) storedAfter(at time.Time) bool { return !at.IsZero() && o.stored.After(at) }

// remembered is under what the attempts at a key of the command, or of its reply, are remembered. Commands about one complaint take turns; two that
// bear the same id and are about two complaints do not, so each has attempts of its own, until the ledger says whose the key is.
func (o *job) remembered(key string) string {
	if o.kind == messages.KindRefund {
		return key
	}
	return key + " " + o.about // which has no space
}

// putBack reports whether the command has been a dead letter before, by its headers.
func (o *job) putBack() bool { return headerUint(o.header, messages.HeaderReplays) > 0 }

// begunBefore reports whether the command was put back after a try of which something may have happened, for all its headers say. Of what was
// malformed nothing had, but for the steps of a decision before the one that its letter names.
func (o *job) begunBefore() bool {
	untried := messages.Reason(o.header.Get(messages.HeaderReason)) == messages.ReasonMalformed && o.header.Get(messages.HeaderStep) == ""
	return o.putBack() && !untried
}

// sum is the command's digest.
func (o *job) sum() string {
	if o.digest == "" {
		o.digest = o.cmd.Digest()
	}
	return o.digest
}

// end is how a delivery ends.
type end struct {
	verdict string          // for the log
	status  messages.Status // recorded, if the command has ended or is followed
	reason  messages.Reason // of the dead letter
	letter  uint64          // its sequence
	again   bool            // hand the command back, to come again after delay
	goesOn  bool            // of a look: the refund has no end yet
	alone   bool            // and what went wrong is its own, not that of those which are looked at with it
	delay   time.Duration
	err     error             // what went wrong, if anything did
	failure *messages.Failure // what the dead letter says
}

// handle carries out one delivery, from decoding to acknowledgement. Nothing is acknowledged before its record is confirmed.
func (l *lane) handle(ctx context.Context, o *job, ready <-chan struct{}, done func()) {
	defer done()
	if o.observed == nil {
		ctx = l.begin(ctx, o)
	}
	err := o.wait(ctx, ready)
	if err == nil {
		err = o.wait(ctx, l.inherited().read)
	}
	if err != nil {
		l.finish(ctx, o, again("not begun", 0, err))
		return
	}
	ctx, cancel := o.untilLeaseEnd(ctx)
	defer cancel()
	l.finish(ctx, o, l.contain(ctx, o))
}

// contain turns a panic into a dead letter: a command that panics once would do so at every redelivery.
func (l *lane) contain(ctx context.Context, o *job) end {
	e, panicked := l.protect(func() end { return l.carryOut(ctx, o) })
	if !panicked {
		return e
	}
	// The value may hold anything, payer data too: its type is in the log, and no more than that goes further.
	e, panicked = l.protect(func() end {
		return l.bury(ctx, o, deadEnd{reason: messages.ReasonPoison, message: "handling the command panicked"})
	})
	if panicked {
		return again("panicked twice", l.retry.Max, nil)
	}
	return e
}

func (l *lane) protect(f func() end) (e end, panicked bool) {
	defer func() {
		if p := recover(); p != nil {
			l.log.Errorf("panic in handler: %T\n%s", p, debug.Stack())
			panicked = true
		}
	}()
	return f(), false
}

// carryOut decides what a delivery is for and does it.
func (l *lane) carryOut(ctx context.Context, o *job) end {
	if letter, err := l.letterOf(ctx, o); err != nil {
		return again("dead letters unread", l.retry.Initial, err)
	} else if letter != nil {
		// Crash after the dead letter was stored: it is there, its `failed` may not be. Publish what is missing.
		return l.announce(ctx, o, &letter.DeadLetter, letter.Sequence)
	}
	if o.malformed != nil {
		return l.bury(ctx, o, deadEnd{reason: messages.ReasonMalformed, message: o.malformed.Error()})
	}
	if wait, behind, err := l.behind(ctx, o); behind {
		return again("behind an older command", wait, err)
	}
	entry, err := l.ledger.read(ctx, l.mchid, o.kind, o.cmd.Key())
	if err != nil {
		return again("ledger unread", l.retry.Initial, err)
	}
	switch entry.standing(o.sum(), o) {
	case standingEnded:
		// We may remember attempts still: the record was taken but its confirmation lost, or another worker made it. A replay must begin anew.
		l.memory.forget(o.kind, o.remembered(o.cmd.Key()))
		return end{verdict: "duplicate", status: entry.status()}
	case standingConflict:
		return l.bury(ctx, o, conflictWith(o.cmd.Key()))
	}
	if cmd, ok := o.cmd.(*messages.RefundCommand); ok {
		return l.refund(ctx, o, cmd, entry)
	}
	return l.complaint(ctx, o, entry)
}

// finish tells the server what became of the delivery, and the log its whole story.
func (l *lane) finish(ctx context.Context, o *job, e end) {
	l.suspicion.note(o, e) // before it can come again
	if e.again && l.uncalled(o) {
		l.untouched.note(o.delivery)
	}
	var err error
	switch {
	case e.again:
		if o.about != "" {
			l.line.join(o.about, o.sequence, l.clock.Now().Add(e.delay))
		}
		err = o.nak(e.delay)
	case e.letter != 0:
		err = o.term(string(e.reason))
	default:
		err = o.ack()
	}
	if !e.again && o.about != "" {
		l.line.leave(o.about, o.sequence)
		l.scheduled.drop(o.sequence)
	}
	l.report(ctx, o, e, err)
}

// report tells the log, and the observer, how a delivery ended, and what went wrong when the server was told.
func (l *lane) report(ctx context.Context, o *job, e end, err error) {
	r := l.result(o, e, errors.Join(e.err, err))
	l.logEnd(o, e, r)
	if o.observed != nil {
		l.observer.End(ctx, *o.observed, r)
	}
}

// again hands the command back.
func again(verdict string, delay time.Duration, err error) end {
	return end{verdict: verdict, again: true, delay: delay, err: err}
}

// inVain ends a delivery whose attempt did nothing, as far as is known. The command comes again as later says; if the lane is held over it
// (held), the attempt does not count.
func (l *lane) inVain(key string, verdict Verdict, a *attempts, later end) (e end, held bool) {
	if held := l.heldOver(key, verdict, later); held != nil {
		a.spare()
		return *held, true
	}
	return later, false
}

// laterOrExhausted ends a delivery whose attempt provably did nothing: the command comes again, or, if its tries have run out, becomes the
// dead letter that why describes.
func (l *lane) laterOrExhausted(ctx context.Context, o *job, key, subMchID string, why deadEnd) end {
	e, held := l.inVain(key, Transient, why.attempts, again(Transient.String(), l.retry.Delay(int(why.attempts.writes)), why.cause))
	if !held && l.ranOut(why.attempts, subMchID) {
		return l.bury(ctx, o, why)
	}
	return e
}

// laterOrGivenUp ends a delivery that met trouble before its call: while it read back, or uploaded a picture. The lane is held over it; or its
// tries have run out, and it becomes the dead letter that why describes; or it comes again as later says.
func (l *lane) laterOrGivenUp(ctx context.Context, o *job, key, subMchID string, verdict Verdict, later end, why deadEnd) end {
	if held := l.heldOver(key, verdict, later); held != nil {
		return *held
	}
	if l.ranOut(why.attempts, subMchID) {
		return l.bury(ctx, o, why)
	}
	return later
}

// unrecordedMost is the most that is waited for a store that takes nothing.
const unrecordedMost = time.Minute

// unrecorded ends a delivery whose record was not taken. If the ledger has moved on, the command comes again at once. If the store takes
// nothing, it comes again later, since each try costs a call that reads back; and later each time, if there are attempts (a) to count by.
func (l *lane) unrecorded(verdict string, a *attempts, err error) end {
	if errors.Is(err, errStale) {
		return again(verdict, 0, err)
	}
	delay := l.retry.Initial
	if a != nil {
		a.repeated()
		delay = min(unrecordedMost, l.retry.Delay(int(a.repeats)))
	}
	return again(verdict, delay, err)
}

// record publishes what became of a refund, and sees to it that one without an end is followed, and returns how the delivery
// ends.
func (l *lane) record(ctx context.Context, o *job, e *entry, a *attempts, out *messages.Outcome) end {
	goesOn := out.Status == messages.StatusAccepted || out.Status == messages.StatusAbnormal
	if goesOn && !l.scheduled.has(o.sequence) {
		if err := l.follow(ctx, o, out.Attempts); err != nil {
			// Crash here, or a publish in doubt: accepted, and nobody knows. The redelivery asks by the same number.
			return again("unscheduled", l.retry.Initial, err)
		}
		// Crash here: followed, and `accepted` is missing. The redelivery records it; so may a look, if that finds the end first.
	}
	if _, err := l.write(ctx, o, e, out); err != nil {
		// Crash here, or an answer that was lost: WeChat Pay has done it and the ledger may not say so. The redelivery reads
		// the ledger, and where that is silent asks WeChat Pay.
		if goesOn {
			l.scheduled.note(o.sequence)
		}
		return l.unrecorded("unrecorded", a, err)
	}
	l.memory.forget(out.Kind, out.Key)
	return end{verdict: Done.String(), status: out.Status}
}

// write fills in what all outcomes share and records one.
func (l *lane) write(ctx context.Context, o *job, e *entry, out *messages.Outcome) (*entry, error) {
	return l.writeAs(ctx, o, e, out, note{digest: o.sum(), firstAt: e.firstAt})
}

func (l *lane) writeAs(ctx context.Context, o *job, e *entry, out *messages.Outcome, n note) (*entry, error) {
	out.MchID, out.At, out.Final = l.mchid, l.clock.Now(), out.Status.Final()
	if o.cmd != nil {
		out.ID, out.Metadata, out.ComplaintID = o.cmd.Base().ID, o.cmd.Base().Metadata, o.cmd.Complaint()
	} else {
		out.ID = messages.CommandID(messages.Header(o.header))
	}
	// The record must be tried even when the lease has just ended: it can only win or find that it has lost.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.storeTimeout)
	defer cancel()
	n.traceparent, n.commandSeq = messages.Traceparent(messages.Header(o.header)), o.sequence
	return l.ledger.write(ctx, e, out, n)
}
