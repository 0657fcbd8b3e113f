package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// growth measures throughput over merchants, answer times and worker processes, with v3 and a synced store. (With v2 each merchant
// has connections of its own: with many merchants the first minute goes into handshakes.)
func (b *bench) growth(ctx context.Context) error {
	for range b.repeat {
		for _, g := range []struct {
			merchants, workers int
			answer             time.Duration
		}{
			{1, 1, 0}, {10, 1, 0}, {100, 1, 0}, {300, 1, 0},
			{10, 1, 500 * time.Millisecond}, {10, 2, 0}, {10, 4, 0},
		} {
			f, err := b.grown(ctx, g.merchants, g.workers, g.answer)
			if err != nil {
				return err
			}
			name := fmt.Sprintf("Growth/api=v3/store=synced/answer=%s/merchants=%d/workers=%d", g.answer, g.merchants, g.workers)
			if err := b.report.add(name, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// spreading is how long several workers need to share the busy lanes among them: they look every half minute.
const spreading = 75 * time.Second

func (b *bench) grown(ctx context.Context, merchants, workers int, answer time.Duration) (f figures, err error) {
	s, end, err := b.install(ctx, true, answer)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	var running []*process
	defer func() {
		for _, w := range running {
			err = errors.Join(err, w.stop())
		}
	}()
	for range workers {
		w, err := b.startWorker(settings{api: apiV3, merchants: merchants, first: time.Hour}.at(s, b))
		if err != nil {
			return nil, err
		}
		running = append(running, w)
	}
	wait := warmUp
	if workers > 1 {
		wait = spreading
	}
	count := (&row{api: apiV3}).most() * int((b.window+warmUp+wait)/time.Second)
	if err := b.publishPaused(ctx, s, load{URL: s.url, Story: storyPaid, Merchants: merchants, Count: count}); err != nil {
		return nil, err
	}
	if err := b.answering(ctx); err != nil {
		return nil, err
	}
	time.Sleep(wait)
	return b.look(ctx, b.window, running, s.process)
}
