package messages

import (
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Header holds the headers of a NATS message. Names are case-sensitive, as they are in NATS; it converts to and from
// nats.Header without this package knowing nats.
type Header = map[string][]string

// Headers of commands.
const (
	HeaderCommandID   = "Wxpay-Command-Id" // the command's identity where the body has no id; also on dead letters
	HeaderMsgID       = "Nats-Msg-Id"      // the identity of last resort
	HeaderTraceparent = "traceparent"      // W3C trace context, carried to every outcome
	HeaderReplays     = "Wxpay-Replays"    // how often a person put this command back; also on dead letters
)

// Headers of outcomes: CloudEvents in binary mode.
const (
	HeaderSpecVersion = "ce-specversion" // always 1.0
	HeaderEventID     = "ce-id"          // see Outcome.EventID
	HeaderSource      = "ce-source"      // /<prefix>/<mchid>
	HeaderType        = "ce-type"        // <prefix>.<kind>.<status>
	HeaderEventKey    = "ce-subject"     // the key, unescaped
	HeaderTime        = "ce-time"        // RFC 3339, UTC
	HeaderContentType = "Content-Type"   // always application/json
)

// Headers that the worker writes for itself, on events, on dead letters and on refunds that are being followed.
const (
	HeaderDigest      = "Wxpay-Digest"       // Command.Digest: what the key stands for from now on
	HeaderWorker      = "Wxpay-Worker"       // the process that wrote it
	HeaderSpared      = "Wxpay-Spared"       // of a `started`: how many of its attempts do not count, since the lane was held over them
	HeaderHeld        = "Wxpay-Held"         // of a `started`: for how long the lane was held since the first attempt, as 1h2m3s
	HeaderCommandsSeq = "Wxpay-Commands-Seq" // of a `failed`: the newest command that it can end; one that was stored later is a new try
	HeaderCommandsAt  = "Wxpay-Commands-At"  // and when that was stored, in nanoseconds: sequences begin again when the stream is made anew
)

// Headers of dead letters: the fields of DeadLetter of the same names.
const (
	HeaderReason        = "Wxpay-Reason" // also on a command that was put back: why it had failed
	HeaderCode          = "Wxpay-Code"
	HeaderMessage       = "Wxpay-Message"
	HeaderHTTPStatus    = "Wxpay-Http-Status"
	HeaderRequestID     = "Wxpay-Request-Id"
	HeaderAttempts      = "Wxpay-Attempts"
	HeaderFirstAt       = "Wxpay-First-At"
	HeaderFailedAt      = "Wxpay-Failed-At"
	HeaderSubject       = "Wxpay-Subject"
	HeaderStreamSeq     = "Wxpay-Stream-Seq"
	HeaderStep          = "Wxpay-Step" // as HeaderReason
	HeaderKind          = "Wxpay-Kind"
	HeaderKey           = "Wxpay-Key"
	HeaderMchID         = "Wxpay-Mchid"
	HeaderConflictsWith = "Wxpay-Conflicts-With"
)

// Limits of what is written into headers.
const (
	// MaxKeptHeaderBytes bounds the original headers that a dead letter keeps, names and separators included. NATS caps all
	// headers of a message at 64 KiB; half of that leaves room for ours, so that writing a dead letter cannot fail for what
	// a publisher sent.
	MaxKeptHeaderBytes = 32 << 10
	// MaxMessageBytes bounds BoundMessage.
	MaxMessageBytes = 512
	// maxValueBytes bounds every other value we write. The longest honest one is a command subject.
	maxValueBytes = 1 << 10
)

// Get returns the first value of the header called name, exactly so spelled, or "".
func Get(h Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// maxTraceparent bounds a traceparent, in bytes. One of this version has 55; later versions may be longer, but not by that much.
// Source: W3C Trace Context, section 3.2.2, https://www.w3.org/TR/trace-context/#traceparent-header-field-values, 2021-11.
const maxTraceparent = 512

// Traceparent returns the trace context that the headers carry, in one line; "" if there is none, or if it is too long to be one.
func Traceparent(h Header) string {
	trace := Get(h, HeaderTraceparent)
	if len(trace) > maxTraceparent {
		return ""
	}
	return oneLine(trace)
}

// CommandID returns the identity that the headers carry: Wxpay-Command-Id, else Nats-Msg-Id, or "" if there is none that can be
// used. Spaces around it are not part of it: some NATS clients trim them and some do not, so they would not outlast being put back. A
// Wxpay-Command-Id that is not 1–64 printable ASCII characters is not replaced by another identity.
func CommandID(h Header) string {
	id, _ := commandID(h)
	return id
}

// commandID is CommandID, and tells a bad Wxpay-Command-Id (not ok) from an absent one. A bad Nats-Msg-Id is as if absent: its
// publisher chose it for the duplicate window, not for us.
func commandID(h Header) (id string, ok bool) {
	if id := trimmed(h, HeaderCommandID); id != "" {
		if !validID(id) {
			return "", false
		}
		return id, true
	}
	if id := trimmed(h, HeaderMsgID); validID(id) {
		return id, true
	}
	return "", true
}

func trimmed(h Header, name string) string { return strings.Trim(Get(h, name), " ") }

// KeepHeaders returns the headers of a command that its dead letter keeps, and how many others were lost. Not kept, and not
// counted, are those that begin with Nats- or Wxpay- in any case: the first would command the server, the second are ours to
// write. Lost are names that are not header tokens (anyone who speaks raw NATS can send them), and whatever does not fit into
// MaxKeptHeaderBytes: names are taken in sorted order, each with all of its values or not at all. CR, LF and NUL in values
// become spaces. The result is a fresh map, nil if nothing is kept.
func KeepHeaders(h Header) (kept Header, dropped int) {
	room := MaxKeptHeaderBytes
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if ours(name) {
			continue
		}
		size := headerSize(name, h[name])
		if !validHeaderName(name) || len(h[name]) == 0 || size > room {
			dropped++
			continue
		}
		room -= size
		if kept == nil {
			kept = make(Header)
		}
		values := make([]string, len(h[name]))
		for i, v := range h[name] {
			values[i] = oneLine(v)
		}
		kept[name] = values
	}
	return kept, dropped
}

// ours reports whether a header's name is reserved for the server or for this contract.
func ours(name string) bool { return hasPrefixFold(name, "Nats-") || hasPrefixFold(name, "Wxpay-") }

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// headerSize is what a header takes on the wire: "name: value CR LF" for each value.
func headerSize(name string, values []string) int {
	n := 0
	for _, v := range values {
		n += len(name) + len(v) + 4
	}
	return n
}

// validHeaderName reports whether name is a token.
// Source: RFC 9110 HTTP Semantics, section 5.6.2, https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2, 2022-06
func validHeaderName(name string) bool {
	for i := range len(name) {
		if !isAlphanumeric(name[i]) && strings.IndexByte("!#$%&'*+-.^_`|~", name[i]) < 0 {
			return false
		}
	}
	return name != ""
}

var newlines = strings.NewReplacer("\r", " ", "\n", " ", "\x00", " ")

// oneLine keeps a value from ending its header early, which would let it forge the next one.
func oneLine(s string) string { return newlines.Replace(s) }

// headerValue makes any text safe as the value of one of our own headers.
func headerValue(s string) string { return cut(oneLine(s), maxValueBytes) }

// BoundMessage makes any text fit for a log line, a header or an outcome: at most MaxMessageBytes of valid UTF-8, in one line,
// without control characters or other invisible ones. It does not know what is secret: that a message holds no field's value
// is its writer's duty.
func BoundMessage(s string) string {
	s = cut(s, 4*MaxMessageBytes) // whatever is beyond cannot matter, and s may be a whole error page
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r // a byte that is not UTF-8 arrives, and stays, as U+FFFD
	}, s)
	return strings.TrimSpace(cut(strings.TrimSpace(s), MaxMessageBytes))
}

// cut returns at most n bytes of s and splits no character; n is at least utf8.UTFMax.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for range utf8.UTFMax - 1 { // no more: s may be no UTF-8 at all
		if utf8.RuneStart(s[n]) {
			break
		}
		n--
	}
	return s[:n]
}
