package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"wxpay-worker/dlq"
	"wxpay-worker/messages"
)

// picking is how `replay` and `drop` are told which letters they are for.
type picking struct {
	Seq []uint64 `arg:"" optional:"" name:"seq" help:"Dead letters, by their sequence."`
	All bool     `help:"All dead letters that fit the filters."`
	Yes bool     `short:"y" help:"Do not ask, however many there are."`
	letterFilter
}

// picked are the letters that were asked for.
type picked struct {
	seqs       []uint64                // 8 bytes each: 100,000 are no burden
	by         map[messages.Reason]int // how many there are for each reason
	unreadable int                     // and how many that cannot be read, so that nobody knows their reason
	missed     []error                 // for what was asked for and is not there, or cannot be read
}

// takeUnreadable also picks what cannot be read.
func (p *picked) takeUnreadable() {
	p.missed = slices.DeleteFunc(p.missed, func(err error) bool {
		m, ok := errors.AsType[*dlq.UnreadableError](err)
		if ok {
			p.seqs = append(p.seqs, m.Sequence)
			p.unreadable++
		}
		return ok
	})
	slices.Sort(p.seqs)
}

// check refuses what contradicts itself, before anybody is connected to.
func (p *picking) check() error {
	switch {
	case p.All && len(p.Seq) > 0:
		return usageError("--all: expected either dead letters by their sequence, or --all, not both")
	case !p.All && len(p.Seq) == 0:
		return usageError("expected dead letters by their sequence, or --all with filters")
	case !p.All && p.given():
		return usageError("filters: expected only with --all; a sequence says exactly which dead letter")
	}
	_, err := p.read(time.Now())
	return err
}

// pick finds the letters that are wanted. What is not to be had is remembered; any other trouble ends it.
func (d *deadLetters) pick(a *app, p *picking, want func(*dlq.Letter) (bool, error)) (*picked, error) {
	filter, err := p.read(time.Now())
	if err != nil {
		return nil, err
	}
	letters := d.Select(a.ctx, filter)
	if !p.All {
		letters = d.each(a.ctx, p.Seq)
	}
	out := &picked{by: map[messages.Reason]int{}}
	for l, err := range letters {
		_, unreadable := errors.AsType[*dlq.UnreadableError](err)
		if unreadable || errors.Is(err, dlq.ErrNotFound) {
			out.missed = append(out.missed, err)
			continue
		}
		if err != nil {
			return nil, d.explain(err)
		}
		wanted, err := want(l)
		if err != nil {
			return nil, err
		}
		if wanted {
			out.seqs = append(out.seqs, l.Sequence)
			out.by[l.Reason]++
		}
	}
	for _, err := range out.missed {
		fmt.Fprintf(a.err, "worker: %s\n", visible(err.Error()))
	}
	return out, nil
}

// each yields letters by their sequences, in the order of the stream.
func (d *deadLetters) each(ctx context.Context, seqs []uint64) iter.Seq2[*dlq.Letter, error] {
	return func(yield func(*dlq.Letter, error) bool) {
		for _, seq := range slices.Compact(slices.Sorted(slices.Values(seqs))) {
			l, err := d.Get(ctx, seq)
			if !yield(l, noSuchLetter(seq, err)) {
				return
			}
		}
	}
}

// String says how many there are of which reason.
func (p *picked) String() string {
	var parts []string
	for _, r := range messages.Reasons {
		if n := p.by[r]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, r))
		}
	}
	if p.unreadable > 0 {
		parts = append(parts, fmt.Sprintf("%d that cannot be read", p.unreadable))
	}
	return fmt.Sprintf("%s (%s)", count(len(p.seqs), "dead letter", "dead letters"), strings.Join(parts, ", "))
}

// count writes a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// errUnconfirmed says that the person at the terminal did not agree.
var errUnconfirmed = errors.New("not confirmed: nothing was done")

// confirm asks the person at the terminal if there is more than one letter to act on.
func (a *app) confirm(p *picking, n int, question string) error {
	if p.Yes || n < 2 {
		return nil
	}
	if !isTerminal(a.in) {
		return usageError("--yes: expected, since there are %d dead letters and nobody at a terminal to ask", n)
	}
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	answer := make(chan string, 1)
	go func() { // ends with the line, or with the process
		line, _ := bufio.NewReader(a.in).ReadString('\n') // an end without a line is no yes
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case line := <-answer:
		if line == "y" || line == "yes" {
			return nil
		}
	case <-a.ctx.Done():
		fmt.Fprintln(a.err)
	}
	return errUnconfirmed
}
