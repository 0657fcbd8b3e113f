package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"

	"wxpay-worker/internal/natstest"
	"wxpay-worker/wxpay/wxpaytest"
)

func lines(text string) []string { return strings.Split(strings.TrimSuffix(text, "\n"), "\n") }

// TestFirstLight: simulate writes a configuration, run serves it with its own NATS server, send publishes all four kinds and
// waits, watch shows what happened.
func TestFirstLight(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sim", "worker.yaml")
	sim := start(t, "", "simulate", "--listen", "127.0.0.1:0", "--config-out", file)
	sim.saw(sim.out, "next: worker run --config "+file)
	t.Setenv("WXPAY_NATS_EMBEDDED_LISTEN", "127.0.0.1:0")
	t.Setenv("WXPAY_HTTP_LISTEN", "127.0.0.1:0")
	worker := start(t, "", "run", "--config", file)
	worker.saw(worker.err, "worker started")
	url := regexp.MustCompile(`nats://[0-9.:]+`).FindString(worker.err.String())

	refund := run(t, exitDone, "", "send", "refund", "--nats", url, "--mchid", mchid, "--out-refund-no", "A*1", "--transaction-id", "42",
		"--refund", "100", "--total", "100", "--reason", "商品已售完", "--wait")
	if got := lines(refund.out.String()); len(got) != 2 || got[0] != "wxpay.command."+mchid+".refund 1 A*1 -" || !strings.Contains(got[1], "refund    A*1") || !strings.Contains(got[1], "succeeded") {
		t.Errorf("refund: %q", got)
	}
	run(t, exitDone, "", "--nats", url, "send", "--mchid", mchid, "--id", "D1", "decision", "--complaint-id", "c1", "--approve", "--launch-refund-day", "0", "--wait")
	run(t, exitDone, `{"id":"P1","mchid":"`+mchid+`","complaint_id":"c2","complainted_mchid":"1","response_content":"您好"}`, "send", "reply", "--nats", url, "--wait")
	run(t, exitDone, "", "send", "complete", "--nats", url, "--mchid", mchid, "--complaint-id", "c2", "--complainted-mchid", "1", "--wait", "--timeout", "1m")

	watched := run(t, exitDone, "", "watch", "--nats", url, "--since", "1h", "--count", "8", "-o", "json")
	var seen []string
	for _, line := range lines(watched.out.String()) {
		var o struct {
			Subject  string
			Sequence uint64
			Headers  nats.Header
			Data     struct{ Kind, Key, Status string }
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if o.Sequence != uint64(len(seen)+1) || o.Headers.Get("ce-specversion") != "1.0" || !strings.HasSuffix(o.Subject, "."+o.Data.Status) {
			t.Errorf("got %s", line)
		}
		seen = append(seen, o.Data.Kind+" "+o.Data.Status)
	}
	want := []string{"refund accepted", "refund succeeded", "decision started", "decision succeeded", "reply started", "reply succeeded", "complete started", "complete succeeded"}
	if !slices.Equal(seen, want) {
		t.Errorf("got  %q\nwant %q", seen, want)
	}
	some := run(t, exitDone, "", "watch", "--nats", url, "--since", "2020-01-01T00:00:00Z", "--kind", "refund,decision", "--key", "A*1", "--key", "D1", "--status", "accepted,succeeded", "--mchid", mchid, "--count", "3")
	if got := some.out.String(); !strings.Contains(got, "A*1") || !strings.Contains(got, "D1") || strings.Contains(got, "started") {
		t.Errorf("filtered: %s", got)
	}

	worker.stop()
	worker.exits(exitDone).saw(worker.err, "worker stopped")
	sim.stop()
	if sim.exits(exitDone); sim.err.String() != "" {
		t.Errorf("simulator saw violations: %s", sim.err)
	}
}

// TestWatchFollows: outcomes that come later are shown too, until a signal comes.
func TestWatchFollows(t *testing.T) {
	i := install(t, "")
	i.work(t)
	watch := start(t, "", "watch", "-c", i.config, "--since", "1h")
	run(t, exitDone, aRefund("R1"), "send", "refund", "-c", i.config, "--mchid", mchid)
	watch.saw(watch.out, "R1")
	run(t, exitDone, aRefund("R2"), "send", "refund", "-c", i.config, "--mchid", mchid)
	watch.saw(watch.out, "R2")
	watch.stop()
	watch.exits(exitDone)
}

// TestWatchTakesValuesTwice: the server refuses filters that overlap.
func TestWatchTakesValuesTwice(t *testing.T) {
	i := install(t, "")
	i.work(t)
	run(t, exitDone, aRefund("R*1"), "send", "refund", "-c", i.config, "--mchid", mchid, "--wait")
	for _, args := range [][]string{
		{"--status", "succeeded,succeeded"},
		{"--mchid", mchid + "," + mchid, "--status", "succeeded"},
		{"--kind", "refund", "--kind", "reply,refund", "--status", "succeeded"},
		{"--key", "R*1", "--key", "R2", "--key", "R*1", "--status", "succeeded", "--status", "succeeded"},
	} {
		r := run(t, exitDone, "", append([]string{"watch", "-c", i.config, "--since", "1h", "--count", "1"}, args...)...)
		if got := lines(r.out.String()); len(got) != 1 || !strings.Contains(got[0], "R*1  ") || !strings.Contains(got[0], "succeeded") {
			t.Errorf("%q: got %q", args, got)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	t.Run("no configuration", func(t *testing.T) {
		t.Chdir(t.TempDir())
		if r := run(t, exitUsage, "", "run"); !strings.Contains(r.err.String(), "expected worker.yaml in this folder, or --config FILE") {
			t.Errorf("got %s", r.err)
		}
	})
	for _, tt := range []struct{ name, text, want string }{
		{"no merchants", "nats: {prefix: a}\n", "worker.yaml: merchants: expected at least one merchant"},
		{"broken", "nats: {prefiks: a}\n", "worker.yaml:1: nats.prefiks: expected no key of this name"},
		{"no key", aMerchant, "worker.yaml:4: merchants[0].private_key_file: expected a readable file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := writeFile(t, filepath.Join(t.TempDir(), "worker.yaml"), tt.text)
			if r := run(t, exitUsage, "", "run", "-c", file); !strings.Contains(r.err.String(), tt.want) {
				t.Errorf("got %s", r.err)
			}
		})
	}
	t.Run("no folder for the store", func(t *testing.T) {
		i := install(t, "")
		i.embed(t)
		t.Setenv("WXPAY_NATS_EMBEDDED_DIR", i.config)
		want := "WXPAY_NATS_EMBEDDED_DIR: nats.embedded.dir: expected a folder for the store, in which this user may make files: "
		if r := run(t, exitUsage, "", "run", "-c", i.config); !strings.Contains(r.err.String(), want) || !strings.Contains(r.err.String(), "not a directory") {
			t.Errorf("got %s", r.err)
		}
	})
	t.Run("address taken", func(t *testing.T) {
		i := install(t, "")
		i.embed(t)
		for listen, why := range map[string]string{strings.TrimPrefix(i.url, "nats://"): "address already in use", "192.0.2.1:0": "cannot assign requested address"} {
			t.Setenv("WXPAY_NATS_EMBEDDED_LISTEN", listen)
			r := run(t, exitUsage, "", "run", "-c", i.config)
			for _, want := range []string{"WXPAY_NATS_EMBEDDED_LISTEN: nats.embedded.listen: expected an address that is free", why, "port 0 takes a free one"} {
				if !strings.Contains(r.err.String(), want) {
					t.Errorf("%s: no %q in %s", listen, want, r.err)
				}
			}
		}
	})
}

// embed makes the installation's configuration one without nats.url, whose worker brings its own server on a free port.
func (i *installation) embed(t *testing.T) {
	t.Helper()
	i.edit(t, "nats: {url: \""+i.url+"\"", "nats: {embedded: {listen: \"127.0.0.1:0\"}")
}

// TestRunSharesNoFolder: two workers with one nats.embedded.dir would lose what both confirmed, so the second does not start. Their
// ports do not matter.
func TestRunSharesNoFolder(t *testing.T) {
	i := install(t, "")
	i.embed(t)
	first := i.work(t)
	second := start(t, "", "run", "-c", i.config)
	second.saw(second.err, ": nats.embedded.dir: expected a folder that no other worker uses")
	second.exits(exitUsage)
	first.stop()
	first.exits(exitDone)
	i.work(t)
}

// TestRunWaitsForNATS: a worker that is started before its NATS server says so, goes on trying, and stops when told to.
func TestRunWaitsForNATS(t *testing.T) {
	i := install(t, "")
	r := start(t, "", "run", "-c", i.config, "--nats", unreachable(t))
	r.saw(r.err, "cannot reach NATS at nats://")
	r.stop()
	r.exits(exitDone)
}

// unreachable is the URL of a NATS server that is gone.
func unreachable(t *testing.T) string {
	t.Helper()
	s := natstest.Start(t)
	url := s.URL()
	s.Shutdown()
	return url
}

func TestSimulateRefuses(t *testing.T) {
	dir := t.TempDir()
	file := writeFile(t, filepath.Join(dir, "worker.yaml"), "mine\n")
	args := []string{"simulate", "--listen", "127.0.0.1:0", "--mchid", "1", "--mchid", "2,1", "--hostname", "simulator", "--config-out", file}
	if r := run(t, exitUsage, "", args...); !strings.Contains(r.err.String(), "--force overwrites it") {
		t.Errorf("got %s", r.err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 1 {
		t.Errorf("wrote %q, %v", left, err)
	}
	r := start(t, "", append(args, "--force")...)
	r.saw(r.out, "next: ")
	c, err := loadConfig(file, "")
	if err != nil {
		t.Fatal(err)
	}
	if keys, err := c.readMerchants(); err != nil || len(keys) != 2 || len(c.warnings) != 0 {
		t.Errorf("%d merchants, %v, %q", len(keys), err, c.warnings)
	}
	if len(c.WechatPay.Hosts) != 2 || !strings.HasPrefix(c.WechatPay.Hosts[0], "https://simulator:") {
		t.Errorf("hosts %q", c.WechatPay.Hosts)
	}
}

// TestSimulateNextPort: the backup host listens on the next free port.
func TestSimulateNextPort(t *testing.T) {
	first := start(t, "", "simulate", "--listen", "127.0.0.1:0")
	text := first.saw(first.out, "backup")
	taken := strings.TrimPrefix(regexp.MustCompile(`https://127.0.0.1:\d+`).FindString(text), "https://")
	if next, err := nextFree(taken); err != nil || next == taken {
		t.Errorf("after %s comes %s, %v", taken, next, err)
	}
	if r := run(t, exitFailed, "", "simulate", "--listen", taken); !strings.Contains(r.err.String(), "--listen chooses another address") {
		t.Errorf("got %s", r.err)
	}
}

// process is the built program.
type process struct {
	*exec.Cmd
	lines *bufio.Scanner // of standard error
}

func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "worker")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

func (i *installation) process(t *testing.T, binary string, env ...string) *process {
	t.Helper()
	cmd := exec.Command(binary, "run", "-c", i.config)
	cmd.Env = append(os.Environ(), env...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it has ended, unless the test failed
	p := &process{cmd, bufio.NewScanner(stderr)}
	p.saw(t, "worker started")
	return p
}

func (p *process) saw(t *testing.T, text string) {
	t.Helper()
	for p.lines.Scan() {
		if strings.Contains(p.lines.Text(), text) {
			return
		}
	}
	t.Fatalf("ended without showing %q", text)
}

// ends reads on to the end and returns the exit code, -1 after a signal.
func (p *process) ends(t *testing.T) int {
	t.Helper()
	for p.lines.Scan() {
	}
	if err := p.Wait(); err != nil && p.ProcessState == nil {
		t.Fatal(err)
	}
	return p.ProcessState.ExitCode()
}

// TestSignals: the built program drains at the first signal, so that what is in flight has its outcome, and ends at the second.
func TestSignals(t *testing.T) {
	binary := build(t)
	for _, tt := range []struct {
		name    string
		signals []os.Signal
		code    int
	}{
		{"SIGTERM drains", []os.Signal{syscall.SIGTERM}, exitDone},
		{"SIGINT drains", []os.Signal{os.Interrupt}, exitDone},
		{"the second ends", []os.Signal{syscall.SIGTERM, os.Interrupt}, exitFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := install(t, "")
			arrived, hold := make(chan struct{}, 1), make(chan struct{})
			i.sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Apply: true, Arrived: arrived, Hold: hold})
			p := i.process(t, binary)
			run(t, exitDone, aRefund("R1"), "send", "refund", "-c", i.config, "--mchid", mchid)
			<-arrived
			for _, s := range tt.signals {
				if err := p.Process.Signal(s); err != nil {
					t.Fatal(err)
				}
				if s == tt.signals[0] {
					p.saw(t, "draining")
				}
			}
			if len(tt.signals) == 1 {
				close(hold)
			}
			if code := p.ends(t); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			c := connectTo(t, i)
			last, err := c.lastOutcome(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if drained := len(tt.signals) == 1; drained != (last == 1) {
				t.Errorf("%d outcomes", last)
			}
		})
	}
}

func connectTo(t *testing.T, i *installation) *client {
	t.Helper()
	a := &app{ctx: context.Background(), err: newScreen(), config: i.config}
	c, err := a.connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
