package consumer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/internal/stored"
)

// A schedule that falls due while the store is full does not fire, and a server of version 2.15.2 does not try it again before it is
// restarted. The refund would be followed no more. So overdue schedules are looked for now and then, and written anew.

const (
	sweepOverdue = 2 * time.Minute // a server that is alive fires within seconds, also when it has much to do
	// A sweep reads all schedules, 100,000 in some two seconds. It may take a hundredth of the time, within these limits.
	sweepShare = 100
	sweepOften = time.Minute
	sweepRare  = 15 * time.Minute
)

// sweep writes overdue schedules anew, again and again, until ctx ends.
func (w *settler) sweep(ctx context.Context) {
	var took time.Duration
	for {
		wait := min(max(took*sweepShare, w.clock.Wall(sweepOften)), w.clock.Wall(sweepRare))
		select {
		case <-time.After(wait/2 + rand.N(wait)): // workers of a fleet not all at once
		case <-ctx.Done():
			return
		}
		began := time.Now()
		n, err := w.renewOverdue(ctx)
		took = time.Since(began)
		if err != nil && ctx.Err() == nil {
			w.log.WithError(err).Warn("overdue settlements not looked for; they are at the next time")
		}
		if n > 0 {
			w.log.WithField(fieldCount, n).Warn("settlements were overdue and are scheduled anew")
		}
	}
}

func (w *settler) renewOverdue(ctx context.Context) (n int, err error) {
	now, err := w.serverTime(ctx)
	if err != nil {
		return 0, err
	}
	for m, err := range stored.From(ctx, w.nc, w.stream, w.subjects.AllSchedules(), 1) {
		if err != nil {
			return n, fmt.Errorf("read schedules: %w", err)
		}
		due, err := time.Parse(time.RFC3339Nano, strings.TrimPrefix(m.Header.Get(headerSchedule), "@at "))
		if err != nil || now.Sub(due) < w.clock.Wall(sweepOverdue) {
			continue
		}
		msg := &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data}
		msg.Header.Set(headerSchedule, "@at "+now.Add(w.clock.Wall(rand.N(time.Minute))).UTC().Format(time.RFC3339Nano))
		_, err = w.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequencePerSubject(m.Sequence))
		switch {
		case stored.IsStale(err): // it has fired meanwhile, or another worker was first
		case err != nil:
			return n, fmt.Errorf("schedule anew: %w", err)
		default:
			n++
		}
	}
	return n, nil
}

// serverTime is what the time is for the server that has the schedules. By ours, what is not due yet might be put off again and again.
func (w *settler) serverTime(ctx context.Context) (time.Time, error) {
	stream, err := w.js.Stream(ctx, w.stream)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask for the server's time: %w", err)
	}
	return stream.CachedInfo().TimeStamp, nil
}
