package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// wire is a TCP proxy before the NATS server, on which something happens when a client is about to say a certain thing.
type wire struct {
	t        *testing.T
	listener net.Listener
	server   string
	at       string // what the client says
	nth      int    // the how manieth time
	lost     bool   // the server never hears it; otherwise it does, and the client never hears the answer
	hit      func() // called then, once; from then on nothing passes in either direction on that connection

	mu   sync.Mutex
	seen int // guarded by mu
}

// newWire starts a proxy that ends with the test.
func newWire(t *testing.T, serverURL, at string, nth int, lost bool, hit func()) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, listener: l, server: strings.TrimPrefix(serverURL, "nats://"), at: at, nth: nth, lost: lost, hit: hit}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // closed
			}
			serving.Go(func() { w.serve(client) })
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return w
}

func (w *wire) url() string { return "nats://" + w.listener.Addr().String() }

// serve passes on what both sides say, until either leaves or it happens.
func (w *wire) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", w.server)
	if err != nil {
		w.t.Errorf("wire: %v", err)
		return
	}
	defer server.Close()
	answered, cut := make(chan struct{}, 1), make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() { // from the server
		defer client.Close()
		for buffer := make([]byte, 64<<10); ; {
			n, err := server.Read(buffer)
			if err != nil {
				return
			}
			select {
			case <-cut:
				select {
				case answered <- struct{}{}: // and swallowed
				default:
				}
				continue
			default:
			}
			if _, err := client.Write(buffer[:n]); err != nil {
				return
			}
		}
	})
	both.Go(func() { // from the client
		defer server.Close()
		for buffer := make([]byte, 64<<10); ; {
			n, err := client.Read(buffer)
			if err != nil {
				return
			}
			now := w.isNow(buffer[:n])
			if now {
				close(cut)
			}
			if !now || !w.lost {
				if _, err := server.Write(buffer[:n]); err != nil {
					return
				}
			}
			if now {
				if !w.lost {
					<-answered // the server has dealt with it
				}
				w.hit()
				_, _ = io.Copy(io.Discard, client) // until it has left
				return
			}
		}
	})
	both.Wait()
}

func (w *wire) isNow(said []byte) bool {
	if !bytes.Contains(said, []byte(w.at)) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen++
	return w.seen == w.nth
}

// binaryRun is a run of the built program.
type binaryRun struct {
	*exec.Cmd
	process chan *os.Process // once it has begun, to whoever wants to kill it
}

func newRun(binary string, args ...string) *binaryRun {
	return &binaryRun{exec.Command(binary, args...), make(chan *os.Process, 1)}
}

// ends runs it and returns what it printed and its exit code, -1 after SIGKILL.
func (r *binaryRun) ends(t *testing.T) (output string, code int) {
	t.Helper()
	var out bytes.Buffer
	r.Stdout, r.Stderr = &out, &out
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	r.process <- r.Process
	_ = r.Wait() // the exit code says it
	return out.String(), r.ProcessState.ExitCode()
}

// kill is SIGKILL.
func (r *binaryRun) kill(t *testing.T) {
	if err := (<-r.process).Kill(); err != nil {
		t.Errorf("kill: %v", err)
	}
}

// toKill are commands that WeChat Pay refuses once, and what they come to when they are put back.
var toKill = []struct {
	kind     messages.Kind
	key      string
	body     string
	endpoint wxpaytest.Endpoint
	history  []string
}{
	{messages.KindRefund, "R1", aRefund("R1"), wxpaytest.EndpointRefundCreate, nil},
	{messages.KindReply, "P1", `{"id":"P1","complaint_id":"c1","complainted_mchid":"1","response_content":"您好"}`, wxpaytest.EndpointComplaintResponse, []string{"MERCHANT_RESPONSE"}},
	{messages.KindDecision, "D1", `{"id":"D1","complaint_id":"c1","action":"APPROVE","reply":{"complainted_mchid":"1","response_content":"您好"},"refund":` + aRefund("R9") + `}`,
		wxpaytest.EndpointUpdateRefundProgress, []string{"MERCHANT_RESPONSE", "MERCHANT_APPROVE_REFUND"}},
}

// TestDLQReplayKilled: the built program is killed at each step of a replay, by SIGKILL, and run again. The command is carried out
// once, its letter goes, and the second run says what there was left to do.
func TestDLQReplayKilled(t *testing.T) {
	t.Parallel()
	binary := build(t)
	steps := []struct {
		name  string
		at    string // what it is about to say
		lost  bool
		again int // exit code of the second run
	}{
		{"before the letter is read", "DIRECT.GET.WXPAY_DEADLETTERS", true, exitDone},
		{"before the command is back", "wxpay.command.1900000001.", true, exitDone},
		{"before it is confirmed", "wxpay.command.1900000001.", false, exitDone},
		{"before the letter is removed", "STREAM.MSG.DELETE.WXPAY_DEADLETTERS", true, exitDone},
		{"before it is told", "STREAM.MSG.DELETE.WXPAY_DEADLETTERS", false, exitFailed}, // no such dead letter any more
	}
	for _, c := range toKill {
		for _, step := range steps {
			t.Run(string(c.kind)+" "+step.name, func(t *testing.T) {
				t.Parallel()
				i := install(t, "")
				i.work(t)
				i.sim.Fault(wxpaytest.Fault{Endpoint: c.endpoint, Answer: wxpaytest.AnswerRefusal, Status: 403, Code: "USER_ACCOUNT_ABNORMAL"})
				run(t, exitFailed, c.body, "send", string(c.kind), "-c", i.config, "--mchid", mchid, "--wait")

				first := newRun(binary, "dlq", "replay", "1")
				w := newWire(t, i.url, step.at, 1, step.lost, func() { first.kill(t) })
				first.Args = append(first.Args, "--nats", w.url())
				if out, code := first.ends(t); code != -1 {
					t.Fatalf("exit code %d, not killed: %s", code, out)
				}
				if out, code := newRun(binary, "dlq", "replay", "1", "--nats", i.url).ends(t); code != step.again {
					t.Errorf("run again: exit code %d, want %d: %s", code, step.again, out)
				}
				// Sent once more it is a duplicate, which waits for the end of the first.
				run(t, exitDone, c.body, "send", string(c.kind), "-c", i.config, "--mchid", mchid, "--wait")
				i.check(t, c.kind, c.history)
			})
		}
	}
}

// check looks at everything that something done twice, or not at all, would show in.
func (i *installation) check(t *testing.T, kind messages.Kind, history []string) {
	t.Helper()
	if err := i.sim.CheckBooks(); err != nil {
		t.Errorf("books: %v", err)
	}
	for _, v := range i.sim.Violations() {
		t.Errorf("violation: %s", v)
	}
	if keys := left(t, i.letters(t)); len(keys) != 0 {
		t.Errorf("letters %v are left", keys)
	}
	if kind == messages.KindRefund {
		if r, ok := i.sim.Refund(mchid, "R1"); !ok || len(i.sim.Refunds()) != 1 || r.Amount != 1 {
			t.Errorf("refunds %+v", i.sim.Refunds())
		}
		return
	}
	book, _ := i.sim.ComplaintBook("c1")
	var got []string
	for _, e := range book.History {
		if strings.HasPrefix(e.OperateType, "MERCHANT_") {
			got = append(got, e.OperateType)
		}
	}
	if !slices.Equal(got, history) {
		t.Errorf("history %v, want %v", got, history)
	}
}

// TestDLQReplayBulkKilled: a bulk that is killed in the middle and run again puts every command back, one of them perhaps twice.
func TestDLQReplayBulkKilled(t *testing.T) {
	t.Parallel()
	binary := build(t)
	i := install(t, "")
	i.streams(t, 100)
	const all = 20
	var letters []*messages.DeadLetter
	for n := range all {
		letters = append(letters, aRefundLetter(messages.ReasonRejected, fmt.Sprint("R", n)))
	}
	q := i.letters(t, letters...)
	first := newRun(binary, "dlq", "replay", "--all", "--yes")
	w := newWire(t, i.url, "wxpay.command.1900000001.", 8, false, func() { first.kill(t) })
	first.Args = append(first.Args, "--nats", w.url())
	if out, code := first.ends(t); code != -1 {
		t.Fatalf("exit code %d, not killed: %s", code, out)
	}
	if keys := left(t, q); len(keys) != all-7 || keys[0] != "R7" {
		t.Errorf("left after the kill: %v", keys)
	}
	if out, code := newRun(binary, "dlq", "replay", "--all", "--yes", "--nats", i.url).ends(t); code != exitDone || !strings.Contains(out, "13 put back") {
		t.Errorf("run again: exit code %d: %s", code, out)
	}
	if n := i.waiting(t); n != all+1 || len(left(t, q)) != 0 {
		t.Errorf("%d commands wait, %v are left", n, left(t, q))
	}
	i.work(t)
	var in strings.Builder
	for n := range all { // duplicates, which wait for the ends of the others
		in.WriteString(aRefund(fmt.Sprint("R", n)) + "\n")
	}
	run(t, exitDone, in.String(), "send", "refund", "-c", i.config, "--mchid", mchid, "--wait")
	if err := i.sim.CheckBooks(); err != nil || len(i.sim.Refunds()) != all || len(i.sim.Violations()) != 0 {
		t.Errorf("%d refunds, %v, %v", len(i.sim.Refunds()), err, i.sim.Violations())
	}
}

// TestDLQReplayByTwo: two people run it at once, and are held so that both have read the letter before either removes it.
func TestDLQReplayByTwo(t *testing.T) {
	t.Parallel()
	binary := build(t)
	for _, c := range toKill {
		t.Run(string(c.kind), func(t *testing.T) {
			t.Parallel()
			i := install(t, "")
			i.work(t)
			i.sim.Fault(wxpaytest.Fault{Endpoint: c.endpoint, Answer: wxpaytest.AnswerRefusal, Status: 403, Code: "USER_ACCOUNT_ABNORMAL"})
			run(t, exitFailed, c.body, "send", string(c.kind), "-c", i.config, "--mchid", mchid, "--wait")

			g := newMeeting(t, i.url, "wxpay.command.1900000001.", 2)
			outputs := make(chan string, 2)
			for range 2 {
				go func() {
					out, code := newRun(binary, "dlq", "replay", "1", "--nats", g.url()).ends(t)
					outputs <- fmt.Sprintf("%d %s", code, out)
				}()
			}
			got := []string{<-outputs, <-outputs}
			slices.SortFunc(got, func(a, b string) int { return len(a) - len(b) })
			if !strings.HasPrefix(got[0], "0 ") || !strings.HasSuffix(got[0], "\n1 put back\n") || !strings.HasPrefix(got[1], "0 ") ||
				!strings.HasSuffix(got[1], "so did somebody else, which is one command all the same\n0 put back, 1 put back or dropped by somebody else\n") {
				t.Errorf("got %q", got)
			}
			run(t, exitDone, c.body, "send", string(c.kind), "-c", i.config, "--mchid", mchid, "--wait")
			i.check(t, c.kind, c.history)
		})
	}
}

// meeting is a proxy before the NATS server on which clients wait for each other when they are about to say a certain thing.
type meeting struct {
	*wire
	wait sync.WaitGroup
}

func newMeeting(t *testing.T, serverURL, at string, clients int) *meeting {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &meeting{wire: &wire{t: t, listener: l}}
	m.wait.Add(clients)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", strings.TrimPrefix(serverURL, "nats://"))
			if err != nil {
				t.Errorf("meeting: %v", err)
				return
			}
			serving.Go(func() { defer client.Close(); _, _ = io.Copy(client, server) })
			serving.Go(func() {
				defer server.Close()
				met := false
				for buffer := make([]byte, 64<<10); ; {
					n, err := client.Read(buffer)
					if err != nil {
						return
					}
					if !met && bytes.Contains(buffer[:n], []byte(at)) {
						met = true
						m.wait.Done()
						m.wait.Wait()
					}
					if _, err := server.Write(buffer[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return m
}

// TestDLQReplayInterrupted: the first signal lets the current letter finish, then the rest is left as it is and counted.
func TestDLQReplayInterrupted(t *testing.T) {
	t.Parallel()
	binary := build(t)
	i := install(t, "")
	i.streams(t, 100)
	q := i.letters(t, aRefundLetter(messages.ReasonRejected, "R1"), aRefundLetter(messages.ReasonRejected, "R2"), aRefundLetter(messages.ReasonRejected, "R3"), aRefundLetter(messages.ReasonRejected, "R4"))
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		before := left(t, q)
		cmd := exec.Command(binary, "dlq", "replay", "--all", "--yes", "--rate", "1/m", "--nats", i.url)
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 1024)
		n, err := stdout.Read(line) // the first is back, the second is a minute away
		if err != nil || !strings.Contains(string(line[:n]), before[0]) {
			t.Fatalf("got %q, %v", line[:n], err)
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(stdout)
		if err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // the exit code is looked at
		if want := fmt.Sprintf("1 put back, %d not come to\n", len(before)-1); cmd.ProcessState.ExitCode() != exitPartly || string(rest) != want {
			t.Errorf("exit code %d, got %q and %q, want %q", cmd.ProcessState.ExitCode(), rest, stderr.String(), want)
		}
		if after := left(t, q); !slices.Equal(after, before[1:]) {
			t.Errorf("left: %v, before %v", after, before)
		}
	}
	if n := i.waiting(t); n != 2 {
		t.Errorf("%d commands", n)
	}
}

// TestDLQReplayStopsWithoutNATS: when the server is gone, it does not try the rest one by one.
func TestDLQReplayStopsWithoutNATS(t *testing.T) {
	t.Parallel()
	i := install(t, "")
	i.streams(t, 100)
	q := i.letters(t, aRefundLetter(messages.ReasonRejected, "R1"), aRefundLetter(messages.ReasonRejected, "R2"), aRefundLetter(messages.ReasonRejected, "R3"))
	w := newWire(t, i.url, "wxpay.command.1900000001.", 2, true, func() {})
	r := run(t, exitPartly, "", "dlq", "replay", "--all", "--yes", "--nats", w.url())
	if got := r.out.String() + r.err.String(); !strings.Contains(got, "1 put back, 1 failed, 1 not come to\n") || !strings.Contains(got, "put dead letter 2 back: not confirmed, it may be there (replaying it again does no harm)") {
		t.Errorf("got %s", got)
	}
	if keys := left(t, q); !slices.Equal(keys, []string{"R2", "R3"}) {
		t.Errorf("left: %v", keys)
	}
}
