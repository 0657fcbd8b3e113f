package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// halfLoad is used where this run has not measured the full one.
var halfLoad = map[string]float64{apiV3: 450, apiV2: 800}

// latency publishes at half of what the worker can do, steadily, to a synced store, and looks when each call arrives at the
// answering side; the naive consumer's at the same rate, too.
func (b *bench) latency(ctx context.Context) error {
	for range b.repeat {
		for _, api := range []string{apiV3, apiV2} {
			rate := halfLoad[api]
			if full := b.report.median(row{api: api, by: byWorker, synced: true}.String(), "cmd/s"); full > 0 {
				rate = full / 2
			}
			for _, by := range []string{byNaive, byWorker} {
				name := fmt.Sprintf("PublishToCall/api=%s/load=half/store=synced/by=%s", api, by)
				if !b.rows.MatchString(name) {
					continue
				}
				f, err := b.publishedToCalled(ctx, name, api, by, rate)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				if err := b.report.add(name, f); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (b *bench) publishedToCalled(ctx context.Context, name, api, by string, rate float64) (f figures, err error) {
	s, end, err := b.install(ctx, true, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	var p *process
	queue, stop := lane(merchantID(0)), (*process).stop
	if by == byNaive {
		queue, stop = naiveQueue, (*process).end
		p, err = startSelf(b.dir, byNaive, api, b.address, s.url)
	} else {
		p, err = b.startWorker(settings{api: api, merchants: 1, first: time.Hour}.at(s, b))
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop(p)) }()
	if err := s.served(ctx, queue); err != nil {
		return nil, err
	}
	window := windows*b.window + warmUp
	published, err := b.startPublishing(load{URL: s.url, Story: storyPaid, Merchants: 1, Count: int(rate * window.Seconds()), PerSecond: rate})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, published.wait()) }()
	if err := b.answering(ctx); err != nil {
		return nil, err
	}
	var t taken
	err = b.profiled(ctx, name, p.pprof, s.pprof, func() error {
		t, err = b.watch(ctx, warmUp, window-2*warmUp)
		return err
	})
	if err != nil {
		return nil, err
	}
	return t.Stories[storyPaid].figures(), nil
}

// figures of a distribution.
func (l latency) figures() figures {
	return figures{"p50-ns": float64(l.P50), "p99-ns": float64(l.P99), "max-ns": float64(l.Max)}
}

// watch lets a time pass and returns what the answering side saw in the time after it.
func (b *bench) watch(ctx context.Context, skip, window time.Duration) (t taken, err error) {
	for _, d := range []time.Duration{skip, window} {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return t, ctx.Err()
		}
		t = taken{} // the answer has no fields for what is nothing
		if err := b.answers.ask("take", &t); err != nil {
			return t, err
		}
	}
	return t, nil
}

// install starts an empty store and sets the answering side to answer after a time; end undoes it.
func (b *bench) install(ctx context.Context, synced bool, answer time.Duration) (s *store, end func() error, err error) {
	if err := b.answers.ask("delay "+answer.String(), &struct{}{}); err != nil {
		return nil, nil, err
	}
	if err := b.answers.ask("take", &taken{}); err != nil { // what came before
		return nil, nil, err
	}
	s, err = b.startStore(ctx, synced)
	if err != nil {
		return nil, nil, err
	}
	return s, s.close, nil
}

// at completes settings with where this run's store and answering side are.
func (s settings) at(store *store, b *bench) settings {
	s.nats, s.address = store.url, b.address
	return s
}
