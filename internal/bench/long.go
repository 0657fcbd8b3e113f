package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// longRun is past the minute for which refunds of one order are kept apart and after which the first refunds are asked about.
const longRun = 90 * time.Second

// long works without a pause for a minute and a half, with settlement as by default, and shows how the pace changes: from the
// second minute on, each second brings as many queries as it brings refunds.
func (b *bench) long(ctx context.Context) error {
	for _, api := range []string{apiV3, apiV2} {
		if !b.rows.MatchString("Long/api=" + api) {
			continue
		}
		if err := b.longOf(ctx, api); err != nil {
			return fmt.Errorf("%s: %w", api, err)
		}
	}
	return nil
}

func (b *bench) longOf(ctx context.Context, api string) (err error) {
	s, end, err := b.install(ctx, false, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	w, err := b.startWorker(settings{api: api, merchants: 1}.at(s, b))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	count := (&row{api: api, by: byWorker}).most() * int(longRun/time.Second)
	if err := b.publishPaused(ctx, s, load{URL: s.url, Story: storyPaid, Merchants: 1, Count: count}); err != nil {
		return err
	}
	if err := b.answering(ctx); err != nil {
		return err
	}
	const step = 15 * time.Second
	for at := step; at <= longRun; at += step {
		f, err := b.look(ctx, step, []*process{w}, s.process)
		if err != nil {
			return err
		}
		_, peak, err := w.memory()
		if err != nil {
			return err
		}
		f["peak-B"] = float64(peak)
		if err := b.report.add(fmt.Sprintf("Long/api=%s/until=%s", api, at), f); err != nil {
			return err
		}
	}
	return nil
}
