package consumer_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/dlq"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
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
	if again := b.putBack(first, dlq.ReplayOptions{}); again.Status != messages.StatusSucceeded {
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

// A merchant's configuration changes while it is open whether a command was carried out, so that it could not be carried any more: what
// has happened counts. What has not is malformed, and leaves nothing that looks as if it were under way.
func TestWhatCannotBeCarriedAnyMore(t *testing.T) {
	t.Parallel()
	const refund = `{"out_refund_no":"R1","out_trade_no":"T1","amount":{"refund":100,"total":100}}` // too short a number for API v2
	const decision = `{"id":"D1","complaint_id":"` + consumertest.ComplaintID + `","action":"APPROVE","refund":` + refund + `}`
	for _, s := range []struct {
		name     string
		kind     messages.Kind
		body     string
		endpoint wxpaytest.Endpoint
		apply    bool
		want     map[string]messages.Status // by key
	}{
		{"refund that was made", messages.KindRefund, refund, wxpaytest.EndpointRefundCreate, true,
			map[string]messages.Status{"R1": messages.StatusAccepted}},
		{"refund that was not", messages.KindRefund, refund, wxpaytest.EndpointRefundCreate, false,
			map[string]messages.Status{"seq-1": messages.StatusFailed}},
		{"decision that was made", messages.KindDecision, decision, wxpaytest.EndpointUpdateRefundProgress, true,
			map[string]messages.Status{"D1": messages.StatusSucceeded, "seq-2": messages.StatusFailed}}, // its refund
		{"decision that was not", messages.KindDecision, decision, wxpaytest.EndpointUpdateRefundProgress, false,
			map[string]messages.Status{"D1": messages.StatusFailed, "seq-1": messages.StatusFailed}},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			arrived, hold := make(chan struct{}, 1), make(chan struct{})
			b.Sim.Fault(wxpaytest.Fault{Endpoint: s.endpoint, Apply: s.apply, Answer: wxpaytest.AnswerLost, Arrived: arrived, Hold: hold})
			w := b.Start()
			b.Publish(s.kind, s.body)
			<-arrived
			w.Drain() // it hands back what it has in hand, and takes no more
			close(hold)
			check(t, w.Stop())
			b.Start(b.V2)
			for key, want := range s.want {
				e := b.Await("an end of "+key, func(e consumertest.Event) bool { return e.Key == key && e.Status != messages.StatusStarted })
				if e.Status != want || e.Status == messages.StatusFailed && e.Error.Reason != messages.ReasonMalformed {
					t.Errorf("%s ended %s: %+v", key, e.Status, e.Error)
				}
			}
			b.Settled()
			if _, there := b.Sim.Refund(mchid, "R1"); there != (s.kind == messages.KindRefund && s.apply) {
				t.Errorf("refund there: %v", there)
			}
			if approved := slices.Contains(b.Operates(), wxpay.MerchantApproveRefund); approved != (s.kind == messages.KindDecision && s.apply) {
				t.Errorf("approved: %v", approved)
			}
		})
	}
}

// A command that has only met trouble of the lane's, or none yet since it was put back, is no older for it when another worker goes on with it:
// it is tried.
func TestWhatWasNotTriedYetIsNoOlderAfterARestart(t *testing.T) {
	t.Parallel()
	const maxAge = 20 * time.Minute
	retries := func(o *consumer.Options) { o.Retry.MaxAge = maxAge }
	wait := func(b *bench, d time.Duration) { <-time.After(b.Clock.Wall(d)) }
	credentials := wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 401, Code: "SIGN_ERROR"}
	refused := wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 400, Code: "PARAM_ERROR"}
	for name, begin := range map[string]func(b *bench){
		"held over credentials": func(b *bench) {
			b.Sim.Fault(credentials)
			w := b.Start(retries)
			b.Publish(messages.KindReply, consumertest.ReplyBody)
			wait(b, maxAge+2*time.Minute)
			check(b.T, w.Stop())
			b.Sim.ClearFaults()
		},
		"put back long after": func(b *bench) {
			b.Sim.Fault(refused)
			c := &consumertest.Cut{At: "reply.P1.started", Dead: true}
			w := b.Start(retries)
			b.Publish(messages.KindReply, consumertest.ReplyBody)
			first := b.End(messages.KindReply, "P1")
			b.Drained()
			check(b.T, w.Stop())
			b.Sim.ClearFaults()
			wait(b, maxAge+2*time.Minute)
			w = b.StartVia(c, retries)
			must(b.Letters.Replay(b.T.Context(), first.DeadLetter, dlq.ReplayOptions{}))
			<-w.LostWire
			w.Kill()
			b.ForgetEvents()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			begin(b)
			b.Start(retries)
			if e := b.End(messages.KindReply, "P1"); e.Status != messages.StatusSucceeded {
				t.Errorf("ended %s: %+v", e.Status, e.Error)
			}
			b.Drained()
		})
	}
}

// So it is if a single server that was killed has forgotten that it had handed the command out.
func TestWhatCannotBeCarriedAnyMoreIsAskedAboutIfForgotten(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dieInRefund(`{"out_refund_no":"R1","out_trade_no":"T1","amount":{"refund":100,"total":100}}`)
	check(t, b.JS.DeleteConsumer(t.Context(), b.Subjects.CommandsStream(), "refund-"+mchid))
	b.Start(b.V2)
	if e := b.Await("an end", func(e consumertest.Event) bool { return e.Kind == messages.KindRefund }); e.Status != messages.StatusAccepted {
		t.Errorf("%s ended %s: %+v", e.Key, e.Status, e.Error)
	}
	b.Settled()
}

// What could not be carried any more is tried anew when it is put back, also when that is later than a command may be old, it was not the first
// with its number, and the worker that tried it before has not been restarted since.
func TestWhatCanBeCarriedAgainIsTriedAnew(t *testing.T) {
	t.Parallel()
	const maxAge = 5 * time.Minute
	b := setup(t)
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Answer: wxpaytest.AnswerRefusal, Status: 400, Code: "USER_ACCOUNT_ABNORMAL"})
	var v3 []consumer.Merchant
	w := b.Start(func(o *consumer.Options) { o.Retry.MaxAge, v3 = maxAge, slices.Clone(o.Merchants) })
	b.Publish(messages.KindRefund, `{"out_refund_no":"R1","out_trade_no":"T0","amount":{"refund":100,"total":100}}`)
	b.End(messages.KindRefund, "R1")
	b.Drained()
	arrived, hold := make(chan struct{}, 1), make(chan struct{})
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Answer: wxpaytest.AnswerLost, Arrived: arrived, Hold: hold})
	b.Publish(messages.KindRefund, `{"out_refund_no":"R1","out_trade_no":"T1","amount":{"refund":100,"total":100}}`)
	<-arrived
	v2 := consumer.Options{Merchants: slices.Clone(v3)}
	b.V2(&v2)
	w.Consumer.Reload(v2.Merchants)
	close(hold)
	unfit := b.End(messages.KindRefund, "seq-2")
	b.Drained()
	<-time.After(b.Clock.Wall(maxAge + time.Minute))
	w.Consumer.Reload(v3)
	b.ForgetEvents()
	must(b.Letters.Replay(t.Context(), unfit.DeadLetter, dlq.ReplayOptions{}))
	if e := b.End(messages.KindRefund, "R1"); e.Status != messages.StatusAccepted {
		t.Errorf("put back, it ended %s: %+v", e.Status, e.Error)
	}
}

// Commands that this merchant cannot carry wait when a worker starts, or come from one that was killed. WeChat Pay does not tell of refunds of
// others' sub-merchants: that they are asked about, lest something has happened, neither holds the lane nor lasts until tries run out.
func TestWhatCannotBeCarriedHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	const waiting = 5
	for _, code := range []string{"PARAM_ERROR", "NO_AUTH"} {
		for _, killed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/killed=%v", code, killed), func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundQuery, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 403, Code: code})
				for n := range waiting {
					b.Publish(messages.KindRefund, strings.Replace(consumertest.RefundBody(fmt.Sprint("S", n)), "{", `{"sub_mchid":"1900000555",`, 1))
				}
				if killed {
					w := b.StartVia(&consumertest.Cut{At: "wxpay.deadletter.", Lost: true, Dead: true})
					<-w.LostWire
					w.Kill()
				}
				w := b.Start()
				ends := 0
				b.Until("all ends", func() bool {
					ends = 0
					for _, e := range b.Events() {
						if e.Status == messages.StatusFailed {
							ends++
						}
					}
					return ends == waiting
				})
				for _, e := range b.Events() {
					if e.Error.Reason != messages.ReasonMalformed && !(killed && e.Error.Reason == messages.ReasonUnresolved) {
						t.Errorf("%s ended %s: %+v", e.Key, e.Status, e.Error)
					}
				}
				for _, l := range w.Consumer.Status() {
					if l.Held != "" {
						t.Errorf("lane %s is held: %s", l.Name, l.Held)
					}
				}
				b.Drained()
			})
		}
	}
}
