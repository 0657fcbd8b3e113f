package messages

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// DeadLetter is a command that ended without success: the whole command, untouched, with its cause and history. The command is
// the message's body, everything else its headers.
type DeadLetter struct {
	MchID string
	Kind  Kind
	// Key is Command.Key, or SeqKey for a malformed or conflicting command; unescaped.
	Key    string
	Reason Reason
	// Code is WeChat Pay's code, "" if the command was not refused by WeChat Pay.
	Code string
	// Message is for people; at most MaxMessageBytes, and never a field's value.
	Message string
	// HTTPStatus of the refusal; 0 if there was none.
	HTTPStatus int
	// RequestID is WeChat Pay's Request-ID of the refusal.
	RequestID string
	// Attempts counts deliveries that sent at least one writing call, as far as known.
	Attempts int
	// FirstAt is when the command was first tried: when its first writing call began, or, if none was made, when the delivery that
	// ended it arrived. FailedAt is when it was given up. Written in UTC with milliseconds; a zero time is not written.
	FirstAt, FailedAt time.Time
	// Subject and StreamSeq are where the command stood in the commands stream. The sequence identifies the dead letter: one
	// command makes one.
	Subject   string
	StreamSeq uint64
	// CommandsSeq is the newest command that was in the stream before the letter: what was stored later is a new try. 0 = not known.
	// CommandsAt is when that one was stored, by the commands stream's clock; written with nanoseconds. Zero is not known.
	CommandsSeq uint64
	CommandsAt  time.Time
	// Step is the step of a decision that failed, "" otherwise.
	Step string
	// CommandID is the command's id, from its body or its headers; "" if it has none.
	CommandID string
	// ConflictsWith is, with ReasonConflict, the key that another command holds.
	ConflictsWith string
	// Replays counts how often the command has been put back before this end. A publisher may claim any number.
	Replays int
	// Original holds the command's own headers as KeepHeaders keeps them.
	Original Header
	// Command is the command's original bytes.
	Command []byte
}

// Headers returns the dead letter's headers in a fresh map: the kept originals and ours. Whatever the fields hold, the result can
// be published: values are one line each and bounded, numbers within what ParseDeadLetter takes. Fields that are empty or zero are left
// out, except for the two counts.
func (d *DeadLetter) Headers() Header {
	h, _ := KeepHeaders(d.Original)
	if h == nil {
		h = make(Header, 16)
	}
	set := func(name, value string) {
		if value != "" {
			h[name] = []string{value}
		}
	}
	set(HeaderReason, headerValue(string(d.Reason)))
	set(HeaderCode, headerValue(d.Code))
	set(HeaderMessage, BoundMessage(d.Message))
	if d.HTTPStatus != 0 {
		set(HeaderHTTPStatus, formatCount(d.HTTPStatus))
	}
	set(HeaderRequestID, headerValue(d.RequestID))
	set(HeaderAttempts, formatCount(d.Attempts))
	if !d.FirstAt.IsZero() {
		set(HeaderFirstAt, formatTime(d.FirstAt))
	}
	if !d.FailedAt.IsZero() {
		set(HeaderFailedAt, formatTime(d.FailedAt))
	}
	set(HeaderSubject, headerValue(d.Subject))
	if d.StreamSeq != 0 {
		set(HeaderStreamSeq, strconv.FormatUint(d.StreamSeq, 10))
	}
	if d.CommandsSeq != 0 {
		set(HeaderCommandsSeq, strconv.FormatUint(d.CommandsSeq, 10))
	}
	if !d.CommandsAt.IsZero() {
		set(HeaderCommandsAt, d.CommandsAt.UTC().Format(time.RFC3339Nano))
	}
	set(HeaderStep, headerValue(d.Step))
	set(HeaderCommandID, headerValue(d.CommandID))
	set(HeaderKind, headerValue(string(d.Kind)))
	set(HeaderKey, headerValue(d.Key))
	set(HeaderMchID, headerValue(d.MchID))
	set(HeaderReplays, formatCount(d.Replays))
	set(HeaderConflictsWith, headerValue(d.ConflictsWith))
	return h
}

// ParseDeadLetter is the inverse of Headers. data is kept, not copied. The error wraps a *MalformedError that names the header: a
// merchant, kind, reason or key that is missing or unknown, or a number or time that is none. NATS trims the values of headers: of a key,
// an id and a ConflictsWith that begin or end with spaces, only what the letter's subject and its command say is exact.
func ParseDeadLetter(h Header, data []byte) (*DeadLetter, error) {
	p := headerParser{h: h}
	d := &DeadLetter{
		MchID:         p.text(HeaderMchID),
		Kind:          Kind(p.text(HeaderKind)),
		Key:           p.text(HeaderKey),
		Reason:        Reason(p.text(HeaderReason)),
		Code:          p.text(HeaderCode),
		Message:       BoundMessage(Get(h, HeaderMessage)),
		HTTPStatus:    p.count(HeaderHTTPStatus),
		RequestID:     p.text(HeaderRequestID),
		Attempts:      p.count(HeaderAttempts),
		FirstAt:       p.time(HeaderFirstAt),
		FailedAt:      p.time(HeaderFailedAt),
		Subject:       p.text(HeaderSubject),
		StreamSeq:     p.sequence(HeaderStreamSeq),
		CommandsSeq:   p.sequence(HeaderCommandsSeq),
		CommandsAt:    p.exactTime(HeaderCommandsAt),
		Step:          p.text(HeaderStep),
		CommandID:     p.text(HeaderCommandID),
		ConflictsWith: p.text(HeaderConflictsWith),
		Replays:       p.count(HeaderReplays),
		Command:       data,
	}
	d.Original, _ = KeepHeaders(h)
	p.must(ValidMchID(d.MchID), HeaderMchID, "1 to 32 digits")
	p.must(slices.Contains(Kinds, d.Kind), HeaderKind, "a known kind")
	p.must(slices.Contains(Reasons, d.Reason), HeaderReason, "a known reason")
	p.must(d.Key != "", HeaderKey, "a key")
	if p.err != nil {
		return nil, fmt.Errorf("parse dead letter: %w", p.err)
	}
	return d, nil
}

// headerParser reads typed headers and remembers the first that is wrong. An absent header is zero.
type headerParser struct {
	h   Header
	err *MalformedError
}

func (p *headerParser) must(ok bool, name, expected string) {
	if !ok && p.err == nil {
		p.err = &MalformedError{Field: name, Expected: expected}
	}
}

func (p *headerParser) text(name string) string { return headerValue(Get(p.h, name)) }

func (p *headerParser) sequence(name string) uint64 {
	s := Get(p.h, name)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	p.must(err == nil, name, "an integer that is not negative")
	return n
}

// maxCount bounds counts. Only a publisher's claim can come near it.
const maxCount = math.MaxInt32

func formatCount(n int) string { return strconv.Itoa(min(max(n, 0), maxCount)) }

func (p *headerParser) count(name string) int {
	s := Get(p.h, name)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64) // with ErrRange it is the largest uint64
	p.must(err == nil || errors.Is(err, strconv.ErrRange), name, "an integer that is not negative")
	return int(min(n, maxCount))
}

func (p *headerParser) time(name string) time.Time { return wireTime(p.exactTime(name)) }

func (p *headerParser) exactTime(name string) time.Time {
	s := Get(p.h, name)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	t = t.UTC()
	p.must(err == nil && t.Year() >= 0 && t.Year() <= 9999, name, "a time as in RFC 3339")
	return t
}
