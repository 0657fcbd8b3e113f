package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	memoryMerchants = 300
	memoryTroubled  = 12 // of them whose commands go into back-off, at most 10,000 of each
	memoryBusy      = 4  // of them whose commands are carried out
	memoryWaiting   = 1_000_000
	memoryPending   = 100_000 // in back-off, and followed
)

// memory looks at what a worker has in memory with 300 merchants: while a million commands come to wait, when 100,000 of them have been accepted and
// are followed, when another is started after that, and, at a store of its own, when 100,000 are in back-off.
func (b *bench) memory(ctx context.Context) error {
	err := b.withStore(ctx, func(s *store) error {
		err := b.withWorker(s, func(w *process) error { return b.memoryWaiting(ctx, s, w) })
		if err != nil {
			return err
		}
		return b.withWorker(s, func(w *process) error { return b.memoryAnew(ctx, s, w) })
	})
	if err != nil {
		return err
	}
	return b.withStore(ctx, func(s *store) error {
		return b.withWorker(s, func(w *process) error { return b.memoryBackOff(ctx, s, w) })
	})
}

func (b *bench) memoryWaiting(ctx context.Context, s *store, w *process) error {
	if err := s.allPaused(ctx); err != nil {
		return err
	}
	if err := b.reportMemory(ctx, "idle", w, s.process); err != nil {
		return err
	}
	busy := load{URL: s.url, Story: storyPaid, Merchants: memoryBusy, Count: memoryPending}
	others := load{URL: s.url, Story: storyPaid, First: memoryBusy, Merchants: memoryMerchants - memoryBusy, Count: memoryWaiting - memoryPending}
	for _, l := range []load{busy, others} {
		if err := b.publish(l); err != nil {
			return err
		}
	}
	if err := b.reportMemory(ctx, "waiting", w, s.process); err != nil {
		return err
	}
	return b.memoryAfter(ctx, s, w, "followed", busy)
}

// memoryAnew waits until each lane that is not paused has ended one more command: it begins none before it has read what was done before.
func (b *bench) memoryAnew(ctx context.Context, s *store, w *process) error {
	began := time.Now()
	outcomes, err := s.nc.SubscribeSync(subjects.AllOutcomes())
	if err != nil {
		return err
	}
	defer func() { _ = outcomes.Unsubscribe() }() // fails only with a connection that is closed
	if err := b.publish(load{URL: s.url, Story: storyPaid, Merchants: memoryBusy, Count: memoryBusy}); err != nil {
		return err
	}
	for range memoryBusy {
		if _, err := outcomes.NextMsgWithContext(ctx); err != nil {
			return err
		}
	}
	const when = "anew"
	if err := b.report.add(memoryRow(when), figures{"ready-ns": float64(time.Since(began))}); err != nil {
		return err
	}
	return b.reportMemory(ctx, when, w, s.process)
}

func (b *bench) memoryBackOff(ctx context.Context, s *store, w *process) error {
	if err := s.allPaused(ctx); err != nil {
		return err
	}
	failing := load{URL: s.url, Story: storyRefused, Merchants: memoryTroubled, Count: memoryPending}
	if err := b.publish(failing); err != nil {
		return err
	}
	return b.memoryAfter(ctx, s, w, "back-off", failing)
}

func (b *bench) withStore(ctx context.Context, do func(*store) error) (err error) {
	s, end, err := b.install(ctx, false, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	return do(s)
}

func (b *bench) withWorker(s *store, do func(*process) error) (err error) {
	w, err := b.startWorker(settings{api: apiV2, merchants: memoryMerchants, first: time.Hour}.at(s, b))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	return do(w)
}

func (s *store) allPaused(ctx context.Context) error {
	for i := range memoryMerchants {
		if err := s.paused(ctx, merchantID(i)); err != nil {
			return err
		}
	}
	return nil
}

// memoryAfter lets the lanes of a load go and looks at the worker's memory once all its calls have arrived.
func (b *bench) memoryAfter(ctx context.Context, s *store, w *process, when string, l load) error {
	if err := b.resume(ctx, s, l); err != nil {
		return err
	}
	if err := b.called(ctx, l.Story, l.Count); err != nil {
		return err
	}
	return b.reportMemory(ctx, when, w, s.process)
}

func memoryRow(when string) string {
	return fmt.Sprintf("Memory/merchants=%d/when=%s", memoryMerchants, when)
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
	return b.report.add(memoryRow(when), figures{
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
