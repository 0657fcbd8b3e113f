package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/dlq"
	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
)

// commands returns what stands in the commands stream, oldest first.
func commands(t *testing.T, js jetstream.JetStream) (got []*jetstream.RawStreamMsg) {
	t.Helper()
	stream := must(js.Stream(t.Context(), "WXPAY_COMMANDS"))
	state := stream.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
		got = append(got, must(stream.GetMsg(t.Context(), seq)))
	}
	return got
}

// The command comes back as it was: its bytes, its headers, its identity; the count has grown, and its letter is gone.
func TestReplayPutsBackTheOriginal(t *testing.T) {
	t.Parallel()
	q, nc := setup(t)
	js := must(jetstream.New(nc))
	d := letter("A*1", 7)
	d.Original = messages.Header{"traceparent": {"00-1"}, "X-Mine": {"a", "b"}}
	d.Command = []byte("{ \"out_refund_no\" : \"A*1\" }\n")
	seq := must(q.Put(t.Context(), d))
	back := must(q.Replay(t.Context(), seq, dlq.ReplayOptions{}))
	got := commands(t, js)
	if len(got) != 1 || got[0].Sequence != back.Sequence || got[0].Subject != d.Subject || string(got[0].Data) != string(d.Command) {
		t.Fatalf("commands: %+v", got)
	}
	h := got[0].Header
	maps.DeleteFunc(h, func(name string, _ []string) bool { return strings.HasPrefix(name, "Nats-") }) // the server's own
	want := map[string][]string{"traceparent": {"00-1"}, "X-Mine": {"a", "b"}, "Wxpay-Command-Id": {"C-1"}, "Wxpay-Replays": {"2"}, "Wxpay-Reason": {"rejected"}}
	if fmt.Sprint(map[string][]string(h)) != fmt.Sprint(want) {
		t.Errorf("headers %v, want %v", h, want)
	}
	if _, err := q.Get(t.Context(), seq); !errors.Is(err, dlq.ErrNotFound) || back.Gone {
		t.Errorf("the letter is still there: %v", err)
	}
	if _, err := q.Replay(t.Context(), seq, dlq.ReplayOptions{}); !errors.Is(err, dlq.ErrNotFound) {
		t.Errorf("once more: %v", err)
	}
	if n := len(commands(t, js)); n != 1 {
		t.Errorf("%d commands", n)
	}
}

// A command that the stream does not take keeps its letter.
func TestReplayKeepsTheLetterUntilTheStreamHasTheCommand(t *testing.T) {
	t.Parallel()
	q, nc := setup(t)
	js := must(jetstream.New(nc))
	for i := range 10 { // as many as may wait
		must(js.Publish(t.Context(), "wxpay.command.1900000001.refund", []byte(fmt.Sprint(i))))
	}
	seq := must(q.Put(t.Context(), letter("R1", 1)))
	if _, err := q.Replay(t.Context(), seq, dlq.ReplayOptions{}); err == nil || !strings.Contains(err.Error(), "maximum messages per subject exceeded") {
		t.Errorf("replay: %v", err)
	}
	must(q.Get(t.Context(), seq))
	if err := js.DeleteStream(t.Context(), "WXPAY_COMMANDS"); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Replay(t.Context(), seq, dlq.ReplayOptions{}); !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Errorf("replay without a stream: %v", err)
	}
	must(q.Get(t.Context(), seq))
}

// A letter that names a subject which is not that of its merchant and kind is a trap, or not ours: nothing is sent.
func TestReplayRefusesForeignSubjects(t *testing.T) {
	t.Parallel()
	q, nc := setup(t)
	for i, subject := range []string{"", "wxpay.command.1900000002.refund", "wxpay.command.1900000001.complaint.reply", "other.command.1900000001.refund", "wxpay.outcome.1900000001.refund.R1.succeeded", "wxpay.command.*.refund"} {
		d := letter(fmt.Sprint("R", i), uint64(i+1))
		d.Subject = subject
		seq := must(q.Put(t.Context(), d))
		if _, err := q.Replay(t.Context(), seq, dlq.ReplayOptions{}); err == nil || !strings.Contains(err.Error(), "its subject is not that of a refund command of merchant 1900000001") {
			t.Errorf("%q: %v", subject, err)
		}
		must(q.Get(t.Context(), seq))
	}
	if n := len(commands(t, must(jetstream.New(nc)))); n != 0 {
		t.Errorf("%d commands", n)
	}
}

func TestReplayOfUnresolvedNeedsAWord(t *testing.T) {
	t.Parallel()
	q, nc := setup(t)
	d := letter("R1", 1)
	d.Reason = messages.ReasonUnresolved
	seq := must(q.Put(t.Context(), d))
	if _, err := q.Replay(t.Context(), seq, dlq.ReplayOptions{}); !errors.Is(err, dlq.ErrUnresolved) {
		t.Errorf("replay: %v", err)
	}
	if n := len(commands(t, must(jetstream.New(nc)))); n != 0 {
		t.Errorf("%d commands", n)
	}
	must(q.Replay(t.Context(), seq, dlq.ReplayOptions{Unresolved: true}))
}

func TestReplayWithAPatch(t *testing.T) {
	t.Parallel()
	q, nc := setup(t)
	d := letter("R1", 1)
	d.Command = []byte(`{"out_refund_no":"R1","out_trade_no":"T1","amount":{"refund":1,"total":1},"reason":"a"}`)
	seq := must(q.Put(t.Context(), d))
	if _, err := q.Replay(t.Context(), seq, dlq.ReplayOptions{Patch: []byte{}}); !isPatchError(err) {
		t.Errorf("an empty patch: %v", err)
	}
	if _, err := q.Replay(t.Context(), seq, dlq.ReplayOptions{Patch: []byte(`{"amount":{"refund":2}}`)}); !isPatchError(err) {
		t.Errorf("another amount: %v", err)
	}
	must(q.Replay(t.Context(), seq, dlq.ReplayOptions{Patch: []byte(`{"reason":"b"}`)}))
	got := commands(t, must(jetstream.New(nc)))
	if len(got) != 1 || string(got[0].Data) != strings.Replace(string(d.Command), `"a"`, `"b"`, 1) {
		t.Errorf("commands: %+v", got)
	}
}

func isPatchError(err error) bool {
	_, ok := errors.AsType[*dlq.PatchError](err)
	return ok
}

// Of several who take a letter away at once, exactly one is told that it was him.
func TestDropTellsOne(t *testing.T) {
	t.Parallel()
	q, _ := setup(t)
	for round := range 20 {
		seq := must(q.Put(t.Context(), letter("R1", uint64(round+1))))
		results := make(chan bool, 4)
		for range cap(results) {
			go func() { results <- must(q.Drop(context.Background(), seq)) }()
		}
		mine := 0
		for range cap(results) {
			if gone := <-results; !gone {
				mine++
			}
		}
		if mine != 1 {
			t.Fatalf("%d were told that it was them", mine)
		}
	}
}

// A letter is left alone for a moment after it was stored: the worker is about to announce it as `failed`, and would count a copy
// that came before among those that have ended. (A context that ends meanwhile leaves everything as it was.)
func TestReplayLeavesAFreshLetterAlone(t *testing.T) {
	t.Parallel()
	q, nc := setup(t)
	seq := must(q.Put(t.Context(), letter("R1", 1)))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := q.Replay(ctx, seq, dlq.ReplayOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("replay: %v", err)
	}
	if n := len(commands(t, must(jetstream.New(nc)))); n != 0 {
		t.Errorf("%d commands", n)
	}
	must(q.Get(t.Context(), seq))
	stored := must(q.Get(t.Context(), seq)).Time
	must(q.Replay(t.Context(), seq, dlq.ReplayOptions{}))
	if age := time.Since(stored); age < 2*time.Second {
		t.Errorf("replayed after %s", age)
	}
}

func TestReplayWithoutAStream(t *testing.T) {
	t.Parallel()
	none := must(dlq.New(natstest.Connect(t), messages.Subjects{Prefix: "wxpay"}))
	if _, err := none.Replay(t.Context(), 1, dlq.ReplayOptions{}); !errors.Is(err, dlq.ErrNoStream) {
		t.Errorf("replay: %v", err)
	}
	if _, err := none.Drop(t.Context(), 1); err == nil {
		t.Error("dropped from a stream that is not there")
	}
}

// Every reason is explained, and says where to look where something may have happened.
func TestExplain(t *testing.T) {
	for _, kind := range messages.Kinds {
		for _, reason := range messages.Reasons {
			l := &dlq.Letter{Sequence: 17, DeadLetter: messages.DeadLetter{Kind: kind, Reason: reason, Key: "K", ConflictsWith: "R9", Command: []byte("SECRET")}}
			e := dlq.Explain(l)
			if e.Meaning == "" || e.Do == "" || e.Replay == "" {
				t.Errorf("%s: %+v", reason, e)
			}
			mayHave := reason == messages.ReasonUnresolved || reason == messages.ReasonPoison
			if strings.Contains(e.Do, "worker dlq show 17 --live") != mayHave {
				t.Errorf("%s %s: %s", kind, reason, e.Do)
			}
			if (reason == messages.ReasonConflict) != strings.Contains(e.Meaning, "R9") || strings.Contains(fmt.Sprint(e), "SECRET") {
				t.Errorf("%s: %+v", reason, e)
			}
		}
	}
	l := &dlq.Letter{DeadLetter: messages.DeadLetter{Kind: messages.KindDecision, Reason: messages.ReasonRejected, Step: "decision"}}
	if e := dlq.Explain(l); !strings.Contains(e.Meaning, `before the step "decision" has been done`) {
		t.Errorf("a step: %s", e.Meaning)
	}
}
