package consumer_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/dlq"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// watcher notes what an observer is told.
type watcher struct {
	mu     sync.Mutex
	begun  int
	ended  []consumer.Result
	traces []string
}

type watched struct{}

func (w *watcher) Begin(ctx context.Context, d consumer.Delivery) context.Context {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begun++
	if d.Traceparent != "" {
		w.traces = append(w.traces, d.Traceparent)
	}
	return context.WithValue(ctx, watched{}, d.Sequence)
}

func (w *watcher) End(ctx context.Context, d consumer.Delivery, r consumer.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ctx.Value(watched{}) != d.Sequence {
		r.Verdict = "ended with another's context"
	}
	w.ended = append(w.ended, r)
}

// An observer is told of every delivery's beginning and end, and what came of it.
func TestAnObserverIsToldEverything(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, ID: "R2", Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 400, Code: "PARAM_ERROR"})
	saw := &watcher{}
	w := b.Start(func(o *consumer.Options) { o.Observer = saw })
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"), "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	b.Publish(messages.KindRefund, consumertest.RefundBody("R2"))
	b.Publish(messages.KindReply, `{`)
	b.End(messages.KindRefund, "R1")
	b.End(messages.KindRefund, "R2")
	b.End(messages.KindReply, "seq-3")
	b.Drained()
	check(t, w.Stop())

	if saw.begun != len(saw.ended) || len(saw.traces) == 0 {
		t.Errorf("%d begun, %d ended, traces %v", saw.begun, len(saw.ended), saw.traces)
	}
	has := func(what string, fits func(consumer.Result) bool) {
		t.Helper()
		if !slices.ContainsFunc(saw.ended, fits) {
			t.Errorf("nothing told of %s: %+v", what, saw.ended)
		}
	}
	has("the accepted refund", func(r consumer.Result) bool {
		return r.Key == "R1" && r.Verdict == "done" && r.Status == messages.StatusAccepted
	})
	has("the refused one", func(r consumer.Result) bool {
		return r.Key == "R2" && r.Reason == messages.ReasonRejected && r.Code == "PARAM_ERROR" && r.HTTPStatus == 400 && r.Status == messages.StatusFailed
	})
	has("the malformed one", func(r consumer.Result) bool { return r.Reason == messages.ReasonMalformed })
}

// Merchants come and go while the worker runs: the new one's commands are carried out, those of the one that went wait in the
// stream until it is back, and what is in flight is not dropped.
func TestMerchantsComeAndGo(t *testing.T) {
	t.Parallel()
	const other = "1900000002"
	b := setup(t)
	b.Merchant(other)
	nc := must(nats.Connect(b.URL))
	t.Cleanup(nc.Close)
	all := []consumer.Merchant{
		{MchID: mchid, Refunds: b.Client(mchid), Complaints: b.Client(mchid)},
		{MchID: other, Refunds: b.Client(other), Complaints: b.Client(other)},
	}
	c := must(consumer.New(consumer.Options{
		Conn: nc, Subjects: b.Subjects, DeadLetters: must(dlq.New(nc, b.Subjects)), Log: quiet(), Clock: b.Clock, Merchants: all[:1],
		Concurrency: 16, AckWait: 12 * time.Hour, PinnedTTL: consumertest.PinnedTTL, Drain: consumertest.Patience, // what is in flight waits for the other merchant
		Retry:      consumer.Retry{Initial: 2 * time.Second, Multiplier: 2, Max: time.Hour, MaxAttempts: 25, MaxAge: 72 * time.Hour},
		Settlement: consumer.Settlement{First: time.Minute, Max: 6 * time.Hour, GiveUp: 360 * time.Hour},
	}))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()

	arrived, hold := make(chan struct{}, 1), make(chan struct{})
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, ID: "R1", Apply: true, Arrived: arrived, Hold: hold})
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	b.PublishFor(other, messages.KindRefund, consumertest.RefundBody("S1"))
	<-arrived
	if orphans := must(c.Orphans(ctx)); orphans[other] != 1 {
		t.Errorf("orphans %v", orphans)
	}
	c.Reload(all[1:]) // the first goes while its call is on its way, the second comes
	if e := b.End(messages.KindRefund, "S1"); e.Status != messages.StatusAccepted {
		t.Errorf("the new merchant's: %+v %+v", e.Outcome, e.Error)
	}
	close(hold)
	if e := b.End(messages.KindRefund, "R1"); e.Status != messages.StatusAccepted || e.Attempts != 1 {
		t.Errorf("what was in flight: %+v %+v", e.Outcome, e.Error)
	}
	b.Publish(messages.KindRefund, consumertest.RefundBody("R2"))
	for _, s := range c.Status() {
		if s.MchID == mchid {
			t.Errorf("still served: %+v", s)
		}
	}
	c.Reload(all)
	if e := b.End(messages.KindRefund, "R2"); e.Status != messages.StatusAccepted {
		t.Errorf("of the one that is back: %+v %+v", e.Outcome, e.Error)
	}
	b.Settled()
	if n := len(c.Status()); n != 5 {
		t.Errorf("%d lanes, settlement included", n)
	}
	cancel()
	check(t, <-ended)
}
