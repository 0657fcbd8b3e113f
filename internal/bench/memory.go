package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	memoryMerchants = 300
	memoryTroubled  = 12 // of them: their commands go into back-off, at most 10,000 of each
	memoryBusy      = 4  // others whose commands are carried out
	memoryWaiting   = 1_000_000
	memoryPending   = 100_000 // in back-off, and followed
)

// memory looks at what the worker has in memory with 300 merchants while a million commands come to wait, 100,000 go into back-off and
// as many are accepted and followed.
func (b *bench) memory(ctx context.Context) (err error) {
	s, end, err := b.install(ctx, false, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	w, err := b.startWorker(settings{api: apiV2, merchants: memoryMerchants, first: time.Hour}.at(s, b))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	for i := range memoryMerchants {
		if err := s.paused(ctx, merchantID(i)); err != nil {
			return err
		}
	}
	if err := b.reportMemory(ctx, "idle", w, s.process); err != nil {
		return err
	}
	failing := load{URL: s.url, Story: storyRefused, Merchants: memoryTroubled, Count: memoryPending}
	busy := load{URL: s.url, Story: storyPaid, First: memoryTroubled, Merchants: memoryBusy, Count: 2 * memoryPending}
	others := load{URL: s.url, Story: storyPaid, First: memoryTroubled + memoryBusy, Merchants: memoryMerchants - memoryTroubled - memoryBusy}
	others.Count = memoryWaiting - failing.Count - busy.Count
	for _, l := range []load{failing, busy, others} {
		if err := b.publish(l); err != nil {
			return err
		}
	}
	if err := b.reportMemory(ctx, "waiting", w, s.process); err != nil {
		return err
	}
	for _, phase := range []struct {
		name string
		l    load
	}{{"back-off", failing}, {"followed", busy}} {
		if err := b.resume(ctx, s, phase.l); err != nil {
			return err
		}
		if err := b.called(ctx, phase.l.Story, memoryPending); err != nil {
			return err
		}
		if err := b.reportMemory(ctx, phase.name, w, s.process); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) reportMemory(ctx context.Context, when string, w, server *process) error {
	now, peak, err := w.memory()
	if err != nil {
		return err
	}
	if err := b.heap(ctx, when, w); err != nil {
		return err
	}
	servers, _, err := server.memory()
	if err != nil {
		return err
	}
	return b.report.add(fmt.Sprintf("Memory/merchants=%d/when=%s", memoryMerchants, when), figures{
		"rss-B": float64(now), "peak-B": float64(peak), "nats-rss-B": float64(servers),
	})
}

// called waits until so many calls of a story have arrived.
func (b *bench) called(ctx context.Context, story string, n int) error {
	for seen := 0; seen < n; {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		var t taken
		if err := b.answers.ask("take", &t); err != nil {
			return err
		}
		seen += t.Stories[story].N
	}
	return nil
}
