package consumer_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

const (
	firstReply = `{"id":"P1","complaint_id":"C1","complainted_mchid":"1900000001","response_content":"正在核实"}`
	decideC1   = `{"id":"D1","complaint_id":"C1","action":"APPROVE","launch_refund_day":0}`
	laterReply = `{"id":"P2","complaint_id":"C1","complainted_mchid":"1900000001","response_content":"已退款"}`
	otherReply = `{"id":"P3","complaint_id":"C2","complainted_mchid":"1900000001","response_content":"已退款"}`
)

// What is said about a complaint is said in the order in which it was sent, also when the first of it has to wait for its next
// try, and also when another worker takes the lane over meanwhile. Another complaint does not wait for it.
func TestCommandsAboutAComplaintKeepTheirOrder(t *testing.T) {
	t.Parallel()
	for _, story := range []string{"waiting", "handed over", "killed"} {
		t.Run(story, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			arrived := make(chan struct{}, 1)
			b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointUpdateRefundProgress, Answer: wxpaytest.Answer5xx, Times: 2, Arrived: arrived})
			w := b.Start()
			b.Publish(messages.KindReply, firstReply)
			b.Publish(messages.KindDecision, decideC1)
			b.Publish(messages.KindReply, laterReply)
			b.Publish(messages.KindReply, otherReply)
			<-arrived
			switch story {
			case "handed over":
				check(t, w.Stop())
				b.Start()
			case "killed":
				w.Kill()
				b.Start()
			}
			for _, id := range []string{"P1", "P2", "P3"} {
				b.End(messages.KindReply, id)
			}
			b.Settled()
			book, _ := b.Sim.ComplaintBook("C1")
			var said []string
			for _, h := range book.History[1:] {
				said = append(said, h.OperateType)
			}
			if want := []string{"MERCHANT_RESPONSE", "MERCHANT_APPROVE_REFUND", "MERCHANT_RESPONSE"}; !slices.Equal(said, want) {
				t.Errorf("history %v, want %v", said, want)
			}
		})
	}
}

// A command that a person took out of the stream holds up nobody.
func TestARemovedCommandIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointUpdateRefundProgress, Answer: wxpaytest.Answer5xx, Times: 100})
	b.Start()
	sequence := b.Publish(messages.KindDecision, decideC1)
	b.Await("decision begun", func(e consumertest.Event) bool { return e.Key == "D1" })
	b.AwaitAck() // it waits for its next try
	b.Publish(messages.KindReply, laterReply)
	stream := must(b.JS.Stream(t.Context(), b.Subjects.CommandsStream()))
	check(t, stream.DeleteMsg(t.Context(), sequence))
	b.End(messages.KindReply, "P2")
}

// Refunds of one order stay a minute apart when another worker takes the lane over between them: whether the first was
// recorded, or was on its way when its worker died.
func TestRefundsOfOneOrderKeepTheirDistanceOverAHandOver(t *testing.T) {
	t.Parallel()
	body := func(no string) string {
		return fmt.Sprintf(`{"out_refund_no":%q,"transaction_id":"TX1","amount":{"refund":10,"total":100}}`, no)
	}
	for _, recorded := range []bool{true, false} {
		t.Run(fmt.Sprintf("recorded=%v", recorded), func(t *testing.T) {
			t.Parallel()
			b := setupAt(t, 20) // slow enough for a hand-over to fit into the minute
			arrived, never := make(chan struct{}, 1), make(chan struct{})
			if !recorded {
				b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Apply: true, Answer: wxpaytest.AnswerLost, Arrived: arrived, Hold: never})
			}
			w := b.Start()
			b.Publish(messages.KindRefund, body("R1"))
			if recorded {
				b.End(messages.KindRefund, "R1")
				check(t, w.Stop())
			} else {
				<-arrived
				w.Kill()
			}
			b.Publish(messages.KindRefund, body("R2"))
			b.Start()
			b.End(messages.KindRefund, "R1")
			b.End(messages.KindRefund, "R2")
			b.Settled()
			var first, second time.Time
			for _, r := range b.Sim.RequestsTo(wxpaytest.EndpointRefundCreate) {
				if first.IsZero() {
					first = r.At
				}
				second = r.At
			}
			if gap := second.Sub(first); gap < time.Minute {
				t.Errorf("%s apart", gap)
			}
		})
	}
}
