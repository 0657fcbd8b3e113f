package main

import (
	"context"
	"io"
	"testing"
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
