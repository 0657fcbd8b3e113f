package dlq_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/consumer"
	"wxpay-worker/dlq"
	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
)

const many = 100_000

// filled is a queue of many letters: every sixth of a reason, of 7 merchants and 4 kinds, with commands of 300 bytes.
func filled(b *testing.B) *dlq.Queue {
	b.Helper()
	nc := natstest.Connect(b)
	subjects := must(messages.NewSubjects("wxpay"))
	want := consumer.Streams{Subjects: subjects, Replicas: 1, MaxWaiting: many, OutcomesMaxAge: time.Hour}
	if err := consumer.EnsureStreams(b.Context(), nc, want); err != nil {
		b.Fatal(err)
	}
	js := must(jetstream.New(nc))
	body := fmt.Appendf(nil, `{"out_refund_no":"R","reason":"%0250d"}`, 0)
	for i := range many {
		d := letter(fmt.Sprint("R", i), uint64(i+1))
		d.MchID = fmt.Sprint(1900000000 + i%7)
		d.Kind = messages.Kinds[i%4]
		d.Reason = messages.Reasons[i%6]
		d.Subject = subjects.Command(d.MchID, d.Kind)
		d.Command = body
		msg := &nats.Msg{Subject: subjects.DeadLetter(d.MchID, d.Kind, d.Reason, d.Key), Header: d.Headers(), Data: d.Command}
		must(js.PublishMsgAsync(msg))
	}
	<-js.PublishAsyncComplete()
	return must(dlq.New(nc, subjects))
}

// BenchmarkMany measures a queue of 100,000 dead letters.
func BenchmarkMany(b *testing.B) {
	q := filled(b)
	read := func(name string, want int, f dlq.Filter) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				n := 0
				for _, err := range q.Select(b.Context(), f) {
					if err != nil {
						b.Fatal(err)
					}
					n++
				}
				if n != want {
					b.Fatalf("%d letters, want %d", n, want)
				}
			}
		})
	}
	read("list", many, dlq.Filter{})
	read("list-one-reason", many/6, dlq.Filter{Reason: []messages.Reason{messages.ReasonPoison}})
	read("list-newest-20", 20, dlq.Filter{Newest: 20})
	read("list-newest-20-of-one-reason", 20, dlq.Filter{Reason: []messages.Reason{messages.ReasonRejected}, Newest: 20})
	read("list-one-key", 1, dlq.Filter{Key: []string{"R77777"}})
	read("list-newest-20-of-one-code", 20, dlq.Filter{Code: []string{"PARAM_ERROR"}, Newest: 20})
	b.Run("stats", func(b *testing.B) {
		for b.Loop() {
			if stats := must(q.Stats(b.Context(), dlq.Filter{})); len(stats) != 7*12 {
				b.Fatalf("%d rows", len(stats))
			}
		}
	})
	b.Run("replay", func(b *testing.B) {
		var seq uint64
		for b.Loop() {
			seq++
			must(q.Replay(b.Context(), seq, dlq.ReplayOptions{Unresolved: true}))
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "letters/s")
	})
}
