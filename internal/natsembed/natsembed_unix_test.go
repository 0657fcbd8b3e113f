//go:build unix

package natsembed_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"wxpay-worker/internal/natsembed"
)

// TestStartEndsWithContext: whoever is told to stop while a store is being read does not wait for that, and the folder is given back
// when it has been read. What takes its time here is a pipe in the place of a stream's file.
func TestStartEndsWithContext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stream := filepath.Join(dir, "jetstream", "$G", "streams", "S")
	if err := os.MkdirAll(stream, 0o700); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(stream, "meta.inf")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := natsembed.StartContext(ctx, natsembed.Options{Listen: "127.0.0.1:0", Dir: dir, NoSync: true})
		ended <- err
	}()
	w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // returns when the server opens its end
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	isTaken(t, dir) // it reads on
	if err := errors.Join(os.RemoveAll(stream), w.Close()); err != nil {
		t.Fatal(err)
	}
	for {
		s, err := natsembed.Start(natsembed.Options{Listen: "127.0.0.1:0", Dir: dir, NoSync: true})
		if e, ok := errors.AsType[*natsembed.DirError](err); ok && e.Taken {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		s.Shutdown()
		return
	}
}
