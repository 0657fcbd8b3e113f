package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
	"wxpay-worker/wxpay/wxpaytest"
)

// lane reads a lane's consumer as any NATS tool shows it.
func (b *bench) lane(name string) (paused bool, reason string) {
	b.T.Helper()
	c, err := b.JS.Consumer(b.T.Context(), b.Subjects.CommandsStream(), name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return false, "" // the worker is about to make it
	}
	info := must(c, err).CachedInfo()
	return info.Paused, info.Config.Metadata["wxpay_hold"]
}

// awaitLane waits until the lane shows that reason.
func (b *bench) awaitLane(name, reason string) {
	b.T.Helper()
	api := must(b.NC.SubscribeSync("$JS.API.CONSUMER.>"))
	defer func() { check(b.T, api.Unsubscribe()) }()
	for limit := time.Now().Add(consumertest.Patience); ; {
		_, got := b.lane(name)
		if got == reason {
			return
		}
		if time.Now().After(limit) {
			b.T.Fatalf("lane %s shows %q, not %q", name, got, reason)
		}
		_, _ = api.NextMsg(20 * time.Millisecond)
	}
}

// Our own trouble empties no queue: the lane holds, for the whole fleet and visibly, its commands wait without a call, and it
// goes on by itself when the trouble is mended.
func TestALaneHoldsAndResumes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault  wxpaytest.Fault
		reason string
	}{
		"wrong key":  {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal, Status: 401, Code: "SIGN_ERROR"}, "HTTP 401 SIGN_ERROR"},
		"made up":    {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal, Status: 401, Code: "13812345678"}, "HTTP 401"},
		"no balance": {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal, Status: 403, Code: "NOT_ENOUGH"}, "HTTP 403 NOT_ENOUGH"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			c.fault.Endpoint, c.fault.Times = wxpaytest.EndpointRefundCreate, -1
			b.Sim.Fault(c.fault)
			const commands = 100
			for i := range commands {
				b.Publish(messages.KindRefund, consumertest.RefundBody(fmt.Sprintf("R%d", i)))
			}
			b.Start(func(o *consumer.Options) { o.Concurrency = 4 })
			b.awaitLane("refund-"+mchid, c.reason)
			b.Publish(messages.KindReply, consumertest.ReplyBody) // its other lane goes on
			b.End(messages.KindReply, "P1")
			for range 3 { // probes, one command each
				b.AwaitAck()
			}
			if n := len(b.Sim.RequestsTo(wxpaytest.EndpointRefundCreate)); n > 12 {
				t.Errorf("%d calls of a held lane", n)
			}
			b.Sim.ClearFaults()
			for i := range commands {
				if e := b.End(messages.KindRefund, fmt.Sprintf("R%d", i)); e.Status != messages.StatusAccepted || e.Attempts != 1 {
					t.Fatalf("outcome: %+v %+v", e.Outcome, e.Error)
				}
			}
			b.Settled()
			b.awaitLane("refund-"+mchid, "")
		})
	}
}

// An outage holds the lane when three different commands in a row have met it; a lone command's trouble stays its own.
func TestThreeInARowHoldTheLane(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Times: -1, Answer: wxpaytest.Answer5xx})
	b.Start(func(o *consumer.Options) { o.Concurrency = 1 })
	b.Publish(messages.KindRefund, consumertest.RefundBody("R0"))
	for range 3 {
		b.AwaitAck()
	}
	if _, reason := b.lane("refund-" + mchid); reason != "" {
		t.Errorf("held for one command: %s", reason)
	}
	for i := 1; i < 50; i++ {
		b.Publish(messages.KindRefund, consumertest.RefundBody(fmt.Sprintf("R%d", i)))
	}
	b.awaitLane("refund-"+mchid, "HTTP 500 SYSTEM_ERROR")
	b.Sim.ClearFaults()
	for i := range 50 {
		b.End(messages.KindRefund, fmt.Sprintf("R%d", i))
	}
	b.Settled()
}

// A hold outlives the worker that found it, and a person can end it early.
func TestAHoldSurvivesARestartAndEndsByHand(t *testing.T) {
	t.Parallel()
	b := setupAt(t, 10)                                                                                    // a hold of ten minutes takes one
	slow := func(o *consumer.Options) { o.Retry.Initial = 240 * time.Hour; o.Retry.Max = 240 * time.Hour } // held for ten minutes
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 401, Code: "SIGN_ERROR"})
	w := b.Start(slow)
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	b.awaitLane("refund-"+mchid, "HTTP 401 SIGN_ERROR")
	check(t, w.Stop())
	calls := len(b.Sim.RequestsTo(wxpaytest.EndpointRefundCreate))
	b.Sim.ClearFaults()
	b.Start(slow)
	b.Publish(messages.KindRefund, consumertest.RefundBody("R2"))
	if paused, reason := b.lane("refund-" + mchid); !paused || reason == "" {
		t.Errorf("after the restart: paused %v, %q", paused, reason)
	}
	if n := len(b.Sim.RequestsTo(wxpaytest.EndpointRefundCreate)); n != calls {
		t.Errorf("%d calls while held", n-calls)
	}
	must(b.JS.ResumeConsumer(t.Context(), b.Subjects.CommandsStream(), "refund-"+mchid))
	b.End(messages.KindRefund, "R2")
	b.awaitLane("refund-"+mchid, "")
}

// What a held lane tries counts for nothing, however long it is held: no command is given up over our own mistake, nor over an outage that holds
// the lane, and once it is mended all of them go through.
func TestNothingIsGivenUpWhileTheLaneIsHeld(t *testing.T) {
	t.Parallel()
	refund := func(i int) (messages.Kind, string, string) {
		key := fmt.Sprintf("R%d", i)
		return messages.KindRefund, key, consumertest.RefundBody(key)
	}
	reply := func(i int) (messages.Kind, string, string) {
		key := fmt.Sprintf("P%d", i)
		return messages.KindReply, key, fmt.Sprintf(`{"id":%q,"complaint_id":"C%d","complainted_mchid":"1900000001","response_content":"您好"}`, key, i)
	}
	lost := wxpaytest.Fault{Times: 3, Apply: true, Answer: wxpaytest.AnswerLost}
	few, old := consumer.Retry{MaxAttempts: 4, MaxAge: 72 * time.Hour}, consumer.Retry{MaxAttempts: 25, MaxAge: 20 * time.Minute}
	wrongKey := wxpaytest.Fault{Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 401, Code: "SIGN_ERROR"}
	for name, c := range map[string]struct {
		command func(i int) (kind messages.Kind, key, body string)
		fault   wxpaytest.Fault    // of all calls, while it lasts
		once    wxpaytest.Endpoint // the endpoint of which one call for each command was lost before
		most    consumer.Retry     // of attempts and age: then a command that is alone is given up
		probed  wxpaytest.Endpoint // the endpoint by which the lane is probed
	}{
		"wrong key after a lost refund": {refund, wrongKey, wxpaytest.EndpointRefundCreate, old, wxpaytest.EndpointRefundQuery},
		"wrong key after a lost reply":  {reply, wrongKey, wxpaytest.EndpointComplaintResponse, old, wxpaytest.EndpointComplaintDetail},
		"no permission": {refund, wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 403, Code: "NO_AUTH"},
			"", few, wxpaytest.EndpointRefundCreate},
		"no permission to reply": {reply, wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 403, Code: "NO_AUTH"},
			"", few, wxpaytest.EndpointComplaintResponse},
		"outage": {refund, wxpaytest.Fault{Times: -1, Answer: wxpaytest.Answer5xx}, "", old, wxpaytest.EndpointRefundQuery},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			if c.once != "" {
				lost, wrong := lost, c.fault
				lost.Endpoint, wrong.Skip = c.once, 3
				b.Sim.Fault(lost)
				b.Sim.Fault(wrong)
			} else {
				b.Sim.Fault(c.fault)
			}
			b.Start(func(o *consumer.Options) {
				o.Retry.MaxAttempts, o.Retry.MaxAge = c.most.MaxAttempts, c.most.MaxAge
				o.Retry.Initial, o.Retry.Max = 20*time.Second, 20*time.Second // the three meet the trouble before one of them is tried again
			})
			const commands = 3
			var kind messages.Kind
			for i := range commands {
				k, _, body := c.command(i)
				kind = k
				b.Publish(k, body)
			}
			ctx, cancel := context.WithTimeout(t.Context(), consumertest.Patience)
			defer cancel()
			long := b.Clock.Now().Add(old.MaxAge * 3 / 2)
			for n := 1; n <= commands*(few.MaxAttempts+2) || b.Clock.Now().Before(long); n++ { // more, and longer, than any of them may be tried
				check(t, b.Sim.AwaitRequests(ctx, c.probed, n))
			}
			b.Sim.ClearFaults()
			for i := range commands {
				_, key, _ := c.command(i)
				if e := b.End(kind, key); e.Status == messages.StatusFailed {
					t.Errorf("%s: %+v %+v", key, e.Outcome, e.Error)
				}
			}
			b.Settled()
		})
	}
}

// What a held lane tried does not count for who takes the lane over, either, nor does the time for which it was held: a worker that is started
// anew after the release gives nothing up.
func TestWhatAHeldLaneTriedIsNotCountedAfterARestart(t *testing.T) {
	t.Parallel()
	for name, most := range map[string]consumer.Retry{
		"attempts": {MaxAttempts: 4, MaxAge: 72 * time.Hour},
		"age":      {MaxAttempts: 25, MaxAge: 20 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 403, Code: "NO_AUTH"})
			few := func(o *consumer.Options) {
				o.Retry.MaxAttempts, o.Retry.MaxAge, o.Retry.Initial, o.Retry.Max = most.MaxAttempts, most.MaxAge, 90*time.Second, 90*time.Second
			}
			w := b.Start(few)
			for i := range 3 {
				b.Publish(messages.KindReply, fmt.Sprintf(`{"id":"P%d","complaint_id":"C%d","complainted_mchid":"1900000001","response_content":"您好"}`, i, i))
			}
			ctx, cancel := context.WithTimeout(t.Context(), consumertest.Patience)
			defer cancel()
			check(t, b.Sim.AwaitRequests(ctx, wxpaytest.EndpointComplaintResponse, 17))
			b.Sim.ClearFaults()
			b.Await("the first one succeeded", func(e consumertest.Event) bool { return e.Status == messages.StatusSucceeded })
			b.awaitLane("complaint-"+mchid, "")
			check(t, w.Stop())
			b.Start(few)
			for i := range 3 {
				if e := b.End(messages.KindReply, fmt.Sprintf("P%d", i)); e.Status == messages.StatusFailed {
					t.Errorf("P%d: %+v %+v", i, e.Outcome, e.Error)
				}
			}
			b.Settled()
		})
	}
}

// A lane that was held, is mended, and has nothing left that can succeed gives up what has trouble of its own.
func TestAMendedLaneGivesUpWhatHasTroubleOfItsOwn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Apply: true, Answer: wxpaytest.AnswerLost})
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintDetail, Answer: wxpaytest.AnswerRefusal, Status: 401, Code: "SIGN_ERROR"})
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintDetail, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 404, Code: "RESOURCE_NOT_EXISTS"})
	b.Start(func(o *consumer.Options) { o.Retry.MaxAge, o.Retry.Max = 10*time.Minute, 30*time.Second })
	b.Publish(messages.KindReply, consumertest.ReplyBody)
	if e := b.End(messages.KindReply, "P1"); e.Error == nil || e.Error.Reason != messages.ReasonUnresolved {
		t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
	}
	b.Settled()
}

// A worker that does not have a lane tells of its hold for as long as it is held: the one that has it may release it.
func TestAHoldThatAnotherWorkerEnds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 401, Code: "SIGN_ERROR"})
	held := func(w *consumertest.Worker) (reason string) {
		for _, lane := range w.Consumer.Status() {
			if lane.Name == "refund-"+mchid {
				reason = lane.Held
			}
		}
		return reason
	}
	until := func(w *consumertest.Worker, reason string) {
		t.Helper()
		for limit := time.Now().Add(consumertest.Patience); held(w) != reason; time.Sleep(10 * time.Millisecond) { // nothing else tells
			if time.Now().After(limit) {
				t.Fatalf("held: %q, not %q", held(w), reason)
			}
		}
	}
	first := b.Start()
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	until(first, "HTTP 401 SIGN_ERROR")
	b.awaitLane("refund-"+mchid, "HTTP 401 SIGN_ERROR")
	second := b.Start()
	until(second, "HTTP 401 SIGN_ERROR")
	b.Sim.ClearFaults()
	b.End(messages.KindRefund, "R1")
	until(first, "")
	until(second, "")
	b.Settled()
}

// A sub-merchant without balance is probed by one command at a time, and its others are in nobody's way.
func TestASubMerchantIsHeld(t *testing.T) {
	t.Parallel()
	b := setupAt(t, 20) // what comes again is not to keep the machine busy
	b.Creds[mchid] = b.Sim.AddMerchant(wxpaytest.Merchant{MchID: mchid, Provider: true})
	b.Sim.SetBalance("1900000555", 0)
	b.Start(func(o *consumer.Options) { o.Merchants[0].SubMerchants = true })
	refund := func(sub string, i int) string {
		key := fmt.Sprintf("R%s%03d", sub, i)
		b.Publish(messages.KindRefund, fmt.Sprintf(`{"out_refund_no":%q,"transaction_id":"T%s","amount":{"refund":1,"total":1},"sub_mchid":%q}`, key, key, sub))
		return key
	}
	const poor, rich, commands = "1900000555", "1900000666", 60
	first := refund(poor, 0)
	ctx, cancel := context.WithTimeout(t.Context(), consumertest.Patience)
	defer cancel()
	check(t, b.Sim.AwaitRequests(ctx, wxpaytest.EndpointRefundCreate, 1))
	b.AwaitAck()
	keys := []string{first}
	for i := 1; i < commands; i++ {
		keys = append(keys, refund(poor, i))
	}
	for i := range 20 {
		b.End(messages.KindRefund, refund(rich, i))
	}
	if probes := len(b.Sim.RequestsTo(wxpaytest.EndpointRefundCreate)) - 20; probes > commands/2 {
		t.Errorf("%d calls for a sub-merchant without balance", probes)
	}
	b.Sim.SetBalance(poor, commands)
	for _, key := range keys {
		if e := b.End(messages.KindRefund, key); e.Status != messages.StatusAccepted {
			t.Fatalf("%s: %+v %+v", key, e.Outcome, e.Error)
		}
	}
	b.Settled()
}

// The end of a hold that could not be written at once is written later: whoever looks at the lane would think that it is held still.
func TestTheEndOfAHoldIsWritten(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 401, Code: "SIGN_ERROR"})
	slow := func(o *consumer.Options) { o.Retry.Initial = 8 * time.Minute } // so that the hold is told, and nothing else, when the wire breaks
	w := b.Start(slow)
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	b.awaitLane("refund-"+mchid, "HTTP 401 SIGN_ERROR")
	check(t, w.Stop())
	b.Sim.ClearFaults()
	c := &consumertest.Cut{At: "$JS.API.CONSUMER.CREATE.WXPAY_COMMANDS.refund-", Lost: true}
	b.StartVia(c, slow)
	b.End(messages.KindRefund, "R1")
	b.awaitLane("refund-"+mchid, "")
	if !c.Broken() {
		t.Error("it was written at once")
	}
	b.Settled()
}

// A worker dies while it tells its lane of a hold, before the reason is there or right after. The lane was paused before: whoever comes next
// goes on when that ends, and what was held is carried out.
func TestDyingWhileAHoldIsTold(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("lost=%v", lost), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 401, Code: "SIGN_ERROR"})
			w := b.StartVia(&consumertest.Cut{At: "\"wxpay_hold\"", Lost: lost, Dead: true})
			b.Publish(messages.KindReply, consumertest.ReplyBody)
			<-w.LostWire
			w.Kill()
			b.Sim.ClearFaults()
			b.Start()
			if e := b.End(messages.KindReply, "P1"); e.Status != messages.StatusSucceeded {
				t.Errorf("ended %s: %+v", e.Status, e.Error)
			}
			b.awaitLane("complaint-"+mchid, "")
			b.Settled()
		})
	}
}

// lateReader is what reads a complaint so late, once, that the lease of who asked is over.
type lateReader struct {
	consumer.Complaints
	once sync.Once
}

func (r *lateReader) Complaint(ctx context.Context, complaintID string) (*wxpay.Complaint, error) {
	r.once.Do(func() { <-ctx.Done() })
	return r.Complaints.Complaint(context.WithoutCancel(ctx), complaintID)
}

// A call that was not made, since its turn did not come in time, says nothing of the merchant's setup: the lane is not held for it.
func TestALaneIsNotHeldForATurnThatDidNotCome(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pauses := must(b.NC.SubscribeSync("$JS.API.CONSUMER.PAUSE.>"))
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Answer: wxpaytest.AnswerLost})
	b.Start(func(o *consumer.Options) {
		o.Merchants[0].Complaints = &lateReader{Complaints: o.Merchants[0].Complaints}
		o.Concurrency = 1 // no later delivery says that the lane is ours
	})
	b.Publish(messages.KindReply, consumertest.ReplyBody)
	if e := b.End(messages.KindReply, "P1"); e.Status != messages.StatusSucceeded {
		t.Errorf("ended %s: %+v", e.Status, e.Error)
	}
	b.Settled()
	check(t, b.NC.Flush())
	if n, _, err := pauses.Pending(); err != nil || n > 0 {
		t.Errorf("%d pauses of lanes, %v", n, err)
	}
}
