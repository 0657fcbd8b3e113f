package consumer_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/dlq"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
	"wxpay-worker/wxpay/wxpaytest"
)

// nextSecond lets what comes be of another second than what was: the history tells seconds, and what is of one second has no order.
func (b *bench) nextSecond() { <-time.After(b.Clock.Wall(2 * time.Second)) }

// userContinues begins a new round of the complaint.
func (b *bench) userContinues() {
	b.T.Helper()
	b.nextSecond()
	check(b.T, b.Sim.UserContinues(consumertest.ComplaintID))
	b.nextSecond()
}

// replyByHand answers the complaint as somebody does on the merchant platform.
func (b *bench) replyByHand(text string) {
	b.T.Helper()
	check(b.T, b.Client(mchid).RespondComplaint(b.T.Context(), consumertest.ComplaintID, &wxpay.ComplaintResponse{ComplaintedMchID: mchid, ResponseContent: text}))
	b.nextSecond()
}

// aRoundByHand has somebody answer the complaint and report it as finished, the user continue, and somebody answer once more.
func (b *bench) aRoundByHand() {
	b.T.Helper()
	b.nextSecond()
	b.replyByHand("您好")
	check(b.T, b.Client(mchid).CompleteComplaint(b.T.Context(), consumertest.ComplaintID, mchid))
	b.userContinues()
	b.replyByHand("您好")
}

// A user who continues the complaint begins a round: what was decided before it does not count, what was decided in it counts
// once, also when the answer was lost.
func TestADecisionInAnotherRound(t *testing.T) {
	t.Parallel()
	for _, apply := range []bool{false, true} {
		t.Run(fmt.Sprintf("applied=%v", apply), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.Start()
			reject := func(id string) string {
				return `{"id":"` + id + `","complaint_id":"` + consumertest.ComplaintID + `","action":"REJECT","reject_reason":"no"}`
			}
			b.Publish(messages.KindDecision, reject("D1"))
			b.End(messages.KindDecision, "D1")
			b.userContinues()
			b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointUpdateRefundProgress, Apply: apply, Answer: wxpaytest.AnswerLost})
			b.Publish(messages.KindDecision, reject("D2"))
			if e := b.End(messages.KindDecision, "D2"); e.Status != messages.StatusSucceeded {
				t.Errorf("ended %s: %+v", e.Status, e.Error)
			}
			b.Settled()
			if got, want := b.Operates(), []string{"MERCHANT_REFUSE_RERUND", "USER_CONTINUE_COMPLAINT", "MERCHANT_REFUSE_RERUND"}; !slices.Equal(got, want) {
				t.Errorf("history %v, want %v", got, want)
			}
		})
	}
}

// A rejection or completion of which the answer was lost is not done to the round that the user has begun since.
func TestTheUserContinuesBeforeTheReadBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind     messages.Kind
		key      string
		body     string
		endpoint wxpaytest.Endpoint
		replied  bool // whether somebody answers the user in the new round
		operate  string
	}{
		"reject":                {messages.KindDecision, "D2", consumertest.RejectBody, wxpaytest.EndpointUpdateRefundProgress, false, wxpay.MerchantRefuseRefund},
		"complete":              {messages.KindComplete, "C1", consumertest.CompleteBody, wxpaytest.EndpointComplaintComplete, false, wxpay.MerchantConfirmComplete},
		"complete, and replied": {messages.KindComplete, "C1", consumertest.CompleteBody, wxpaytest.EndpointComplaintComplete, true, wxpay.MerchantConfirmComplete},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.Start()
			b.Publish(messages.KindReply, consumertest.ReplyBody)
			b.End(messages.KindReply, "P1")
			arrived, hold := make(chan struct{}, 1), make(chan struct{})
			b.Sim.Fault(wxpaytest.Fault{Endpoint: c.endpoint, Apply: true, Answer: wxpaytest.AnswerLost, Arrived: arrived, Hold: hold})
			b.Publish(c.kind, c.body)
			<-arrived
			b.userContinues()
			if c.replied {
				b.replyByHand("平台已答复")
			}
			close(hold)
			if e := b.End(c.kind, c.key); e.Status != messages.StatusSucceeded {
				t.Errorf("ended %s: %+v", e.Status, e.Error)
			}
			b.Settled()
			done := 0
			for _, operate := range b.Operates() {
				if operate == c.operate {
					done++
				}
			}
			if done != 1 {
				t.Errorf("done %d times: %v", done, b.Operates())
			}
		})
	}
}

// What was refused, and is put back when the user has begun a new round, is done to that one: nothing of it was done to an earlier one, whatever
// people did there.
func TestWhatWasRefusedIsPutBackIntoANewRound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Start()
	b.Publish(messages.KindComplete, consumertest.CompleteBody)
	failed := b.End(messages.KindComplete, "C1") // nobody has replied yet
	if failed.Error == nil || failed.Error.Reason != messages.ReasonRejected {
		t.Fatalf("outcome: %+v %+v", failed.Outcome, failed.Error)
	}
	b.Drained()
	b.aRoundByHand()
	must(b.Letters.Replay(t.Context(), failed.DeadLetter, dlq.ReplayOptions{}))
	b.Await("C1 succeeded", func(e consumertest.Event) bool { return e.Key == "C1" && e.Status == messages.StatusSucceeded })
	b.Drained()
	if book, _ := b.Sim.ComplaintBook(consumertest.ComplaintID); book.State != wxpay.ComplaintProcessed {
		t.Errorf("the complaint is %s: %v", book.State, b.Operates())
	}
	check(t, b.Sim.CheckBooks())
}

// What was malformed has never been sent: corrected and put back, it is not taken for what was done in a round that is over.
func TestWhatWasMalformedIsPutBackIntoANewRound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Start()
	b.aRoundByHand()
	seq := b.Publish(messages.KindComplete, `{"id":"C1","complaint_id":"`+consumertest.ComplaintID+`"}`)
	failed := b.End(messages.KindComplete, messages.SeqKey(seq))
	must(b.Letters.Replay(t.Context(), failed.DeadLetter, dlq.ReplayOptions{Patch: []byte(`{"complainted_mchid":"` + mchid + `"}`)}))
	b.Await("C1 succeeded", func(e consumertest.Event) bool { return e.Key == "C1" && e.Status == messages.StatusSucceeded })
	b.Drained()
	if book, _ := b.Sim.ComplaintBook(consumertest.ComplaintID); book.State != wxpay.ComplaintProcessed {
		t.Errorf("the complaint is %s: %v", book.State, b.Operates())
	}
	check(t, b.Sim.CheckBooks())
}
