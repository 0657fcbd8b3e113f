package dlq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/messages"
)

// ErrUnresolved says that a letter was not put back because its command may have been carried out: somebody has to look first
// (Explain says where), and then ask with ReplayOptions.Unresolved.
var ErrUnresolved = errors.New("it may have been carried out: look first, then allow unresolved letters")

// ReplayOptions of Replay. The zero value puts the command back as it is.
type ReplayOptions struct {
	Patch      []byte // JSON merge patch with corrections, nil for none; see Letter.Patched
	Unresolved bool   // somebody has looked: letters of messages.ReasonUnresolved may be put back
}

// Replayed is a command that was put back.
type Replayed struct {
	Letter   *Letter // as it was, whole
	Message  *nats.Msg
	Sequence uint64 // of the command in the commands stream
	// Gone says that somebody else took the letter away while its command was being put back: most likely he put it back
	// too. Both are one command: the second one is a duplicate and changes nothing.
	Gone bool
}

// StillThereError says that a command was put back, and that its letter may still be there. Replay it again, or leave it to
// whoever does next: the second copy is a duplicate and changes nothing.
type StillThereError struct {
	*Replayed
	Err error
}

func (e *StillThereError) Error() string {
	return fmt.Sprintf("put back as command %d, but dead letter %d may still be there (replaying it again does no harm): %v",
		e.Sequence, e.Letter.Sequence, e.Err)
}
func (e *StillThereError) Unwrap() error { return e.Err }

// Replay puts a letter's command back on its subject, waits for the stream's confirmation, and only then takes the letter away.
// The command keeps its identity, its bytes (but for a patch) and its headers, and carries how often it was put back.
//
// Whoever is interrupted anywhere here may do it all again, and so may several people at once: two copies are one command to
// the worker, whose ledger lets one of them be carried out. Once the command is on its way, the end of ctx does not stop the
// letter from being taken away.
//
// Errors: ErrNotFound (put back or dropped by somebody before), ErrUnresolved, *PatchError and *UnreadableError (nothing was
// sent); *StillThereError (it was); after any other error the command may or may not be back, and the letter is there.
func (q *Queue) Replay(ctx context.Context, seq uint64, o ReplayOptions) (*Replayed, error) {
	letter, err := q.Get(ctx, seq)
	if err != nil {
		return nil, err
	}
	msg, err := q.Prepare(letter, o)
	if err != nil {
		return nil, err
	}
	if young := announcing - time.Since(letter.Time); young > 0 {
		if err := wait(ctx, min(young, announcing)); err != nil { // at most: the server's clock may be ahead of ours
			return nil, err
		}
		if _, err := q.Get(ctx, seq); err != nil {
			return nil, err
		}
	}
	// No Nats-Msg-Id: the stream's duplicate window would swallow the second replay of a command. Its ledger is what knows.
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
	defer cancel()
	ack, err := q.js.PublishMsg(work, msg)
	if err != nil {
		return nil, unconfirmed(seq, err)
	}
	if ack.Stream != q.subjects.CommandsStream() {
		return nil, fmt.Errorf("put dead letter %d back: stream %s has taken it, expected %s", seq, ack.Stream, q.subjects.CommandsStream())
	}
	r := &Replayed{Letter: letter, Message: msg, Sequence: ack.Sequence}
	// Crash here: the command is back and its letter still there. Whoever replays it again puts a second copy beside the first;
	// the worker carries one of them out.
	if r.Gone, err = q.remove(context.WithoutCancel(ctx), seq); err != nil {
		return nil, &StillThereError{r, err}
	}
	return r, nil
}

// unconfirmed says what is known after a publish that was not confirmed.
func unconfirmed(seq uint64, err error) error {
	if _, refused := errors.AsType[*jetstream.APIError](err); refused || errors.Is(err, jetstream.ErrNoStreamResponse) {
		return fmt.Errorf("put dead letter %d back: %w", seq, err)
	}
	return fmt.Errorf("put dead letter %d back: not confirmed, it may be there (replaying it again does no harm): %w", seq, err)
}

// Prepare returns what Replay would publish for the letter, and does nothing. Errors: ErrUnresolved, *PatchError, or one that
// says that the letter names no command subject of its merchant and kind.
func (q *Queue) Prepare(l *Letter, o ReplayOptions) (*nats.Msg, error) {
	if mchid, kind, ok := q.subjects.ParseCommand(l.Subject); !ok || mchid != l.MchID || kind != l.Kind {
		return nil, fmt.Errorf("dead letter %d: its subject is not that of a %s command of merchant %s", l.Sequence, l.Kind, l.MchID)
	}
	if l.Reason == messages.ReasonUnresolved && !o.Unresolved {
		return nil, fmt.Errorf("dead letter %d: %w", l.Sequence, ErrUnresolved)
	}
	msg := &nats.Msg{Subject: l.Subject, Header: l.header(), Data: l.Command}
	if o.Patch != nil {
		var err error
		if msg.Data, err = l.Patched(o.Patch); err != nil {
			return nil, err
		}
	}
	return msg, nil
}

// header is what a command is put back with: its own headers, the identity that it had, the count, why it had failed and at which step.
func (l *Letter) header() nats.Header {
	h := nats.Header{}
	maps.Copy(h, l.Original)
	if l.CommandID != "" {
		h.Set(messages.HeaderCommandID, l.CommandID)
	}
	h.Set(messages.HeaderReplays, strconv.Itoa(l.Replays+1))
	h.Set(messages.HeaderReason, string(l.Reason)) // of what was malformed, no earlier try is looked for
	if l.Step != "" {
		h.Set(messages.HeaderStep, l.Step)
	}
	return h
}

// announcing is how long a letter is left alone after it was stored. Right after a letter the worker publishes its `failed`, which
// ends all copies of the command that are in the stream by then: one that was put back before would be among them. In a bulk
// only the first letters can be too young.
const announcing = 2 * time.Second

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
