package consumer_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/consumer"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// becomes waits for the key's outcome with that status.
func (b *bench) becomes(key string, status messages.Status) event {
	b.t.Helper()
	return b.await(key+" "+string(status), func(e event) bool { return e.Key == key && e.Status == status })
}

// looked waits until the simulator has been asked about a refund n times.
func (b *bench) looked(n int) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	check(b.t, b.sim.AwaitRequests(ctx, wxpaytest.EndpointRefundQuery, n))
}

// An accepted refund is followed to its end, and its end knows what the command said of it.
func TestAcceptedRefundIsFollowedToItsEnd(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]messages.Status{
		"SUCCESS": messages.StatusSucceeded, "CLOSED": messages.StatusClosed, "ABNORMAL": messages.StatusAbnormal,
	} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.start()
			body := `{"out_refund_no":"R*1","transaction_id":"TX1","amount":{"refund":60,"total":100},"metadata":{"order":"42"}}`
			b.publish(messages.KindRefund, body, "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Wxpay-Command-Id", "cmd-1")
			b.becomes("R*1", messages.StatusAccepted)
			b.looked(2)
			check(t, b.sim.Settle(mchid, "R*1", state))
			e := b.becomes("R*1", want)
			if !e.Final || e.Attempts != 1 || e.ID != "cmd-1" || e.Metadata["order"] != "42" || e.Refund.Status != state || e.header.Get("traceparent") == "" {
				t.Errorf("outcome: %+v %+v", e.Outcome, e.Refund)
			}
			if want == messages.StatusAbnormal { // a person mends it, and it is followed on
				check(t, b.sim.Settle(mchid, "R*1", "SUCCESS"))
				b.becomes("R*1", messages.StatusSucceeded)
			}
			b.settled()
			b.publish(messages.KindRefund, body)
			b.settled()
			if n := len(b.sim.RequestsTo(wxpaytest.EndpointRefundCreate)); n != 1 {
				t.Errorf("%d create calls", n)
			}
			b.nothingFollowed()
		})
	}
}

// nothingFollowed waits until no schedule and nothing due is left.
func (b *bench) nothingFollowed() {
	b.t.Helper()
	acks := must(b.nc.SubscribeSync("$JS.ACK." + b.subjects.SettlementsStream() + ".>"))
	for limit := time.Now().Add(patience); ; {
		stream := must(b.js.Stream(b.t.Context(), b.subjects.SettlementsStream()))
		if stream.CachedInfo().State.Msgs == 0 {
			return
		}
		if time.Now().After(limit) {
			info := must(stream.Info(b.t.Context(), jetstream.WithSubjectFilter(">")))
			b.t.Fatalf("still followed: %v", info.State.Subjects)
		}
		_, _ = acks.NextMsg(50 * time.Millisecond)
	}
}

// A refund without an end is given up as a dead letter that says so; its replay asks again, and follows again.
func TestARefundWithoutAnEndIsUnresolved(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start(func(o *consumer.Options) { o.Settlement.GiveUp = 10 * time.Minute })
	body := refundBody("R1")
	b.publish(messages.KindRefund, body)
	e := b.becomes("R1", messages.StatusFailed)
	if e.Error.Reason != messages.ReasonUnresolved {
		t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
	}
	letter := must(b.letters.Get(t.Context(), e.DeadLetter))
	if string(letter.Command) != body || letter.Subject != b.subjects.Command(mchid, messages.KindRefund) || letter.StreamSeq != 1 || letter.Attempts != 1 {
		t.Errorf("letter: %+v", letter.DeadLetter)
	}
	b.nothingFollowed()
	check(t, b.sim.Settle(mchid, "R1", "SUCCESS"))
	b.publish(messages.KindRefund, body, messages.HeaderReplays, "1")
	b.becomes("R1", messages.StatusSucceeded)
	b.drainedCommands()
	if n := len(b.sim.RequestsTo(wxpaytest.EndpointRefundCreate)); n != 1 {
		t.Errorf("%d create calls", n)
	}
}

// Wherever the wire breaks between acceptance and the end, no refund is forgotten.
func TestBreakingAroundSettlement(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"PUB wxpay.settlement.at.", "refund.R1.accepted", "refund.R1.succeeded", "$JS.ACK.WXPAY_SETTLEMENTS.settlement"} {
		for _, lost := range []bool{false, true} {
			for _, dead := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/lost=%v/dead=%v", step, lost, dead), func(t *testing.T) {
					t.Parallel()
					b := setupWith(t, wxpaytest.Options{SettleAtOnce: true})
					c := &cut{at: step, lost: lost, dead: dead}
					w := b.startThrough(c)
					b.publish(messages.KindRefund, refundBody("R1"))
					if dead {
						<-w.lostWire
						w.kill()
						b.start()
					}
					b.becomes("R1", messages.StatusSucceeded)
					b.settled()
					b.nothingFollowed()
					if !c.broken() {
						t.Error("the story never came to that step")
					}
				})
			}
		}
	}
}

// A merchant whose queries hang does not keep the others' refunds from being settled.
func TestSettlementsOfOneMerchantDoNotWaitForAnothers(t *testing.T) {
	t.Parallel()
	b := setupWith(t, wxpaytest.Options{SettleAtOnce: true})
	const other = "1900000002"
	b.merchant(other)
	b.sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundQuery, MchID: mchid, Times: -1, Answer: wxpaytest.AnswerSlow})
	b.start(func(o *consumer.Options) { o.Concurrency = 4 })
	for i := range 40 {
		b.publish(messages.KindRefund, refundBody(fmt.Sprintf("S%d", i)))
	}
	b.publishFor(other, messages.KindRefund, refundBody("F1"))
	b.becomes("F1", messages.StatusSucceeded)
	if got := b.statuses(messages.KindRefund, "S0"); slices.Contains(got, messages.StatusSucceeded) {
		t.Error("the hanging merchant did not hang")
	}
}
