package consumer

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/sirupsen/logrus"

	"wxpay-worker/dlq"
	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
)

// BenchmarkBackOff is what a lane keeps of a refund command in back-off when it is as full of them as it gets, and what a delivery of one
// makes. Both are of the whole process: the server that delivers is in it, and does not store what it delivers.
func BenchmarkBackOff(b *testing.B) {
	for _, story := range []struct {
		name, code string
		deliveries uint64 // of each command
	}{
		{"refused", "INVALID_REQUEST", 1}, // not believed before it was asked about, a minute later
		{"not now", "ORDER_NOT_READY", 1},
		{"not now, twice", "ORDER_NOT_READY", 2},
	} {
		b.Run(story.name, func(b *testing.B) {
			var kept, made, objects uint64
			w := newFiller(b, story.code)
			for b.Loop() {
				before := inUse()
				l := w.fill(maxAckPending, story.deliveries)
				after := inUse()
				runtime.KeepAlive(l)
				kept += after.HeapAlloc - before.HeapAlloc
				made += after.TotalAlloc - before.TotalAlloc
				objects += after.Mallocs - before.Mallocs
			}
			commands := float64(b.N) * maxAckPending
			deliveries := commands * float64(story.deliveries)
			b.ReportMetric(float64(kept)/commands, "kept-B/command")
			b.ReportMetric(float64(made)/deliveries, "made-B/delivery")
			b.ReportMetric(float64(objects)/deliveries, "allocs/delivery")
		})
	}
}

func inUse() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC() // what the first one found to have finalizers
	runtime.ReadMemStats(&m)
	return m
}

// filler fills lanes with commands in back-off.
type filler struct {
	b       *testing.B
	c       *Consumer
	refused refuser
	arrived *nats.Subscription
}

const filledMchID = "1900000001"

func newFiller(b *testing.B, code string) *filler {
	nc := natstest.Connect(b)
	subjects := messages.Subjects{Prefix: "wxpay"}
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	must(EnsureStreams(b.Context(), nc, Streams{Subjects: subjects, Replicas: 1, MaxWaiting: 1, OutcomesMaxAge: time.Hour}))
	letters, err := dlq.New(nc, subjects)
	must(err)
	log := logrus.New()
	log.SetOutput(io.Discard)
	c, err := New(Options{
		Conn: nc, Subjects: subjects, DeadLetters: letters, Log: log, Concurrency: 64, AckWait: time.Minute, PinnedTTL: time.Hour,
		Retry: Retry{Initial: 2 * time.Second, Multiplier: 2, Max: time.Hour, MaxAttempts: 25, MaxAge: 72 * time.Hour},
	})
	must(err)
	arrived, err := nc.SubscribeSync("delivered")
	must(err)
	f := &filler{b: b, c: c, refused: refuser(code), arrived: arrived}
	f.fill(1, 1) // what is made only once
	return f
}

// fill returns a lane that has had n commands, each delivered so many times, none of which has ended.
func (f *filler) fill(n int, deliveries uint64) *lane {
	l := newLane(f.c.shared, Merchant{MchID: filledMchID, Refunds: f.refused}, familyRefund)
	l.legacy = &inheritance{read: closed} // nobody had the lane before
	l.sure.Store(0)
	for delivered := range deliveries {
		for i := range n {
			l.owned.extend(time.Now(), l.tenure())
			d := f.deliver(uint64(i+1), delivered+1)
			l.receive(d)(context.Background())
		}
	}
	return l
}

// deliver has a command arrive as from a stream.
func (f *filler) deliver(sequence, delivered uint64) *delivery {
	m := nats.NewMsg("delivered")
	m.Data = fmt.Appendf(nil, `{"out_refund_no":"R20261121-%016d","out_trade_no":"T20261121-%016d","amount":{"refund":100,"total":100}}`, sequence, sequence)
	if err := f.c.nc.PublishMsg(m); err != nil {
		f.b.Fatal(err)
	}
	m, err := f.arrived.NextMsg(time.Minute)
	if err != nil {
		f.b.Fatal(err)
	}
	// No server takes these from a publisher.
	m.Subject = f.c.subjects.Command(filledMchID, messages.KindRefund)
	m.Reply = fmt.Sprintf("$JS.ACK.WXPAY_COMMANDS.refund-%s.%d.%d.%d.%d.0", filledMchID, delivered, sequence, sequence, time.Now().UnixNano())
	d, err := newDelivery(m, nil, f.c.ackWait)
	if err != nil {
		f.b.Fatal(err)
	}
	return d
}

// refuser answers every refund with a code of version 2.
type refuser string

func (r refuser) CreateRefund(context.Context, *wxpay.RefundRequest) (*wxpay.Refund, error) {
	return nil, &wxpay.Error{
		Op: "POST /secapi/pay/refund", HTTPStatus: 200, Code: string(r), Message: "订单状态错误", Proven: true,
		RequestID: fmt.Sprintf("08C9E2A1B00610A60218%020X", time.Now().UnixNano()), // WeChat Pay's is as long
	}
}

func (r refuser) QueryRefund(context.Context, string, string) (*wxpay.Refund, error) {
	return nil, &wxpay.Error{Op: "POST /pay/refundquery", HTTPStatus: 200, Code: "REFUNDNOTEXIST", Proven: true}
}
