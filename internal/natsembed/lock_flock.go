//go:build linux || darwin || freebsd || openbsd || netbsd || dragonfly

package natsembed

import (
	"errors"
	"os"
	"syscall"
)

// lock opens a file, made if missing, that one process at a time can hold. The kernel lets go of it when the file is closed, also
// for a process that was killed: what is left of the file means nothing, and it is never removed, since somebody could hold a lock on
// the removed one.
func lock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EWOULDBLOCK):
			err = errTaken
		}
		f.Close()
		return nil, &os.PathError{Op: "lock", Path: name, Err: err}
	}
}
