package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"wxpay-worker/consumer"
	"wxpay-worker/dlq"
	"wxpay-worker/internal/natsembed"
	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
)

func setup(t *testing.T) (*dlq.Queue, *nats.Conn) {
	t.Helper()
	return setupOn(t, natstest.Start(t))
}

func setupOn(t *testing.T, server *natsembed.Server) (*dlq.Queue, *nats.Conn) {
	t.Helper()
	nc := natstest.Client(t, server)
	subjects := must(messages.NewSubjects("wxpay"))
	if err := consumer.EnsureStreams(t.Context(), nc, consumer.Streams{Subjects: subjects, Replicas: 1, MaxWaiting: 10, OutcomesMaxAge: time.Hour}); err != nil {
		t.Fatal(err)
	}
	return must(dlq.New(nc, subjects)), nc
}

func letter(key string, streamSeq uint64) *messages.DeadLetter {
	at := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	return &messages.DeadLetter{
		MchID: "1900000001", Kind: messages.KindRefund, Key: key, Reason: messages.ReasonRejected, Code: "PARAM_ERROR", Message: "no",
		HTTPStatus: 400, RequestID: "req-1", Attempts: 2, FirstAt: at, FailedAt: at.Add(time.Minute), StreamSeq: streamSeq,
		Subject: "wxpay.command.1900000001.refund", CommandID: "C-1", Replays: 1,
		Original: messages.Header{"X-Mine": {"kept"}}, Command: []byte(`{"out_refund_no":"` + key + `"}`),
	}
}

func TestALetterComesBackWhole(t *testing.T) {
	t.Parallel()
	q, _ := setup(t)
	want := letter("A*1", 7)
	seq := must(q.Put(t.Context(), want))
	got := must(q.Get(t.Context(), seq))
	if got.Sequence != seq || fmt.Sprintf("%+v", got.DeadLetter) != fmt.Sprintf("%+v", *want) {
		t.Errorf("got  %+v\nwant %+v", got.DeadLetter, *want)
	}
	if found := must(q.Find(t.Context(), want.MchID, want.Kind, want.Key, 7)); found.Sequence != seq {
		t.Errorf("found %d, want %d", found.Sequence, seq)
	}
	if _, err := q.Find(t.Context(), want.MchID, want.Kind, want.Key, 8); !errors.Is(err, dlq.ErrNotFound) {
		t.Errorf("another command's letter: %v", err)
	}
	if _, err := q.Get(t.Context(), seq+1); !errors.Is(err, dlq.ErrNotFound) {
		t.Errorf("letter that is not there: %v", err)
	}
}

// One command makes one dead letter, however often and from however many places it is put.
func TestOneCommandOneLetter(t *testing.T) {
	t.Parallel()
	q, _ := setup(t)
	other := must(q.Put(t.Context(), letter("R1", 1))) // an earlier try with the same number
	seqs := make([]uint64, 6)
	var wait sync.WaitGroup
	for i := range seqs {
		wait.Go(func() { seqs[i] = must(q.Put(context.Background(), letter("R1", 2))) })
	}
	wait.Wait()
	for _, seq := range seqs {
		if seq != seqs[0] || seq == other {
			t.Fatalf("letters %v beside %d", seqs, other)
		}
	}
	if n := len(all(t, q, "", "")); n != 2 {
		t.Errorf("%d letters", n)
	}
}

func TestAllFiltersAndKeepsOrder(t *testing.T) {
	t.Parallel()
	q, _ := setup(t)
	foreign := letter("R9", 9)
	foreign.MchID = "1900000002"
	for _, d := range []*messages.DeadLetter{letter("R1", 1), foreign, letter("R2", 2)} {
		must(q.Put(t.Context(), d))
	}
	if got := all(t, q, "1900000001", messages.KindRefund); len(got) != 2 || got[0].Key != "R1" || got[1].Key != "R2" {
		t.Errorf("letters %v", got)
	}
	if got := all(t, q, "", messages.KindReply); len(got) != 0 {
		t.Errorf("letters of another kind: %v", got)
	}
	if got := all(t, q, "", ""); len(got) != 3 {
		t.Errorf("%d letters", len(got))
	}
}

func TestRemoveIsFinalAndRepeatable(t *testing.T) {
	t.Parallel()
	q, _ := setup(t)
	seq := must(q.Put(t.Context(), letter("R1", 1)))
	for range 2 {
		if err := q.Remove(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
	}
	if again := must(q.Put(t.Context(), letter("R1", 1))); again == seq {
		t.Error("a removed letter is still there")
	}
}

func all(t *testing.T, q *dlq.Queue, mchid string, kind messages.Kind) (got []*dlq.Letter) {
	t.Helper()
	for l, err := range q.All(t.Context(), mchid, kind) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, l)
	}
	return got
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
