package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// steadyMerchants share the rate, so that each stays within its quotas.
const steadyMerchants = 20

// settled is when the first looks at accepted refunds, a minute (give or take a fifth) after their calls, come as often as new refunds.
const settled = 75 * time.Second

// steady publishes at rates below what one machine can do, with all quotas as by default, until each second brings as many queries as
// refunds, and looks then: whether the worker keeps up with both, and what a refund costs up to its end.
func (b *bench) steady(ctx context.Context) error {
	for _, s := range []struct {
		api    string
		synced bool
		rate   float64
	}{
		{apiV3, true, 150}, {apiV3, true, 300}, {apiV2, true, 300}, {apiV2, true, 600}, {apiV2, false, 1000}, {apiV2, false, 1500},
	} {
		name := fmt.Sprintf("Steady/api=%s/store=%s/rate=%.0f", s.api, storeName(s.synced), s.rate)
		if !b.rows.MatchString(name) {
			continue
		}
		f, err := b.steadyAt(ctx, s.api, s.synced, s.rate)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := b.report.add(name, f); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) steadyAt(ctx context.Context, api string, synced bool, rate float64) (f figures, err error) {
	s, end, err := b.install(ctx, synced, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	w, err := b.startWorker(settings{api: api, merchants: steadyMerchants, quotas: true}.at(s, b))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	for i := range steadyMerchants {
		if err := s.served(ctx, lane(merchantID(i))); err != nil {
			return nil, err
		}
	}
	window := 5 * b.window
	p, err := b.startPublishing(load{
		URL: s.url, Story: storyPaid, Merchants: steadyMerchants, Count: int(rate * (settled + window + warmUp).Seconds()), PerSecond: rate,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.wait()) }()
	if _, err := b.watch(ctx, 0, settled); err != nil {
		return nil, err
	}
	f, seen, err := b.lookClosely(ctx, window, []*process{w}, s.process)
	if err != nil {
		return nil, err
	}
	for unit, value := range seen.Stories[storyPaid].figures() {
		f[unit] = value
	}
	return f, nil
}
