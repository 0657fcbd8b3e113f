package natsembed

import (
	"errors"
	"os"
	"syscall"
)

// errorSharingViolation is missing in package syscall.
// Source: System Error Codes, https://learn.microsoft.com/windows/win32/debug/system-error-codes--0-499-
const errorSharingViolation syscall.Errno = 32

// lock opens a file, made if missing, that nobody else can open until it is closed, or the process has ended.
func lock(name string) (*os.File, error) {
	path, err := syscall.UTF16PtrFromString(name)
	if err != nil {
		return nil, &os.PathError{Op: "lock", Path: name, Err: err}
	}
	const shareNothing = 0
	h, err := syscall.CreateFile(path, syscall.GENERIC_READ|syscall.GENERIC_WRITE, shareNothing, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, errorSharingViolation) {
		err = errTaken
	}
	if err != nil {
		return nil, &os.PathError{Op: "lock", Path: name, Err: err}
	}
	return os.NewFile(uintptr(h), name), nil
}
