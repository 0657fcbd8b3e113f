package consumer_test

import (
	"context"
	"testing"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
)

// deadly stands for a command that takes the process with it when it is sent.
type deadly struct {
	consumer.Refunds
	number string
	kill   func()
}

func (d deadly) CreateRefund(ctx context.Context, r *wxpay.RefundRequest) (*wxpay.Refund, error) {
	if r.OutRefundNo == d.number {
		d.kill()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return d.Refunds.CreateRefund(ctx, r)
}

// A command that kills every worker that handles it ends as poison before it has stopped a fleet; the commands beside it, which
// died with it each time, are carried out.
func TestACommandThatKillsIsPoison(t *testing.T) {
	t.Parallel()
	b := setup(t)
	numbers := []string{"R1", "R2", "DEADLY", "R3", "R4"}
	for _, no := range numbers {
		b.Publish(messages.KindRefund, consumertest.RefundBody(no))
	}
	over := make(chan struct{})
	go func() {
		b.End(messages.KindRefund, "DEADLY")
		close(over)
	}()
	deaths := 0
	var last *consumertest.Worker
	for alive := true; alive; {
		died := make(chan struct{})
		var w *consumertest.Worker
		ready := make(chan struct{})
		w = b.Start(func(o *consumer.Options) {
			o.Merchants[0].Refunds = deadly{o.Merchants[0].Refunds, "DEADLY", func() { <-ready; w.Kill(); close(died) }}
		})
		last = w
		close(ready)
		select {
		case <-died:
			deaths++
		case <-over:
			alive = false
		}
	}
	e := b.End(messages.KindRefund, "DEADLY")
	if e.Error == nil || e.Error.Reason != messages.ReasonPoison {
		t.Errorf("ended %s %+v", e.Status, e.Error)
	}
	if deaths > 6 {
		t.Errorf("%d workers died", deaths)
	}
	for _, no := range []string{"R1", "R2", "R3", "R4"} {
		if e := b.End(messages.KindRefund, no); e.Status != messages.StatusAccepted {
			t.Errorf("%s ended %s %+v", no, e.Status, e.Error)
		}
	}
	b.Settled()
	check(t, last.Stop()) // the mark is taken back after the outcome
	lane := must(b.JS.Consumer(t.Context(), b.Subjects.CommandsStream(), "refund-"+mchid))
	if m := lane.CachedInfo().Config.Metadata; m["wxpay_alone"] != "" {
		t.Errorf("still marked: %v", m)
	}
}
