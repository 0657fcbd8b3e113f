package metrics

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"wxpay-worker/consumer"
	"wxpay-worker/internal/stored"
	"wxpay-worker/messages"
)

// What only the NATS server knows.

const (
	// askTime bounds all that is asked for one scrape; Prometheus gives it ten seconds.
	askTime = 2 * time.Second
	// askAtOnce is how many requests are open at a time.
	askAtOnce = 8
)

var (
	descWaiting = desc("wxpay_lane_waiting", "Commands of the lane, or refunds whose look is due, that were not delivered yet.", laneLabels...)
	descOut     = desc("wxpay_lane_unacknowledged", "Commands of the lane, or looks, that are in flight or in back-off. At 10000 a lane stands still.", laneLabels...)
	descOldest  = desc("wxpay_lane_oldest_age_seconds", "Age of the lane's oldest command that has not ended, one in back-off included; 0 if there is none.", laneLabels...)
	descBacklog = desc("wxpay_settlement_backlog", "Messages that follow accepted refunds to their end, waiting or due: one for each refund, or for several that were accepted together.")
	descOrphans = desc("wxpay_orphan_commands", "Commands that wait for merchants that are not configured. worker check names them.")
	descLetters = desc("wxpay_dead_letters_stored", "Dead letters that lie there until somebody replays or drops them.", "reason")
	descScraped = desc("wxpay_scrape_complete", "1 if NATS answered everything that was asked for this scrape, in time.")
)

// stores asks the server. What it does not answer in time is left out.
type stores struct{ *Metrics }

func (s stores) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descWaiting, descOut, descOldest, descBacklog, descOrphans, descLetters, descScraped} {
		ch <- d
	}
}

func (s stores) Collect(ch chan<- prometheus.Metric) {
	w := s.worker.Load()
	if w == nil || !w.nc.IsConnected() {
		send(ch, descScraped, 0)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	questions := []func() error{
		func() error { return w.backlog(ctx, ch) },
		func() error { return w.orphans(ctx, ch) },
	}
	for _, reason := range messages.Reasons {
		questions = append(questions, func() error { return w.letters(ctx, ch, reason) })
	}
	for _, lane := range w.Status() {
		if lane.Ready {
			questions = append(questions, func() error { return w.lane(ctx, ch, lane) })
		}
	}
	send(ch, descScraped, number(ask(questions)))
}

// ask asks all questions, some of them at once, and reports whether each has its answer.
func ask(questions []func() error) bool {
	var next, failed atomic.Int64
	var asking sync.WaitGroup
	for range min(askAtOnce, len(questions)) {
		asking.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(questions) {
					return
				}
				if questions[i]() != nil {
					failed.Add(1)
				}
			}
		})
	}
	asking.Wait()
	return failed.Load() == 0
}

// lane tells what waits in a lane, if this worker serves it, or nobody does: an idle lane is pinned to nobody, and so is one
// that was held when its worker went.
func (w *worker) lane(ctx context.Context, ch chan<- prometheus.Metric, l consumer.LaneStatus) error {
	c, err := w.js.Consumer(ctx, l.Stream, l.Name)
	if err != nil {
		return fmt.Errorf("read lane %s: %w", l.Name, err)
	}
	info := c.CachedInfo()
	if !l.Serving && pinned(info) {
		return nil // another worker tells
	}
	labels := []string{l.Name, l.MchID, l.Family}
	send(ch, descWaiting, float64(info.NumPending), labels...)
	send(ch, descOut, float64(info.NumAckPending), labels...)
	if l.MchID == "" { // a schedule's age says nothing of the refund's
		return nil
	}
	age := 0.0
	if info.NumPending > 0 || info.NumAckPending > 0 {
		oldest, err := stored.Next(ctx, w.nc, l.Stream, info.Config.FilterSubject, info.AckFloor.Stream+1)
		if err != nil && !errors.Is(err, stored.ErrNotFound) { // not found: it has just ended
			return err
		}
		if err == nil {
			age = max(0, time.Since(oldest.Time).Seconds())
		}
	}
	send(ch, descOldest, age, labels...)
	return nil
}

func pinned(info *jetstream.ConsumerInfo) bool {
	for _, group := range info.PriorityGroups {
		if group.PinnedClientID != "" {
			return true
		}
	}
	return false
}

// backlog counts the messages that follow refunds, waiting or due.
func (w *worker) backlog(ctx context.Context, ch chan<- prometheus.Metric) error {
	stream, err := w.js.Stream(ctx, w.subjects.SettlementsStream())
	if err != nil {
		return fmt.Errorf("count settlements: %w", err)
	}
	send(ch, descBacklog, float64(stream.CachedInfo().State.Msgs))
	return nil
}

func (w *worker) orphans(ctx context.Context, ch chan<- prometheus.Metric) error {
	by, err := w.Orphans(ctx)
	if err != nil {
		return err
	}
	all := uint64(0)
	for _, n := range by { // by merchant, but these could be any number: whoever can publish invents them
		all += n
	}
	send(ch, descOrphans, float64(all))
	return nil
}

func (w *worker) letters(ctx context.Context, ch chan<- prometheus.Metric, reason messages.Reason) error {
	pattern := w.subjects.DeadLetter("*", "*", reason, "") + "*"
	n, err := stored.Count(ctx, w.nc, w.subjects.DeadLettersStream(), pattern)
	if err != nil {
		return err
	}
	send(ch, descLetters, float64(n), string(reason))
	return nil
}
