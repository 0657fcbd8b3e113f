package consumer

import (
	"context"
	"errors"
	"time"

	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
)

// Observer is told what becomes of deliveries, for metrics and traces. Its methods must return at once and may be called by many
// goroutines. Nothing that it is told is secret or a payer's.
type Observer interface {
	// Begin is told of a delivery that is about to be handled. The calls that it leads to are made with the context that Begin
	// returns.
	Begin(ctx context.Context, d Delivery) context.Context
	// End is told how it ended, with the context that Begin returned. Every Begin has its End.
	End(ctx context.Context, d Delivery, r Result)
}

// Delivery is a command, or a look at an accepted refund, that was handed to this worker.
type Delivery struct {
	MchID       string
	Kind        messages.Kind
	Lane        string    // the name of its consumer
	Sequence    uint64    // of the command in the commands stream
	Delivered   uint64    // hand-overs so far, as far as the server knows
	Stored      time.Time // when the server stored the message, by its clock
	Traceparent string    // the command's, "" if it had none
	Settlement  bool      // a look at an accepted refund
}

// Result is how a delivery ended.
type Result struct {
	Key     string          // the command's; "" if it could not be decoded
	Verdict string          // "done", "duplicate", "unknown", "hold", …: the log's words
	Status  messages.Status // that was recorded, or found; "" if the command has not ended and is not followed
	Reason  messages.Reason // of the dead letter, "" if there is none
	Again   bool            // it was handed back
	Delay   time.Duration   // to come again after this
	Took    time.Duration   // since it arrived
	// What WeChat Pay answered, where that is why.
	Code       string
	HTTPStatus int
	RequestID  string
	Err        error // what went wrong, if anything did
}

// unobserved is the Observer of those who have none.
type unobserved struct{}

func (unobserved) Begin(ctx context.Context, _ Delivery) context.Context { return ctx }
func (unobserved) End(context.Context, Delivery, Result)                 {}

// begin tells the observer of a delivery.
func (l *lane) begin(ctx context.Context, o *job) context.Context {
	o.observed = &Delivery{
		MchID: l.mchid, Kind: o.kind, Lane: l.name, Sequence: o.sequence, Delivered: o.delivered, Stored: o.stored,
		Traceparent: messages.Traceparent(messages.Header(o.header)), Settlement: o.followed,
	}
	return l.observer.Begin(ctx, *o.observed)
}

// result is what there is to tell of a delivery's end.
func (l *lane) result(o *job, e end, err error) Result {
	r := Result{
		Verdict: e.verdict, Status: e.status, Reason: e.reason, Again: e.again, Delay: e.delay, Took: l.clock.Now().Sub(o.arrived), Err: err,
	}
	if o.cmd != nil && o.malformed == nil {
		r.Key = o.cmd.Key()
	}
	var answer *wxpay.Error
	switch {
	case errors.As(err, &answer):
		r.Code, r.HTTPStatus, r.RequestID = answer.Code, answer.HTTPStatus, answer.RequestID
	case e.failure != nil:
		r.Code, r.HTTPStatus, r.RequestID = e.failure.Code, e.failure.HTTPStatus, e.failure.RequestID
	}
	return r
}
