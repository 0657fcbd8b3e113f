package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"wxpay-worker/messages"
)

// TestDLQUnreadable: one message that is no letter hides no other, and shows in the exit code.
func TestDLQUnreadable(t *testing.T) {
	t.Parallel()
	i := install(t, "")
	i.streams(t, 10)
	if _, err := i.nc.Request("wxpay.deadletter."+mchid+".refund.rejected.R0", []byte("{}"), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	i.letters(t, aRefundLetter(messages.ReasonRejected, "R1"))
	for args, want := range map[string]string{"list": "R1", "stats": "1 dead letter\n", "replay --all --dry-run": "R1", "replay --all --yes": "1 put back, 1 failed"} {
		r := run(t, exitPartly, "", append(append([]string{"dlq"}, strings.Fields(args)...), "-c", i.config)...)
		if !strings.Contains(r.out.String(), want) || !strings.Contains(r.err.String(), "read dead letter 1 (wxpay.deadletter."+mchid+".refund.rejected.R0)") {
			t.Errorf("%s: got %s%s", args, r.out, r.err)
		}
		if args == "replay --all --yes" {
			i.letters(t, aRefundLetter(messages.ReasonRejected, "R1"))
		}
	}
	run(t, exitFailed, "", "dlq", "show", "1", "-c", i.config)
}

// TestDLQDropUnreadable: what cannot be read as a letter goes only if it is named by its sequence, and is printed whole: nothing else will
// tell what it was.
func TestDLQDropUnreadable(t *testing.T) {
	t.Parallel()
	i := install(t, "")
	i.streams(t, 10)
	const subject = "wxpay.deadletter." + mchid + ".refund.rejected.R0"
	put := func(body string) (seq string) {
		t.Helper()
		h := nats.Header(aRefundLetter(messages.ReasonRejected, "R0").Headers())
		h.Set(messages.HeaderReason, "later")
		answer, err := i.nc.RequestMsg(&nats.Msg{Subject: subject, Header: h, Data: []byte(body)}, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var ack struct{ Seq uint64 }
		if err := json.Unmarshal(answer.Data, &ack); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(ack.Seq)
	}
	there := func(seq string) bool {
		t.Helper()
		r := run(t, exitFailed, "", "dlq", "show", seq, "-c", i.config)
		return !strings.Contains(r.err.String(), "no such dead letter")
	}
	text, noJSON := put(aRefund("R0")), put("\x1b[2J\xff")
	q := i.letters(t, aRefundLetter(messages.ReasonRejected, "R1"), aRefundLetter(messages.ReasonRejected, "R2"))

	r := run(t, exitPartly, "", "dlq", "drop", "--all", "--key", "R0", "--key", "R1", "--yes", "-c", i.config)
	if !strings.Contains(r.out.String(), "1 removed, 2 failed") || !there(text) || !there(noJSON) {
		t.Errorf("drop --all: got %s%s", r.out, r.err)
	}
	a := &app{ctx: t.Context(), in: strings.NewReader(""), out: failing{}, err: newScreen(), config: i.config}
	if err := (&dlqDropCmd{picking: picking{Seq: []uint64{1}}}).Run(a); err == nil || !strings.Contains(err.Error(), "print dead letter 1, which is not removed: disk full") || !there(text) {
		t.Errorf("a full disk: %v", err)
	}
	if r := run(t, exitUsage, "", "dlq", "drop", text, noJSON, "-c", i.config); !there(text) || !there(noJSON) {
		t.Errorf("without asking: got %s%s", r.out, r.err)
	}
	if r := run(t, exitFailed, "", "dlq", "replay", text, "-c", i.config); !there(text) {
		t.Errorf("replay: got %s%s", r.out, r.err)
	}

	// Named, beside a letter.
	r = run(t, exitDone, "", "dlq", "drop", text, "4", "--yes", "-c", i.config)
	for _, want := range []string{"  on " + subject + ", which cannot be read: parse dead letter: Wxpay-Reason: expected a known reason\n", "  Wxpay-Reason: later\n", "  traceparent: 00-1\n", `    "out_refund_no": "R0",`, "  R2  ", "\n2 removed\n"} {
		if !strings.Contains(r.out.String(), want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
	out := run(t, exitDone, "", "dlq", "drop", noJSON, "-c", i.config, "-o", "json").out.String()
	o := objects(t, out, "seq", "at", "unreadable", "dead_letter_subject", "headers", "command", "command_base64")[0]
	if o["dead_letter_subject"] != subject || o["command_base64"] != "G1sySv8=" || o["headers"].(map[string]any)["Wxpay-Reason"].([]any)[0] != "later" || !utf8.ValidString(out) {
		t.Errorf("got %s", out)
	}
	if there(text) || there(noJSON) || len(left(t, q)) != 0 {
		t.Errorf("%v are left", left(t, q))
	}
	put("\x1b[2J\xff")
	if text := run(t, exitDone, "", "dlq", "drop", "5", "-c", i.config).out.String(); strings.Contains(text, "\x1b") || !utf8.ValidString(text) {
		t.Errorf("got %q", text)
	}
}
