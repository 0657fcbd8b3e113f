package consumer_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// expire returns when all records that there are now have expired.
func (b *bench) expire() {
	b.T.Helper()
	stream := must(b.JS.Stream(b.T.Context(), b.Subjects.OutcomesStream()))
	config, last := stream.CachedInfo().Config, stream.CachedInfo().State.LastSeq
	config.MaxAge, config.Duplicates = time.Second, time.Second
	stream = must(b.JS.UpdateStream(b.T.Context(), config))
	for limit := time.Now().Add(consumertest.Patience); stream.CachedInfo().State.FirstSeq <= last; {
		if time.Now().After(limit) {
			b.T.Fatal("nothing expires")
		}
		<-time.After(50 * time.Millisecond)
		must(stream.Info(b.T.Context()))
	}
	config.MaxAge = time.Hour
	must(b.JS.UpdateStream(b.T.Context(), config))
}

// A command may wait for longer than records are kept, as in a lane that is held. What was done of it before is not done twice, by the
// worker that has done it or by another.
func TestWhatWaitsLongerThanItsRecordsIsReadBack(t *testing.T) {
	t.Parallel()
	unproven := wxpaytest.Fault{Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 401, Code: "SIGN_ERROR"}
	for _, restart := range []bool{false, true} {
		for name, s := range map[string]struct {
			kind messages.Kind
			key  string
			body string
			held wxpaytest.Endpoint // the call over which the lane is held
			lost bool               // whether the answer to the reply is lost before
			want []string
		}{
			"a decision after its reply": {messages.KindDecision, "D1", consumertest.ApproveBody, wxpaytest.EndpointUpdateRefundProgress, false,
				[]string{"MERCHANT_RESPONSE", "MERCHANT_APPROVE_REFUND"}},
			"a reply of unknown effect": {messages.KindReply, "P1", consumertest.ReplyBody, wxpaytest.EndpointComplaintDetail, true,
				[]string{"MERCHANT_RESPONSE"}},
		} {
			t.Run(name+map[bool]string{true: ", restarted"}[restart], func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				if s.lost {
					b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Apply: true, Answer: wxpaytest.AnswerLost})
				}
				held := unproven
				held.Endpoint = s.held
				b.Sim.Fault(held)
				w := b.Start()
				b.Publish(s.kind, s.body)
				for len(b.Sim.RequestsTo(s.held)) == 0 {
					b.AwaitAck()
				}
				if restart {
					check(t, w.Stop())
				}
				b.expire()
				b.ForgetEvents()
				b.Sim.ClearFaults()
				if restart {
					b.Start()
				}
				if e := b.End(s.kind, s.key); e.Status != messages.StatusSucceeded {
					t.Errorf("ended %s: %+v", e.Status, e.Error)
				}
				b.Settled()
				if got := b.Operates(); !slices.Equal(got, s.want) {
					t.Errorf("history %v, want %v", got, s.want)
				}
			})
		}
	}
}

// A reply that has not begun when it has waited for so long is sent, though its complaint shows one with the same words from before it was
// there.
func TestWhatHasWaitedForLongIsNotWhatWasThereBefore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.Start()
	b.Publish(messages.KindReply, consumertest.ReplyBody)
	b.End(messages.KindReply, "P1")
	b.Drained()
	check(t, w.Stop())
	<-time.After(b.Clock.Wall(10 * time.Minute)) // longer than clocks may differ
	check(t, b.Sim.UserReplies(consumertest.ComplaintID))
	b.Publish(messages.KindReply, strings.Replace(consumertest.ReplyBody, "P1", "P2", 1))
	b.expire()
	b.ForgetEvents()
	b.Start()
	if e := b.End(messages.KindReply, "P2"); e.Status != messages.StatusSucceeded {
		t.Errorf("ended %s: %+v", e.Status, e.Error)
	}
	b.Settled()
	if n := len(b.Sim.RequestsTo(wxpaytest.EndpointComplaintResponse)); n != 2 {
		t.Errorf("%d replies were sent", n)
	}
}
