//go:build !(linux || darwin || freebsd || openbsd || netbsd || dragonfly || windows)

package natsembed

import "os"

// lock opens a file, made if missing. Here nothing keeps another process from doing the same.
func lock(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
}
