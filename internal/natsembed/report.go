package natsembed

import (
	"fmt"
	"strings"
	"sync/atomic"
)

// Logger hears what the server warns of.
type Logger interface {
	Warnf(format string, v ...any)
	Errorf(format string, v ...any)
}

// reporter hears what the server would log.
type reporter struct {
	log   Logger                 // nil: nobody listens
	fatal atomic.Pointer[string] // the first word that it gave up with
}

func (r *reporter) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	r.fatal.CompareAndSwap(nil, &text)
}

func (r *reporter) Errorf(format string, v ...any) {
	if text, tell := r.line(format, v); tell {
		r.log.Errorf("%s", text)
	}
}

func (r *reporter) Warnf(format string, v ...any) {
	if text, tell := r.line(format, v); tell {
		r.log.Warnf("%s", text)
	}
}

func (r *reporter) Noticef(string, ...any) {}
func (r *reporter) Debugf(string, ...any)  {}
func (r *reporter) Tracef(string, ...any)  {}

// line leaves out what is about one connection: where a client does not speak the protocol, the server quotes what it sent, which may
// be a part of a command. The client is told as well.
//
// Source: nats-server 2.15 server/client.go, client.format and client.String; parser.go, protoSnippet.
func (r *reporter) line(format string, v []any) (text string, tell bool) {
	if r.log == nil {
		return "", false
	}
	text = fmt.Sprintf(format, v...)
	return "embedded NATS server: " + text, !strings.Contains(text, "cid:")
}
