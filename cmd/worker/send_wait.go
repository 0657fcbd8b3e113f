package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/internal/stored"
)

// lastOutcome is the sequence of the newest outcome: what comes later is followed, what was there is looked up.
func (c *client) lastOutcome(ctx context.Context) (uint64, error) {
	name := c.config.subjects().OutcomesStream()
	stream, err := c.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, fmt.Errorf("no stream %s: start a worker first, or check nats.prefix", name)
	}
	if err != nil {
		return 0, fmt.Errorf("read stream %s: %w", name, jetStreamError(err))
	}
	return stream.CachedInfo().State.LastSeq, nil
}

// wait prints the end of every command that was sent, and counts those that are bad or do not come.
func (j *sending) wait(since uint64, limit time.Duration) error {
	ctx := j.app.ctx
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	open := newExpectations()
	for _, c := range j.sent {
		open.add(c)
	}
	bar := newBar(j.app, "waiting", len(j.sent))
	defer bar.end()
	err := j.ends(ctx, open, since, func(e *event) {
		for range open.meet(e) {
			bar.print(func() { j.event(e) })
			bar.add()
			if bad(e.outcome.Status) {
				j.wrong++
			}
		}
	})
	missing := open.missing()
	j.wrong += len(missing)
	for _, c := range missing {
		bar.print(func() { fmt.Fprintf(j.app.err, "worker: %s%s %s: no outcome yet\n", place(c.line), c.kind, c.name()) })
	}
	return err
}

// ends calls see with the outcomes of the commands: those that were there before, then those that come, until all have ended.
func (j *sending) ends(ctx context.Context, open *expectations, since uint64, see func(*event)) error {
	s := j.config.subjects()
	for _, c := range j.sent {
		if since == 0 || ctx.Err() != nil {
			break
		}
		m, err := stored.Last(ctx, j.Conn, s.OutcomesStream(), s.OutcomeFilter(c.mchid, c.kind, c.key))
		if errors.Is(err, stored.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look for an outcome: %w", err)
		}
		see(newEvent(m.Subject, m.Sequence, m.Header, m.Data))
	}
	if open.left() == 0 {
		return nil
	}
	from := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: since + 1}
	for e, err := range j.follow(ctx, from) {
		if err != nil {
			return err
		}
		if see(e); open.left() == 0 {
			break
		}
	}
	return nil
}
