package natsembed_test

import (
	"bytes"
	"context"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// limited is the variable by which a test runs itself once more in a process whose files may be limited.
const limited = "NATSEMBED_LIMITED"

// limit makes every write beyond so many bytes of a file fail, as on a disk that is full, for the whole process.
func limit(t *testing.T, bytes uint64) {
	t.Helper()
	var now syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &now); err != nil {
		t.Fatal(err)
	}
	now.Cur = min(bytes, now.Max)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &now); err != nil {
		t.Fatal(err)
	}
}

// TestFailureOfAFullStore: once a write found no room, the server says so in Failure, also when there is room again;
// another stream is not mistaken for it, and a new start mends it.
func TestFailureOfAFullStore(t *testing.T) {
	if os.Getenv(limited) == "" {
		t.Parallel()
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		alone := exec.Command(self, "-test.run=^"+t.Name()+"$")
		alone.Env = append(os.Environ(), limited+"=1")
		if out, err := alone.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	signal.Ignore(syscall.SIGXFSZ) // the error is enough
	dir, ctx := t.TempDir(), context.Background()
	s := startIn(t, dir)
	js := connect(t, s)
	for _, name := range []string{"FULL", "WELL"} {
		if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name}}); err != nil {
			t.Fatal(err)
		}
	}
	publish := func(subject string) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, err := js.Publish(ctx, subject, bytes.Repeat([]byte("CANARY"), 10_000))
		return err
	}
	limit(t, 1<<20)
	stored := 0
	for ; publish("FULL") == nil; stored++ {
		if err := s.Failure(); err != nil {
			t.Fatalf("after %d: %v", stored, err)
		}
	}
	wrong := func() {
		t.Helper()
		if err := s.Failure(); err == nil || !strings.Contains(err.Error(), "FULL") || strings.Contains(err.Error(), "WELL") || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("failure: %v", err)
		}
	}
	wrong()
	limit(t, math.MaxUint64)
	if publish("FULL") == nil {
		t.Error("it stores again: nobody need end for that any more")
	}
	wrong()
	if err := publish("WELL"); err != nil {
		t.Error(err)
	}
	s.Shutdown()

	s = startIn(t, dir)
	js = connect(t, s)
	stream, err := js.Stream(ctx, "FULL")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n < uint64(stored) || publish("FULL") != nil || s.Failure() != nil {
		t.Errorf("after a new start: %d messages of %d, failure %v", n, stored, s.Failure())
	}
}

// TestFailureNamesNoLeftovers: a folder that is no stream, which a new start would leave as it is, is no failure.
func TestFailureNamesNoLeftovers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "jetstream", "$G", "streams", "LEFT"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := startIn(t, dir).Failure(); err != nil {
		t.Error(err)
	}
}
