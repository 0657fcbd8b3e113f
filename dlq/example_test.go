package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"wxpay-worker/consumer"
	"wxpay-worker/dlq"
	"wxpay-worker/internal/natsembed"
	"wxpay-worker/messages"
)

// exampleQueue is a queue with three letters, on a server of its own. A program connects to its own server instead, where a worker
// has made the streams and the letters.
func exampleQueue(ctx context.Context) (q *dlq.Queue, end func()) {
	dir, err := os.MkdirTemp("", "dlq-example-")
	check(err)
	server, err := natsembed.Start(natsembed.Options{Dir: dir, NoSync: true})
	check(err)
	nc, err := nats.Connect("", server.InProcess())
	check(err)
	subjects := messages.Subjects{Prefix: "wxpay"}
	check(consumer.EnsureStreams(ctx, nc, consumer.Streams{Subjects: subjects, Replicas: 1, MaxWaiting: 100, OutcomesMaxAge: 24 * time.Hour}))
	q, err = dlq.New(nc, subjects)
	check(err)
	for i, reason := range []messages.Reason{messages.ReasonRejected, messages.ReasonUnresolved, messages.ReasonRejected} {
		number := fmt.Sprint("R", i+1)
		_, err := q.Put(ctx, &messages.DeadLetter{
			MchID: "1900000001", Kind: messages.KindRefund, Key: number, Reason: reason, Code: "USER_ACCOUNT_ABNORMAL",
			Subject: subjects.Command("1900000001", messages.KindRefund), StreamSeq: uint64(i + 1), FailedAt: time.Date(2026, 11, 21, 8, i, 0, 0, time.UTC),
			Command: fmt.Appendf(nil, `{"out_refund_no":"%s","out_trade_no":"T%[1]s","amount":{"refund":1,"total":1}}`, number),
		})
		check(err)
	}
	return q, func() {
		nc.Close()
		server.Shutdown()
		os.RemoveAll(dir)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func ExampleQueue_Select() {
	ctx := context.Background()
	q, end := exampleQueue(ctx)
	defer end()

	rejected := dlq.Filter{MchID: []string{"1900000001"}, Reason: []messages.Reason{messages.ReasonRejected}}
	for letter, err := range q.Select(ctx, rejected) {
		check(err)
		fmt.Println(letter.Sequence, letter.At().Format(time.RFC3339), letter.Kind, letter.Key, letter.Code)
	}
	// Output:
	// 1 2026-11-21T08:00:00Z refund R1 USER_ACCOUNT_ABNORMAL
	// 3 2026-11-21T08:02:00Z refund R3 USER_ACCOUNT_ABNORMAL
}

func ExampleQueue_Stats() {
	ctx := context.Background()
	q, end := exampleQueue(ctx)
	defer end()

	stats, err := q.Stats(ctx, dlq.Filter{})
	check(err)
	for _, s := range stats {
		fmt.Println(s.MchID, s.Kind, s.Reason, s.Code, s.Count)
	}
	// Output:
	// 1900000001 refund rejected USER_ACCOUNT_ABNORMAL 2
	// 1900000001 refund unresolved USER_ACCOUNT_ABNORMAL 1
}

// All letters are put back that are safe to put back; those that may have been carried out wait for somebody to look.
func ExampleQueue_Replay() {
	ctx := context.Background()
	q, end := exampleQueue(ctx)
	defer end()

	for letter, err := range q.Select(ctx, dlq.Filter{}) {
		check(err)
		back, err := q.Replay(ctx, letter.Sequence, dlq.ReplayOptions{})
		switch {
		case err == nil:
			fmt.Println(letter.Key, "is command", back.Sequence)
		case errors.Is(err, dlq.ErrUnresolved):
			fmt.Println(letter.Key, "stays:", dlq.Explain(letter).Do)
		case errors.Is(err, dlq.ErrNotFound): // somebody else was faster
		default:
			check(err)
		}
	}
	// Output:
	// R1 is command 1
	// R2 stays: Look before anything else: `worker dlq show 2 --live` asks WeChat Pay for the refund by its number; so does the merchant platform (商户平台), under refunds.
	// R3 is command 2
}

func ExampleLetter_Patched() {
	letter := &dlq.Letter{Sequence: 7, DeadLetter: messages.DeadLetter{
		MchID: "1900000001", Kind: messages.KindRefund, Reason: messages.ReasonMalformed, Key: "seq-3",
		Command: []byte(`{"out_refund_no":"R1","out_trade_no":"T1","amount":{"refund":1,"total":1},"resaon":"商品已售完"}`),
	}}

	corrected, err := letter.Patched([]byte(`{"resaon":null,"reason":"商品已售完"}`))
	fmt.Println(string(corrected), err)

	_, err = letter.Patched([]byte(`{"resaon":null,"amount":{"refund":2}}`))
	fmt.Println(err)
	// Output:
	// {"out_refund_no":"R1","out_trade_no":"T1","amount":{"refund":1,"total":1},"reason":"商品已售完"} <nil>
	// patch: amount.refund: a patch cannot change it; send a corrected command (worker send), then drop this letter
}
