package consumer_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/dlq"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
	"wxpay-worker/wxpay/wxpaytest"
)

// A decision is a sequence: reply, approval, refund; each recorded before the next begins.
func TestDecisionRepliesApprovesAndRefunds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Start()
	b.Publish(messages.KindDecision, consumertest.ApproveBody, "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	d := b.End(messages.KindDecision, "D1")
	r := b.End(messages.KindRefund, "R1")
	b.Settled()
	if d.Status != messages.StatusSucceeded || d.Attempts != 1 || d.Metadata["agent"] != "7" || d.ComplaintID != consumertest.ComplaintID {
		t.Errorf("decision: %+v %+v", d.Outcome, d.Error)
	}
	if r.Status != messages.StatusAccepted || r.Metadata["agent"] != "7" || r.ComplaintID != consumertest.ComplaintID || r.Header.Get("traceparent") == "" {
		t.Errorf("refund: %+v %+v", r.Outcome, r.Error)
	}
	if got := b.Operates(); !slices.Equal(got, []string{"MERCHANT_RESPONSE", "MERCHANT_APPROVE_REFUND"}) {
		t.Errorf("history %v", got)
	}
	var order []string
	for _, e := range b.Events() {
		if e.Kind != messages.KindRefund {
			order = append(order, fmt.Sprintf("%s %s", e.Key, e.Status))
		}
	}
	for i := len(order) - 1; i > 0; i-- { // on a slow machine a start may be announced anew before the call
		if strings.HasSuffix(order[i], "started") && slices.Contains(order[:i], order[i]) {
			order = slices.Delete(order, i, i+1)
		}
	}
	if want := []string{"D1 started", "D1:reply started", "D1:reply succeeded", "D1 succeeded"}; !slices.Equal(order, want) {
		t.Errorf("events %v, want %v", order, want)
	}
	approvals := b.Sim.RequestsTo(wxpaytest.EndpointUpdateRefundProgress)
	if body := string(approvals[0].Body); body != `{"action":"APPROVE","launch_refund_day":0,"remark":"已处理完成"}` {
		t.Errorf("approval sent as %s", body)
	}
}

func TestRejectionSendsItsOwnFieldsOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Start()
	b.Publish(messages.KindDecision, consumertest.RejectBody)
	if e := b.End(messages.KindDecision, "D2"); e.Status != messages.StatusSucceeded {
		t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
	}
	b.Settled()
	if body := string(b.Sim.RequestsTo(wxpaytest.EndpointUpdateRefundProgress)[0].Body); body != `{"action":"REJECT","reject_reason":"拒绝退款","reject_media_list":["MediaId"]}` {
		t.Errorf("rejection sent as %s", body)
	}
}

// The first step that is definitively refused ends the decision as a dead letter that names the step; nothing after it is
// sent. A replay goes on at that step.
func TestRefusedReplyEndsTheDecisionAndAReplayGoesOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 400, Code: "PARAM_ERROR"})
	b.Start()
	b.Publish(messages.KindDecision, consumertest.ApproveBody)
	e := b.End(messages.KindDecision, "D1")
	letter := must(b.Letters.Get(t.Context(), e.DeadLetter))
	if e.Status != messages.StatusFailed || letter.Step != "reply" || letter.Reason != messages.ReasonRejected || letter.Code != "PARAM_ERROR" {
		t.Errorf("letter: %+v", letter.DeadLetter)
	}
	if r := b.End(messages.KindReply, "D1:reply"); r.Status != messages.StatusFailed || r.DeadLetter != e.DeadLetter {
		t.Errorf("reply: %+v", r.Outcome)
	}
	b.Drained()
	if n := len(b.Sim.RequestsTo(wxpaytest.EndpointUpdateRefundProgress)); n != 0 {
		t.Errorf("%d decisions sent after the refused reply", n)
	}

	b.Sim.ClearFaults()
	b.Publish(messages.KindDecision, string(letter.Command), messages.HeaderCommandID, letter.CommandID, messages.HeaderReplays, "1")
	b.Await("D1 succeeded", func(e consumertest.Event) bool { return e.Key == "D1" && e.Status == messages.StatusSucceeded })
	b.End(messages.KindRefund, "R1")
	b.Drained()
	if got := b.Operates(); !slices.Equal(got, []string{"MERCHANT_RESPONSE", "MERCHANT_APPROVE_REFUND"}) {
		t.Errorf("history %v", got)
	}
}

// A complaint that was decided the same way by somebody else has what the command asks for; one that was decided otherwise
// is refused, and its refund is not sent.
func TestDecisionMadeBefore(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]string{
		"same way": `{"id":"D0","complaint_id":"` + consumertest.ComplaintID + `","action":"APPROVE"}`, "otherwise": `{"id":"D0","complaint_id":"` + consumertest.ComplaintID + `","action":"REJECT","reject_reason":"no"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.Start()
			b.Publish(messages.KindDecision, first)
			b.End(messages.KindDecision, "D0")
			b.Publish(messages.KindDecision, `{"id":"D1","complaint_id":"`+consumertest.ComplaintID+`","action":"APPROVE","refund":{"out_refund_no":"R1","transaction_id":"TX1","amount":{"refund":100,"total":100}}}`)
			e := b.End(messages.KindDecision, "D1")
			if name == "same way" {
				b.End(messages.KindRefund, "R1")
				if e.Status != messages.StatusSucceeded {
					t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
				}
			} else if e.Status != messages.StatusFailed || e.Error.Reason != messages.ReasonRejected {
				t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
			}
			b.Settled()
			if _, there := b.Sim.Refund(mchid, "R1"); there != (name == "same way") {
				t.Errorf("refund there: %v", there)
			}
		})
	}
}

// complete fails while the complaint waits for a first reply; one that is processed already has succeeded.
func TestCompleteByState(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Start()
	b.Publish(messages.KindComplete, consumertest.CompleteBody)
	if e := b.End(messages.KindComplete, "C1"); e.Status != messages.StatusFailed || e.Error.Reason != messages.ReasonRejected {
		t.Errorf("while pending: %+v %+v", e.Outcome, e.Error)
	}
	b.Publish(messages.KindDecision, consumertest.RejectBody) // REJECT processes the complaint at once
	b.End(messages.KindDecision, "D2")
	b.Publish(messages.KindComplete, `{"id":"C2","complaint_id":"`+consumertest.ComplaintID+`","complainted_mchid":"1900000001"}`)
	if e := b.End(messages.KindComplete, "C2"); e.Status != messages.StatusSucceeded {
		t.Errorf("when processed: %+v %+v", e.Outcome, e.Error)
	}
	b.Settled()
}

// Commands of one complaint are carried out in the order in which they came, also when they came at once.
func TestCommandsOfOneComplaintKeepTheirOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Publish(messages.KindReply, consumertest.ReplyBody)
	b.Publish(messages.KindComplete, consumertest.CompleteBody)
	b.Start()
	b.End(messages.KindReply, "P1")
	if e := b.End(messages.KindComplete, "C1"); e.Status != messages.StatusSucceeded {
		t.Errorf("complete: %+v %+v", e.Outcome, e.Error)
	}
	b.Settled()
}

func TestSameIDOtherParametersIsConflict(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Start()
	b.Publish(messages.KindReply, consumertest.ReplyBody)
	b.End(messages.KindReply, "P1")
	b.Publish(messages.KindReply, consumertest.ReplyBody)
	b.Publish(messages.KindReply, `{"id":"P1","complaint_id":"`+consumertest.ComplaintID+`","complainted_mchid":"1900000001","response_content":"other"}`)
	if e := b.End(messages.KindReply, "seq-3"); e.Error == nil || e.Error.Reason != messages.ReasonConflict || e.Error.ConflictsWith != "P1" {
		t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
	}
	b.Settled()
	if n := len(b.Sim.RequestsTo(wxpaytest.EndpointComplaintResponse)); n != 1 {
		t.Errorf("%d replies sent", n)
	}
}

// A decision that is corrected in its reply, too, though that was sent, is a conflict of its reply: nothing of it begins, and the id is as good as
// before.
func TestACorrectionOfAReplyThatWasSent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointUpdateRefundProgress, Answer: wxpaytest.AnswerRefusal, Status: 404, Code: "RESOURCE_NOT_EXISTS"})
	b.Start()
	b.Publish(messages.KindDecision, consumertest.ApproveBody)
	b.Await("D1 failed", func(e consumertest.Event) bool { return e.Key == "D1" && e.Status == messages.StatusFailed })
	corrected := b.Publish(messages.KindDecision, strings.Replace(consumertest.ApproveBody, "已与用户沟通解决", "已解决", 1))
	if e := b.End(messages.KindDecision, messages.SeqKey(corrected)); e.Error == nil || e.Error.Reason != messages.ReasonConflict || e.Error.ConflictsWith != "D1:reply" {
		t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
	}
	b.Drained()
	b.Publish(messages.KindDecision, consumertest.ApproveBody)
	b.Await("D1 succeeded", func(e consumertest.Event) bool { return e.Key == "D1" && e.Status == messages.StatusSucceeded })
	b.Drained()
	if got, want := slices.Compact(b.Statuses(messages.KindDecision, "D1")), []messages.Status{"started", "failed", "started", "succeeded"}; !slices.Equal(got, want) {
		t.Errorf("D1: %v, want %v", got, want)
	}
	if got, want := b.Operates(), []string{"MERCHANT_RESPONSE", "MERCHANT_APPROVE_REFUND"}; !slices.Equal(got, want) {
		t.Errorf("history %v, want %v", got, want)
	}
}

// A decision that has begun when somebody else's reply takes its reply's id ends, and leaves nothing that looks begun.
func TestADecisionWhoseReplyIsTakenMeanwhile(t *testing.T) {
	t.Parallel()
	b := setup(t)
	gate := consumertest.NewGate("decision.D1.started")
	b.StartVia(gate)
	decision := b.Publish(messages.KindDecision, consumertest.ApproveBody)
	<-gate.Shut
	e := &messages.Outcome{MchID: mchid, Kind: messages.KindReply, Key: "D1:reply", ID: "D1:reply", Status: messages.StatusSucceeded, Final: true, At: b.Clock.Now()}
	record := nats.NewMsg(b.Subjects.Outcome(mchid, messages.KindReply, "D1:reply", messages.StatusSucceeded))
	record.Header, record.Data = e.Headers(b.Subjects), must(e.Encode())
	record.Header.Set(messages.HeaderDigest, "another command's")
	must(b.JS.PublishMsg(t.Context(), record))
	close(gate.Open)
	if e := b.End(messages.KindDecision, messages.SeqKey(decision)); e.Error == nil || e.Error.Reason != messages.ReasonConflict || e.Error.ConflictsWith != "D1:reply" {
		t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
	}
	b.Settled()
	if got, want := slices.Compact(b.Statuses(messages.KindDecision, "D1")), []messages.Status{"started", "failed"}; !slices.Equal(got, want) {
		t.Errorf("D1: %v, want %v", got, want)
	}
}

// A complaint that is not of the fast-refund kind takes no decision: a dead letter, and the refund is not sent, though the same
// code also says that it was decided before.
func TestAComplaintThatTakesNoDecision(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Sim.AddComplaint(wxpaytest.Complaint{ID: "C1", MchID: mchid, Orders: []string{"TX1"}})
	b.Start()
	b.Publish(messages.KindDecision, `{"id":"D1","complaint_id":"C1","action":"APPROVE","refund":{"out_refund_no":"R1","transaction_id":"TX1","amount":{"refund":100,"total":100}}}`)
	e := b.End(messages.KindDecision, "D1")
	if e.Error == nil || e.Error.Reason != messages.ReasonRejected || e.Error.Code != "PARAM_ERROR" {
		t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
	}
	if letter := must(b.Letters.Get(t.Context(), e.DeadLetter)); letter.Step != "decision" {
		t.Errorf("step %q", letter.Step)
	}
	b.Settled()
	if _, there := b.Sim.Refund(mchid, "R1"); there {
		t.Error("refunded all the same")
	}
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
			time.Sleep(b.Clock.Wall(2 * time.Second)) // the history tells seconds, and what is of one second has no order
			check(t, b.Sim.UserContinues(consumertest.ComplaintID))
			time.Sleep(b.Clock.Wall(2 * time.Second))
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

// A read-back that is refused says nothing: the reply is not sent again over it. If that goes on until tries run out, it may have happened.
func TestARefusedReadBackIsNoAnswer(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"INVALID_REQUEST", "PARAM_ERROR", "RULE_LIMIT", "RESOURCE_NOT_EXISTS"} {
		for times, want := range map[int]messages.Status{2: messages.StatusSucceeded, -1: messages.StatusFailed} {
			t.Run(fmt.Sprintf("%s/%d", code, times), func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Apply: true, Answer: wxpaytest.AnswerLost})
				b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintDetail, Times: times, Answer: wxpaytest.AnswerRefusal, Status: 400, Code: code})
				b.Start(func(o *consumer.Options) { o.Retry.MaxAge = 10 * time.Minute })
				b.Publish(messages.KindReply, consumertest.ReplyBody)
				e := b.End(messages.KindReply, "P1")
				if e.Status != want || want == messages.StatusFailed && e.Error.Reason != messages.ReasonUnresolved {
					t.Errorf("ended %s: %+v", e.Status, e.Error)
				}
				b.Settled()
				if n := len(b.Sim.Replies(consumertest.ComplaintID)); n != 1 {
					t.Errorf("%d replies", n)
				}
			})
		}
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
			second := func() { time.Sleep(b.Clock.Wall(2 * time.Second)) } // the history tells seconds, and what is of one second has no order
			second()
			check(t, b.Sim.UserContinues(consumertest.ComplaintID))
			second()
			if c.replied {
				check(t, b.Client(mchid).RespondComplaint(t.Context(), consumertest.ComplaintID,
					&wxpay.ComplaintResponse{ComplaintedMchID: mchid, ResponseContent: "平台已答复"}))
				second()
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

// Twenty messages without an answer of the user are all there may be: the next one ends as a dead letter and nothing is repeated.
// When the user has answered, its replay goes through. Long histories are read to their end.
func TestTheTwentyFirstMessage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Start()
	reply := func(i int) string {
		return fmt.Sprintf(`{"id":"P%d","complaint_id":%q,"complainted_mchid":"1900000001","response_content":"您好 %d"}`, i, consumertest.ComplaintID, i)
	}
	for i := range 21 {
		b.Publish(messages.KindReply, reply(i))
	}
	e := b.End(messages.KindReply, "P20")
	if e.Error == nil || e.Error.Reason != messages.ReasonRejected {
		t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
	}
	check(t, b.Sim.UserReplies(consumertest.ComplaintID))
	b.Publish(messages.KindReply, reply(20), messages.HeaderReplays, "1")
	b.Await("P20 succeeded", func(e consumertest.Event) bool { return e.Key == "P20" && e.Status == messages.StatusSucceeded })
	b.Drained()
	if n := len(b.Sim.Replies(consumertest.ComplaintID)); n != 21 {
		t.Errorf("%d replies", n)
	}
	check(t, b.Sim.CheckBooks())
}

// A history of several pages is read to its end before a reply is sent again, in whichever order WeChat Pay gives it.
func TestALongHistoryIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	for _, oldestFirst := range []bool{false, true} {
		t.Run(fmt.Sprintf("oldest first=%v", oldestFirst), func(t *testing.T) {
			t.Parallel()
			b := setupWith(t, consumertest.Config{Simulator: wxpaytest.Options{HistoryOldestFirst: oldestFirst}})
			b.Sim.AddComplaint(wxpaytest.Complaint{ID: consumertest.ComplaintID, MchID: mchid})
			arrived, hold := make(chan struct{}, 1), make(chan struct{})
			b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Apply: true, Answer: wxpaytest.AnswerLost, Arrived: arrived, Hold: hold})
			for range 310 {
				check(t, b.Sim.UserReplies(consumertest.ComplaintID))
			}
			b.Start()
			b.Publish(messages.KindReply, consumertest.ReplyBody)
			<-arrived
			for range 310 {
				check(t, b.Sim.UserReplies(consumertest.ComplaintID))
			}
			close(hold)
			if e := b.End(messages.KindReply, "P1"); e.Status != messages.StatusSucceeded {
				t.Errorf("ended %s: %+v", e.Status, e.Error)
			}
			b.Settled()
			if n := len(b.Sim.Replies(consumertest.ComplaintID)); n != 1 {
				t.Errorf("%d replies", n)
			}
		})
	}
}

// A complaint whose history is longer than is read ends its own command, and holds nobody else's.
func TestHistoryTooLongEndsItsOwnCommandOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Sim.AddComplaint(wxpaytest.Complaint{ID: consumertest.ComplaintID, MchID: mchid})
	for range 6000 {
		check(t, b.Sim.UserReplies(consumertest.ComplaintID))
	}
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Apply: true, Answer: wxpaytest.AnswerLost})
	w := b.Start(func(o *consumer.Options) { o.Retry.MaxAge = 5 * time.Minute })
	b.Publish(messages.KindReply, consumertest.ReplyBody)
	if e := b.End(messages.KindReply, "P1"); e.Error == nil || e.Error.Reason != messages.ReasonUnresolved {
		t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
	}
	for _, l := range w.Consumer.Status() {
		if l.Held != "" {
			t.Errorf("lane %s is held: %s", l.Name, l.Held)
		}
	}
	if n := len(b.Sim.Replies(consumertest.ComplaintID)); n != 1 {
		t.Errorf("%d replies", n)
	}
	b.Settled()
}

// A reply that WeChat Pay refuses at its first try was not sent, although another in the same words was a moment ago.
func TestARefusedReplyIsNotTakenForAnotherInTheSameWords(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Skip: 1, Answer: wxpaytest.AnswerRefusal})
	b.Start()
	b.Publish(messages.KindReply, consumertest.ReplyBody)
	b.End(messages.KindReply, "P1")
	b.Publish(messages.KindReply, strings.Replace(consumertest.ReplyBody, "P1", "P2", 1))
	if e := b.End(messages.KindReply, "P2"); e.Error == nil || e.Error.Reason != messages.ReasonRejected {
		t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
	}
	b.Settled()
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
	second := func() { time.Sleep(b.Clock.Wall(2 * time.Second)) } // the history tells seconds, and what is of one second has no order
	byHand := b.Client(mchid)
	answer := func() {
		second()
		check(t, byHand.RespondComplaint(t.Context(), consumertest.ComplaintID, &wxpay.ComplaintResponse{ComplaintedMchID: mchid, ResponseContent: "您好"}))
		second()
	}
	answer()
	check(t, byHand.CompleteComplaint(t.Context(), consumertest.ComplaintID, mchid))
	second()
	check(t, b.Sim.UserContinues(consumertest.ComplaintID))
	answer()
	must(b.Letters.Replay(t.Context(), failed.DeadLetter, dlq.ReplayOptions{}))
	b.Await("C1 succeeded", func(e consumertest.Event) bool { return e.Key == "C1" && e.Status == messages.StatusSucceeded })
	b.Drained()
	if book, _ := b.Sim.ComplaintBook(consumertest.ComplaintID); book.State != wxpay.ComplaintProcessed {
		t.Errorf("the complaint is %s: %v", book.State, b.Operates())
	}
	check(t, b.Sim.CheckBooks())
}

// Commands that bear one id and are about several complaints arrive at once: one of them is carried out, the others are conflicts. (They share no
// memory, as the race detector finds.)
func TestOneIDForSeveralComplaints(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Start()
	const ids, complaints = 10, 4
	for i := range ids {
		for c := range complaints {
			b.Publish(messages.KindReply, fmt.Sprintf(`{"id":"P%d","complaint_id":"C%d","complainted_mchid":"1900000001","response_content":"您好 %[1]d"}`, i, c))
		}
	}
	b.Settled()
	replies, conflicts := 0, 0
	for c := range complaints {
		replies += len(b.Sim.Replies(fmt.Sprintf("C%d", c)))
	}
	for _, e := range b.Events() {
		if e.Error != nil && e.Error.Reason == messages.ReasonConflict {
			conflicts++
		}
	}
	if replies != ids || conflicts != ids*(complaints-1) {
		t.Errorf("%d replies, %d conflicts", replies, conflicts)
	}
}

// What was malformed has never been sent: corrected and put back, it is not taken for what was done in a round that is over.
func TestWhatWasMalformedIsPutBackIntoANewRound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Start()
	second := func() { time.Sleep(b.Clock.Wall(2 * time.Second)) } // the history tells seconds, and what is of one second has no order
	byHand := b.Client(mchid)
	answer := func() {
		check(t, byHand.RespondComplaint(t.Context(), consumertest.ComplaintID, &wxpay.ComplaintResponse{ComplaintedMchID: mchid, ResponseContent: "您好"}))
		second()
	}
	answer()
	check(t, byHand.CompleteComplaint(t.Context(), consumertest.ComplaintID, mchid))
	second()
	check(t, b.Sim.UserContinues(consumertest.ComplaintID))
	second()
	answer()
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

// One whose history takes longer to read than a lease lasts, as where WeChat Pay refuses large pages and the quota is small, is not read without
// a pause: each time counts as one in vain.
func TestHistoryThatTakesTooLongIsReadInVain(t *testing.T) {
	t.Parallel()
	b := setupWith(t, consumertest.Config{Simulator: wxpaytest.Options{LargestPage: 10}})
	b.Sim.AddComplaint(wxpaytest.Complaint{ID: consumertest.ComplaintID, MchID: mchid})
	for range 1300 {
		check(t, b.Sim.UserReplies(consumertest.ComplaintID))
	}
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Apply: true, Answer: wxpaytest.AnswerLost})
	b.Start(func(o *consumer.Options) {
		o.Retry.MaxAge = 15 * time.Minute
		o.Merchants[0].Quota.Complaints = consumer.Rate{N: 10, Per: time.Minute} // a hundred reads in a lease
	})
	b.Publish(messages.KindReply, consumertest.ReplyBody)
	if e := b.End(messages.KindReply, "P1"); e.Error == nil || e.Error.Reason != messages.ReasonUnresolved {
		t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
	}
	b.Settled()
	if acks := b.Acks(); slices.Contains(acks, "-NAK") {
		t.Errorf("handed back to come at once: %q", slices.DeleteFunc(acks, func(a string) bool { return a == "+WPI" }))
	}
}
