package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/dlq"
	"wxpay-worker/messages"
)

type dlqReplayCmd struct {
	picking
	Unresolved bool          `help:"Also put back unresolved ones: somebody has looked whether they happened."`
	Patch      string        `nonempty:"" placeholder:"FILE" help:"Correct one command on its way: a JSON merge patch (RFC 7396). - is standard input."`
	DryRun     bool          `help:"Only print what would be put back."`
	Rate       string        `nonempty:"" placeholder:"N/s" help:"Put back so many per second or minute (N/m) at most."`
	Follow     bool          `help:"Then print how they end; exit 1 or 3 if any is failed, closed or abnormal."`
	Timeout    time.Duration `placeholder:"DURATION" help:"With --follow: how long at most."`
	output
}

// Run puts commands back on their subjects, one after the other in the order in which they failed. One at a time is faster than
// WeChat Pay takes them, and leaves at most one letter in doubt when it is interrupted.
func (c *dlqReplayCmd) Run(a *app) error {
	rate, err := c.check()
	if err != nil {
		return err
	}
	options, err := c.options(a)
	if err != nil {
		return err
	}
	d, err := a.deadLetters()
	if err != nil {
		return err
	}
	defer d.Close()
	r := &replaying{deadLetters: d, printer: printer{a.out, c.json()}, app: a, options: options, follows: c.Follow}
	p, err := d.pick(a, &c.picking, func(l *dlq.Letter) (bool, error) { return c.wanted(r, l) })
	if err != nil {
		return err
	}
	r.failed, r.all = len(p.missed), len(p.missed)+len(p.seqs)
	if r.all+r.skipped == 0 {
		fmt.Fprintln(a.err, "No dead letters.")
		return nil
	}
	if c.DryRun {
		r.dryRun(p)
		return r.result()
	}
	r.warn(p)
	if err := a.confirm(&c.picking, len(p.seqs), fmt.Sprintf("Put back %s?", p)); err != nil {
		return err
	}
	var since uint64
	if c.Follow {
		if since, err = d.lastOutcome(a.ctx); err != nil {
			return err
		}
	}
	r.run(p.seqs, rate)
	r.summary()
	if c.Follow && a.ctx.Err() == nil {
		err = r.follow(since, c.Timeout)
	}
	return errors.Join(err, r.result())
}

// check refuses flags that contradict themselves, and reads the rate.
func (c *dlqReplayCmd) check() (Rate, error) {
	var rate Rate
	if err := c.picking.check(); err != nil {
		return rate, err
	}
	switch {
	case c.Patch != "" && (c.All || len(c.Seq) != 1):
		return rate, usageError("--patch: expected exactly one dead letter, by its sequence")
	case c.Timeout < 0 || c.Timeout > 0 && !c.Follow:
		return rate, usageError("--timeout: expected a positive duration, together with --follow")
	case c.Follow && c.DryRun:
		return rate, usageError("--follow: expected without --dry-run, which puts nothing back")
	}
	if c.Rate != "" {
		var err error
		if rate, err = parseRate(c.Rate); err != nil || rate.Calls == 0 {
			return rate, usageError("--rate: expected N/s or N/m, such as 10/s")
		}
	}
	return rate, nil
}

// options reads the patch.
func (c *dlqReplayCmd) options(a *app) (dlq.ReplayOptions, error) {
	o := dlq.ReplayOptions{Unresolved: c.Unresolved}
	if c.Patch == "" {
		return o, nil
	}
	patch, err := a.read(c.Patch)
	switch {
	case errors.Is(err, errInterrupted):
		return o, err
	case err != nil:
		return o, usageError("--patch: %w", err)
	}
	o.Patch = append([]byte{}, patch...) // not nil: an empty file is a patch of no use, not the absence of one
	return o, nil
}

// wanted leaves out letters that may have been carried out, unless somebody says that he has looked: refused if they were asked
// for by their sequence, skipped if they only fit the filters. A patch that does not fit its letter is refused here, too.
func (c *dlqReplayCmd) wanted(r *replaying, l *dlq.Letter) (bool, error) {
	if c.All {
		if l.Reason == messages.ReasonUnresolved && !c.Unresolved {
			r.skipped++
			return false, nil
		}
		return true, nil
	}
	_, err := r.Prepare(l, r.options)
	if errors.Is(err, dlq.ErrUnresolved) {
		e := dlq.Explain(l)
		return false, usageError("nothing was put back: dead letter %d is unresolved. %s %s If it did not happen, replay it with --unresolved",
			l.Sequence, e.Meaning, e.Do)
	}
	if patch, ok := errors.AsType[*dlq.PatchError](err); ok {
		return false, usageError("nothing was put back: %w", patch)
	}
	return true, nil // what else is wrong shows when it is its turn
}

// warn says beforehand what can be known to be in vain.
func (r *replaying) warn(p *picked) {
	if n := p.by[messages.ReasonMalformed] + p.by[messages.ReasonConflict]; n > 0 && r.options.Patch == nil {
		fmt.Fprintf(r.app.err, "worker: %s malformed or in conflict: unless something has changed since, such a command fails again\n", count(n, "is", "are"))
	}
}

// run puts the letters back, until the first signal or the first trouble that is not about one letter.
func (r *replaying) run(seqs []uint64, rate Rate) {
	bar := newBar(r.app, "replaying", len(seqs))
	defer bar.end()
	begin := time.Now()
	for i, seq := range seqs {
		r.left = len(seqs) - i
		if !sleepUntil(r.app.ctx, begin) {
			return
		}
		if rate.Calls > 0 {
			begin = time.Now().Add(rate.Per / time.Duration(rate.Calls))
		}
		back, err := r.Replay(r.app.ctx, seq, r.options)
		if errors.Is(err, context.Canceled) {
			return // before anything was sent
		}
		bar.print(func() { r.replayed(seq, back, err) })
		bar.add()
		if r.left--; err != nil && !errors.Is(err, dlq.ErrNotFound) && (!isLasting(err) || errors.Is(err, jetstream.ErrNoStreamResponse)) {
			return // it would go no better with the next one
		}
	}
}

// sleepUntil waits and reports whether that time has come before the first signal.
func sleepUntil(ctx context.Context, t time.Time) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case <-time.After(time.Until(t)):
		return true
	case <-ctx.Done():
		return false
	}
}

// dryRun prints what would be put back, and finds what would be refused.
func (r *replaying) dryRun(p *picked) {
	for i, seq := range p.seqs {
		if r.app.ctx.Err() != nil {
			r.left = len(p.seqs) - i
			return
		}
		l, err := r.Get(r.app.ctx, seq)
		var msg *nats.Msg
		if err == nil {
			msg, err = r.Prepare(l, r.options)
		}
		if err != nil {
			r.replayed(seq, nil, err)
			continue
		}
		if line := newReplayJSON(l, resultWouldReplay); r.printer.json {
			line.Headers, line.Command = msg.Header, jsonOrText(msg.Data)
			r.object(line)
			continue
		}
		fmt.Fprintf(r.w, "%8d  %-10s  %-8s  %-28s  %-10s  would be put back on %s\n", seq, l.MchID, l.Kind, visible(l.Key), l.Reason, l.Subject)
		if r.options.Patch != nil {
			fmt.Fprintf(r.w, "%s\n", visible(indented(msg.Data)))
		}
	}
}

// follow prints how the commands end.
func (r *replaying) follow(since uint64, limit time.Duration) error {
	j := &sending{client: r.client, printer: r.printer, app: r.app, sent: r.back}
	if len(r.back) == 0 {
		return nil
	}
	err := j.wait(since, limit)
	r.wrong = j.wrong
	return err
}
