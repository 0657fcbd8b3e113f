// Package stored reads messages out of a JetStream stream by subject, with one request for each, or for a batch, and no
// consumer. A request takes at most three seconds, whatever the context allows. The stream must allow direct gets.
//
// It speaks the direct get API, because nats.go's jetstream package puts the subject into the request's own subject and so
// cannot ask for a pattern, which is how an outcome is looked up whose status is not known. Any replica may answer, so what
// is read can be a moment old: whoever writes on the strength of it names the sequence it read (an expected last sequence)
// and reads again when the stream refuses (IsStale).
//
//	m, err := stored.Last(ctx, nc, "WXPAY_OUTCOMES", "wxpay.outcome.1900000001.refund.R1.*") // ErrNotFound if there is none
//	for m, err := range stored.From(ctx, nc, "WXPAY_COMMANDS", "wxpay.command.1900000001.>", 1) { … }
//
// Source: NATS ADR-31, JetStream Direct Get, and nats-server 2.15 server/stream.go, 2026-11.
package stored

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrNotFound says that the stream holds no such message.
var ErrNotFound = errors.New("no such message")

// Msg is a message as the stream holds it.
type Msg struct {
	Subject  string
	Sequence uint64
	Time     time.Time   // when the server stored it, by the server's clock
	Header   nats.Header // the publisher's headers only
	Data     []byte
}

// request is that of the API. What is empty is not asked for.
type request struct {
	Seq       uint64     `json:"seq,omitempty"`          // this one; with NextFor, from this one on
	StartTime *time.Time `json:"start_time,omitempty"`   // with NextFor: from then on, by the server's clock
	LastFor   string     `json:"last_by_subj,omitempty"` // the newest one that matches this pattern
	NextFor   string     `json:"next_by_subj,omitempty"` // the oldest one that matches
	LastOf    []string   `json:"multi_last,omitempty"`   // the newest one of each subject that matches one of these
	Batch     int        `json:"batch,omitempty"`        // with NextFor: how many, at most
	MaxBytes  int        `json:"max_bytes,omitempty"`    // and how large together, about
}

// Last returns the newest message whose subject matches the pattern, or ErrNotFound.
func Last(ctx context.Context, nc *nats.Conn, stream, pattern string) (*Msg, error) {
	return get(ctx, nc, stream, request{LastFor: pattern})
}

// Next returns the oldest message at or after seq whose subject matches the pattern, or ErrNotFound.
func Next(ctx context.Context, nc *nats.Conn, stream, pattern string, seq uint64) (*Msg, error) {
	return get(ctx, nc, stream, request{NextFor: pattern, Seq: max(seq, 1)})
}

// At returns the message with that sequence, or ErrNotFound.
func At(ctx context.Context, nc *nats.Conn, stream string, seq uint64) (*Msg, error) {
	return get(ctx, nc, stream, request{Seq: seq})
}

// answerTimeout bounds one look-up: an answer that was lost with its connection never comes.
const answerTimeout = 3 * time.Second

func get(ctx context.Context, nc *nats.Conn, stream string, r request) (*Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", stream, err)
	}
	answer, err := nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+stream, body)
	if errors.Is(err, nats.ErrNoResponders) {
		// Or a message without a body to which its publisher gave that status: the client library does not tell them apart.
		if look := exchange(ctx, nc, stream, r, 1, func(m *nats.Msg) (bool, error) { answer = m; return false, nil }); look == nil && statusOf(answer) == "" {
			err = nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", stream, err)
	}
	if status := statusOf(answer); status == "404" {
		return nil, ErrNotFound
	} else if status != "" {
		return nil, fmt.Errorf("read stream %s: server answered %s %s", stream, status, answer.Header.Get("Description"))
	}
	return parse(stream, answer)
}

// statusOf returns the status of the server's own word, "" for a message of the stream.
func statusOf(m *nats.Msg) string {
	if len(m.Data) > 0 || m.Header.Get("Nats-Sequence") != "" {
		return ""
	}
	return m.Header.Get("Status")
}

// parse makes a Msg of an answer. It takes off the server's own headers (Nats-Stream, Nats-Sequence, …), and those by which the publisher
// spoke to the server (Nats-Msg-Id, …) except for schedules: what is left is what somebody may want to know, or to publish again.
func parse(stream string, m *nats.Msg) (*Msg, error) {
	seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("read stream %s: answer without a sequence", stream)
	}
	at, err := time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
	if err != nil {
		return nil, fmt.Errorf("read stream %s: answer without a time", stream)
	}
	// The subject is a part of the whole head, which whoever keeps it would keep.
	out := &Msg{Subject: strings.Clone(m.Header.Get("Nats-Subject")), Sequence: seq, Time: at, Data: m.Data, Header: nats.Header{}}
	for name, values := range m.Header {
		if !strings.HasPrefix(name, "Nats-") || strings.HasPrefix(name, "Nats-Schedule") {
			out.Header[name] = values
		}
	}
	return out, nil
}

// JetStream's answers to a conditional publish whose condition does not hold. The second one comes from replicated streams
// while another write of the same subject is in flight. nats.go 1.55 has a sentinel for the first only.
// Source: nats-server 2.15 server/errors.json.
const (
	codeWrongLastSequence         jetstream.ErrorCode = 10071
	codeWrongLastSequenceConstant jetstream.ErrorCode = 10164
)

// IsStale reports whether a publish was refused because the stream has moved on since it was read: read again, decide again.
func IsStale(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == codeWrongLastSequence || api.ErrorCode == codeWrongLastSequenceConstant)
}
