package main

import (
	"errors"
	"fmt"

	"wxpay-worker/dlq"
)

type dlqDropCmd struct {
	picking
	output
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
		switch {
		case errors.Is(err, dlq.ErrNotFound):
			r.gone++
		case err != nil:
			return r.explain(err)
		default:
			bar.print(func() { err = r.print(l) })
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

func (r *dropping) print(l *dlq.Letter) error {
	if r.printer.json {
		return r.encode(newWholeLetterJSON(l))
	}
	return r.letter(l)
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
