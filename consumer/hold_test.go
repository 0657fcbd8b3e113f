package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
	"wxpay-worker/wxpay/wxpaytest"
)

// lane reads a lane's consumer as any NATS tool shows it.
func (b *bench) lane(name string) (paused bool, reason string) {
	b.T.Helper()
	c, err := b.JS.Consumer(b.T.Context(), b.Subjects.CommandsStream(), name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return false, "" // the worker is about to make it
	}
	info := must(c, err).CachedInfo()
	return info.Paused, info.Config.Metadata["wxpay_hold"]
}

// awaitLane waits until the lane shows that reason.
func (b *bench) awaitLane(name, reason string) {
	b.T.Helper()
	api := must(b.NC.SubscribeSync("$JS.API.CONSUMER.>"))
	defer func() { check(b.T, api.Unsubscribe()) }()
	for limit := time.Now().Add(consumertest.Patience); ; {
		_, got := b.lane(name)
		if got == reason {
			return
		}
		if time.Now().After(limit) {
			b.T.Fatalf("lane %s shows %q, not %q", name, got, reason)
		}
		_, _ = api.NextMsg(20 * time.Millisecond)
	}
}

// Our own trouble empties no queue: the lane holds, for the whole fleet and visibly, its commands wait without a call, and it
// goes on by itself when the trouble is mended.
func TestALaneHoldsAndResumes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault  wxpaytest.Fault
		reason string
	}{
		"wrong key":  {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal, Status: 401, Code: "SIGN_ERROR"}, "HTTP 401 SIGN_ERROR"},
		"made up":    {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal, Status: 401, Code: "13812345678"}, "HTTP 401"},
		"no balance": {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal, Status: 403, Code: "NOT_ENOUGH"}, "HTTP 403 NOT_ENOUGH"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			c.fault.Endpoint, c.fault.Times = wxpaytest.EndpointRefundCreate, -1
			b.Sim.Fault(c.fault)
			const commands = 100
			for i := range commands {
				b.Publish(messages.KindRefund, consumertest.RefundBody(fmt.Sprintf("R%d", i)))
			}
			b.Start(func(o *consumer.Options) { o.Concurrency = 4 })
			b.awaitLane("refund-"+mchid, c.reason)
			b.Publish(messages.KindReply, consumertest.ReplyBody) // its other lane goes on
			b.End(messages.KindReply, "P1")
			for range 3 { // probes, one command each
				b.AwaitAck()
			}
			if n := len(b.Sim.RequestsTo(wxpaytest.EndpointRefundCreate)); n > 12 {
				t.Errorf("%d calls of a held lane", n)
			}
			b.Sim.ClearFaults()
			for i := range commands {
				if e := b.End(messages.KindRefund, fmt.Sprintf("R%d", i)); e.Status != messages.StatusAccepted || e.Attempts != 1 {
					t.Fatalf("outcome: %+v %+v", e.Outcome, e.Error)
				}
			}
			b.Settled()
			b.awaitLane("refund-"+mchid, "")
		})
	}
}

// An outage holds the lane when three different commands in a row have met it; a lone command's trouble stays its own.
func TestThreeInARowHoldTheLane(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Times: -1, Answer: wxpaytest.Answer5xx})
	b.Start(func(o *consumer.Options) { o.Concurrency = 1 })
	b.Publish(messages.KindRefund, consumertest.RefundBody("R0"))
	for range 3 {
		b.AwaitAck()
	}
	if _, reason := b.lane("refund-" + mchid); reason != "" {
		t.Errorf("held for one command: %s", reason)
	}
	for i := 1; i < 50; i++ {
		b.Publish(messages.KindRefund, consumertest.RefundBody(fmt.Sprintf("R%d", i)))
	}
	b.awaitLane("refund-"+mchid, "HTTP 500 SYSTEM_ERROR")
	b.Sim.ClearFaults()
	for i := range 50 {
		b.End(messages.KindRefund, fmt.Sprintf("R%d", i))
	}
	b.Settled()
}

// A hold outlives the worker that found it, and a person can end it early.
func TestAHoldSurvivesARestartAndEndsByHand(t *testing.T) {
	t.Parallel()
	b := setupAt(t, 10)                                                                                    // a hold of ten minutes takes one
	slow := func(o *consumer.Options) { o.Retry.Initial = 240 * time.Hour; o.Retry.Max = 240 * time.Hour } // held for ten minutes
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 401, Code: "SIGN_ERROR"})
	w := b.Start(slow)
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	b.awaitLane("refund-"+mchid, "HTTP 401 SIGN_ERROR")
	check(t, w.Stop())
	calls := len(b.Sim.RequestsTo(wxpaytest.EndpointRefundCreate))
	b.Sim.ClearFaults()
	b.Start(slow)
	b.Publish(messages.KindRefund, consumertest.RefundBody("R2"))
	if paused, reason := b.lane("refund-" + mchid); !paused || reason == "" {
		t.Errorf("after the restart: paused %v, %q", paused, reason)
	}
	if n := len(b.Sim.RequestsTo(wxpaytest.EndpointRefundCreate)); n != calls {
		t.Errorf("%d calls while held", n-calls)
	}
	must(b.JS.ResumeConsumer(t.Context(), b.Subjects.CommandsStream(), "refund-"+mchid))
	b.End(messages.KindRefund, "R2")
	b.awaitLane("refund-"+mchid, "")
}

// lateReader is what reads a complaint so late, once, that the lease of who asked is over.
type lateReader struct {
	consumer.Complaints
	once sync.Once
}

func (r *lateReader) Complaint(ctx context.Context, complaintID string) (*wxpay.Complaint, error) {
	r.once.Do(func() { <-ctx.Done() })
	return r.Complaints.Complaint(context.WithoutCancel(ctx), complaintID)
}

// A call that was not made, since its turn did not come in time, says nothing of the merchant's setup: the lane is not held for it.
func TestALaneIsNotHeldForATurnThatDidNotCome(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pauses := must(b.NC.SubscribeSync("$JS.API.CONSUMER.PAUSE.>"))
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Answer: wxpaytest.AnswerLost})
	b.Start(func(o *consumer.Options) {
		o.Merchants[0].Complaints = &lateReader{Complaints: o.Merchants[0].Complaints}
		o.Concurrency = 1 // no later delivery says that the lane is ours
	})
	b.Publish(messages.KindReply, consumertest.ReplyBody)
	if e := b.End(messages.KindReply, "P1"); e.Status != messages.StatusSucceeded {
		t.Errorf("ended %s: %+v", e.Status, e.Error)
	}
	b.Settled()
	check(t, b.NC.Flush())
	if n, _, err := pauses.Pending(); err != nil || n > 0 {
		t.Errorf("%d pauses of lanes, %v", n, err)
	}
}
