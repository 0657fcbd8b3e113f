// Package dlq keeps dead letters: commands that ended without success, whole and untouched, each with the reason why. It writes
// them, finds them, explains them, and puts them back.
//
// It promises that one command makes one dead letter, however often and from however many places Put is called for it, and
// that Put returns only after the stream has confirmed. A letter stays until somebody removes it; the stream never expires it.
// Replay removes a letter only after the stream has confirmed its command, and may be interrupted anywhere and begun again, by
// several people at once: the worker's ledger lets one of the copies be carried out.
//
// The letters live in one JetStream stream (messages.Subjects.DeadLettersStream) under
// <prefix>.deadletter.<mchid>.<kind>.<reason>.<key>, so that the server filters by subject. Many letters may share a key:
// every try of a command that was sent again may end in a letter of its own.
//
// Limits: the ledger remembers for outcomes.max_age. Two copies of a complaint command that are put back further apart than that,
// because a replay was interrupted and taken up again so much later, are two commands.
//
//	q, err := dlq.New(nc, subjects)
//	for letter, err := range q.Select(ctx, dlq.Filter{Reason: []messages.Reason{messages.ReasonRejected}}) { … }
//	back, err := q.Replay(ctx, 17, dlq.ReplayOptions{})
package dlq

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/internal/stored"
	"wxpay-worker/messages"
)

// ErrNotFound says that there is no such dead letter (any more).
var ErrNotFound = errors.New("no such dead letter")

// ErrNoStream says that there is no dead letter stream: no worker has run under this prefix yet, or the prefix is wrong.
var ErrNoStream = errors.New("no dead letter stream")

// Queue is the dead letters of one installation. It is safe for use by many goroutines.
type Queue struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	subjects messages.Subjects
}

// New returns the queue that belongs to the prefix. It does no I/O; the stream must exist (consumer.EnsureStreams).
func New(nc *nats.Conn, subjects messages.Subjects) (*Queue, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	return &Queue{nc: nc, js: js, subjects: subjects}, nil
}

// Letter is a dead letter where it lies.
//
// NATS trims header values, so a CommandID that begins or ends with spaces is exact only if it is the Key as well, or if the Command is there.
// Select, whose letters have no Command, gives any other such id without the spaces.
type Letter struct {
	Sequence uint64    // in the dead letter stream: what the tool and outcome events call it by
	Time     time.Time // when the stream stored it
	messages.DeadLetter
}

// putTries bounds how often Put looks again after somebody else wrote under the same key between its look and its write.
const putTries = 8

// Put stores the letter unless the command (its StreamSeq) has one already, and returns the letter's sequence after the
// stream has confirmed it. After any error the letter may or may not be there: call Put again.
func (q *Queue) Put(ctx context.Context, d *messages.DeadLetter) (uint64, error) {
	filter := q.subjects.DeadLetterFilter(d.MchID, d.Kind, d.Key)
	for range putTries {
		found, last, err := q.search(ctx, filter, d.StreamSeq)
		if err != nil {
			return 0, err
		}
		if found != nil && bytes.Equal(found.Command, d.Command) { // else its command had the sequence before the stream was made anew
			return found.Sequence, nil
		}
		msg := &nats.Msg{Subject: q.subjects.DeadLetter(d.MchID, d.Kind, d.Reason, d.Key), Header: d.Headers(), Data: d.Command}
		ack, err := q.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequenceForSubject(last, filter))
		if stored.IsStale(err) {
			continue // another letter of the same key came between: it may be this very command's
		}
		if err != nil {
			return 0, fmt.Errorf("store dead letter: %w", err)
		}
		return ack.Sequence, nil
	}
	return 0, fmt.Errorf("store dead letter: %d writers at key at once", putTries)
}

// Find returns the dead letter of the command with that sequence in the commands stream, or ErrNotFound; the newest, if that stream was made anew
// and several commands have had the sequence. key is the one under which the letter would lie: the command's, or messages.SeqKey for
// malformed and conflict.
func (q *Queue) Find(ctx context.Context, mchid string, kind messages.Kind, key string, streamSeq uint64) (*Letter, error) {
	found, _, err := q.search(ctx, q.subjects.DeadLetterFilter(mchid, kind, key), streamSeq)
	if err == nil && found == nil {
		err = ErrNotFound
	}
	return found, err
}

// search walks the letters of one key (seldom more than one) for the newest of the command's, and returns the last sequence that it saw there.
// An unreadable letter of another command does not matter.
func (q *Queue) search(ctx context.Context, filter string, streamSeq uint64) (found *Letter, last uint64, err error) {
	var unreadable error // of the newest
	for {
		m, err := stored.Next(ctx, q.nc, q.subjects.DeadLettersStream(), filter, last+1)
		if errors.Is(err, stored.ErrNotFound) {
			return found, last, unreadable
		}
		if err != nil {
			return nil, 0, err
		}
		last = m.Sequence
		if seq, _ := strconv.ParseUint(m.Header.Get(messages.HeaderStreamSeq), 10, 64); seq == streamSeq { // absent is 0
			found, unreadable = q.parse(m)
		}
	}
}

// Get returns the dead letter with that sequence, ErrNotFound, ErrNoStream or an *UnreadableError.
func (q *Queue) Get(ctx context.Context, seq uint64) (*Letter, error) {
	if seq == 0 {
		return nil, ErrNotFound // the server would take it for a request that asks for nothing
	}
	m, err := stored.At(ctx, q.nc, q.subjects.DeadLettersStream(), seq)
	if err != nil {
		return nil, named(err)
	}
	return q.parse(m)
}

// named turns the errors that callers may want to tell apart into this package's own.
func named(err error) error {
	switch {
	case errors.Is(err, stored.ErrNotFound):
		return ErrNotFound
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrStreamNotFound):
		return errors.Join(ErrNoStream, err)
	}
	return err
}

// Remove deletes the dead letter; one that is gone already is no error.
func (q *Queue) Remove(ctx context.Context, seq uint64) error {
	_, err := q.remove(ctx, seq)
	return err
}

// Drop is Remove for callers who must know whether they were the ones to remove the letter: gone says that somebody else had put it back or
// dropped it before. It finishes what it has begun, whatever becomes of ctx.
func (q *Queue) Drop(ctx context.Context, seq uint64) (gone bool, err error) {
	return q.remove(context.WithoutCancel(ctx), seq)
}

// answerTimeout bounds one request to the server, and one publish: long enough for a cluster to elect a leader.
const answerTimeout = 10 * time.Second

// remove deletes the letter and reports whether somebody else had done so before: of several who do it at once, the server tells exactly
// one that it has. It asks the server directly, since the client library would ask for the stream's state first.
//
// Source: nats-server 2.15 server/jetstream_api.go, JSApiMsgDelete.
func (q *Queue) remove(ctx context.Context, seq uint64) (gone bool, err error) {
	asking, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	request := fmt.Appendf(nil, `{"seq":%d,"no_erase":true}`, seq)
	answer, err := q.nc.RequestWithContext(asking, "$JS.API.STREAM.MSG.DELETE."+q.subjects.DeadLettersStream(), request)
	var said struct {
		Error   *jetstream.APIError `json:"error"`
		Success bool                `json:"success"`
	}
	if err == nil {
		err = json.Unmarshal(answer.Data, &said)
	}
	switch {
	case err == nil && said.Success:
		return false, nil
	case err == nil && said.Error != nil:
		err = said.Error
	case err == nil:
		err = errors.New("an answer that says nothing")
	}
	// The server has one code for all that can go wrong here, and an answer may be lost: look whether the letter is gone.
	if _, look := stored.At(ctx, q.nc, q.subjects.DeadLettersStream(), seq); errors.Is(look, stored.ErrNotFound) {
		return said.Error != nil, nil // without an answer it was most likely us
	}
	return false, fmt.Errorf("remove dead letter %d: %w", seq, err)
}

// UnreadableError says that there is a message in the stream that is no dead letter this version can read. It holds the message, for whoever
// wants to keep it elsewhere and Drop it; the error's text does not.
type UnreadableError struct {
	Sequence uint64
	Subject  string // where it lies
	Err      error  // names the header that is wrong

	Time   time.Time // when the stream stored it
	Header messages.Header
	Data   []byte // as Letter.Command, Select does without it
}

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("read dead letter %d (%s): %v", e.Sequence, e.Subject, e.Err)
}
func (e *UnreadableError) Unwrap() error { return e.Err }

// parse reads a letter. Its key is that of its subject: NATS trims what the headers say of it.
func (q *Queue) parse(m *stored.Msg) (*Letter, error) {
	_, _, _, key, ok := q.subjects.ParseDeadLetter(m.Subject)
	h := messages.Header(m.Header)
	if ok && messages.Get(h, messages.HeaderKey) != key {
		h = messages.Header{}
		maps.Copy(h, m.Header)
		h[messages.HeaderKey] = []string{key}
	}
	d, err := messages.ParseDeadLetter(h, m.Data)
	if err != nil {
		return nil, &UnreadableError{m.Sequence, m.Subject, err, m.Time, messages.Header(m.Header), m.Data}
	}
	l := &Letter{Sequence: m.Sequence, Time: m.Time, DeadLetter: *d}
	l.untrim()
	return l, nil
}

// untrim gives ids back the spaces that NATS took off their ends. They stand in the command and, where an id is the key, in the subject.
func (l *Letter) untrim() {
	whole := func(trimmed *string, candidate string) {
		if strings.Trim(candidate, " ") == *trimmed {
			*trimmed = candidate
		}
	}
	if l.Kind != messages.KindRefund {
		whole(&l.CommandID, l.Key)
	}
	if c, _ := messages.DecodeCommand(l.Kind, l.MchID, nil, l.Command); c != nil {
		whole(&l.CommandID, c.Base().ID)
	}
	if l.Reason == messages.ReasonConflict {
		whole(&l.ConflictsWith, l.CommandID)
		whole(&l.ConflictsWith, l.CommandID+":reply") // of a decision, whose reply is a step with a key of its own
	}
}
