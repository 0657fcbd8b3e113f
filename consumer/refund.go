package consumer

import (
	"context"
	"errors"
	"time"

	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
)

// Refunds is what a lane needs of WeChat Pay to refund. *wxpay.Client has it.
type Refunds interface {
	// CreateRefund asks for a refund, or for what became of it: one number refunds once, however often it is sent.
	CreateRefund(ctx context.Context, r *wxpay.RefundRequest) (*wxpay.Refund, error)
	// QueryRefund reads a refund by its number; wxpay.ErrResourceNotExists if WeChat Pay has none, or does not show it yet.
	QueryRefund(ctx context.Context, outRefundNo, subMchID string) (*wxpay.Refund, error)
}

// refund carries out one delivery of a refund command, up to the moment at which WeChat Pay has accepted it.
//
// The number and the parameters are the command's at every attempt. What may have happened is asked about first.
func (l *lane) refund(ctx context.Context, o *job, cmd *messages.RefundCommand, e *entry) end {
	a := l.memory.recall(messages.KindRefund, cmd.OutRefundNo)
	if a == nil {
		a = &attempts{}
		switch failed := e.status() == messages.StatusFailed; {
		case o.delivered > 1 && !o.untouched, failed && mayHaveHappened(e.outcome.Error):
			// Somebody may have called a moment ago, and died since. Nothing is known of it: ask, and wait before repeating.
			a.open, a.last = true, l.clock.moment()
		case failed, o.putBack(), o.delivered > 1, l.forgotten(o): // of what was put back, the record may have expired
			a.open = true // no attempt is known of, and none is likely: asking once is enough
		}
		l.memory.keep(messages.KindRefund, cmd.OutRefundNo, a)
	}
	unfit := l.unfit(cmd)
	if unfit != nil && !a.open { // nobody has called for it, nor will we
		return l.buryUnfit(ctx, o, unfit, "", a)
	}
	if wait := l.holding(); wait > 0 {
		return again("held", heldDelay(wait), nil)
	}
	wait, done := l.subTurn(cmd.SubMchID)
	if wait > 0 {
		return again("held", wait, nil)
	}
	defer done()
	if a.open {
		if e, settled := l.askRefund(ctx, o, cmd, e, a, unfit != nil); settled {
			return e
		}
	}
	if unfit != nil {
		return l.buryUnfit(ctx, o, unfit, "", a)
	}
	if l.ranOut(a, cmd.SubMchID) {
		return l.bury(ctx, o, deadEnd{reason: messages.ReasonExhausted, message: "tries ran out; WeChat Pay shows no such refund", attempts: a})
	}
	return l.createRefund(ctx, o, cmd, e, a)
}

// uncalled reports whether nobody has made a call for a refund yet, as far as is known when a delivery of it ends.
func (l *lane) uncalled(o *job) bool {
	cmd, ok := o.cmd.(*messages.RefundCommand)
	if !ok || o.wrote || o.delivered > 1 && !o.untouched {
		return false
	}
	a := l.memory.recall(messages.KindRefund, cmd.OutRefundNo)
	return a == nil || !a.open || a.last == 0
}

// mayHaveHappened reports whether a dead letter of that failure leaves it open if something was done.
func mayHaveHappened(f *messages.Failure) bool {
	return f == nil || f.Reason == messages.ReasonUnresolved || f.Reason == messages.ReasonPoison
}

// throttledDelay is how long a query that came too fast waits.
const throttledDelay = time.Minute

// askRefund reads back whether the refund exists. It ends the delivery, unless it has shown that the refund can be asked for
// without doing so twice. unfit says that the merchant's configuration cannot carry it: then it will not be asked for.
func (l *lane) askRefund(ctx context.Context, o *job, cmd *messages.RefundCommand, e *entry, a *attempts, unfit bool) (end, bool) {
	turn, calling, err := l.under(ctx, o, l.reads, always)
	if err != nil {
		return again("out of budget", 0, err), true
	}
	defer turn.end() // also if it panics: the turns behind it wait for it
	found, err := l.merchant().Refunds.QueryRefund(calling, cmd.OutRefundNo, cmd.SubMchID)
	turn.end()
	if errors.Is(err, errNoTurn) {
		return again("out of budget", 0, err), true
	}
	switch {
	case err == nil && !SameRefund(&cmd.RefundParams, found):
		return l.bury(ctx, o, conflictWith(cmd.OutRefundNo)), true
	case err == nil:
		return l.record(ctx, o, e, a, refundOutcome(cmd, found, max(int(a.writes), 1))), true
	case wxpay.NoSuchRefund(err):
		l.troubled(cmd.Key(), Rejected, err)
		// A query does not see the newest refunds: what it does not show is believed only a minute after the last attempt.
		if young := absenceDelay - l.clock.since(a.last); young > 0 {
			return again("absent so far", young, nil), true
		}
		if r := a.refusal; r != nil && r.sequence == o.sequence {
			return l.bury(ctx, o, deadEnd{reason: messages.ReasonRejected, cause: r.cause(), attempts: a}), true
		}
		a.open = false
		return end{}, false
	case unfit && itsOwn(err, cmd.SubMchID):
		// WeChat Pay does not tell this merchant, as of a sub-merchant that is none of its own, and will not at the next time.
		l.troubled(cmd.Key(), Rejected, err)
		if a.last == 0 { // no call is known of, and none is likely
			a.open = false
			return end{}, false
		}
		return l.bury(ctx, o, deadEnd{reason: messages.ReasonUnresolved, cause: err, attempts: a}), true
	}
	verdict := classify(callRead, err)
	a.asked(verdict, l.clock.moment())
	if verdict == Hold {
		return l.holdNow(verdict, err), true
	}
	later := again("unasked: "+verdict.String(), l.retry.Delay(a.tries()), err)
	if e, answered := errors.AsType[*wxpay.Error](err); answered && throttled(e) {
		// "Wait a minute." Source: WeChat Pay, 查询单笔退款, pay.weixin.qq.com/doc/v3/merchant/4013071041, 2026-08.
		later.delay = max(later.delay, throttledDelay)
	}
	return l.laterOrGivenUp(ctx, o, cmd.Key(), cmd.SubMchID, verdict, later, deadEnd{reason: messages.ReasonUnresolved, cause: err, attempts: a}), true
}

// createRefund makes the one call that moves money.
func (l *lane) createRefund(ctx context.Context, o *job, cmd *messages.RefundCommand, e *entry, a *attempts) end {
	turn, calling, err := l.under(ctx, o, l.writes, o.mayWrite)
	if err != nil {
		return again("out of budget", 0, err)
	}
	defer turn.end()
	numbers := orderNumbers(cmd.TransactionID, cmd.OutTradeNo)
	if wait := l.orders.claim(numbers, cmd.OutRefundNo); wait > 0 {
		return again("order refunded a moment ago", wait, nil)
	}
	before, wrote := *a, o.wrote
	a.wrote(l.clock.moment())
	o.wrote = true
	created, err := l.merchant().Refunds.CreateRefund(calling, refundRequest(cmd))
	turn.end()
	a.last = l.clock.moment() // nobody knows when within the call it was carried out
	// Crash here: the refund may exist, no outcome says so. The redelivery asks by the same out_refund_no.
	verdict := classify(callRefund, err)
	paced(turn, verdict, err)
	switch verdict {
	case Done: // the answer may name the order by another number as well
		l.orders.called(append(numbers, orderNumbers(created.TransactionID, created.OutTradeNo)...), cmd.OutRefundNo)
		l.release()
		l.releaseSub(cmd.SubMchID)
	case Unknown, Doubtful:
		l.orders.called(numbers, cmd.OutRefundNo)
	default:
		l.orders.release(numbers)
	}
	switch verdict {
	case Done:
		return l.record(ctx, o, e, a, refundOutcome(cmd, created, int(a.writes)))
	case Unreached:
		*a = before
		if errors.Is(err, errNoTurn) {
			o.wrote = wrote
			return again("out of budget", 0, err)
		}
		a.repeated()
		return l.waitOrHold(cmd.Key(), verdict, again(verdict.String(), l.retry.Delay(int(a.repeats)), err))
	case Hold:
		*a = before
		a.repeated()
		if cmd.SubMchID != "" && notEnough(err) {
			return l.holdSub(cmd.SubMchID, err)
		}
		return l.holdNow(verdict, err)
	case Transient:
		a.open = before.open
		return l.laterOrExhausted(ctx, o, cmd.Key(), cmd.SubMchID, deadEnd{reason: messages.ReasonExhausted, cause: err, attempts: a})
	case Doubtful:
		l.troubled(cmd.Key(), verdict, err)
		if !l.wary() {
			a.refusal = refusalOf(o.sequence, err)
		}
		return again(verdict.String(), absenceDelay, err)
	case Malformed:
		*a = before
		return l.bury(ctx, o, deadEnd{reason: messages.ReasonMalformed, message: err.Error()})
	case Rejected:
		l.troubled(cmd.Key(), verdict, err)
		return l.bury(ctx, o, deadEnd{reason: messages.ReasonRejected, cause: err, attempts: a})
	default:
		later, _ := l.inVain(cmd.Key(), verdict, a, again(verdict.String(), max(absenceDelay, l.retry.Delay(int(a.writes))), err))
		return later
	}
}

func refundRequest(c *messages.RefundCommand) *wxpay.RefundRequest {
	return &wxpay.RefundRequest{
		SubMchID: c.SubMchID, TransactionID: c.TransactionID, OutTradeNo: c.OutTradeNo, OutRefundNo: c.OutRefundNo,
		Reason: c.Reason, NotifyURL: c.NotifyURL, FundsAccount: c.FundsAccount,
		Amount: wxpay.RefundAmount{Refund: c.Amount.Refund, Total: c.Amount.Total, Currency: c.Amount.Currency},
	}
}

// SameRefund reports whether a refund that was read back is the one that a command asks for: the same amounts of the same order, as far as both
// name it by the same number. out_trade_no is not looked at beside a transaction_id, which is what WeChat Pay goes by then.
// Source: WeChat Pay, 申请退款, pay.weixin.qq.com/doc/v2/merchant/4011937624, 2026-08.
func SameRefund(c *messages.RefundParams, r *wxpay.Refund) bool {
	if r.Amount.Refund != c.Amount.Refund || r.Amount.Total != c.Amount.Total {
		return false
	}
	if c.TransactionID != "" && r.TransactionID != "" {
		return c.TransactionID == r.TransactionID
	}
	return c.OutTradeNo == "" || r.OutTradeNo == "" || c.OutTradeNo == r.OutTradeNo
}

// refundStatus maps WeChat Pay's refund states. One that is not known yet is followed like PROCESSING.
var refundStatus = map[string]messages.Status{
	wxpay.RefundSuccess:  messages.StatusSucceeded,
	wxpay.RefundClosed:   messages.StatusClosed,
	wxpay.RefundAbnormal: messages.StatusAbnormal,
}

func refundOutcome(c *messages.RefundCommand, r *wxpay.Refund, attempts int) *messages.Outcome {
	status, final := refundStatus[r.Status]
	if !final {
		status = messages.StatusAccepted
	}
	return &messages.Outcome{
		Kind: messages.KindRefund, Key: c.OutRefundNo, Status: status, Attempts: attempts,
		Refund: &messages.Refund{
			RefundID: r.RefundID, OutRefundNo: r.OutRefundNo, TransactionID: r.TransactionID, OutTradeNo: r.OutTradeNo,
			Status: r.Status, Channel: r.Channel, UserReceivedAccount: r.UserReceivedAccount, SuccessTime: r.SuccessTime,
			Amount: messages.Amount{Refund: r.Amount.Refund, Total: r.Amount.Total, Currency: r.Amount.Currency},
		},
	}
}
