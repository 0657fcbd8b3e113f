package main

import (
	"context"
	"io"
	"strings"
	"syscall"
	"testing"

	"wxpay-worker/messages"
)

// TestInputInterrupted: the first signal ends a command that reads its input, also when that never ends. There is no NATS server here:
// nothing was asked of one.
func TestInputInterrupted(t *testing.T) {
	for _, args := range [][]string{
		{"send", "refund", "--mchid", mchid},
		{"send", "refund", "--mchid", mchid, "-f", "-"},
		{"dlq", "replay", "1", "--patch", "-"},
	} {
		ctx, stop := context.WithCancel(t.Context())
		stdin, typed := io.Pipe()
		out, errors, code := newScreen(), newScreen(), make(chan int, 1)
		go func() { code <- Main(ctx, args, stdin, out, errors) }()
		if _, err := io.WriteString(typed, aRefund("R1")+"\n"); err != nil { // it is being read
			t.Fatal(err)
		}
		stop()
		select {
		case got := <-code:
			if want := "worker: interrupted: nothing was done\n"; got != exitFailed || errors.String() != want || out.String() != "" {
				t.Errorf("%v: exit code %d, %s%s", args, got, out, errors)
			}
		case <-patience(t):
			t.Fatalf("%v: goes on", args)
		}
		typed.Close()
	}
}

// fullDisk takes nothing.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// TestOutputLost: what could not be printed is told, with an exit code, and what would print more ends.
func TestOutputLost(t *testing.T) {
	t.Parallel()
	i := install(t, "")
	i.streams(t, 10)
	i.letters(t, aRefundLetter(messages.ReasonRejected, "R1"), aRefundLetter(messages.ReasonPoison, "R2"))
	if _, err := i.js(t).Publish(t.Context(), "wxpay.outcome."+mchid+".refund.R1.accepted", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"watch --since 1h --count 1 -o json", "dlq list", "dlq stats", "dlq stats -o json", "dlq show 1", "dlq drop 1",
		"send complete --mchid " + mchid + " --complaint-id c --complainted-mchid 1", "watch --since 1h"} {
		told := newScreen()
		code := Main(t.Context(), append(strings.Fields(command), "-c", i.config), strings.NewReader(""), fullDisk{}, told)
		if strings.Count(told.String(), syscall.ENOSPC.Error()) != 1 || code != exitFailed {
			t.Errorf("%s: exit code %d, %s", command, code, told)
		}
	}
}
