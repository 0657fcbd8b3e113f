package consumer_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
	"wxpay-worker/wxpay/wxpaytest"
)

// Whatever a publisher sends ends as a dead letter that names the field, with no call, and the next command goes on.
func TestMalformedCommandsEndAsDeadLetters(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Start()
	cases := []struct{ name, body, field string }{
		{"broken JSON", `{"out_refund_no":`, ""},
		{"empty", ``, ""},
		{"unknown field", `{"out_refund_no":"R9","transaction_id":"T","amount":{"refund":1,"total":1},"amout":1}`, "amout"},
		{"wrong amount", `{"out_refund_no":"R9","transaction_id":"T","amount":{"refund":2,"total":1}}`, "amount.refund"},
		{"over-long text", `{"out_refund_no":"R9","transaction_id":"T","amount":{"refund":1,"total":1},"reason":"` + strings.Repeat("商", 27) + `"}`, "reason"},
		{"four-byte character", `{"out_refund_no":"R9","transaction_id":"T","amount":{"refund":1,"total":1},"reason":"😀"}`, "reason"},
		{"wrong merchant", `{"mchid":"1900000002","out_refund_no":"R9","transaction_id":"T","amount":{"refund":1,"total":1}}`, "mchid"},
		{"sub-merchant of no provider", `{"sub_mchid":"1900000003","out_refund_no":"R9","transaction_id":"T","amount":{"refund":1,"total":1}}`, "sub_mchid"},
		{"too large", `{"out_refund_no":"R9","reason":"` + strings.Repeat("x", 65<<10) + `"}`, ""},
	}
	for i, c := range cases {
		seq := b.Publish(messages.KindRefund, c.body, "Wxpay-Command-Id", fmt.Sprintf("cmd-%d", i))
		e := b.End(messages.KindRefund, messages.SeqKey(seq))
		if e.Status != messages.StatusFailed || e.Error.Reason != messages.ReasonMalformed || !strings.HasPrefix(e.Error.Message, c.field) || e.ID != fmt.Sprintf("cmd-%d", i) {
			t.Errorf("%s: %+v %+v", c.name, e.Outcome, e.Error)
		}
		if letter := must(b.Letters.Get(t.Context(), e.DeadLetter)); string(letter.Command) != c.body || letter.StreamSeq != seq {
			t.Errorf("%s: letter %+v", c.name, letter.DeadLetter)
		}
	}
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	b.End(messages.KindRefund, "R1")
	b.Settled()
	if n := len(b.Sim.RequestsTo(wxpaytest.EndpointRefundCreate)); n != 1 {
		t.Errorf("%d create calls", n)
	}
}

// A message without a body that bears the header by which the server marks its own word is a command all the same.
func TestACommandThatLooksLikeAStatusIsSeen(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Start()
	for _, status := range []string{"100", "404", "408", "409", "423", "503"} {
		seq := b.Publish(messages.KindRefund, "", "Status", status, "Nats-Pin-Id", "forged")
		if e := b.End(messages.KindRefund, messages.SeqKey(seq)); e.Error == nil || e.Error.Reason != messages.ReasonMalformed {
			t.Errorf("status %s: %+v", status, e.Outcome)
		}
	}
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	b.End(messages.KindRefund, "R1")
	b.Settled()
}

// Headers that a publisher can send do not keep its command from being seen, nor its dead letter from being stored: as many as
// the server takes, ones that bear our names, and bytes that no client can decode.
func TestHostileHeadersDoNotKeepADeadLetterFromBeingStored(t *testing.T) {
	t.Parallel()
	for name, headers := range map[string]string{
		"large":       "X-Big: " + strings.Repeat("x", 63<<10) + "\r\n",
		"ours":        "Wxpay-Reason: rejected\r\nWxpay-Stream-Seq: 7\r\nNats-Expected-Stream-Mine: 1\r\n",
		"undecodable": "no colon here\r\n",
		"odd":         "Odd Name: y\r\nX-Tab: a\tb\r\nX-Bytes: \xff\xfe\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.Start()
			natstest.PublishRaw(t, b.URL, b.Subjects.Command(mchid, messages.KindRefund), "NATS/1.0\r\n"+headers+"\r\n", `{}`)
			e := b.End(messages.KindRefund, messages.SeqKey(1))
			if letter := must(b.Letters.Get(t.Context(), e.DeadLetter)); letter.Reason != messages.ReasonMalformed || letter.StreamSeq != 1 {
				t.Errorf("letter: %+v", letter.DeadLetter)
			}
			b.Settled()
		})
	}
}

// panicking refunds nothing.
type panicking struct{ consumer.Refunds }

func (panicking) CreateRefund(context.Context, *wxpay.RefundRequest) (*wxpay.Refund, error) {
	panic("reason: 商品已售完")
}

func TestAPanicIsPoison(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Start(func(o *consumer.Options) { o.Merchants[0].Refunds = panicking{o.Merchants[0].Refunds} })
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	e := b.End(messages.KindRefund, "R1")
	if e.Status != messages.StatusFailed || e.Error.Reason != messages.ReasonPoison || strings.Contains(e.Error.Message, "商品") {
		t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
	}
	b.Settled()
}

// Nothing is acknowledged before its record is confirmed: what the server sees is a +ACK after an outcome, a +TERM with the
// reason after a dead letter, a -NAK with the delay for what comes again.
func TestAcknowledgementsOnTheWire(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Answer: wxpaytest.Answer5xx})
	b.Start()
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	b.End(messages.KindRefund, "R1")
	b.Publish(messages.KindRefund, `{}`)
	b.Settled()
	b.Until("the end of the malformed one", func() bool { acks := b.Acks(); return strings.HasPrefix(acks[len(acks)-1], "+TERM") })
	acks := b.Acks()
	// A busy machine may use up the time of a delivery before it is sent: such a one is handed back at once.
	if !slices.ContainsFunc(acks, func(ack string) bool { return strings.HasPrefix(ack, `-NAK {"delay": `) }) {
		t.Errorf("after a failure: %q", acks)
	}
	ends := slices.Compact(slices.DeleteFunc(acks, func(ack string) bool { return ack[0] != '+' || ack == "+WPI" }))
	if !slices.Equal(ends, []string{"+ACK", "+TERM malformed"}) {
		t.Errorf("ends: %q", ends)
	}
}

// A drain finishes what is in flight, hands the rest back at once, and leaves nothing for ack_wait to find.
func TestDrainStrandsNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Skip: 20, Apply: true, Arrived: arrived, Hold: release})
	const commands = 300
	for i := range commands {
		b.Publish(messages.KindRefund, consumertest.RefundBody(fmt.Sprintf("R%d", i)))
	}
	// A delivery that is stranded comes again after ack_wait: far beyond what this test waits for.
	patient := func(o *consumer.Options) { o.AckWait = 30 * 24 * time.Hour }
	w := b.Start(patient)
	<-arrived
	w.Drain()
	close(release)
	check(t, w.Stop())
	if left := must(b.JS.Stream(t.Context(), b.Subjects.CommandsStream())).CachedInfo().State.Msgs; left == 0 || left == commands {
		t.Fatalf("%d commands left: the drain did not come in the middle", left)
	}
	b.Start(patient)
	for i := range commands {
		b.End(messages.KindRefund, fmt.Sprintf("R%d", i))
	}
	b.Settled()
}

// Exactly one worker serves a lane, and another takes over at once when it drains, soon when it dies.
func TestALaneHasOneWorkerAtATime(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*consumertest.Worker){"drained": func(w *consumertest.Worker) { _ = w.Stop() }, "killed": (*consumertest.Worker).Kill} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			served := map[string]*recorder{"first": {}, "second": {}}
			record := func(who string) consumertest.Option {
				return func(o *consumer.Options) {
					served[who].Refunds = o.Merchants[0].Refunds
					o.Merchants[0].Refunds = served[who]
				}
			}
			first := b.Start(record("first"))
			b.Publish(messages.KindRefund, consumertest.RefundBody("R0"))
			b.End(messages.KindRefund, "R0")
			b.Start(record("second"))
			for i := 1; i <= 100; i++ {
				b.Publish(messages.KindRefund, consumertest.RefundBody(fmt.Sprintf("R%d", i)))
			}
			b.End(messages.KindRefund, "R100")
			b.Settled()
			// A slow machine may make a call anew, or none of what was begun: who makes them is what counts.
			before := served["first"].calls()
			if n := served["second"].calls(); before < 101 || n != 0 {
				t.Fatalf("first made %d calls, second %d", before, n)
			}
			end(first)
			b.Publish(messages.KindRefund, consumertest.RefundBody("R101"))
			b.End(messages.KindRefund, "R101")
			if a, z := served["first"].calls(), served["second"].calls(); a != before || z == 0 {
				t.Errorf("after the first was %s, which had made %d calls, it has made %d, and the second %d", name, before, a, z)
			}
			b.Settled()
		})
	}
}

// A lane asks again as soon as it has room: a backlog many times its concurrency goes through without waiting for a pull to
// expire.
func TestABacklogGoesThroughWithoutAPause(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const commands = 100
	for i := range commands {
		b.Publish(messages.KindRefund, `{}`+strings.Repeat(" ", i)) // malformed: no call, no quota
	}
	// A pull lives a third of the pin's time: none of them ends before the test gives up.
	b.Start(func(o *consumer.Options) { o.Concurrency = 2; o.PinnedTTL = 10 * time.Minute })
	b.End(messages.KindRefund, messages.SeqKey(commands))
	b.Settled()
}

// Where nearly all that a lane may have in flight hangs, the rest goes on: room for few is filled, too.
func TestRoomForFewIsFilled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const hanging = 31
	b.Timeout = 2 * consumertest.Patience // they hang for as long as is waited for the others
	release, arrived := make(chan struct{}), make(chan struct{}, hanging)
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Times: hanging, Apply: true, Arrived: arrived, Hold: release})
	b.Start(func(o *consumer.Options) { o.Concurrency, o.AckWait = hanging+1, 12*time.Hour })
	for i := range hanging {
		b.Publish(messages.KindRefund, consumertest.RefundBody(fmt.Sprintf("H%d", i)))
	}
	for range hanging {
		<-arrived
	}
	for i := range 3 {
		b.Publish(messages.KindRefund, consumertest.RefundBody(fmt.Sprintf("R%d", i)))
	}
	for i := range 3 {
		b.End(messages.KindRefund, fmt.Sprintf("R%d", i))
	}
	close(release)
	b.Settled()
}

// A lane that has no room keeps its pin: its commands do not go to a second worker beside the first.
func TestAFullLaneKeepsItsPin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	release := make(chan struct{})
	arrived := make(chan struct{}, 2)
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Times: 2, Apply: true, Arrived: arrived, Hold: release})
	narrow := func(o *consumer.Options) { o.Concurrency = 2 }
	second := &recorder{}
	b.Start(narrow, func(o *consumer.Options) { o.PinnedTTL = consumertest.PinnedTTL })
	for i := range 5 {
		b.Publish(messages.KindRefund, consumertest.RefundBody(fmt.Sprintf("R%d", i)))
	}
	<-arrived
	<-arrived
	b.Start(narrow, func(o *consumer.Options) {
		o.PinnedTTL = consumertest.PinnedTTL
		second.Refunds = o.Merchants[0].Refunds
		o.Merchants[0].Refunds = second
	})
	// The server says when a lane changes hands; for longer than the pin lives, it does not.
	unpinned := must(b.NC.SubscribeSync("$JS.EVENT.ADVISORY.CONSUMER.UNPINNED.>"))
	if m, err := unpinned.NextMsg(3 * consumertest.PinnedTTL / 2); err == nil {
		t.Errorf("lane changed hands: %s", m.Data)
	}
	close(release)
	for i := range 5 {
		b.End(messages.KindRefund, fmt.Sprintf("R%d", i))
	}
	b.Settled()
	if n := second.calls(); n != 0 {
		t.Errorf("second worker made %d calls", n)
	}
}

// A merchant that is not configured: its commands stay, untouched, and are counted.
func TestOrphansStay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 3 {
		b.PublishFor("1900000777", messages.KindRefund, consumertest.RefundBody("R1"))
	}
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	b.Start()
	b.End(messages.KindRefund, "R1")
	c := must(consumer.New(consumer.Options{Conn: b.NC, Subjects: b.Subjects, Merchants: []consumer.Merchant{{MchID: mchid}}, Log: quiet()}))
	if got := must(c.Orphans(t.Context())); len(got) != 1 || got["1900000777"] != 3 {
		t.Errorf("orphans %v", got)
	}
	stream := must(b.JS.Stream(t.Context(), b.Subjects.CommandsStream()))
	if n := must(stream.Info(t.Context(), jetstream.WithSubjectFilter(">"))).State.Subjects["wxpay.command.1900000777.refund"]; n != 3 {
		t.Errorf("%d left", n)
	}
}

// Two partial refunds of one order go out at least a minute apart, though they were sent together. (The judge calls anything
// else a violation.)
func TestRefundsOfOneOrderKeepTheirDistance(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Start()
	for _, no := range []string{"R1", "R2"} {
		b.Publish(messages.KindRefund, `{"out_refund_no":"`+no+`","transaction_id":"TX1","amount":{"refund":10,"total":100}}`)
	}
	b.End(messages.KindRefund, "R1")
	b.End(messages.KindRefund, "R2")
	b.Settled()
	create := b.Sim.RequestsTo(wxpaytest.EndpointRefundCreate)
	if gap := create[1].At.Sub(create[0].At); gap < time.Minute {
		t.Errorf("%s apart", gap)
	}
}

// Two workers that start together, before anybody has served the lane: the one in reserve finds out only when the lane comes to it
// that the other had it. It knows nothing of an order that was refunded a moment ago unless it looks.
func TestReserveLooksAtWhatTheFirstDid(t *testing.T) {
	t.Parallel()
	b := setupAt(t, 10) // slow enough for the lane to change hands within the minute
	pulls := must(b.NC.SubscribeSync("$JS.API.CONSUMER.MSG.NEXT." + b.Subjects.CommandsStream() + ".refund-" + mchid))
	check(t, b.NC.Flush())
	calls := map[*consumertest.Worker]*recorder{}
	for range 2 {
		r := &recorder{}
		calls[b.Start(func(o *consumer.Options) { r.Refunds, o.Merchants[0].Refunds = o.Merchants[0].Refunds, r })] = r
	}
	for inboxes := map[string]bool{}; len(inboxes) < 2; { // until both have asked for commands
		pull := must(pulls.NextMsg(consumertest.Patience))
		inboxes[pull.Reply[:strings.LastIndexByte(pull.Reply, '.')]] = true
	}
	refund := func(number string) string {
		return fmt.Sprintf(`{"out_refund_no":%q,"transaction_id":"T1","amount":{"refund":10,"total":100}}`, number)
	}
	b.Publish(messages.KindRefund, refund("R1"))
	b.End(messages.KindRefund, "R1")
	b.Drained()
	for w, r := range calls {
		if r.calls() > 0 {
			w.Kill()
		}
	}
	b.Publish(messages.KindRefund, refund("R2"))
	b.End(messages.KindRefund, "R2")
	b.Settled()
}

// A lane that went to another worker and came back: what was delivered before makes no call any more, since what goes before it may have
// come after it. It is handed back, and when nobody else has had it in between nothing is waited for.
func TestADeliveryOfALaneThatCameBackMakesNoCall(t *testing.T) {
	t.Parallel()
	b := setup(t)
	signer := &gatedSigner{Signer: b.Creds[mchid].PrivateKey, asked: make(chan struct{}, 1), open: make(chan struct{})}
	b.Start(func(o *consumer.Options) {
		o.Merchants[0].Refunds = b.ClientBy(mchid, signer)
		o.Settlement.First = o.Settlement.Max // looks ask for signatures, too
		o.AckWait = 12 * time.Hour            // the lane is lost, the lease is not
	})
	b.Publish(messages.KindRefund, consumertest.RefundBody("R0"))
	b.End(messages.KindRefund, "R0") // what comes now is provably new
	signer.mu.Lock()
	signer.shut = true
	signer.mu.Unlock()
	sequence := b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	<-signer.asked
	acks := must(b.NC.SubscribeSync(fmt.Sprintf("$JS.ACK.%s.refund-%s.*.%d.>", b.Subjects.CommandsStream(), mchid, sequence)))
	check(t, must(b.JS.Stream(t.Context(), b.Subjects.CommandsStream())).UnpinConsumer(t.Context(), "refund-"+mchid, "worker"))
	b.Publish(messages.KindRefund, consumertest.RefundBody("R2")) // whoever gets it has the lane
	<-signer.asked
	close(signer.open)
	b.End(messages.KindRefund, "R1")
	b.Settled()
	var ends []string
	for {
		m, err := acks.NextMsg(consumertest.Patience)
		check(t, err)
		if string(m.Data) != "+WPI" {
			ends = append(ends, string(m.Data))
		}
		if string(m.Data) == "+ACK" {
			break
		}
	}
	if again := ends[:len(ends)-1]; len(again) == 0 || slices.ContainsFunc(again, func(end string) bool { return end != "-NAK" }) {
		t.Errorf("the deliveries ended %q", ends)
	}
}

// A worker that drains for so long that its pin runs out leaves the lane to whoever has it by then: that one would have to take it over anew,
// with a quota that is supposed to be used up.
func TestADrainThatTakesLongEndsNobodysPin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	arrived, hold := make(chan struct{}, 1), make(chan struct{})
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, ID: "R1", Apply: true, Arrived: arrived, Hold: hold})
	first := b.Start()
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	<-arrived
	unpins := must(b.NC.SubscribeSync("$JS.API.CONSUMER.UNPIN." + b.Subjects.CommandsStream() + ".refund-" + mchid))
	b.Start()
	first.Drain()
	b.Publish(messages.KindRefund, `{"out_refund_no":"R2","transaction_id":"TX2","amount":{"refund":60,"total":100}}`)
	b.End(messages.KindRefund, "R2") // by the second, once the pin of the first has run out; or, on a busy machine, was ended while it was its own
	before, _, err := unpins.Pending()
	check(t, err)
	close(hold)
	check(t, first.Stop())
	check(t, b.NC.Flush())
	if n, _, err := unpins.Pending(); err != nil || n > before {
		t.Errorf("%d pins ended that were another's, %v", n-before, err)
	}
	b.End(messages.KindRefund, "R1")
	b.Settled()
}
