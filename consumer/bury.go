package consumer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"unicode"

	"wxpay-worker/dlq"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
)

// deadEnd is why a command ends as a dead letter.
type deadEnd struct {
	reason        messages.Reason
	message       string    // ours; the answer's is used where there is a cause
	step          string    // of a decision
	conflictsWith string    // the key that is somebody else's
	cause         error     // WeChat Pay's answer or the lack of one, nil if no call was made
	attempts      *attempts // nil if no call was made
}

func conflictWith(key string) deadEnd {
	return deadEnd{reason: messages.ReasonConflict, conflictsWith: key, message: "the key belongs to a command with other parameters"}
}

// letterOf returns the dead letter that this very command has made already, nil if there is none. A delivery that is
// provably the first is not looked up.
func (l *lane) letterOf(ctx context.Context, o *job) (*dlq.Letter, error) {
	if o.delivered <= 1 && o.sequence > l.sure.Load() {
		return nil, nil
	}
	// Under its sequence lies what was malformed or a conflict then, whatever it may look like to this version by now.
	keys := []string{messages.SeqKey(o.sequence)}
	if o.cmd != nil && o.cmd.Key() != "" {
		keys = append(keys, o.cmd.Key())
	}
	for _, key := range keys {
		letter, err := l.letters.Find(ctx, l.mchid, o.kind, key, o.sequence)
		if err == nil && o.storedAfter(letter.CommandsAt) {
			continue // of another command, which had the sequence before the stream was made anew
		}
		if err == nil || !errors.Is(err, dlq.ErrNotFound) {
			return letter, err
		}
	}
	return nil, nil
}

// bury ends a command as a dead letter.
func (l *lane) bury(ctx context.Context, o *job, why deadEnd) end {
	letter := l.letter(o, why)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.storeTimeout)
	defer cancel()
	// Before the letter is there: it may be put back the moment it is, and what was stored after it is a new try.
	newest, at, err := l.ledger.lastCommand(ctx)
	if err != nil {
		return again("dead letter unstored", l.retry.Initial, err)
	}
	letter.CommandsSeq, letter.CommandsAt = max(newest, o.sequence), latest(at, o.stored) // a replica may be behind
	sequence, err := l.letters.Put(ctx, letter)
	if err != nil {
		return again("dead letter unstored", l.retry.Initial, err)
	}
	// Crash here: the letter is stored, nobody was told. The redelivery finds it by the command's sequence and goes on below,
	// without a call.
	return l.announce(ctx, o, letter, sequence)
}

// buryUnfit ends a command that the merchant's configuration cannot carry, and of which nothing has happened, at a step of a decision that has
// begun, "" if it has not.
func (l *lane) buryUnfit(ctx context.Context, o *job, unfit *messages.MalformedError, step string, a *attempts) end {
	return l.bury(ctx, o, deadEnd{reason: messages.ReasonMalformed, message: unfit.Error(), step: step, attempts: a})
}

// letter is the dead letter of a command.
func (l *lane) letter(o *job, why deadEnd) *messages.DeadLetter {
	kept, _ := messages.KeepHeaders(messages.Header(o.header))
	if len(o.body) == 0 {
		delete(kept, "Status") // without a body, every NATS client would take the letter for the server's own word
	}
	d := &messages.DeadLetter{
		MchID: l.mchid, Kind: o.kind, Key: messages.SeqKey(o.sequence), Reason: why.reason, Message: why.message,
		FirstAt: o.began, FailedAt: l.clock.Now(), Subject: o.subject, StreamSeq: o.sequence, Step: why.step,
		ConflictsWith: why.conflictsWith, CommandID: messages.CommandID(messages.Header(o.header)),
		Replays: int(min(headerUint(o.header, messages.HeaderReplays), math.MaxInt32)), Original: kept, Command: o.body,
	}
	if o.cmd != nil {
		d.CommandID = o.cmd.Base().ID
	}
	if bearsKey(why.reason) && o.cmd != nil && o.cmd.Key() != "" {
		d.Key = o.cmd.Key()
	}
	if a := why.attempts; a != nil {
		d.Attempts = int(a.writes)
		if a.first != 0 {
			d.FirstAt = l.clock.timeOf(a.first)
		}
	}
	var answer *wxpay.Error
	if errors.As(why.cause, &answer) {
		d.Code, d.Message, d.HTTPStatus, d.RequestID = answer.Code, answer.Message, answer.HTTPStatus, answer.RequestID
	} else if why.cause != nil {
		d.Message = why.cause.Error()
	}
	d.Message = messages.BoundMessage(withoutValues(d.Message, o.body))
	return d
}

// bearsKey reports whether a letter of that reason stands under its command's key. A malformed command, or one that
// conflicts, must not stand beside the good one whose number it bears.
func bearsKey(r messages.Reason) bool {
	return r != messages.ReasonMalformed && r != messages.ReasonConflict
}

// minSecret is how long, in bytes, a value of the command must be to be taken out of a message: shorter ones are everywhere.
const minSecret = 4

// withoutValues takes out of a message, which may be WeChat Pay's, whatever values of the command it repeats: replies and
// remarks are about payers.
func withoutValues(message string, command []byte) string {
	var v any
	if json.Unmarshal(command, &v) != nil {
		return message // what cannot be decoded was never sent, and our own messages repeat no values
	}
	var values []string
	for _, value := range texts(nil, v) {
		values = append(values, spellings(value)...)
	}
	// The longest first: a value that contains another one must go as a whole.
	slices.SortFunc(values, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for _, value := range values {
		if len(value) >= minSecret {
			message = strings.ReplaceAll(message, value, "…")
		}
	}
	for _, value := range values { // a long message was cut, perhaps within a value: no beginning of one may stand at its end
		for n := min(len(value), len(message)); n >= minSecret; n-- {
			if rest, found := strings.CutSuffix(message, value[:n]); found {
				message = rest + "…"
				break
			}
		}
	}
	return message
}

// spellings are how a message may repeat a value: as it is, in one line (wxpay.Error.Message is one), or quoted as in JSON.
func spellings(value string) []string {
	line := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, value)
	all := []string{value, line}
	if quoted, err := json.Marshal(value); err == nil {
		all = append(all, string(quoted[1:len(quoted)-1]))
	}
	return all
}

// texts appends all texts within a decoded JSON value, but for the names of fields.
func texts(to []string, v any) []string {
	switch v := v.(type) {
	case string:
		to = append(to, v)
	case []any:
		for _, e := range v {
			to = texts(to, e)
		}
	case map[string]any:
		for _, e := range v {
			to = texts(to, e)
		}
	}
	return to
}

// announceTries bounds how often announce looks again after somebody else wrote first.
const announceTries = 8

// announce publishes the `failed` of a stored letter, unless it is there, and ends the delivery.
func (l *lane) announce(ctx context.Context, o *job, letter *messages.DeadLetter, sequence uint64) end {
	if err := l.endBegun(ctx, o, letter, sequence); err != nil {
		return again("failure unrecorded", l.retry.Initial, err)
	}
	// Crash here: the letter's own `failed` is missing; the redelivery finds the letter and passes the above.
	digest := ""
	if o.cmd != nil && bearsKey(letter.Reason) {
		digest = o.cmd.Digest()
	}
	err := l.announceAs(ctx, o, letter, sequence, letter.Kind, letter.Key, digest)
	if errors.Is(err, errSucceededMeanwhile) {
		// Another worker had the command too and was first with an end that is better. One command, one end: the letter goes.
		// Crash before it is gone: the redelivery finds both again.
		if err := l.letters.Remove(ctx, sequence); err != nil {
			return again("dead letter unremoved", l.retry.Initial, err)
		}
		return end{verdict: "duplicate"}
	}
	if err != nil {
		return again("failure unrecorded", l.retry.Initial, err)
	}
	l.memory.forget(letter.Kind, o.remembered(letter.Key))
	return end{verdict: string(letter.Reason), status: messages.StatusFailed, reason: letter.Reason, letter: sequence,
		failure: failureOf(letter)}
}

// endBegun publishes a `failed` for whatever was announced as `started` under another key than the letter's: the reply inside a decision;
// and the command itself, if it turned out only after it had begun that it is malformed, or that its reply is another command's.
func (l *lane) endBegun(ctx context.Context, o *job, letter *messages.DeadLetter, sequence uint64) error {
	if o.cmd == nil || o.malformed != nil {
		return nil
	}
	if d, ok := o.cmd.(*messages.DecisionCommand); ok && d.Reply != nil {
		if err := l.endStarted(ctx, o, letter, sequence, d.ReplyStep()); err != nil {
			return err
		}
	}
	if bearsKey(letter.Reason) {
		return nil
	}
	return l.endStarted(ctx, o, letter, sequence, o.cmd)
}

// endStarted publishes a `failed` under the key of the command, or of a step of it, if that is announced as started, and forgets what is
// remembered of it: put back, it begins anew.
func (l *lane) endStarted(ctx context.Context, o *job, letter *messages.DeadLetter, sequence uint64, begun messages.Command) error {
	e, err := l.ledger.read(ctx, l.mchid, begun.Kind(), begun.Key())
	if err != nil || e.outcome != nil && e.digest != begun.Digest() && e.status() != messages.StatusFailed { // another's, which has not failed
		return err
	}
	if e.status() == messages.StatusStarted {
		err = l.announceAs(ctx, o, letter, sequence, begun.Kind(), begun.Key(), begun.Digest())
	}
	if err == nil {
		l.memory.forget(begun.Kind(), o.remembered(begun.Key()))
	}
	return err
}

var errSucceededMeanwhile = errors.New("the command has succeeded meanwhile")

// announceAs publishes the `failed` of a stored letter under a key, unless it is there. digest is that of the command that the key should
// belong to: if it belongs to another one by now, or to a later try, the `failed` goes under the command's sequence (messages.SeqKey), so as
// not to stand in its way. A step that has ended better, or is tried again, is left alone; if the command itself has ended better, the error
// is errSucceededMeanwhile.
func (l *lane) announceAs(ctx context.Context, o *job, letter *messages.DeadLetter, sequence uint64, kind messages.Kind, key, digest string) error {
	var err error
	for range announceTries {
		var e *entry
		if e, err = l.ledger.read(ctx, l.mchid, kind, key); err != nil {
			return err
		}
		switch status := e.status(); {
		case status == messages.StatusFailed && e.outcome.DeadLetter == sequence && !o.storedAfter(e.commandsAt):
			return nil
		case (status == messages.StatusFailed || status == messages.StatusStarted || status == messages.StatusAccepted && o.followed) && e.laterThan(o):
			// A later try has the key by now: the letter was told of and put back, or the two were stored side by side.
			if kind != letter.Kind {
				return nil
			}
			if told, err := l.told(ctx, letter, sequence); told || err != nil {
				return err
			}
			key = messages.SeqKey(o.sequence)
			continue
		case status == "" || status == messages.StatusFailed:
		case kind != letter.Kind && status.Final(): // a step that has ended better
			return nil
		case e.digest != digest: // the key is another command's by now: do not stand in its way
			key = messages.SeqKey(o.sequence)
			continue
		case status == messages.StatusAccepted && o.followed: // accepted is where its following began
		case status != messages.StatusStarted:
			return errSucceededMeanwhile
		}
		out := &messages.Outcome{
			Kind: kind, Key: key, Status: messages.StatusFailed, Attempts: letter.Attempts, Error: failureOf(letter), DeadLetter: sequence,
		}
		if _, err = l.writeAs(ctx, o, e, out, note{
			digest: digest, firstAt: e.firstAt, commandsSeq: max(letter.CommandsSeq, o.sequence), commandsAt: latest(letter.CommandsAt, o.stored),
		}); !errors.Is(err, errStale) {
			return err
		}
	}
	return err
}

// told reports whether nobody needs to hear of a dead letter any more, because its `failed` is there or it was put back (or dropped).
func (l *lane) told(ctx context.Context, letter *messages.DeadLetter, sequence uint64) (bool, error) {
	if told, err := l.ledger.failedWith(ctx, l.mchid, letter.Kind, letter.Key, sequence); told || err != nil {
		return told, err
	}
	_, err := l.letters.Find(ctx, l.mchid, letter.Kind, letter.Key, letter.StreamSeq)
	if errors.Is(err, dlq.ErrNotFound) {
		return true, nil
	}
	return false, err
}

func failureOf(d *messages.DeadLetter) *messages.Failure {
	return &messages.Failure{
		Reason: d.Reason, Code: d.Code, Message: d.Message, HTTPStatus: d.HTTPStatus, RequestID: d.RequestID, ConflictsWith: d.ConflictsWith,
	}
}
