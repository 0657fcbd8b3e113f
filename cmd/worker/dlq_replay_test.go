package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// TestDLQReplay: exit codes, counts, and what is in the stream afterwards.
func TestDLQReplay(t *testing.T) {
	t.Parallel()
	i := install(t, "")
	i.streams(t, 100)
	q := i.letters(t, aRefundLetter(messages.ReasonRejected, "R1"), aRefundLetter(messages.ReasonUnresolved, "R2"), aRefundLetter(messages.ReasonConflict, "seq-7"),
		aRefundLetter(messages.ReasonRejected, "R4"), aRefundLetter(messages.ReasonRejected, "R5"))
	replay := func(code int, args string, want ...string) {
		t.Helper()
		r := run(t, code, "", append(append([]string{"dlq", "replay"}, strings.Fields(args)...), "-c", i.config)...)
		for _, w := range want {
			if all := r.out.String() + r.err.String(); !strings.Contains(all, w) {
				t.Errorf("%s: no %q in\n%s", args, w, all)
			}
		}
	}
	stands := func(waiting int, keys ...string) {
		t.Helper()
		if got, n := left(t, q), i.waiting(t); !slices.Equal(got, keys) || n != uint64(waiting) {
			t.Errorf("%v are left and %d commands wait, want %v and %d", got, n, keys, waiting)
		}
	}
	replay(exitUsage, "--all", "--yes: expected, since there are 4 dead letters and nobody at a terminal to ask")
	replay(exitUsage, "1 4", "--yes: expected, since there are 2 dead letters")
	replay(exitUsage, "2", "nothing was put back: dead letter 2 is unresolved. Tries ran out, and it is open whether it happened", "worker dlq show 2 --live", "replay it with --unresolved")
	replay(exitUsage, "1 2 --yes", "nothing was put back: dead letter 2 is unresolved")
	replay(exitFailed, "--all --reason unresolved", "all that fit are unresolved, which needs --unresolved")
	replay(exitFailed, "99", "dead letter 99: no such dead letter", "1 of 1 dead letter was not put back")
	replay(exitDone, "--all --reason poison", "No dead letters.\n")
	replay(exitDone, "--all --dry-run", "would be put back on wxpay.command."+mchid+".refund")
	stands(0, "R1", "R2", "seq-7", "R4", "R5")

	replay(exitDone, "1", "refund    R1                            rejected    put back as command 1\n1 put back\n")
	replay(exitFailed, "1", "dead letter 1: no such dead letter")
	replay(exitPartly, "1 4 4 --yes", "R4", "put back as command 2", "1 put back, 1 failed", "1 of 2 dead letters were not put back")
	stands(2, "R2", "seq-7", "R5")
	replay(exitDone, "--all --yes", "1 is malformed or in conflict", "2 put back, 1 unresolved and skipped: look whether they happened")
	stands(4, "R2")
	replay(exitDone, "2 --unresolved -o json --rate 100/s", `{"seq":2,"result":"replayed","mchid":"1900000001","kind":"refund","key":"R2","reason":"unresolved","subject":"wxpay.command.1900000001.refund","sequence":5}`)
	stands(5)
	replay(exitDone, "--all", "No dead letters.\n")
}

// TestDLQReplayPatch: corrections go through, what must not change is refused and nothing is sent.
func TestDLQReplayPatch(t *testing.T) {
	t.Parallel()
	i := install(t, "")
	i.streams(t, 100)
	malformed := `{"out_refund_no":"R1","out_trade_no":"T1","amount":{"refund":1,"total":1},"resaon":"x"}`
	q := i.letters(t, aLetter(messages.KindRefund, messages.ReasonMalformed, "seq-1", malformed), aRefundLetter(messages.ReasonExhausted, "R2"), aLetter(messages.KindRefund, messages.ReasonMalformed, "seq-3", "R1"))
	for _, tt := range []struct{ seq, patch, want string }{
		{"1", `{"resaon":null,"amount":{"total":2}}`, "nothing was put back: patch: amount.total: a patch cannot change it; send a corrected command"},
		{"1", `{"resaon":null,"out_refund_no":"R2"}`, "patch: out_refund_no: "},
		{"1", `{"reason":"x"}`, "patch: the patched command is not valid: resaon: expected no field of this name"},
		{"1", ``, "patch: the patch is of no use: it is not JSON"},
		{"2", `{"reason":"x"}`, "only malformed, rejected and poison letters can be patched, and 2 is exhausted"},
		{"3", `{"reason":"x"}`, "the command cannot be patched: it is not JSON"},
	} {
		if r := run(t, exitUsage, tt.patch, "dlq", "replay", tt.seq, "--patch", "-", "-c", i.config); !strings.Contains(r.err.String(), tt.want) {
			t.Errorf("%s: got %s", tt.patch, r.err)
		}
	}
	if n := i.waiting(t); n != 0 || len(left(t, q)) != 3 {
		t.Fatalf("%d commands, %v", n, left(t, q))
	}
	file := writeFile(t, filepath.Join(t.TempDir(), "patch.json"), `{"resaon":null,"reason":"x"}`)
	corrected := `{"out_refund_no":"R1","out_trade_no":"T1","amount":{"refund":1,"total":1},"reason":"x"}`
	dry := objects(t, run(t, exitDone, "", "dlq", "replay", "1", "--patch", file, "--dry-run", "-c", i.config, "-o", "json").out.String(),
		"seq", "result", "mchid", "kind", "key", "reason", "subject", "headers", "command")[0]
	if dry["result"] != "would replay" || dry["command"].(map[string]any)["reason"] != "x" {
		t.Errorf("dry run: %v", dry)
	}
	run(t, exitDone, "", "dlq", "replay", "1", "--patch", file, "-c", i.config)
	js, err := jetstream.New(i.nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), subjects.CommandsStream())
	if err != nil {
		t.Fatal(err)
	}
	if m, err := stream.GetMsg(t.Context(), 1); err != nil || string(m.Data) != corrected || m.Header.Get("Wxpay-Command-Id") != "C-1" || m.Header.Get("Wxpay-Replays") != "1" || m.Header.Get("traceparent") != "00-1" {
		t.Errorf("command %+v, %v", m, err)
	}
}

// TestDLQReplayFollows: what was put back is followed to its end, and the exit code is about the ends.
func TestDLQReplayFollows(t *testing.T) {
	t.Parallel()
	i := install(t, "")
	i.work(t)
	refuse := wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Answer: wxpaytest.AnswerRefusal, Status: 403, Code: "USER_ACCOUNT_ABNORMAL", Message: "no", Times: 2}
	i.sim.Fault(refuse)
	run(t, exitFailed, aRefund("R1")+"\n"+aRefund("R2"), "send", "refund", "-c", i.config, "--mchid", mchid, "--wait")
	refuse.ID = "R2"
	if _, err := i.nc.Request("wxpay.command."+mchid+".refund", []byte("no command"), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	refuse.Times = 1
	i.sim.Fault(refuse)
	r := start(t, "", "watch", "-c", i.config, "--since", "1h")
	r.saw(r.out, "seq-3")
	r.stop()
	got := run(t, exitPartly, "", "dlq", "replay", "--all", "--yes", "--follow", "--timeout", "1m", "-c", i.config)
	for _, want := range []string{"3 put back\n", "R1                            succeeded", "R2                            failed     rejected USER_ACCOUNT_ABNORMAL", "failed     malformed: command: expected one complete JSON object"} {
		if !strings.Contains(got.out.String(), want) {
			t.Errorf("no %q in\n%s", want, got.out)
		}
	}
	if !strings.Contains(got.err.String(), "2 of 3 commands did not succeed") {
		t.Errorf("got %s", got.err)
	}
	again := run(t, exitDone, "", "dlq", "replay", "--all", "--kind", "refund", "--key", "R2", "--follow", "-c", i.config, "-o", "json")
	if !strings.Contains(again.out.String(), `"status":"succeeded"`) {
		t.Errorf("got %s", again.out)
	}
	if err := i.sim.CheckBooks(); err != nil {
		t.Error(err)
	}
}
