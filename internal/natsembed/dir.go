package natsembed

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/nats-io/nats-server/v2/server"
)

// lockFile is in Options.Dir and held by a server for as long as it runs.
const lockFile = "worker.lock"

// DirError says that Options.Dir cannot hold the store.
type DirError struct {
	Taken bool // another server uses it at this moment
	err   error
}

func (e *DirError) Error() string { return "store of the embedded NATS server: " + e.err.Error() }
func (e *DirError) Unwrap() error { return e.err }

// errTaken is what lock says of a file that somebody holds.
var errTaken = errors.New("held by another process")

// hold makes the folder and takes it: two servers in one folder would write over each other what both have confirmed.
func hold(dir string) (*os.File, error) {
	err := os.MkdirAll(dir, 0o700)
	if err != nil {
		return nil, &DirError{err: err}
	}
	f, err := lock(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, &DirError{Taken: errors.Is(err, errTaken), err: err}
	}
	if err := try(filepath.Join(dir, server.JetStreamStoreDir)); err != nil {
		f.Close()
		return nil, &DirError{err: err}
	}
	return f, nil
}

// try makes a file where the server makes its own. It would say as much, without the cause.
func try(store string) error {
	if err := os.MkdirAll(store, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(store, ".worker-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
