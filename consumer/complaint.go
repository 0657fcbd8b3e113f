package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
)

// Complaints is what a lane needs of WeChat Pay to deal with complaints. *wxpay.Client has it. None of the three writing
// calls is deduplicated by WeChat Pay; the two reading ones tell whether a writing one took effect.
type Complaints interface {
	UpdateRefundProgress(ctx context.Context, complaintID string, p *wxpay.RefundProgress) error
	RespondComplaint(ctx context.Context, complaintID string, r *wxpay.ComplaintResponse) error
	CompleteComplaint(ctx context.Context, complaintID, complaintedMchID string) error
	Complaint(ctx context.Context, complaintID string) (*wxpay.Complaint, error)
	NegotiationHistory(ctx context.Context, complaintID string, limit, offset int) (*wxpay.NegotiationHistory, error)
	// UploadImage makes a picture known to WeChat Pay; an empty filename will do.
	UploadImage(ctx context.Context, filename string, image []byte) (mediaID string, err error)
}

// The steps of a decision, as dead letters name them.
const (
	stepReply    = "reply"
	stepDecision = "decision"
)

// step is one call that WeChat Pay does not deduplicate: announced as `started` before its first attempt, read back before
// it is repeated.
type step struct {
	kind   messages.Kind
	key    string
	digest string
	name   string                          // in a decision's dead letter, "" for the other kinds
	write  func(ctx context.Context) error // the call
	shows  func(h *complaintState) found   // what the complaint says of it
	// pictures must be there before the call: those that it sends and, of the reply inside a decision, those of the decision, which comes next.
	pictures []messages.Picture
}

// complaint carries out one delivery of a decision, reply or completion.
//
// A decision is a sequence, each step recorded before the next begins, so that a restart resumes at the first step without a
// record: `started` → reply → its `succeeded` → approval or rejection → refund command stored → `succeeded`.
func (l *lane) complaint(ctx context.Context, o *job, e *entry) end {
	if wait := l.holding(); wait > 0 {
		return again("held", heldDelay(wait), nil)
	}
	if err := l.miss(ctx, o, e); err != nil {
		return again("ledger unread", l.retry.Initial, err)
	}
	s := l.stepOf(o, o.cmd)
	if a := l.recallStep(o, s, e); e.status() != messages.StatusStarted && !a.open { // else of an earlier try, which is asked about first
		// Not begun yet: now is the time to find out that its refund cannot be carried, or that a picture is missing.
		if unfit := l.unfit(o.cmd); unfit != nil {
			return l.buryUnfit(ctx, o, unfit, "", a)
		}
		if stop := l.upload(ctx, o, messages.Pictures(o.cmd), "", a); stop != nil {
			return *stop
		}
	}
	decision, sequence := o.cmd.(*messages.DecisionCommand)
	if !sequence {
		return l.carryStep(ctx, o, s, e, func(e *entry, a *attempts) end { return l.succeed(ctx, o, s, e, a) })
	}
	reply := decision.ReplyStep()
	if reply != nil && e.status() != messages.StatusStarted {
		// Not begun yet: now is the time to find out that its reply is another's, be it that of an earlier try with other words.
		if _, stop := l.replyEntry(ctx, o, l.stepOf(o, reply)); stop != nil {
			return *stop
		}
	}
	// The decision is announced before its reply: from here on another decision with the same id is a conflict.
	e, a, stop := l.claim(ctx, o, s, e)
	if stop != nil {
		return *stop
	}
	if reply != nil {
		if stop := l.replyStep(ctx, o, reply); stop != nil {
			return *stop
		}
		// Crash here: the reply has its `succeeded`; the redelivery passes it and goes on with the decision.
	}
	return l.attempt(ctx, o, s, e, a, func(e *entry, a *attempts) end {
		if err := l.sendRefund(ctx, o, decision); err != nil {
			// Crash here, or a publish in doubt: the approval stands. The redelivery reads it back and sends the refund command,
			// perhaps a second time: the ledger knows its number.
			return again("refund command unsent", l.retry.Initial, err)
		}
		return l.succeed(ctx, o, s, e, a)
	})
}

// replyStep carries out the reply inside a decision. It returns how the delivery ends if the decision must not go on.
func (l *lane) replyStep(ctx context.Context, o *job, reply *messages.ReplyCommand) *end {
	s := l.stepOf(o, reply)
	s.name = stepReply
	e, stopped := l.replyEntry(ctx, o, s)
	if stopped != nil {
		return stopped
	}
	if e.standing(s.digest, o) == standingEnded && e.status() == messages.StatusSucceeded {
		return nil
	}
	passed := false
	stop := l.carryStep(ctx, o, s, e, func(e *entry, a *attempts) end {
		done := l.succeed(ctx, o, s, e, a)
		passed = !done.again
		return done
	})
	if passed {
		return nil
	}
	return &stop
}

// replyEntry reads what is recorded of the reply inside a decision. It returns how the delivery ends if the decision must not go on.
func (l *lane) replyEntry(ctx context.Context, o *job, s step) (*entry, *end) {
	e, err := l.ledger.read(ctx, l.mchid, s.kind, s.key)
	if err == nil {
		err = l.miss(ctx, o, e)
	}
	if err != nil {
		stop := again("ledger unread", l.retry.Initial, err)
		return nil, &stop
	}
	if e.standing(s.digest, o) == standingConflict {
		stop := l.bury(ctx, o, conflictWith(s.key))
		return nil, &stop
	}
	return e, nil
}

// carryStep announces a step, carries it out, and calls then when it is proven that it took effect.
func (l *lane) carryStep(ctx context.Context, o *job, s step, e *entry, then func(*entry, *attempts) end) end {
	e, a, stop := l.claim(ctx, o, s, e)
	if stop != nil {
		return *stop
	}
	return l.attempt(ctx, o, s, e, a, then)
}

// claim makes sure that we are the ones who may send: that the newest `started` of the key is ours and young.
//
// Only the writer of a `started` sends before its time + ack_wait, and a delivery's budget ends well before that. So whoever
// finds somebody else's waits until then, and announces anew before sending; the stream lets one of several win.
func (l *lane) claim(ctx context.Context, o *job, s step, e *entry) (*entry, *attempts, *end) {
	now, a := l.clock.Now(), l.recallStep(o, s, e)
	if e.status() == messages.StatusStarted {
		if e.worker != l.ledger.worker { // whatever we remember, another may have called since
			a.open, a.last = true, l.clock.momentOf(latest(l.clock.timeOf(a.last), e.outcome.At))
		}
		age := now.Sub(e.outcome.At)
		switch mine := e.worker == l.ledger.worker; {
		case mine && age < l.ackWait/2: // young enough: we may send until it is three quarters of ackWait old (attempt)
			return e, a, nil
		case !mine && age < l.ackWait:
			stop := again("begun elsewhere", l.ackWait-age, nil)
			return nil, nil, &stop
		}
	}
	firstAt, held := e.firstAt, l.heldBefore(a, e)
	switch {
	case s.kind != messages.KindReply && e.undone(): // so what was done in rounds before this try is others' doing. (Of replies it is not told apart.)
		firstAt, held = now, 0
	case !firstAt.IsZero():
	case a.lost && o.expired && !o.begunBefore(): // it cannot have begun before it was there; that it has waited since is no age
		firstAt = l.clock.At(o.stored)
		held = now.Sub(firstAt)
	case a.lost:
		firstAt = longAgo
	default:
		firstAt = now
	}
	out := &messages.Outcome{Kind: s.kind, Key: s.key, Status: messages.StatusStarted, Attempts: int(a.writes)}
	started, err := l.writeAs(ctx, o, e, out, note{digest: s.digest, firstAt: firstAt, spared: int(a.spared), held: held})
	if err != nil {
		stop := l.unrecorded("unannounced", a, err)
		return nil, nil, &stop
	}
	// Crash here: announced, nothing sent. Whoever comes next waits for our window to pass and reads back before sending.
	return started, a, nil
}

// heldBefore is for how long the lane was held since the first attempt, including what recallStep read of holds under other workers. What has
// met no trouble but the lane's, or has not been tried yet since it was put back, is no older than if it began now.
func (l *lane) heldBefore(a *attempts, e *entry) time.Duration {
	switch {
	case e.firstAt.IsZero() || e.firstAt.Equal(longAgo):
		return 0
	case a.first == 0:
		return max(0, l.clock.Now().Sub(e.firstAt))
	}
	return max(0, time.Duration(a.first-l.clock.momentOf(e.firstAt))) + l.heldSince(a.first, "")
}

// longAgo stands for the first attempt at a command that was put back so late that the records of its earlier tries are gone. It may have
// been carried out at any time, so an entry of its complaint counts however old it is.
var longAgo = time.Unix(0, 0)

// miss notes whether a record that is not there may be gone: a command may wait for longer than outcomes are kept, in a lane that is held
// or without its merchant.
func (l *lane) miss(ctx context.Context, o *job, e *entry) (err error) {
	if e.outcome == nil && !o.expired && (o.delivered > 1 || o.sequence <= l.sure.Load()) { // else nobody has had it before
		o.expired, err = l.ledger.mayLack(ctx, o.stored)
	}
	return err
}

// recallStep returns what is known of the attempts at a step: our own memory, else what the ledger says.
func (l *lane) recallStep(o *job, s step, e *entry) *attempts {
	lost := e.outcome == nil && (o.expired || o.begunBefore())
	a := l.memory.recall(s.kind, o.remembered(s.key))
	if a != nil {
		a.open, a.lost = a.open || lost, a.lost || lost
		return a
	}
	a = &attempts{}
	if e.outcome != nil { // begun before, by a worker that may have called at any time since
		a.last, a.open = l.clock.momentOf(e.outcome.At), true
	}
	if e.status() == messages.StatusStarted { // and not failed: then the tries are counted anew
		if a.writes, a.first = clampWrites(e.outcome.Attempts), l.clock.momentOf(e.firstAt); e.firstAt.Equal(longAgo) {
			a.first = l.clock.momentOf(e.outcome.At)
		}
		a.spared = min(clampWrites(e.spared), a.writes)
		a.first += moment(e.held) // as if it had begun so much later: holds do not age it. Its dead letter gives this time, too
	}
	if lost {
		a.open, a.lost = true, true
	}
	l.memory.keep(s.kind, o.remembered(s.key), a)
	return a
}

// attempt reads back if need be, makes the call, and calls then when it is proven that it took effect.
func (l *lane) attempt(ctx context.Context, o *job, s step, e *entry, a *attempts, then func(*entry, *attempts) end) end {
	asked := a.open
	if asked {
		settling := complaintSettling
		if l.ranOut(a, "") {
			settling = absenceDelay // "nothing happened" will be the last word on it
		}
		if young := settling - l.clock.since(a.last); young > 0 {
			return again("settling", young, nil)
		}
		if stop := l.askComplaint(ctx, o, s, e, a, false, then); stop != nil {
			return *stop
		}
		a.open = false
	}
	if l.ranOut(a, "") {
		return l.bury(ctx, o, deadEnd{reason: messages.ReasonExhausted, message: "tries ran out; the complaint does not show it", step: s.name, attempts: a})
	}
	if unfit := l.unfit(o.cmd); unfit != nil { // begun before, and it did not happen
		return l.buryUnfit(ctx, o, unfit, s.name, a)
	}
	if stop := l.upload(ctx, o, s.pictures, s.name, a); stop != nil { // likewise
		return *stop
	}
	turn, calling, err := l.under(ctx, o, l.writes, func() bool {
		return o.mayWrite() && l.clock.Now().Before(e.outcome.At.Add(l.ackWait*3/4))
	})
	if err != nil {
		return again("out of budget", 0, err)
	}
	defer turn.end()
	before, wrote := *a, o.wrote
	a.wrote(l.clock.moment())
	o.wrote = true
	err = s.write(calling)
	turn.end()
	a.last = l.clock.moment() // nobody knows when within the call it was carried out
	// Crash here: it may have happened, and only `started` says so. The redelivery reads the complaint back.
	verdict := classify(callComplaint, err)
	paced(turn, verdict, err)
	switch verdict {
	case Done:
		l.release()
		return then(e, a)
	case Unreached:
		*a = before
		if errors.Is(err, errNoTurn) {
			o.wrote = wrote
			return again("out of budget", 0, err)
		}
		a.repeated()
		return l.waitOrHold(s.key, verdict, again(verdict.String(), l.retry.Delay(int(a.repeats)), err))
	case Hold:
		*a = before
		return l.holdNow(verdict, err)
	case Transient:
		a.open = before.open
		return l.laterOrExhausted(ctx, o, s.key, "", deadEnd{reason: messages.ReasonExhausted, cause: err, step: s.name, attempts: a})
	case Doubtful:
		l.troubled(s.key, verdict, err)
		// Refused by the complaint's state: perhaps because it is done already.
		if stop := l.askComplaint(ctx, o, s, e, a, !asked, then); stop != nil {
			return *stop
		}
		return l.bury(ctx, o, deadEnd{reason: messages.ReasonRejected, cause: err, step: s.name, attempts: a})
	case Malformed:
		*a = before
		return l.bury(ctx, o, deadEnd{reason: messages.ReasonMalformed, message: err.Error(), step: s.name})
	case Rejected:
		return l.bury(ctx, o, deadEnd{reason: messages.ReasonRejected, cause: err, step: s.name, attempts: a})
	default:
		later, _ := l.inVain(s.key, verdict, a, again(verdict.String(), max(complaintSettling, l.retry.Delay(int(a.writes))), err))
		return later
	}
}

// askComplaint reads back whether the step took effect. It returns how the delivery ends, or nil if the step did not take
// effect and may be sent (again). untried says that no call of ours can have taken effect: then a reply is not there, whoever said the same, and
// a refusal to show the complaint is answer enough, since it may be none of this merchant's.
func (l *lane) askComplaint(ctx context.Context, o *job, s step, e *entry, a *attempts, untried bool, then func(*entry, *attempts) end) *end {
	stop := func(e end) *end { return &e }
	if untried && s.kind == messages.KindReply {
		return nil
	}
	state, err := l.readComplaint(ctx, o, e.firstAt)
	if errors.Is(err, errNoTurn) {
		return stop(again("out of budget", 0, err))
	}
	if untried && classify(callRead, err) == Rejected {
		return nil
	}
	if err != nil {
		verdict := classify(callRead, err)
		a.asked(verdict, l.clock.moment())
		if verdict == Hold {
			return stop(l.holdNow(verdict, err))
		}
		later := again("unasked: "+verdict.String(), l.retry.Delay(a.tries()), err)
		return stop(l.laterOrGivenUp(ctx, o, s.key, "", verdict, later, deadEnd{reason: messages.ReasonUnresolved, cause: err, step: s.name, attempts: a}))
	}
	switch s.shows(state) {
	case foundSame:
		return stop(then(e, a))
	case foundOther:
		return stop(l.bury(ctx, o, deadEnd{reason: messages.ReasonRejected, message: "the complaint was decided otherwise before", step: s.name, attempts: a}))
	}
	return nil
}

// succeed records that a step is done.
func (l *lane) succeed(ctx context.Context, o *job, s step, e *entry, a *attempts) end {
	out := &messages.Outcome{Kind: s.kind, Key: s.key, Status: messages.StatusSucceeded, Attempts: max(int(a.writes), 1)}
	if _, err := l.writeAs(ctx, o, e, out, note{digest: s.digest, firstAt: e.firstAt}); err != nil {
		// Crash here, or a publish in doubt: WeChat Pay has it, `started` stands. The redelivery reads back and records it.
		a.open = true
		return l.unrecorded("unrecorded", a, err)
	}
	l.memory.forget(s.kind, o.remembered(s.key))
	return end{verdict: Done.String(), status: messages.StatusSucceeded}
}

// sendRefund puts a decision's refund on the refund subject and awaits the stream's confirmation.
func (l *lane) sendRefund(ctx context.Context, o *job, d *messages.DecisionCommand) error {
	refund := d.RefundStep()
	if refund == nil {
		return nil
	}
	body, err := messages.EncodeCommand(refund)
	if err != nil {
		return fmt.Errorf("send refund command: %w", err)
	}
	if err := l.send(context.WithoutCancel(ctx), l.mchid, messages.KindRefund, body, o.header); err != nil {
		return fmt.Errorf("send refund command: %w", err)
	}
	return nil
}

// stepOf is the call that a complaint command stands for: the delivered one, or a step of it.
func (l *lane) stepOf(o *job, cmd messages.Command) step {
	s := step{kind: cmd.Kind(), key: cmd.Key(), digest: cmd.Digest(), pictures: messages.Pictures(o.cmd)}
	switch c := cmd.(type) {
	case *messages.ReplyCommand:
		s.write = func(ctx context.Context) error {
			return l.merchant().Complaints.RespondComplaint(ctx, c.ComplaintID, complaintResponse(o, &c.ReplyParams))
		}
		s.shows = func(state *complaintState) found { return state.replied(&c.ReplyParams) }
	case *messages.DecisionCommand:
		alone := *c
		alone.Reply = nil // that has been sent by then, and its pictures may be gone
		s.name, s.pictures = stepDecision, messages.Pictures(&alone)
		s.write = func(ctx context.Context) error {
			return l.merchant().Complaints.UpdateRefundProgress(ctx, c.ComplaintID, refundProgress(o, c))
		}
		s.shows = func(state *complaintState) found { return state.decided(c.Action) }
	case *messages.CompleteCommand:
		s.write = func(ctx context.Context) error {
			return l.merchant().Complaints.CompleteComplaint(ctx, c.ComplaintID, c.ComplaintedMchID)
		}
		s.shows = func(state *complaintState) found { return state.completed() }
	}
	return s
}

func complaintResponse(o *job, r *messages.ReplyParams) *wxpay.ComplaintResponse {
	out := &wxpay.ComplaintResponse{
		ComplaintedMchID: r.ComplaintedMchID, ResponseContent: r.ResponseContent, ResponseImages: o.mediaIDs(r.ResponseImages),
		JumpURL: r.JumpURL, JumpURLText: r.JumpURLText,
	}
	if m := r.MiniProgramJumpInfo; m != nil {
		out.MiniProgramJumpInfo = &wxpay.MiniProgramJumpInfo{AppID: m.AppID, Path: m.Path, Text: m.Text}
	}
	return out
}

// refundProgress carries the fields of the chosen action only.
// Source: developers.weixin.qq.com/community, 000c42954683506f18401c7c168c00, 2026-08: a decision with the fields of both was refused.
func refundProgress(o *job, c *messages.DecisionCommand) *wxpay.RefundProgress {
	p := &wxpay.RefundProgress{Action: string(c.Action), Remark: c.Remark}
	if c.Action == messages.ActionApprove {
		p.LaunchRefundDay = c.LaunchRefundDay
	} else {
		p.RejectReason, p.RejectMediaList = c.RejectReason, o.mediaIDs(c.RejectMediaList)
	}
	return p
}
