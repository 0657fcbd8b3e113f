package consumertest_test

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

func TestMain(m *testing.M) {
	natstest.Crowd(24)
	os.Exit(m.Run())
}

// story is a command and a call of it that is disturbed.
type story struct {
	kind     messages.Kind
	key      string
	body     string
	endpoint wxpaytest.Endpoint
	writes   wxpaytest.Endpoint // of a call that only reads: the writing call whose lost answer makes the worker read
	record   string             // the subject, or its end, of what the worker records when the call has succeeded
	want     []string           // the complaint's history at the end
	v2       bool
}

var (
	replied  = []string{"MERCHANT_RESPONSE"}
	approved = []string{"MERCHANT_RESPONSE", "MERCHANT_APPROVE_REFUND"}
	rejected = []string{"MERCHANT_REFUSE_RERUND"}
	finished = []string{"MERCHANT_RESPONSE", "MERCHANT_CONFIRM_COMPLETE"}
)

var stories = []story{
	{kind: messages.KindRefund, key: "R1", body: consumertest.RefundBody("R1"), endpoint: wxpaytest.EndpointRefundCreate, record: "refund.R1.accepted"},
	{kind: messages.KindRefund, key: "R1", body: consumertest.RefundBody("R1"), endpoint: wxpaytest.EndpointV2Refund, record: "refund.R1.accepted", v2: true},
	{kind: messages.KindReply, key: "P1", body: consumertest.ReplyBody, endpoint: wxpaytest.EndpointComplaintResponse, record: "reply.P1.succeeded", want: replied},
	{kind: messages.KindDecision, key: "D1", body: consumertest.ApproveBody, endpoint: wxpaytest.EndpointComplaintResponse, record: "reply.D1=3Areply.succeeded", want: approved},
	{kind: messages.KindDecision, key: "D1", body: consumertest.ApproveBody, endpoint: wxpaytest.EndpointUpdateRefundProgress, record: "decision.D1.succeeded", want: approved},
	{kind: messages.KindDecision, key: "D2", body: consumertest.RejectBody, endpoint: wxpaytest.EndpointUpdateRefundProgress, record: "decision.D2.succeeded", want: rejected},
	{kind: messages.KindComplete, key: "C1", body: consumertest.CompleteBody, endpoint: wxpaytest.EndpointComplaintComplete, record: "complete.C1.succeeded", want: finished},

	{kind: messages.KindRefund, key: "R1", body: consumertest.RefundBody("R1"), endpoint: wxpaytest.EndpointRefundQuery, writes: wxpaytest.EndpointRefundCreate, record: "refund.R1.accepted"},
	{kind: messages.KindRefund, key: "R1", body: consumertest.RefundBody("R1"), endpoint: wxpaytest.EndpointV2RefundQuery, writes: wxpaytest.EndpointV2Refund, record: "refund.R1.accepted", v2: true},
	{kind: messages.KindReply, key: "P1", body: consumertest.ReplyBody, endpoint: wxpaytest.EndpointComplaintDetail, writes: wxpaytest.EndpointComplaintResponse, record: "reply.P1.succeeded", want: replied},
	{kind: messages.KindReply, key: "P1", body: consumertest.ReplyBody, endpoint: wxpaytest.EndpointNegotiationHistory, writes: wxpaytest.EndpointComplaintResponse, record: "reply.P1.succeeded", want: replied},
}

// can reports whether WeChat Pay can answer like that.
func (s *story) can(f wxpaytest.Fault, apply bool) bool {
	switch {
	case f.ReturnFail:
		return s.v2
	case f.Answer == wxpaytest.AnswerStale:
		return !s.v2 // v2 signs no time
	case f.Answer == wxpaytest.Answer429:
		return !apply || s.endpoint == wxpaytest.EndpointRefundCreate || s.writes != "" // a proven "not now": only for v3 refunds it leaves it open
	}
	return true
}

// stop is where the story's worker dies; another one finds what it left.
type stop string

const (
	stopNever  stop = "never"
	stopCall   stop = "in the call"
	stopBefore stop = "before the record"
	stopAfter  stop = "after the record"
)

// differs reports whether the story with that answer differs from one that is told already.
func (s *story) differs(f wxpaytest.Fault, at stop) bool {
	switch {
	case at == stopCall: // nobody is left to hear the answer
		return f.Answer == wxpaytest.AnswerLost || f.Answer == wxpaytest.AnswerSlow
	case at == stopAfter && s.writes != "": // reading back and writing have one record
		return false
	case at == stopBefore || at == stopAfter: // what comes after the call follows from the verdict, and others have the verdict of these
		return f.ReturnFail || slices.Contains([]wxpaytest.Answer{wxpaytest.AnswerLost, wxpaytest.Answer429, wxpaytest.Answer5xx, wxpaytest.AnswerForged}, f.Answer)
	}
	return true
}

// Here, beside the means, not in package consumer: it is as long as all tests there, and go test runs packages beside each other.

// Every call, disturbed in every way, carried out by WeChat Pay or not, by a worker that lives or dies at any step: the command
// ends once, as it should, and took effect once.
func TestEveryStoryEndsOnce(t *testing.T) {
	t.Parallel()
	for _, s := range stories {
		for _, f := range consumertest.Hardships {
			for _, apply := range []bool{false, true} {
				for _, at := range []stop{stopNever, stopCall, stopBefore, stopAfter} {
					if s.can(f, apply) && s.differs(f, at) {
						t.Run(fmt.Sprintf("%s/%s/%s fail=%v/applied=%v/stopped %s", s.kind, s.endpoint, f.Answer, f.ReturnFail, apply, at), func(t *testing.T) {
							t.Parallel()
							s.tell(t, f, apply, at)
						})
					}
				}
			}
		}
	}
}

func (s *story) tell(t *testing.T, f wxpaytest.Fault, apply bool, at stop) {
	b := consumertest.New(t, consumertest.Config{})
	var options []consumertest.Option
	if s.v2 {
		options = append(options, b.V2)
	}
	if s.kind == messages.KindComplete { // it fails while the complaint waits for a first reply
		w := b.Start(options...)
		b.Publish(messages.KindReply, consumertest.ReplyBody)
		b.End(messages.KindReply, "P1")
		b.Drained()
		if err := w.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	arrived := make(chan struct{}, 1)
	f.Endpoint, f.Apply, f.Arrived = s.endpoint, apply, arrived
	if s.writes != "" {
		b.Sim.Fault(wxpaytest.Fault{Endpoint: s.writes, Apply: apply, Answer: wxpaytest.AnswerLost})
		f.Apply = false
	}
	b.Fault(f)
	c := &consumertest.Cut{At: s.record, Lost: at == stopBefore, Dead: true}
	var w *consumertest.Worker
	if at == stopBefore || at == stopAfter {
		w = b.StartVia(c, options...)
	} else {
		w = b.Start(options...)
	}
	b.Publish(s.kind, s.body)
	switch at {
	case stopCall:
		<-arrived
	case stopBefore, stopAfter:
		<-w.LostWire
	}
	if at != stopNever {
		w.Kill()
		b.Start(options...)
	}
	if e := b.End(s.kind, s.key); e.Status != messages.StatusSucceeded && e.Status != messages.StatusAccepted {
		t.Errorf("ended %s: %+v", e.Status, e.Error)
	}
	b.Settled()
	if got := b.Operates(); s.want != nil && !slices.Equal(got, s.want) {
		t.Errorf("history %v, want %v", got, s.want)
	}
}
