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
	"wxpay-worker/messages"
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
