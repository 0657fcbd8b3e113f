package natsembed

import (
	"fmt"
	"sync/atomic"
)

// reporter hears what the server would log, and keeps why it gave up. Nothing else goes further: where a client does not speak the protocol, the
// server quotes what it sent, which may be a part of a command, and no more than the text tells which lines those are. What there is to
// know of a store says Failure.
type reporter struct {
	fatal atomic.Pointer[string] // the first word that it gave up with
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
