package natsembed

import (
	"fmt"
	"sync/atomic"
)

// reporter hears what the server would log, and keeps only why it gave up. All else is dropped: when a client does not speak the protocol, the
// server quotes what it sent, which may be a part of a command, and such lines can be told from others only by their text. What there is to
// know about the store, Failure tells.
type reporter struct {
	fatal atomic.Pointer[string] // the first message with which the server gave up
}

func (r *reporter) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	r.fatal.CompareAndSwap(nil, &text)
}

func (r *reporter) Errorf(string, ...any)  {}
func (r *reporter) Warnf(string, ...any)   {}
func (r *reporter) Noticef(string, ...any) {}
func (r *reporter) Debugf(string, ...any)  {}
func (r *reporter) Tracef(string, ...any)  {}
