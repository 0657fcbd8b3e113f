package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// TestMain keeps the environment of whoever runs the tests out of them, sets what a server's needs, and runs many of those that
// may run side by side: they wait for processes and clocks.
func TestMain(m *testing.M) {
	natstest.Crowd(16)
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "WXPAY_") || strings.HasPrefix(name, "OTEL_") {
			os.Unsetenv(name)
		}
	}
	for _, user := range users { // what deploy/nats/secure.conf takes from the environment
		os.Setenv(passwordVariable(user), "of-"+user)
	}
	os.Exit(m.Run())
}

// screen is what a command printed so far. It can be waited upon.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed and replaced by every write
}

func newScreen() *screen { return &screen{more: make(chan struct{})} }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.more)
	s.more = make(chan struct{})
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *screen) look() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String(), s.more
}

// running is a command line under way in this process.
type running struct {
	t        *testing.T
	out, err *screen
	stop     context.CancelFunc // the first signal
	ended    chan struct{}
	code     int // once ended
}

// start begins a command line; it is stopped and awaited at the test's end.
func start(t *testing.T, stdin string, args ...string) *running {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	r := &running{t: t, out: newScreen(), err: newScreen(), stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.code = Main(ctx, args, strings.NewReader(stdin), r.out, r.err)
	}()
	t.Cleanup(func() {
		stop()
		<-r.ended
		if t.Failed() {
			t.Logf("worker %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
		}
	})
	return r
}

// saw waits until the screen shows the text, and returns all of it.
func (r *running) saw(s *screen, text string) string {
	r.t.Helper()
	late := patience(r.t)
	for {
		all, more := s.look()
		if strings.Contains(all, text) {
			return all
		}
		select {
		case <-more:
		case <-r.ended:
			if all := s.String(); strings.Contains(all, text) {
				return all
			}
			r.t.Fatalf("ended with %d without showing %q:\n%s%s", r.code, text, r.out, r.err)
		case <-late:
			r.t.Fatalf("does not show %q:\n%s%s", text, r.out, r.err)
		}
	}
}

// patience ends a little before the test's deadline, so that it can still say what it was waiting for.
func patience(t *testing.T) <-chan time.Time {
	deadline, ok := t.Deadline()
	if !ok {
		return nil
	}
	return time.After(time.Until(deadline) - 10*time.Second)
}

// exits waits for the end and checks the exit code.
func (r *running) exits(code int) *running {
	r.t.Helper()
	<-r.ended
	if r.code != code {
		r.t.Fatalf("exit code %d, want %d:\n%s%s", r.code, code, r.out, r.err)
	}
	return r
}

// run runs a command line that ends by itself.
func run(t *testing.T, code int, stdin string, args ...string) *running {
	t.Helper()
	return start(t, stdin, args...).exits(code)
}

// installation is a NATS server, a simulator and a configuration that fits both.
type installation struct {
	url    string // of NATS
	nc     *nats.Conn
	sim    *wxpaytest.Server
	config string
	dir    string
}

const mchid = "1900000001"

var subjects = messages.Subjects{Prefix: "wxpay"}

// install makes an installation whose worker is yet to be started. more goes into the configuration.
func install(t *testing.T, more string) *installation {
	t.Helper()
	return installWith(t, more, wxpaytest.Options{OpenBooks: true, SettleAtOnce: true})
}

// installWith is install with another simulator.
func installWith(t *testing.T, more string, sim wxpaytest.Options) *installation {
	t.Helper()
	server := natstest.Start(t)
	i := &installation{url: server.URL(), nc: natstest.Client(t, server), dir: t.TempDir()}
	i.sim = wxpaytest.New(t, sim)
	s := simulateCmd{MchID: []string{mchid}, ConfigOut: filepath.Join(i.dir, "worker.yaml")}
	if err := s.writeConfig(i.sim); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(s.ConfigOut)
	if err != nil {
		t.Fatal(err)
	}
	i.config = writeFile(t, s.ConfigOut, fmt.Sprintf("%shttp: {listen: \"\"}\nnats: {url: %q%s}\n", text, i.url, more))
	return i
}

// work starts the installation's worker.
func (i *installation) work(t *testing.T) *running {
	t.Helper()
	r := start(t, "", "run", "-c", i.config)
	r.saw(r.err, "worker started")
	return r
}

// aRefund is a valid refund command.
func aRefund(no string) string {
	return fmt.Sprintf(`{"out_refund_no":"%s","out_trade_no":"T-%[1]s","amount":{"refund":1,"total":1}}`, no)
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args string
		want string
	}{
		{"", "expected one of"},
		{"fly", "unexpected argument fly"},
		{"run --fly", "unknown flag --fly"},
		{"send", "expected one of"},
		{"send refunds", "unexpected argument refunds"},
		{"watch --kind refunds", "--kind"},
		{"watch -o yaml", "--output"},
		{"watch --count -1", "--count"},
		{"watch --since yesterday", "--since: expected a time such as"},
		{"watch --mchid x", "--mchid: expected 1 to 32 digits"},
		{"dev --listen 4222", "--listen: expected HOST:PORT"},
		{"simulate --listen 4222", "--listen: expected HOST:PORT"},
		{"simulate --mchid x", "--mchid: expected 1 to 32 digits"},
		{"dlq lists", "unexpected argument lists"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			r := run(t, exitUsage, "", strings.Fields(tt.args)...)
			if !strings.Contains(r.err.String(), tt.want) || r.out.String() != "" {
				t.Errorf("got %q, %q", r.out, r.err)
			}
		})
	}
}

// TestEmptyValues: what a script passes on although nobody has set it is not taken for all there is. There is no NATS server here.
func TestEmptyValues(t *testing.T) {
	for command, flags := range map[string]string{
		"watch":        "--mchid --kind --status --key --since",
		"dlq list":     "--mchid --kind --reason --code --key --since --until",
		"dlq stats":    "--mchid --kind --reason --code --key --since --until",
		"dlq drop -ay": "--mchid --kind --reason --code --key --since --until",
		"dlq replay 1": "--mchid --kind --reason --code --key --since --until --patch --rate",
		"simulate":     "--mchid",
		"send reply":   "--mchid --id --file --nats --config",
		"send refund":  "--mchid --id --file --nats --config",
		"run":          "--nats --config",
	} {
		for flag := range strings.FieldsSeq(flags) {
			args := append(strings.Fields(strings.Replace(command, "-ay", "--all --yes", 1)), flag, "")
			r := run(t, exitUsage, "", args...)
			if want := "worker: " + flag + ": expected a value, not an empty one; without it, leave the flag out\n"; r.err.String() != want || r.out.String() != "" {
				t.Errorf("%q: got %q, %q", args, r.out, r.err)
			}
		}
	}
	for _, args := range [][]string{{"dlq", "list", "--code", ",NO_AUTH"}, {"dlq", "list", "--mchid", ",1900000001"}, {"watch", "--key", "R1", "--key="}} {
		if r := run(t, exitUsage, "", args...); !strings.Contains(r.err.String(), ": expected a value, not an empty one") {
			t.Errorf("%q: got %q", args, r.err)
		}
	}
}

func TestHelp(t *testing.T) {
	if r := run(t, exitDone, "", "--help"); !strings.Contains(r.out.String(), "simulate") {
		t.Errorf("got %q", r.out)
	}
	// A flag may follow arguments, and a command's own come with the global ones.
	if r := run(t, exitDone, "", "send", "refund", "--help"); !strings.Contains(r.out.String(), "--out-refund-no") || !strings.Contains(r.out.String(), "--nats") {
		t.Errorf("got %q", r.out)
	}
}

func TestVersion(t *testing.T) {
	if r := run(t, exitDone, "", "version"); !strings.Contains(r.out.String(), "nats.go v1") {
		t.Errorf("got %q", r.out)
	}
	if r := run(t, exitDone, "", "version", "-o", "json"); !strings.Contains(r.out.String(), `"nats-server":"v2`) {
		t.Errorf("got %q", r.out)
	}
}

func TestVerdict(t *testing.T) {
	for _, tt := range []struct{ wrong, all, code int }{{0, 2, exitDone}, {1, 2, exitPartly}, {2, 2, exitFailed}, {1, 1, exitFailed}} {
		a := &app{err: io.Discard}
		if code := a.finish(verdict(tt.wrong, tt.all, "x")); code != tt.code {
			t.Errorf("%d of %d: exit code %d, want %d", tt.wrong, tt.all, code, tt.code)
		}
	}
	if code := (&app{err: io.Discard}).finish(errors.New("x")); code != exitFailed {
		t.Errorf("an error: exit code %d", code)
	}
}
