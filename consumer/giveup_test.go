package consumer_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/dlq"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// A refund without an end is given up as a dead letter that says so; its replay asks again, and follows again.
func TestARefundWithoutAnEndIsUnresolved(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Start(func(o *consumer.Options) { o.Settlement.GiveUp = 10 * time.Minute })
	body := consumertest.RefundBody("R1")
	b.Publish(messages.KindRefund, body)
	e := b.becomes("R1", messages.StatusFailed)
	if e.Error.Reason != messages.ReasonUnresolved {
		t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
	}
	letter := must(b.Letters.Get(t.Context(), e.DeadLetter))
	if string(letter.Command) != body || letter.Subject != b.Subjects.Command(mchid, messages.KindRefund) || letter.StreamSeq != 1 || letter.Attempts != 1 {
		t.Errorf("letter: %+v", letter.DeadLetter)
	}
	b.nothingFollowed()
	check(t, b.Sim.Settle(mchid, "R1", "SUCCESS"))
	b.Publish(messages.KindRefund, body, messages.HeaderReplays, "1")
	b.becomes("R1", messages.StatusSucceeded)
	b.Drained()
	if n := len(b.Sim.RequestsTo(wxpaytest.EndpointRefundCreate)); n != 1 {
		t.Errorf("%d create calls", n)
	}
}

// A refund may be followed twice, since a worker died between a schedule and `accepted`. When it was given up and put back, what is left of the
// first following does not end the try that has just begun: that is followed, and ends as it should.
func TestAFollowingThatWasGivenUpDoesNotEndALaterTry(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.Start(func(o *consumer.Options) { o.Settlement.GiveUp = time.Minute })
	b.Publish(messages.KindRefund, consumertest.RefundBody("R7"))
	b.becomes("R7", messages.StatusAccepted)
	e := b.becomes("R7", messages.StatusFailed)
	b.Drained()
	b.nothingFollowed()
	check(t, w.Stop())
	must(b.Letters.Replay(t.Context(), e.DeadLetter, dlq.ReplayOptions{Unresolved: true}))
	b.ForgetEvents()
	b.Start()
	b.becomes("R7", messages.StatusAccepted)
	b.Drained()

	b.left("R7", 1)
	asked := len(b.Sim.RequestsTo(wxpaytest.EndpointRefundQuery))
	b.looked(asked + 3)
	if got := b.Statuses(messages.KindRefund, "R7"); slices.Contains(got, messages.StatusFailed) {
		t.Errorf("became %v", got)
	}
	for letter, err := range b.Letters.All(t.Context(), "", "") {
		t.Errorf("dead letter of command %d, %v", letter.StreamSeq, err)
	}
	check(t, b.Sim.Settle(mchid, "R7", "SUCCESS"))
	b.becomes("R7", messages.StatusSucceeded)
	b.nothingFollowed()
}

// Nor does it give the later try up as soon as that is abnormal, where it has replaced the schedule of that one.
func TestAnAbnormalLaterTryIsFollowedOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.Start(func(o *consumer.Options) { o.Settlement.GiveUp = time.Minute })
	b.Publish(messages.KindRefund, consumertest.RefundBody("R7"))
	e := b.becomes("R7", messages.StatusFailed)
	b.Drained()
	b.nothingFollowed()
	check(t, w.Stop())
	b.ForgetEvents()
	must(b.Letters.Replay(t.Context(), e.DeadLetter, dlq.ReplayOptions{Unresolved: true}))
	w = b.Start()
	b.becomes("R7", messages.StatusAccepted)
	b.Drained()
	check(t, w.Stop())
	b.leftAt(b.Subjects.SettlementAt(mchid, "R7"), "R7", 1)
	check(t, b.Sim.Settle(mchid, "R7", "ABNORMAL"))
	b.Start()
	b.becomes("R7", messages.StatusAbnormal)
	b.looked(len(b.Sim.RequestsTo(wxpaytest.EndpointRefundQuery)) + 2)
	check(t, b.Sim.Settle(mchid, "R7", "SUCCESS"))
	b.becomes("R7", messages.StatusSucceeded)
	b.nothingFollowed()
}

// left has a refund, of a command with that sequence, followed by a schedule that is due now and was left by a worker that died a year ago.
func (b *bench) left(key string, sequence uint64) {
	b.T.Helper()
	b.leftAt(b.Subjects.SettlementTogether(mchid, "T"), key, sequence)
}

// leftAt is left for the schedule with that subject.
func (b *bench) leftAt(subject, key string, sequence uint64) {
	b.T.Helper()
	schedule := nats.NewMsg(subject)
	schedule.Data = []byte(consumertest.RefundBody(key))
	long := b.Clock.Now().Add(-365 * 24 * time.Hour).UTC().Format(time.RFC3339Nano)
	for name, value := range map[string]string{
		"Nats-Schedule": "@at " + time.Now().UTC().Format(time.RFC3339Nano), "Nats-Schedule-Target": b.Subjects.SettlementDue(mchid),
		"Wxpay-Looks": "0", "Wxpay-Accepted-At": long, "Wxpay-First-At": long, "Wxpay-Attempts": "1", "Wxpay-Stream-Seq": fmt.Sprint(sequence),
	} {
		schedule.Header.Set(name, value)
	}
	must(b.JS.PublishMsg(b.T.Context(), schedule))
}

// Nor does it, if the later try is accepted while the dead letter is being stored, or before it is told of: that is told, but not as the end of
// the later try.
func TestALetterOfAFollowingIsToldOfBesideALaterTry(t *testing.T) {
	t.Parallel()
	for name, stored := range map[string]bool{"while it is being stored": false, "before it is told of": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			var c messages.RefundCommand
			check(t, json.Unmarshal([]byte(consumertest.RefundBody("R7")), &c))
			c.Amount.Currency = "CNY" // the default, which the decoder adds
			by := "1"
			if stored {
				by = "9"
				must(b.Letters.Put(t.Context(), &messages.DeadLetter{
					MchID: mchid, Kind: messages.KindRefund, Key: "R7", Reason: messages.ReasonUnresolved, StreamSeq: 1, Command: []byte(consumertest.RefundBody("R7")),
					Subject: b.Subjects.Command(mchid, messages.KindRefund), FailedAt: b.Clock.Now(), FirstAt: b.Clock.Now(),
				}))
			}
			b.recordAs("another", &c, messages.StatusAccepted, messages.HeaderStreamSeq, by)
			b.left("R7", 1)
			b.Start(func(o *consumer.Options) { o.DeadLetters = beaten{o.DeadLetters, b, "9"} })
			b.End(messages.KindRefund, messages.SeqKey(1))
			if got := b.Statuses(messages.KindRefund, "R7"); slices.Contains(got, messages.StatusFailed) {
				t.Errorf("became %v", got)
			}
		})
	}
}

// A worker dies when it has given a refund up, before it could tell: whoever goes on tells, also if it would have followed the refund for longer.
// Else the refund would have a dead letter and another end, too.
func TestARefundThatWasGivenUpStaysSo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.StartVia(&consumertest.Cut{At: "refund.R1.failed", Lost: true, Dead: true}, func(o *consumer.Options) { o.Settlement.GiveUp = time.Minute })
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	b.becomes("R1", messages.StatusAccepted)
	<-w.LostWire
	w.Kill()
	check(t, b.Sim.Settle(mchid, "R1", "SUCCESS"))
	b.Start()
	e := b.Await("the end", func(e consumertest.Event) bool { return e.Key == "R1" && e.Final })
	if e.Status != messages.StatusFailed {
		t.Errorf("became %s", e.Status)
	}
	b.nothingFollowed()
	for letter, err := range b.Letters.All(t.Context(), "", "") {
		if err != nil || letter.Sequence != e.DeadLetter {
			t.Errorf("dead letter %d, %v", letter.Sequence, err)
		}
	}
}
