package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"wxpay-worker/dlq"
	"wxpay-worker/messages"
)

type dlqDropCmd struct {
	picking
	output
}

// Help is printed by --help.
func (*dlqDropCmd) Help() string {
	return "A message that cannot be read as a dead letter is removed only if it is named by its sequence, never by --all. It is printed with all its headers and its body."
}

// Run removes dead letters. Each is printed before it is removed, so that whatever happens it is in one place at least: with
// -o json, what was printed is all of it, and can be kept and sent again.
func (c *dlqDropCmd) Run(a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	d, err := a.deadLetters()
	if err != nil {
		return err
	}
	defer d.Close()
	p, err := d.pick(a, &c.picking, func(*dlq.Letter) (bool, error) { return true, nil })
	if err != nil {
		return err
	}
	if !c.All { // somebody has looked at this very one
		p.takeUnreadable()
	}
	all := len(p.missed) + len(p.seqs)
	if all == 0 {
		fmt.Fprintln(a.err, "No dead letters.")
		return nil
	}
	if err := a.confirm(&c.picking, len(p.seqs), fmt.Sprintf("Remove %s for good?", p)); err != nil {
		return err
	}
	r := &dropping{deadLetters: d, printer: printer{a.out, c.json()}, app: a, failed: len(p.missed)}
	err = r.run(p.seqs)
	r.summary()
	return errors.Join(err, verdict(r.failed+r.left, all, "%d of %s not removed", r.failed+r.left, count(all, "dead letter was", "dead letters were")))
}

// dropping is one run of drop.
type dropping struct {
	*deadLetters
	printer
	app                      *app
	done, gone, failed, left int
}

// run removes the letters until the first signal, or the first trouble that is not about one letter: then it returns it.
func (r *dropping) run(seqs []uint64) error {
	bar := newBar(r.app, "removing", len(seqs))
	defer bar.end()
	for i, seq := range seqs {
		r.left = len(seqs) - i
		if r.app.ctx.Err() != nil {
			return nil
		}
		l, err := r.Get(r.app.ctx, seq)
		unreadable, _ := errors.AsType[*dlq.UnreadableError](err)
		switch {
		case errors.Is(err, dlq.ErrNotFound):
			r.gone++
		case err != nil && unreadable == nil:
			return r.explain(err)
		default:
			bar.print(func() { err = r.print(l, unreadable) })
			if err != nil {
				return fmt.Errorf("print dead letter %d, which is not removed: %w", seq, err)
			}
			if gone, err := r.Drop(r.app.ctx, seq); err != nil {
				return err
			} else if gone {
				r.gone++
			} else {
				r.done++
			}
		}
		bar.add()
		r.left--
	}
	return nil
}

// print prints a letter, or what cannot be read as one.
func (r *dropping) print(l *dlq.Letter, unreadable *dlq.UnreadableError) error {
	switch {
	case unreadable != nil:
		return r.unreadable(unreadable)
	case r.printer.json:
		return r.encode(newWholeLetterJSON(l))
	}
	return r.letter(l)
}

// unreadableJSON is all of a message that cannot be read as a letter. Its command is given as that of a letter is.
type unreadableJSON struct {
	Seq          uint64          `json:"seq"`
	At           time.Time       `json:"at"` // when it was stored
	Unreadable   string          `json:"unreadable"`
	LetterAt     string          `json:"dead_letter_subject"` // where it lies
	Headers      messages.Header `json:"headers"`
	Command      json.RawMessage `json:"command"`
	CommandBytes []byte          `json:"command_base64,omitempty"`
}

// unreadable prints all of a message that cannot be read as a letter: it is in no list. The error is that of the writer.
func (p printer) unreadable(m *dlq.UnreadableError) error {
	if p.json {
		line := unreadableJSON{m.Sequence, m.Time.UTC(), m.Err.Error(), m.Subject, m.Header, jsonOrText(m.Data), nil}
		if !isJSON(m.Data) {
			line.CommandBytes = m.Data
		}
		return p.encode(line)
	}
	text := fmt.Sprintf("%8d  %s  on %s, which cannot be read: %v\n\nHeaders\n%s\nCommand\n%s\n", m.Sequence, m.Time.UTC().Format(time.RFC3339), m.Subject,
		m.Err, listed(m.Header), indented(m.Data))
	_, err := fmt.Fprint(p.w, visible(text))
	return err
}

// summary is the last line.
func (r *dropping) summary() {
	w := r.w
	if r.printer.json {
		w = r.app.err
	}
	text := fmt.Sprintf("%d removed", r.done)
	if r.gone > 0 {
		text += fmt.Sprintf(", %d put back or dropped by somebody else", r.gone)
	}
	if r.failed > 0 {
		text += fmt.Sprintf(", %d failed", r.failed)
	}
	if r.left > 0 {
		text += fmt.Sprintf(", %d not come to", r.left)
	}
	fmt.Fprintln(w, text)
}
