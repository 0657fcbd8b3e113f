package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// start measures how long it takes from starting the process to the first outcome of a command that waits already, with quotas
// as by default: a lane that was just taken over does not begin with a burst.
func (b *bench) start(ctx context.Context) error {
	for range b.repeat {
		for _, merchants := range []int{1, 300} {
			f, err := b.startToOutcome(ctx, merchants)
			if err != nil {
				return err
			}
			if err := b.report.add(fmt.Sprintf("StartToOutcome/merchants=%d", merchants), f); err != nil {
				return err
			}
		}
	}
	return nil
}

// starts is how often a worker is started on the same store: the first time makes the lanes.
const starts = 4

func (b *bench) startToOutcome(ctx context.Context, merchants int) (f figures, err error) {
	s, end, err := b.install(ctx, true, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	outcomes, err := s.nc.SubscribeSync(subjects.AllOutcomes())
	if err != nil {
		return nil, err
	}
	f = figures{}
	for i := range starts {
		if err := b.publish(load{URL: s.url, Story: storyPaid, First: merchants - 1, Merchants: 1, Count: 1}); err != nil {
			return nil, err
		}
		took, err := b.timeStart(ctx, settings{api: apiV3, merchants: merchants, quotas: true}.at(s, b), outcomes)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			f["first-ns"] = float64(took)
		} else {
			f["again-ns"] += float64(took) / (starts - 1)
		}
	}
	return f, nil
}

func (b *bench) timeStart(ctx context.Context, with settings, outcomes *nats.Subscription) (took time.Duration, err error) {
	began := time.Now()
	w, err := b.startWorker(with)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := outcomes.NextMsgWithContext(ctx); err != nil {
		return 0, fmt.Errorf("no outcome: %w", err)
	}
	return time.Since(began), nil
}
