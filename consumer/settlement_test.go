package consumer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/dlq"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
	"wxpay-worker/wxpay/wxpaytest"
)

// becomes waits for the key's outcome with that status.
func (b *bench) becomes(key string, status messages.Status) consumertest.Event {
	b.T.Helper()
	return b.Await(key+" "+string(status), func(e consumertest.Event) bool { return e.Key == key && e.Status == status })
}

// looked waits until the simulator has been asked about a refund n times.
func (b *bench) looked(n int) {
	b.T.Helper()
	ctx, cancel := context.WithTimeout(b.T.Context(), consumertest.Patience)
	defer cancel()
	check(b.T, b.Sim.AwaitRequests(ctx, wxpaytest.EndpointRefundQuery, n))
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
			b.Start()
			body := `{"out_refund_no":"R*1","transaction_id":"TX1","amount":{"refund":60,"total":100},"metadata":{"order":"42"}}`
			b.Publish(messages.KindRefund, body, "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Wxpay-Command-Id", "cmd-1")
			b.becomes("R*1", messages.StatusAccepted)
			b.looked(2)
			check(t, b.Sim.Settle(mchid, "R*1", state))
			e := b.becomes("R*1", want)
			if !e.Final || e.Attempts != 1 || e.ID != "cmd-1" || e.Metadata["order"] != "42" || e.Refund.Status != state || e.Header.Get("traceparent") == "" {
				t.Errorf("outcome: %+v %+v", e.Outcome, e.Refund)
			}
			if want == messages.StatusAbnormal { // a person mends it, and it is followed on
				check(t, b.Sim.Settle(mchid, "R*1", "SUCCESS"))
				b.becomes("R*1", messages.StatusSucceeded)
			}
			b.Settled()
			b.Publish(messages.KindRefund, body)
			b.Settled()
			if n := len(b.Sim.RequestsTo(wxpaytest.EndpointRefundCreate)); n != 1 {
				t.Errorf("%d create calls", n)
			}
			b.nothingFollowed()
		})
	}
}

// That a refund has become abnormal is told as something that was done, once, however often it is looked at after that: a person is called for it.
func TestAnAbnormalRefundIsToldOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	saw := &watcher{}
	w := b.Start(func(o *consumer.Options) { o.Observer = saw })
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	b.becomes("R1", messages.StatusAccepted)
	check(t, b.Sim.Settle(mchid, "R1", "ABNORMAL"))
	b.becomes("R1", messages.StatusAbnormal)
	b.looked(len(b.Sim.RequestsTo(wxpaytest.EndpointRefundQuery)) + 2)
	check(t, w.Stop())
	told := 0
	for _, r := range saw.ended {
		if r.Status == messages.StatusAbnormal && r.Verdict == consumer.Done.String() {
			told++
		}
	}
	if told != 1 {
		t.Errorf("told %d times: %+v", told, saw.ended)
	}
}

// nothingFollowed waits until no schedule and nothing due is left.
func (b *bench) nothingFollowed() {
	b.T.Helper()
	b.followed(0)
}

// followed waits until there are so many schedules, and what is due.
func (b *bench) followed(n uint64) {
	b.T.Helper()
	acks := must(b.NC.SubscribeSync("$JS.ACK." + b.Subjects.SettlementsStream() + ".>"))
	for limit := time.Now().Add(consumertest.Patience); ; {
		stream := must(b.JS.Stream(b.T.Context(), b.Subjects.SettlementsStream()))
		if stream.CachedInfo().State.Msgs == n {
			return
		}
		if time.Now().After(limit) {
			info := must(stream.Info(b.T.Context(), jetstream.WithSubjectFilter(">")))
			b.T.Fatalf("%d followed, not %d: %.1000v", info.State.Msgs, n, info.State.Subjects)
		}
		_, _ = acks.NextMsg(50 * time.Millisecond)
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
					b := setupWith(t, consumertest.Config{Simulator: wxpaytest.Options{SettleAtOnce: true}})
					c := &consumertest.Cut{At: step, Lost: lost, Dead: dead}
					w := b.StartVia(c)
					b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
					if dead {
						<-w.LostWire
						w.Kill()
						b.Start()
					}
					b.becomes("R1", messages.StatusSucceeded)
					b.Settled()
					b.nothingFollowed()
					if !c.Broken() {
						t.Error("the story never came to that step")
					}
				})
			}
		}
	}
}

const (
	unreadable = "?"  // the key of a command that this version cannot read
	longAgo    = "R0" // and of a refund that was accepted a year ago
	ofSub      = "S"  // what those of a sub-merchant's refunds begin with
)

// lettersWithout cannot be asked about one key as long as out is not closed.
type lettersWithout struct {
	consumer.DeadLetters
	key string
	out chan struct{}
}

func (l *lettersWithout) Find(ctx context.Context, mchid string, kind messages.Kind, key string, sequence uint64) (*dlq.Letter, error) {
	select {
	case <-l.out:
	default:
		if key == l.key {
			return nil, errors.New("out of order")
		}
	}
	return l.DeadLetters.Find(ctx, mchid, kind, key, sequence)
}

// together has the refunds asked for, as if by a command, and followed by one schedule that is due now, as a worker writes it.
func (b *bench) together(keys ...string) {
	b.T.Helper()
	type refund struct {
		Header  nats.Header `json:"header"`
		Command []byte      `json:"command"`
	}
	var all []refund
	client := b.Client(mchid)
	for _, key := range keys {
		if key == unreadable {
			all = append(all, refund{nats.Header{"Wxpay-Stream-Seq": {"7"}}, []byte(`{"version":2}`)})
			continue
		}
		accepted, body := b.Clock.Now(), consumertest.RefundBody(key)
		if key == longAgo {
			accepted = accepted.Add(-365 * 24 * time.Hour)
		}
		if strings.HasPrefix(key, ofSub) {
			body = strings.Replace(body, "{", `{"sub_mchid":"1900000555",`, 1)
		}
		must(client.CreateRefund(b.T.Context(), &wxpay.RefundRequest{
			OutRefundNo: key, TransactionID: "TX" + key, Reason: "商品已售完", Amount: wxpay.RefundAmount{Refund: 60, Total: 100, Currency: "CNY"},
		}))
		all = append(all, refund{nats.Header{
			"Wxpay-Accepted-At": {accepted.UTC().Format(time.RFC3339Nano)}, "Wxpay-First-At": {b.Clock.Now().UTC().Format(time.RFC3339Nano)},
			"Wxpay-Attempts": {"2"}, "Wxpay-Stream-Seq": {"7"}, "Wxpay-Command-Id": {"cmd-" + key}, "traceparent": {"00-" + key},
		}, []byte(body)})
	}
	msg := nats.NewMsg(b.Subjects.SettlementTogether(mchid, "T"))
	msg.Data = must(json.Marshal(all))
	msg.Header = nats.Header{
		"Nats-Schedule": {"@at " + time.Now().UTC().Format(time.RFC3339Nano)}, "Nats-Schedule-Target": {b.Subjects.SettlementDue(mchid)},
		"Wxpay-Looks": {"0"}, "Wxpay-Refunds": {fmt.Sprint(len(all))},
	}
	must(b.JS.PublishMsg(b.T.Context(), msg))
}

// Refunds that are followed together end each by itself, also when the wire breaks in the middle of it; those without an end go on
// together.
func TestRefundsFollowedTogetherEndEachByItself(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"", "refund.R3.succeeded", "PUB wxpay.settlement.at.1900000001.=together-T", "$JS.ACK.WXPAY_SETTLEMENTS.settlement"} {
		for _, lost := range []bool{false, true} {
			for _, dead := range []bool{false, true} {
				if step == "" && (lost || dead) {
					continue
				}
				t.Run(fmt.Sprintf("%s/lost=%v/dead=%v", step, lost, dead), func(t *testing.T) {
					t.Parallel()
					b := setup(t)
					b.together("R1", "R2", "R3", "R4")
					for _, key := range []string{"R1", "R3"} {
						check(t, b.Sim.Settle(mchid, key, "SUCCESS"))
					}
					c := &consumertest.Cut{At: step, Lost: lost, Dead: dead}
					if c.At == "" {
						c.At = "nothing that is ever said"
					}
					w := b.StartVia(c)
					if dead {
						<-w.LostWire
						w.Kill()
						b.Start()
					}
					b.becomes("R1", messages.StatusSucceeded)
					e := b.becomes("R3", messages.StatusSucceeded)
					if e.ID != "cmd-R3" || e.Attempts != 2 || e.Metadata["order"] != "42" || e.Header.Get("traceparent") != "00-R3" || e.Header.Get(messages.HeaderStreamSeq) != "7" {
						t.Errorf("outcome: %+v %v", e.Outcome, e.Header)
					}
					check(t, b.Sim.Settle(mchid, "R2", "CLOSED"))
					b.becomes("R2", messages.StatusClosed)
					check(t, b.Sim.Settle(mchid, "R4", "ABNORMAL"))
					b.becomes("R4", messages.StatusAbnormal)
					check(t, b.Sim.Settle(mchid, "R4", "SUCCESS"))
					b.becomes("R4", messages.StatusSucceeded)
					b.Settled()
					b.nothingFollowed()
					if step != "" && !c.Broken() {
						t.Error("the story never came to that step")
					}
				})
			}
		}
	}
}

// A refund that cannot be asked about, one that this version cannot read and one whose record is out of reach do not keep those that are
// followed beside them from their end, and are not given up themselves.
func TestRefundsFollowedTogetherDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundQuery, ID: "R1", Times: -1, Answer: wxpaytest.AnswerSlow})
	b.together("R1", longAgo, unreadable, "R2", "R3")
	for _, key := range []string{longAgo, "R1", "R2", "R3"} {
		check(t, b.Sim.Settle(mchid, key, "SUCCESS"))
	}
	letters := &lettersWithout{key: longAgo, out: make(chan struct{})}
	b.Start(func(o *consumer.Options) {
		letters.DeadLetters, o.DeadLetters = o.DeadLetters, letters
		o.Settlement.GiveUp = 364 * 24 * time.Hour // 44 hours here
	})
	b.becomes("R2", messages.StatusSucceeded)
	b.becomes("R3", messages.StatusSucceeded)
	for _, key := range []string{"R1", longAgo} {
		if got := b.Statuses(messages.KindRefund, key); len(got) > 0 {
			t.Errorf("%s: %v", key, got)
		}
	}
	b.Sim.ClearFaults()
	b.becomes("R1", messages.StatusSucceeded)
	close(letters.out)
	b.becomes(longAgo, messages.StatusSucceeded)
	for limit := time.Now().Add(consumertest.Patience); ; { // a look may be under way
		last, err := must(b.JS.Stream(t.Context(), b.Subjects.SettlementsStream())).GetLastMsgForSubject(t.Context(), b.Subjects.SettlementTogether(mchid, "T"))
		if err == nil && string(last.Data) == `{"version":2}` && last.Header.Get("Wxpay-Stream-Seq") == "7" {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("kept: %v, %v", last, err)
		}
	}
}

// refusing refuses to tell of some refunds.
type refusing struct {
	consumer.Refunds
	of  func(outRefundNo string) bool
	why *wxpay.Error
}

func (r refusing) QueryRefund(ctx context.Context, outRefundNo, subMchID string) (*wxpay.Refund, error) {
	if r.of(outRefundNo) {
		return nil, r.why
	}
	return r.Refunds.QueryRefund(ctx, outRefundNo, subMchID)
}

// However many refunds WeChat Pay does not tell of, as those of a sub-merchant that has withdrawn its permission, the others that are followed
// with them are looked at each time: else each look would end at the next of those, and the last would come days later.
func TestRefundsThatAreRefusedDelayNoOthers(t *testing.T) {
	t.Parallel()
	for prefix, why := range map[string]*wxpay.Error{
		ofSub: {HTTPStatus: 403, Code: "NO_AUTH", Proven: true},
		"P":   {HTTPStatus: 400, Code: "PARAM_ERROR", Proven: true},
	} {
		t.Run(why.Code, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			const good = 10
			var keys []string
			for i := range good {
				keys = append(keys, fmt.Sprint(prefix, i), fmt.Sprint("R", i+1))
			}
			b.together(keys...)
			for i := range good {
				check(t, b.Sim.Settle(mchid, fmt.Sprint("R", i+1), "SUCCESS"))
			}
			b.Start(func(o *consumer.Options) {
				m := &o.Merchants[0]
				m.SubMerchants = true
				m.Refunds = refusing{m.Refunds, func(key string) bool { return strings.HasPrefix(key, prefix) }, why}
			})
			first := b.becomes("R1", messages.StatusSucceeded)
			for i := range good {
				if e := b.becomes(fmt.Sprint("R", i+1), messages.StatusSucceeded); e.At.Sub(first.At) > time.Hour { // looks are 20 minutes apart by then
					t.Fatalf("%s came %s after the first", e.Key, e.At.Sub(first.At))
				}
			}
			b.followed(1)
		})
	}
}

// signalling tells when a refund was asked for.
type signalling struct {
	consumer.Refunds
	answered chan<- struct{}
}

func (s signalling) CreateRefund(ctx context.Context, r *wxpay.RefundRequest) (*wxpay.Refund, error) {
	defer func() { s.answered <- struct{}{} }()
	return s.Refunds.CreateRefund(ctx, r)
}

// A worker that dies between the schedule that refunds share and an `accepted` leaves refunds that are followed, and whose commands come again:
// then they are followed twice, and end once.
func TestDyingBetweenASharedScheduleAndAccepted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	keys := []string{"R1", "R2", "R3", "R4", "R5", "R6", "R7", "R8"}
	first, others := make(chan struct{}), make(chan struct{})
	arrived, answered := make(chan struct{}, len(keys)), make(chan struct{}, len(keys))
	for _, key := range keys {
		hold := others
		if key == "R1" {
			hold = first
		}
		b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, ID: key, Apply: true, Arrived: arrived, Hold: hold})
		b.Publish(messages.KindRefund, consumertest.RefundBody(key))
	}
	c := &consumertest.Cut{At: "refund.R2.accepted", Lost: true, Dead: true}
	g := consumertest.NewGate("wxpay.settlement.at.1900000001.R1 ")
	g.Via = c
	w := b.StartVia(g, func(o *consumer.Options) { o.Merchants[0].Refunds = signalling{o.Merchants[0].Refunds, answered} })
	for range keys {
		<-arrived
	}
	close(first)
	<-g.Shut // R1's schedule is being written: what is accepted now shares the next one
	close(others)
	for range keys {
		<-answered
	}
	close(g.Open)
	<-w.LostWire
	w.Kill()
	stream := must(b.JS.Stream(t.Context(), b.Subjects.SettlementsStream()))
	if shared := must(stream.Info(t.Context(), jetstream.WithSubjectFilter("wxpay.settlement.at.1900000001.*"))).State.Subjects; len(shared) >= len(keys) {
		t.Fatalf("each has a schedule of its own: %v", shared)
	}
	b.Start()
	for _, key := range keys {
		b.becomes(key, messages.StatusAccepted)
	}
	b.Drained()
	for _, key := range keys {
		check(t, b.Sim.Settle(mchid, key, "SUCCESS"))
	}
	for _, key := range keys {
		b.becomes(key, messages.StatusSucceeded)
	}
	b.nothingFollowed()
	b.Settled()
	if !c.Broken() {
		t.Error("the story never came to that step")
	}
}

// What is followed together and is not given up in time is so each by itself.
func TestRefundsFollowedTogetherAreGivenUpEachByItself(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.together("R1", "R2")
	b.Start(func(o *consumer.Options) { o.Settlement.GiveUp = 10 * time.Minute })
	for _, key := range []string{"R1", "R2"} {
		e := b.becomes(key, messages.StatusFailed)
		letter := must(b.Letters.Get(t.Context(), e.DeadLetter))
		if e.Error.Reason != messages.ReasonUnresolved || string(letter.Command) != consumertest.RefundBody(key) || letter.StreamSeq != 7 {
			t.Errorf("%s: %+v, letter %+v", key, e.Error, letter.DeadLetter)
		}
	}
	b.nothingFollowed()
}

// A merchant whose queries hang does not keep the others' refunds from being settled.
func TestSettlementsOfOneMerchantDoNotWaitForAnothers(t *testing.T) {
	t.Parallel()
	b := setupWith(t, consumertest.Config{Simulator: wxpaytest.Options{SettleAtOnce: true}})
	const other = "1900000002"
	b.Merchant(other)
	b.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundQuery, MchID: mchid, Times: -1, Answer: wxpaytest.AnswerSlow})
	b.Start(func(o *consumer.Options) { o.Concurrency = 4 })
	for i := range 40 {
		b.Publish(messages.KindRefund, consumertest.RefundBody(fmt.Sprintf("S%d", i)))
	}
	b.PublishFor(other, messages.KindRefund, consumertest.RefundBody("F1"))
	b.becomes("F1", messages.StatusSucceeded)
	if got := b.Statuses(messages.KindRefund, "S0"); slices.Contains(got, messages.StatusSucceeded) {
		t.Error("the hanging merchant did not hang")
	}
}
