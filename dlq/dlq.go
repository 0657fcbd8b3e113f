// Package dlq keeps dead letters: commands that ended without success, whole and untouched, each with the reason why.
//
// It promises that one command makes one dead letter, however often and from however many places Put is called for it, and
// that Put returns only after the stream has confirmed. A letter stays until somebody removes it; the stream never expires it.
//
// The letters live in one JetStream stream (messages.Subjects.DeadLettersStream) under
// <prefix>.deadletter.<mchid>.<kind>.<reason>.<key>, so that the server filters by subject. Many letters may share a key:
// every try of a command that was sent again may end in a letter of its own.
//
//	q := dlq.New(nc, subjects)
//	letter, err := q.Get(ctx, 17)
//	for letter, err := range q.All(ctx, "1900000001", messages.KindRefund) { … }
package dlq

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/internal/stored"
	"wxpay-worker/messages"
)

// ErrNotFound says that there is no such dead letter (any more).
var ErrNotFound = errors.New("no such dead letter")

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
		if found != nil {
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

// Find returns the dead letter of the command with that stream sequence, or ErrNotFound.
// The key is the one under which the letter would lie: the command's, or messages.SeqKey for malformed and conflict.
func (q *Queue) Find(ctx context.Context, mchid string, kind messages.Kind, key string, streamSeq uint64) (*Letter, error) {
	found, _, err := q.search(ctx, q.subjects.DeadLetterFilter(mchid, kind, key), streamSeq)
	if err == nil && found == nil {
		err = ErrNotFound
	}
	return found, err
}

// search walks the letters of one key (seldom more than one) for the command's, and returns the last sequence it saw there.
func (q *Queue) search(ctx context.Context, filter string, streamSeq uint64) (found *Letter, last uint64, err error) {
	for {
		m, err := stored.Next(ctx, q.nc, q.subjects.DeadLettersStream(), filter, last+1)
		if errors.Is(err, stored.ErrNotFound) {
			return nil, last, nil
		}
		if err != nil {
			return nil, 0, err
		}
		last = m.Sequence
		letter, err := parse(m)
		if err != nil {
			return nil, 0, err
		}
		if letter.StreamSeq == streamSeq {
			return letter, last, nil
		}
	}
}

// Get returns the dead letter with that sequence, or ErrNotFound.
func (q *Queue) Get(ctx context.Context, seq uint64) (*Letter, error) {
	m, err := stored.At(ctx, q.nc, q.subjects.DeadLettersStream(), seq)
	if errors.Is(err, stored.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return parse(m)
}

// All yields the dead letters that are there now, oldest first; an empty mchid or kind stands for all of them.
// An error ends the sequence.
func (q *Queue) All(ctx context.Context, mchid string, kind messages.Kind) iter.Seq2[*Letter, error] {
	filter := q.subjects.DeadLettersOf(mchid, kind)
	return func(yield func(*Letter, error) bool) {
		newest, err := stored.Last(ctx, q.nc, q.subjects.DeadLettersStream(), filter)
		for seq := uint64(0); err == nil && seq < newest.Sequence; {
			var m *stored.Msg
			if m, err = stored.Next(ctx, q.nc, q.subjects.DeadLettersStream(), filter, seq+1); err != nil {
				break
			}
			seq = m.Sequence
			letter, err := parse(m)
			if !yield(letter, err) || err != nil {
				return
			}
		}
		if err != nil && !errors.Is(err, stored.ErrNotFound) {
			yield(nil, err)
		}
	}
}

// Remove deletes the dead letter; one that is gone already is no error.
func (q *Queue) Remove(ctx context.Context, seq uint64) error {
	stream, err := q.js.Stream(ctx, q.subjects.DeadLettersStream())
	if err != nil {
		return fmt.Errorf("remove dead letter %d: %w", seq, err)
	}
	if err := stream.DeleteMsg(ctx, seq); err != nil {
		// The server has one code for all that can go wrong here: look whether the letter is gone.
		if _, gone := q.Get(ctx, seq); errors.Is(gone, ErrNotFound) {
			return nil
		}
		return fmt.Errorf("remove dead letter %d: %w", seq, err)
	}
	return nil
}

func parse(m *stored.Msg) (*Letter, error) {
	d, err := messages.ParseDeadLetter(m.Header, m.Data)
	if err != nil {
		return nil, fmt.Errorf("read dead letter %d: %w", m.Sequence, err)
	}
	return &Letter{Sequence: m.Sequence, Time: m.Time, DeadLetter: *d}, nil
}
