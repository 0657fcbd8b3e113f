package natsembed_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/internal/natsembed"
)

// serveIn is the variable by which a test tells a process of this program to be a server on the folder that it holds.
const serveIn = "NATSEMBED_SERVE_IN"

func TestMain(m *testing.M) {
	dir := os.Getenv(serveIn)
	if dir == "" {
		os.Exit(m.Run())
	}
	if _, err := natsembed.Start(natsembed.Options{Listen: "127.0.0.1:0", Dir: dir}); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	select {} // until it is killed
}

// startIn starts a server on the folder, and ends it with the test.
func startIn(t *testing.T, dir string) *natsembed.Server {
	t.Helper()
	s, err := natsembed.Start(natsembed.Options{Listen: "127.0.0.1:0", Dir: dir, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// isTaken fails unless the folder is refused because somebody uses it.
func isTaken(t *testing.T, dir string) {
	t.Helper()
	s, err := natsembed.Start(natsembed.Options{Listen: "127.0.0.1:0", Dir: dir, NoSync: true})
	if err == nil {
		s.Shutdown()
		t.Fatal("two servers run on one folder")
	}
	if e, ok := errors.AsType[*natsembed.DirError](err); !ok || !e.Taken {
		t.Fatalf("refused with %v", err)
	}
}

// connect opens JetStream on the server.
func connect(t *testing.T, s *natsembed.Server) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect("", s.InProcess())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// TestOneServerInAFolder: a second server is refused for as long as the first one runs, whatever their ports, and has what the first
// one stored afterwards.
func TestOneServerInAFolder(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	first := startIn(t, dir)
	js := connect(t, first)
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	isTaken(t, dir)
	if _, err := js.Publish(ctx, "s", nil); err != nil {
		t.Fatal(err)
	}
	isTaken(t, dir)
	first.Shutdown()

	stream, err := connect(t, startIn(t, dir)).Stream(ctx, "S")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 1 {
		t.Errorf("%d messages", n)
	}
	isTaken(t, dir)
}

// TestKilledServerLetsGo: nobody has to clean up after kill -9.
func TestKilledServerLetsGo(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	other := exec.Command(self)
	other.Env = append(os.Environ(), serveIn+"="+dir)
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Process.Kill() }) // it is dead, unless the test failed
	lines := bufio.NewScanner(out)
	if lines.Scan(); lines.Text() != "ready" {
		t.Fatalf("the other process says %q", lines.Text())
	}
	isTaken(t, dir)

	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := other.Wait(); err == nil {
		t.Fatal("it ended by itself")
	}
	startIn(t, dir)
}

// TestUnusableFolder: a folder that cannot hold the store is told at once, with the cause, and is not kept.
func TestUnusableFolder(t *testing.T) {
	t.Parallel()
	file := func(t *testing.T, elem ...string) string {
		t.Helper()
		name := filepath.Join(elem...)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, tt := range []struct {
		name, want string
		dir        func(t *testing.T, dir string) string
	}{
		{"a file", ": not a directory", func(t *testing.T, dir string) string { return file(t, dir, "nats") }},
		{"below a file", ": not a directory", func(t *testing.T, dir string) string { return filepath.Join(file(t, dir, "data"), "nats") }},
		{"a file where the store belongs", ": not a directory", func(t *testing.T, dir string) string { file(t, dir, "jetstream"); return dir }},
		{"a folder where the lock belongs", "is a directory", func(t *testing.T, dir string) string { file(t, dir, "worker.lock", "x"); return dir }},
		{"a store that the server cannot use", "could not create storage", func(t *testing.T, dir string) string {
			if err := errors.Join(os.Mkdir(filepath.Join(dir, "jetstream"), 0o700), os.Symlink("nowhere", filepath.Join(dir, "jetstream", "$G"))); err != nil {
				t.Fatal(err)
			}
			return dir
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir, began := tt.dir(t, t.TempDir()), time.Now()
			for range 2 { // the first does not keep the folder
				_, err := natsembed.Start(natsembed.Options{Listen: "127.0.0.1:0", Dir: dir, NoSync: true})
				if e, ok := errors.AsType[*natsembed.DirError](err); !ok || e.Taken || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v", err)
				}
			}
			if took := time.Since(began); took > 8*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// TestFailureOfJetStream: a server that has turned JetStream off by itself, as when it may not write any more, is one that failed.
func TestFailureOfJetStream(t *testing.T) {
	t.Parallel()
	s := startIn(t, t.TempDir())
	if err := s.Failure(); err != nil {
		t.Fatal(err)
	}
	if err := s.TurnJetStreamOff(); err != nil {
		t.Fatal(err)
	}
	if s.Failure() == nil {
		t.Error("it says that all is well")
	}
}
