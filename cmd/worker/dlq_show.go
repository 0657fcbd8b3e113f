package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"wxpay-worker/dlq"
	"wxpay-worker/internal/stored"
	"wxpay-worker/messages"
)

type dlqShowCmd struct {
	Seq  uint64 `arg:"" name:"seq" help:"The dead letter's sequence, as list prints it and outcomes name it."`
	Live bool   `help:"Also ask WeChat Pay what it knows of the refund or complaint by now; needs the merchant's configuration."`
	output
}

// shown is what `show` tells of a letter.
type shown struct {
	wholeLetterJSON
	Explanation explanationJSON `json:"explanation"`
	Outcome     *newestOutcome  `json:"outcome,omitempty"`
	Live        *live           `json:"live,omitempty"`

	letter *dlq.Letter
}

type explanationJSON struct {
	Meaning string `json:"meaning"`
	Do      string `json:"do"`
	Replay  string `json:"replay"`
}

// Run prints one dead letter: what failed, why, what has become of its key since, and what to do.
func (c *dlqShowCmd) Run(a *app) error {
	d, err := a.deadLetters()
	if err != nil {
		return err
	}
	defer d.Close()
	l, err := d.Get(a.ctx, c.Seq)
	if err != nil {
		return d.explain(noSuchLetter(c.Seq, err))
	}
	s := &shown{wholeLetterJSON: newWholeLetterJSON(l), Explanation: explanationJSON(dlq.Explain(l)), letter: l}
	if s.Outcome, err = d.newestOutcome(a.ctx, l); err != nil { // it is there to help; the letter can do without
		fmt.Fprintf(a.err, "worker: what has become of it since is not known: %v\n", err)
	}
	if c.Live {
		s.Live, err = d.askWeChatPay(a, l)
		if code, ok := errors.AsType[*exitError](err); ok {
			return code // no configuration to ask with: nothing was shown
		}
		if s.Live != nil && *s.Live == (live{}) {
			s.Live = nil
		}
	}
	if c.json() {
		printer{a.out, true}.object(s)
	} else {
		fmt.Fprint(a.out, visible(s.text()))
	}
	return err
}

// noSuchLetter says which letter is not there.
func noSuchLetter(seq uint64, err error) error {
	if errors.Is(err, dlq.ErrNotFound) {
		return fmt.Errorf("dead letter %d: %w (it may have been put back or dropped)", seq, err)
	}
	return err
}

// newestOutcome is what the ledger says of the letter's key by now.
type newestOutcome struct {
	Key        string          `json:"key"`
	Status     messages.Status `json:"status"`
	At         time.Time       `json:"at"`
	DeadLetter uint64          `json:"dead_letter,omitempty"`
	// Same says that the outcome is about the very same command, not one with other parameters.
	Same bool `json:"same_command"`
}

// newestOutcome reads it, nil if there is none (any more). For a conflict it is that of the key which is somebody else's.
func (d *deadLetters) newestOutcome(ctx context.Context, l *dlq.Letter) (*newestOutcome, error) {
	s, key := d.config.subjects(), l.Key
	if l.ConflictsWith != "" {
		key = l.ConflictsWith
	}
	kind := l.Kind
	if strings.HasSuffix(key, ":reply") && kind == messages.KindDecision {
		kind = messages.KindReply // the step inside the decision
	}
	m, err := stored.Last(ctx, d.Conn, s.OutcomesStream(), s.OutcomeFilter(l.MchID, kind, key))
	if errors.Is(err, stored.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	o, err := messages.DecodeOutcome(m.Data)
	if err != nil {
		return nil, err
	}
	out := &newestOutcome{Key: key, Status: o.Status, At: o.At.UTC(), DeadLetter: o.DeadLetter}
	if c, err := messages.DecodeCommand(l.Kind, l.MchID, l.Headers(), l.Command); err == nil {
		out.Same = m.Header.Get(messages.HeaderDigest) == c.Digest()
	}
	return out, nil
}

// since says what the newest outcome means for the letter.
func (s *shown) since() string {
	o, l := s.Outcome, s.letter
	if o == nil {
		return "no outcome of this key is recorded (any more)"
	}
	text := fmt.Sprintf("%s is %s since %s", o.Key, o.Status, when(o.At))
	switch {
	case l.ConflictsWith != "":
		return text + ": that is the other command"
	case o.Status == messages.StatusFailed && o.DeadLetter == l.Sequence:
		return "nothing: this letter is the last word on " + o.Key
	case o.Status == messages.StatusFailed:
		return fmt.Sprintf("%s, as dead letter %d", text, o.DeadLetter)
	case !o.Same:
		return text + ", with other parameters: replayed, this one would be a conflict"
	case o.Status == messages.StatusStarted:
		return text + ": it is being tried"
	default:
		return text + ": replayed, this one would be a duplicate and change nothing; drop it"
	}
}

// text is for people.
func (s *shown) text() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		if text := strings.TrimSpace(fmt.Sprintf(format, args...)); text != "" {
			fmt.Fprintf(&b, "  %-11s %s\n", name, text)
		}
	}
	l := s.letter
	fmt.Fprintf(&b, "Dead letter %d\n", l.Sequence)
	line("when", "%s", when(l.At()))
	line("merchant", "%s", l.MchID)
	line("kind", "%s", l.Kind)
	line("key", "%s", edged(l.Key))
	line("id", "%s", edged(l.CommandID))
	line("reason", "%s", l.Reason)
	line("step", "%s", l.Step)
	line("code", "%s", l.Code)
	line("message", "%s", l.Message)
	if l.HTTPStatus != 0 {
		line("answer", "HTTP %d, Request-ID %s", l.HTTPStatus, l.RequestID)
	}
	line("attempts", "%d", l.Attempts)
	line("replays", "%d", l.Replays)
	if !l.FirstAt.IsZero() {
		line("first tried", "%s", when(l.FirstAt))
	}
	line("subject", "%s (command %d there)", l.Subject, l.StreamSeq)
	line("since then", "%s", s.since())
	for _, part := range []struct{ title, text string }{
		{"What it means", s.Explanation.Meaning}, {"What to do", s.Explanation.Do}, {"If it is replayed", s.Explanation.Replay},
	} {
		fmt.Fprintf(&b, "\n%s\n%s", part.title, wrapped(part.text))
	}
	if s.Live != nil {
		fmt.Fprintf(&b, "\nAt WeChat Pay now\n%s", s.Live.text())
	}
	fmt.Fprintf(&b, "\nHeaders\n%s\nCommand\n%s\n", listed(s.Headers), indented(l.Command))
	return b.String()
}

// listed is headers for people, one line each.
func listed(h messages.Header) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			fmt.Fprintf(&b, "  %s: %s\n", name, value)
		}
	}
	return b.String()
}

// indented is a command for people; one that is not JSON stays as it is.
func indented(command []byte) string {
	var b bytes.Buffer
	if err := json.Indent(&b, command, "  ", "  "); err != nil {
		return "  " + strings.ReplaceAll(string(command), "\n", "\n  ")
	}
	return "  " + b.String()
}

// when is a time and its age.
func when(t time.Time) string {
	age := time.Since(t).Round(time.Second)
	switch {
	case age < 0:
		return t.UTC().Format(time.RFC3339)
	case age >= 48*time.Hour:
		return fmt.Sprintf("%s (%d days ago)", t.UTC().Format(time.RFC3339), age/(24*time.Hour))
	}
	return fmt.Sprintf("%s (%s ago)", t.UTC().Format(time.RFC3339), age)
}

const textWidth = 100

// wrapped breaks a paragraph into indented lines.
func wrapped(text string) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		if column > 0 && column+1+len(word) > textWidth {
			b.WriteByte('\n')
			column = 0
		}
		if column == 0 {
			b.WriteString(" ")
		}
		b.WriteString(" " + word)
		column += 1 + len(word)
	}
	return b.String() + "\n"
}
