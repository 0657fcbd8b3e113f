package consumer_test

import (
	"strings"
	"testing"
	"time"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/dlq"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// renew makes the commands stream anew: its sequences begin again, while outcomes and dead letters stay.
func (b *bench) renew() {
	b.T.Helper()
	check(b.T, b.JS.DeleteStream(b.T.Context(), b.Subjects.CommandsStream()))
	check(b.T, consumer.EnsureStreams(b.T.Context(), b.NC, consumer.Streams{Subjects: b.Subjects, Replicas: 1, MaxWaiting: 1000, OutcomesMaxAge: time.Hour}))
}

// What failed before the commands stream was made anew is a new try when it is put back, or sent again, though its sequence is lower now, and
// no duplicate of itself. When it fails again, that is told under its key.
func TestANewTryInAStreamThatIsNew(t *testing.T) {
	t.Parallel()
	for _, s := range []struct {
		kind     messages.Kind
		key      string
		body     string
		endpoint wxpaytest.Endpoint
		good     messages.Status
	}{
		{messages.KindRefund, "R1", consumertest.RefundBody("R1"), wxpaytest.EndpointRefundCreate, messages.StatusAccepted},
		{messages.KindReply, "P1", consumertest.ReplyBody, wxpaytest.EndpointComplaintResponse, messages.StatusSucceeded},
	} {
		for _, again := range []string{"put back", "sent again", "refused again"} {
			t.Run(string(s.kind)+"/"+again, func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				refused := wxpaytest.Fault{Endpoint: s.endpoint, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 400, Code: "PARAM_ERROR"}
				b.Sim.Fault(refused)
				w := b.Start()
				b.Publish(messages.KindRefund, `{}`) // one more sequence
				b.Publish(s.kind, s.body)
				first := b.End(s.kind, s.key)
				b.Drained()
				check(t, w.Stop())
				b.Sim.ClearFaults()
				b.renew()
				b.Start()
				switch again {
				case "put back":
					must(b.Letters.Replay(t.Context(), first.DeadLetter, dlq.ReplayOptions{}))
				case "refused again":
					b.Sim.Fault(refused)
					fallthrough
				default:
					b.Publish(s.kind, s.body)
				}
				second := b.Await("another end", func(e consumertest.Event) bool {
					return e.Key == s.key && e.Status != messages.StatusStarted && e.DeadLetter != first.DeadLetter
				})
				if want := map[bool]messages.Status{true: messages.StatusFailed, false: s.good}[again == "refused again"]; second.Status != want {
					t.Errorf("ended %s: %+v", second.Status, second.Error)
				}
				b.Drained()
			})
		}
	}
}

// A command that has the sequence of one that was malformed, before the commands stream was made anew, is not taken for that one: it is
// carried out, and if it is malformed, too, it has a letter of its own.
func TestAnOldLetterUnderTheSequenceOfANewCommand(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.Start()
	b.Publish(messages.KindRefund, `{"out_refund_no":"R1"}`)
	first := b.End(messages.KindRefund, "seq-1")
	b.Publish(messages.KindRefund, `{"out_refund_no":"R2"}`)
	b.End(messages.KindRefund, "seq-2")
	b.Drained()
	check(t, w.Stop())
	b.renew()
	b.Publish(messages.KindRefund, `{"out_refund_no":"R3"}`)
	b.Publish(messages.KindRefund, consumertest.RefundBody("R2"))
	b.Start() // which cannot be sure that nobody has had them before
	if e := b.End(messages.KindRefund, "R2"); e.Status != messages.StatusAccepted {
		t.Errorf("the good one ended %s: %+v", e.Status, e.Error)
	}
	second := b.Await("the end of R3", func(e consumertest.Event) bool { return e.Key == "seq-1" && e.DeadLetter != first.DeadLetter })
	if letter := must(b.Letters.Get(t.Context(), second.DeadLetter)); !strings.Contains(string(letter.Command), "R3") {
		t.Errorf("its letter holds %s", letter.Command)
	}
	b.Drained()
}

// Dead letters are numbered anew when their stream is made anew: that an old `failed` names the number of a new letter does not keep the new
// one from being told of.
func TestANewLetterUnderAnOldNumber(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 400, Code: "PARAM_ERROR"})
	b.Start()
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	first := b.End(messages.KindRefund, "R1")
	b.Drained()
	check(t, b.JS.DeleteStream(t.Context(), b.Subjects.DeadLettersStream()))
	check(t, consumer.EnsureStreams(t.Context(), b.NC, consumer.Streams{Subjects: b.Subjects, Replicas: 1, MaxWaiting: 1000, OutcomesMaxAge: time.Hour}))
	b.ForgetEvents()
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	if second := b.End(messages.KindRefund, "R1"); second.DeadLetter != first.DeadLetter {
		t.Errorf("letters %d and %d: they do not show it", first.DeadLetter, second.DeadLetter)
	}
	b.Settled()
}

// A refund that failed before the commands stream was made anew is accepted when it is sent again, and has the same sequence as then. That a look
// at it comes again does not end it by the old dead letter.
func TestAnOldLetterDoesNotEndAFollowing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Answer: wxpaytest.AnswerRefusal, Status: 400, Code: "USER_ACCOUNT_ABNORMAL"})
	w := b.Start()
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	b.End(messages.KindRefund, "R1")
	b.Drained()
	check(t, w.Stop())
	b.renew()
	b.ForgetEvents()
	w = b.StartVia(&consumertest.Cut{At: "$JS.ACK.WXPAY_SETTLEMENTS.settlement", Lost: true, Dead: true})
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	b.becomes("R1", messages.StatusAccepted)
	<-w.LostWire
	w.Kill()
	b.Start()
	<-time.After(b.Clock.Wall(consumertest.AckWait) + 2*time.Second) // the look has come again
	check(t, b.Sim.Settle(mchid, "R1", "SUCCESS"))
	if e := b.Await("an end", func(e consumertest.Event) bool { return e.Key == "R1" && e.Final }); e.Status != messages.StatusSucceeded {
		t.Errorf("ended %s: %+v", e.Status, e.Error)
	}
}
