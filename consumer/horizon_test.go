package consumer_test

import (
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
