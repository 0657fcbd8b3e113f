package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestDev: the built-in examples all succeed, and nothing is left behind.
func TestDev(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	r := run(t, exitDone, "", "dev", "--listen", "127.0.0.1:0", "--exit-when-done")
	out := r.out.String()
	for _, want := range []string{
		"send refund --nats nats://127.0.0.1:", "watch --nats nats://", "nats --server nats://",
		"decision  example-approve               succeeded", "decision  example-reject                succeeded",
		"reply     example-reply                 succeeded", "refund    1217752501201407033233368018  succeeded",
		"refund    example-approve-refund        succeeded", "All 5 ended as expected.",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if r.err.String() != "" {
		t.Errorf("standard error: %s", r.err)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestDevFeed(t *testing.T) {
	for _, tt := range []struct {
		name, feed string
		code       int
		want       string
	}{
		{"another merchant", `{"kind":"refund","mchid":"1900000002","command":` + aRefund("R1") + `}`, exitDone, "1900000002  refund    R1"},
		{"nothing", "", exitDone, "All 0 ended as expected."},
		{"failing", `{"kind":"refund","mchid":"1","command":{"out_refund_no":"R1"}}`, exitFailed, "line 1: refund seq-1: failed"},
		{"meant to fail", `{"kind":"refund","mchid":"1","command":{"out_refund_no":"R1"},"expect":"failed"}`, exitDone, "All 1 ended as expected."},
		{"meant to fail, but does not", `{"kind":"refund","mchid":"1","command":` + aRefund("R1") + `,"expect":"failed"}`, exitFailed, "line 1: refund R1: succeeded"},
		{"not an object", `{"kind":"refund","mchid":"1","command":7}`, exitFailed, "line 1: refund seq-1: failed"},
		{"a decision that fails sends no refund", `{"kind":"decision","mchid":"1","command":{"id":"D1","complaint_id":"c","action":"REJECT"}}
			{"kind":"decision","mchid":"1","command":{"id":"D2","complaint_id":"c","action":"APPROVE","refund":` + aRefund("R1") + `},"expect":"failed"}`, exitDone, "All 2 ended as expected."},
		{"a decision whose refund conflicts", `{"kind":"refund","mchid":"1","command":` + aRefund("R1") + `}
			{"kind":"decision","mchid":"1","command":{"id":"D2","complaint_id":"c","action":"APPROVE","refund":` + strings.Replace(aRefund("R1"), `"refund":1,"total":1`, `"refund":1,"total":2`, 1) + `}}`,
			exitFailed, "3 ended, 1 of them not as expected"},
		{"unknown field", `{"kind":"refund","mchid":"1","commnad":{}}`, exitUsage, `--feed: line 1: expected {"kind"`},
		{"kind", `{"kind":"refunds","mchid":"1","command":{}}`, exitUsage, "--feed: line 1: kind: expected refund, decision, reply or complete"},
		{"mchid", `{"kind":"refund","mchid":"x","command":{}}`, exitUsage, "--feed: line 1: mchid: expected 1 to 32 digits"},
		{"no command", `{"kind":"refund","mchid":"1"}`, exitUsage, "--feed: line 1: command: expected the command"},
		{"expect", `{"kind":"refund","mchid":"1","command":{},"expect":"closed"}`, exitUsage, "--feed: line 1: expect: expected failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file := writeFile(t, filepath.Join(t.TempDir(), "feed.jsonl"), tt.feed+"\n")
			r := run(t, tt.code, "", "dev", "--listen", "127.0.0.1:0", "--feed", file, "--exit-when-done")
			if all := r.out.String() + r.err.String(); !strings.Contains(all, tt.want) {
				t.Errorf("no %q in\n%s", tt.want, all)
			}
		})
	}
}

// TestDevStays: without --exit-when-done it goes on, takes what others send, and ends with the first signal.
func TestDevStays(t *testing.T) {
	r := start(t, "", "dev", "--listen", "127.0.0.1:0", "-o", "json")
	r.saw(r.out, `"key":"example-approve-refund"`)
	url := regexp.MustCompile(`nats://[0-9.:]+`).FindString(r.err.String())
	run(t, exitDone, aRefund("R1"), "send", "refund", "--nats", url, "--mchid", mchid, "--wait")
	r.saw(r.out, `"key":"R1"`)
	for _, other := range []string{mchid, "1900000099"} { // the complaint is about the first one
		run(t, exitDone, `{"id":"P`+other+`","complaint_id":"c","complainted_mchid":"`+other+`","response_content":"x"}`, "send", "reply", "--nats", url, "--mchid", mchid)
		if other == mchid {
			r.saw(r.out, `"key":"P`+mchid+`"`)
		}
	}
	r.saw(r.err, "reply P1900000099 waits") // no outcome says so
	for _, flag := range []string{"--config", "--nats"} {
		run(t, exitUsage, "", "dev", flag, "x")
	}

	for _, listen := range []string{strings.TrimPrefix(url, "nats://"), "192.0.2.1:0"} { // taken; of no machine
		if r := run(t, exitFailed, "", "dev", "--listen", listen); !strings.Contains(r.err.String(), "choose another address with --listen") {
			t.Errorf("%s: %s", listen, r.err)
		}
	}
	r.stop()
	r.exits(exitDone)
}

// TestDevHangUp: who closes the terminal ends it, and nothing is left behind; who started it with nohup does not.
func TestDevHangUp(t *testing.T) {
	binary := build(t)
	for _, tt := range []struct {
		name    string
		command []string
		stays   bool
	}{
		{"terminal closed", []string{binary}, false},
		{"nohup", []string{"sh", "-c", `trap "" HUP; exec "$0" "$@"`, binary}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tmp := t.TempDir()
			cmd := exec.Command(tt.command[0], append(tt.command[1:], "dev", "--listen", "127.0.0.1:0", "-o", "json")...)
			cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
			out, err := newScreen(), newScreen()
			cmd.Stdout, cmd.Stderr = out, err
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			p := &running{t: t, out: out, err: err, ended: make(chan struct{})}
			go func() {
				defer close(p.ended)
				_ = cmd.Wait() // the exit code says it
				p.code = cmd.ProcessState.ExitCode()
			}()
			t.Cleanup(func() { _ = cmd.Process.Kill(); <-p.ended }) // it has ended, unless the test failed
			p.saw(out, `"key":"example-approve-refund"`)
			signal := func(s os.Signal) {
				if err := cmd.Process.Signal(s); err != nil {
					t.Fatal(err)
				}
			}
			signal(syscall.SIGHUP)
			if tt.stays {
				url := regexp.MustCompile(`nats://[0-9.:]+`).FindString(err.String())
				run(t, exitDone, aRefund("R1"), "send", "refund", "--nats", url, "--mchid", mchid, "--wait")
				p.saw(out, `"key":"R1"`)
				signal(syscall.SIGTERM)
			}
			p.exits(exitDone)
			if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}
