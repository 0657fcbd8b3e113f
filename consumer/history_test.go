package consumer_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

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

// One whose history takes longer to read than a lease lasts, as where WeChat Pay refuses large pages and the quota is small, is not read without
// a pause: each time counts as one in vain.
func TestHistoryThatTakesTooLongIsReadInVain(t *testing.T) {
	t.Parallel()
	// A slow clock: a turn that does not come since the machine is busy is handed back at once, and rightly.
	b := setupWith(t, consumertest.Config{Clock: consumer.FastClock(20), Simulator: wxpaytest.Options{LargestPage: 10}})
	b.Sim.AddComplaint(wxpaytest.Complaint{ID: consumertest.ComplaintID, MchID: mchid})
	for range 1300 {
		check(t, b.Sim.UserReplies(consumertest.ComplaintID))
	}
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Apply: true, Answer: wxpaytest.AnswerLost})
	b.Start(func(o *consumer.Options) {
		o.Retry.MaxAge = 5 * time.Minute
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
