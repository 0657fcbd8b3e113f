package consumer_test

import (
	"fmt"
	"testing"
	"time"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/dlq"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// The reply inside a decision is tried anew when the decision's letter is put back, also when that is later than a command may be old, and
// the worker that tried it before has not been restarted since.
func TestAReplyOfADecisionThatIsPutBackIsTriedAnew(t *testing.T) {
	t.Parallel()
	const maxAge = 5 * time.Minute
	b := setup(t)
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 400, Code: "INVALID_REQUEST"})
	b.Start(func(o *consumer.Options) { o.Retry.MaxAge = maxAge })
	b.Publish(messages.KindDecision, consumertest.ApproveBody)
	first := b.End(messages.KindDecision, "D1")
	b.Drained()
	<-time.After(b.Clock.Wall(maxAge + time.Minute))
	b.Sim.ClearFaults()
	must(b.Letters.Replay(t.Context(), first.DeadLetter, dlq.ReplayOptions{}))
	again := b.Await("another end of D1", func(e consumertest.Event) bool { return e.Key == "D1" && e.Final && e.DeadLetter != first.DeadLetter })
	if again.Status != messages.StatusSucceeded {
		t.Errorf("put back, it ended %s: %+v", again.Status, again.Error)
	}
	if n := len(b.Sim.RequestsTo(wxpaytest.EndpointComplaintResponse)); n != 2 {
		t.Errorf("%d replies were sent", n)
	}
}

// A refund that is put back after the records of its earlier tries have expired is asked about before anything else, also by a worker that
// is sure of its lane: it may be there, and WeChat Pay may refuse by now what it once accepted.
func TestARefundPutBackWithoutRecordsIsReadBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.Start()
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	b.End(messages.KindRefund, "R1")
	b.Drained()
	check(t, w.Stop())
	check(t, must(b.JS.Stream(t.Context(), b.Subjects.OutcomesStream())).Purge(t.Context())) // a long time later
	b.ForgetEvents()

	overdue := wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, ID: "R1", Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 400, Code: "TRADE_OVERDUE"}
	b.Sim.Fault(overdue)
	b.Start()
	for n := range 2 * 16 { // more than whoever takes a lane asks about
		number := fmt.Sprintf("S%d", n)
		b.Publish(messages.KindRefund, consumertest.RefundBody(number))
		b.End(messages.KindRefund, number)
	}
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"), messages.HeaderReplays, "1")
	if e := b.End(messages.KindRefund, "R1"); e.Status == messages.StatusFailed {
		t.Errorf("the refund is there, and ended %s: %+v", e.Status, e.Error)
	}
	b.Settled()
}
