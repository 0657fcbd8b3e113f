package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	healthyPerSecond = 50
	troubled         = 10_000     // commands of the merchant beside it
	windows          = 5          // of a row, for as many commands that a p99 is more than one of them
	firstBurst       = 4 * warmUp // of what waits beside it: a second's quota, once
)

// neighbours measures what a healthy merchant's commands wait while the one beside it has 10,000 waiting, and is in trouble, with
// quotas as by default.
func (b *bench) neighbours(ctx context.Context) error {
	for range b.repeat {
		for _, n := range []struct{ beside, story string }{
			{"none", ""}, {"waiting", storyPaid}, {"throttled", storyThrottle}, {"failing", storyRefused}, {"held", storyDenied},
		} {
			name := "Healthy/beside=" + n.beside
			if !b.rows.MatchString(name) {
				continue
			}
			f, err := b.beside(ctx, n.story)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if err := b.report.add(name, f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) beside(ctx context.Context, story string) (f figures, err error) {
	s, end, err := b.install(ctx, true, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	if story != "" {
		if err := b.publish(load{URL: s.url, Story: story, First: 1, Merchants: 1, Count: troubled}); err != nil {
			return nil, err
		}
	}
	w, err := b.startWorker(settings{api: apiV3, merchants: 2, quotas: true, first: time.Hour}.at(s, b))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	if err := s.served(ctx, lane(merchantID(0))); err != nil {
		return nil, err
	}
	window := windows*b.window + firstBurst
	p, err := b.startPublishing(load{URL: s.url, Story: storyHealthy, Merchants: 1, Count: int(healthyPerSecond * (window + warmUp).Seconds()), PerSecond: healthyPerSecond})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.wait()) }()
	t, err := b.watch(ctx, firstBurst, windows*b.window)
	if err != nil {
		return nil, err
	}
	f = t.Stories[storyHealthy].figures()
	if story != "" {
		f["beside-cmd/s"] = float64(t.Stories[story].N) / (windows * b.window).Seconds()
	}
	return f, nil
}
