package consumer_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// However many looks of a merchant have no place, or no configuration, the others' refunds are looked at.
//
// It is not parallel: ten thousand schedules that fire at once leave a server little time for anything else.
func TestLooksThatArePutOffAreInNobodysWay(t *testing.T) {
	b := setupAt(t, 1)
	const gone, looks = "1900000099", 10_100 // of a merchant that is not configured any more, and more than may be in back-off
	at := "@at " + time.Now().UTC().Format(time.RFC3339Nano)
	for i := range looks {
		schedule := nats.NewMsg(b.Subjects.SettlementAt(gone, fmt.Sprintf("G%d", i)))
		schedule.Header.Set("Nats-Schedule", at)
		schedule.Header.Set("Nats-Schedule-Target", b.Subjects.SettlementDue(gone))
		schedule.Header.Set("X-Own", "kept")
		schedule.Data = []byte(consumertest.RefundBody(fmt.Sprintf("G%d", i)))
		must(b.JS.PublishMsgAsync(schedule, jetstream.WithStallWait(consumertest.Patience)))
	}
	<-b.JS.PublishAsyncComplete()
	b.Start(func(o *consumer.Options) { o.Settlement.First = time.Second })
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	b.becomes("R1", messages.StatusAccepted)
	check(t, b.Sim.Settle(mchid, "R1", "SUCCESS"))
	b.becomes("R1", messages.StatusSucceeded)
	b.Settled()
	b.followed(looks) // nothing of the other is lost
	stream := must(b.JS.Stream(t.Context(), b.Subjects.SettlementsStream()))
	kept := must(stream.GetLastMsgForSubject(t.Context(), b.Subjects.SettlementAt(gone, "G0")))
	if string(kept.Data) != consumertest.RefundBody("G0") || kept.Header.Get("X-Own") != "kept" {
		t.Errorf("kept: %v %s", kept.Header, kept.Data)
	}
}

// Wherever the wire breaks while a look is put off, since the worker does not know the merchant, the refund is followed on.
func TestBreakingAroundAPutOff(t *testing.T) {
	t.Parallel()
	const other = "1900000002"
	for _, step := range []string{"PUB wxpay.settlement.at." + other, "$JS.ACK.WXPAY_SETTLEMENTS.settlement"} {
		for _, lost := range []bool{false, true} {
			for _, dead := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/lost=%v/dead=%v", step, lost, dead), func(t *testing.T) {
					t.Parallel()
					b := setup(t)
					b.Merchant(other)
					w := b.Start()
					b.PublishFor(other, messages.KindRefund, consumertest.RefundBody("R1"))
					b.becomes("R1", messages.StatusAccepted)
					b.Drained()
					check(t, w.Stop())
					c := &consumertest.Cut{At: step, Lost: lost, Dead: dead}
					w = b.StartVia(c, func(o *consumer.Options) { o.Merchants = o.Merchants[:1] })
					<-w.LostWire
					if dead {
						w.Kill()
					} else {
						check(t, w.Stop())
					}
					b.Start()
					check(t, b.Sim.Settle(other, "R1", "SUCCESS"))
					b.becomes("R1", messages.StatusSucceeded)
					b.Settled()
					b.nothingFollowed()
				})
			}
		}
	}
}

// However often the record of an accepted refund is not taken, it is followed once: each schedule would have looks of its own.
func TestARefundIsFollowedOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Start()
	b.Publish(messages.KindRefund, consumertest.RefundBody("R0"))
	b.becomes("R0", messages.StatusAccepted)
	outcomes := must(b.JS.Stream(t.Context(), b.Subjects.OutcomesStream())).CachedInfo().Config
	full := outcomes
	full.MaxMsgs, full.Discard = 1, jetstream.DiscardNew
	must(b.JS.UpdateStream(t.Context(), full))
	const refunds = 12
	for i := range refunds {
		b.Publish(messages.KindRefund, consumertest.RefundBody(fmt.Sprintf("R%d", i+1)))
	}
	b.looked(20 * refunds)
	info := must(must(b.JS.Stream(t.Context(), b.Subjects.SettlementsStream())).Info(t.Context(), jetstream.WithSubjectFilter(b.Subjects.AllSchedules())))
	if n := len(info.State.Subjects); n > refunds+1 {
		t.Errorf("%d schedules follow %d refunds", n, refunds+1)
	}
	must(b.JS.UpdateStream(t.Context(), outcomes))
	for i := range refunds {
		b.becomes(fmt.Sprintf("R%d", i+1), messages.StatusAccepted)
	}
	b.Settled()
}

// A refund that failed before and is sent again is followed, too, though at first that it was accepted could not be recorded: its schedule is not
// taken for that of the try which failed.
func TestARefundThatFailedBeforeIsFollowed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Answer: wxpaytest.AnswerRefusal, Status: 404, Code: "RESOURCE_NOT_EXISTS"})
	b.Start()
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	b.becomes("R1", messages.StatusFailed)
	b.Drained()
	outcomes := must(b.JS.Stream(t.Context(), b.Subjects.OutcomesStream())).CachedInfo().Config
	full := outcomes
	full.MaxMsgs, full.Discard = 1, jetstream.DiscardNew
	must(b.JS.UpdateStream(t.Context(), full))
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"), messages.HeaderReplays, "1")
	b.looked(15) // some of which are looks
	must(b.JS.UpdateStream(t.Context(), outcomes))
	b.becomes("R1", messages.StatusAccepted)
	check(t, b.Sim.Settle(mchid, "R1", "SUCCESS"))
	b.becomes("R1", messages.StatusSucceeded)
	b.Drained()
	b.nothingFollowed()
}

// A sub-merchant that has withdrawn its permission may have done so for good: its refund is given up as any other.
func TestARefundOfASubMerchantWithoutPermission(t *testing.T) {
	t.Parallel()
	for sub, want := range map[string]bool{"1900000555": true, "": false} {
		t.Run("sub_mchid "+sub, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			if sub != "" {
				b.Creds[mchid] = b.Sim.AddMerchant(wxpaytest.Merchant{MchID: mchid, Provider: true})
			}
			b.Start(func(o *consumer.Options) {
				o.Merchants[0].SubMerchants = sub != ""
				o.Settlement.GiveUp, o.Settlement.Max = 10*time.Minute, time.Minute
			})
			b.Publish(messages.KindRefund, fmt.Sprintf(`{"out_refund_no":"R1","transaction_id":"TX1","amount":{"refund":1,"total":1},"sub_mchid":%q}`, sub))
			b.becomes("R1", messages.StatusAccepted)
			b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundQuery, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 403, Code: "NO_AUTH"})
			if want {
				if e := b.becomes("R1", messages.StatusFailed); e.Error.Reason != messages.ReasonUnresolved {
					t.Errorf("outcome: %+v", e.Error)
				}
				return
			}
			long := b.Clock.Now().Add(20 * time.Minute)
			for n := 1; b.Clock.Now().Before(long); n++ {
				b.looked(n)
			}
			b.Sim.ClearFaults()
			check(t, b.Sim.Settle(mchid, "R1", "SUCCESS"))
			b.becomes("R1", messages.StatusSucceeded)
		})
	}
}
