package consumer

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"path"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/internal/stored"
	"wxpay-worker/messages"
)

// Whoever takes a lane over, from another worker or from itself before a restart, does not remember what it must know: which
// commands about the same complaint are still unfinished before the one that is delivered, which orders were refunded less than a
// minute ago, and which calls count for the quota. All of it is in the streams. Until it has been read, nothing of the lane is begun.

// inheritance is one such reading.
type inheritance struct {
	until time.Time     // up to when the lane's former holder may go on making calls
	read  chan struct{} // closed when the reading is done
	// Up to wary, the refusal of a refund may be due to a call that the lane's former holder made for the same order and that no stream
	// tells of. Zero if there was no former holder. It is set before read is closed.
	wary time.Time
}

// outcomesBack is how far back outcomes are read: the minute that orders are kept apart, and as much again for clocks that
// differ.
const outcomesBack = 2 * absenceDelay

// How often, and how long apart, a replica that seems to be behind is asked again. Then what it has is believed: the server may count as
// unfinished what nobody can read any more, and the lane must not stand still for that.
const (
	behindTries = 50
	behindPause = 100 * time.Millisecond
)

// inherit reads what the lane's former holder left, trying until ctx ends, and then lets the lane's deliveries begin. reached returns the
// lane's consumer, which says up to where commands had been delivered to that holder.
func (l *lane) inherit(ctx context.Context, to *inheritance, reached func(context.Context) (*jetstream.ConsumerInfo, error)) {
	for behind := 0; ctx.Err() == nil; {
		wary, calls, err := l.readLegacy(ctx, reached)
		pause := pullGrace
		if errors.Is(err, errBehind) && behind < behindTries {
			behind, pause = behind+1, behindPause
		} else if err != nil {
			l.log.WithError(err).Warn("what was begun before cannot be read; the lane waits for it")
		}
		if err == nil || errors.Is(err, errBehind) && behind == behindTries {
			l.writes.restart(calls, to.until) // once, or a call would count for the quota as often as it was read of
			to.wary = wary
			close(to.read)
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// readLegacy also returns the calls that the former holder may have made: the lane's quota is the fleet's.
func (l *lane) readLegacy(ctx context.Context, reached func(context.Context) (*jetstream.ConsumerInfo, error)) (wary time.Time, calls []time.Time, err error) {
	info, err := reached(ctx)
	if err != nil {
		return wary, nil, err
	}
	last, unfinished, complete := info.Delivered.Stream, 0, false
	now := l.clock.Now()
	for m, err := range stored.From(ctx, l.nc, l.stream, l.filter, 1) {
		if err != nil {
			return wary, nil, fmt.Errorf("read unfinished commands: %w", err)
		}
		if last > 0 {
			// A single server that was killed may have forgotten deliveries: even what looks untouched may have been begun.
			wary = now.Add(absenceDelay)
		}
		if complete = m.Sequence >= last; m.Sequence > last {
			break
		}
		unfinished++
		l.inheritCommand(m, now)
		calls = append(calls, now)
	}
	recorded, err := l.inheritOutcomes(ctx, now)
	if err != nil {
		return wary, nil, fmt.Errorf("read recent outcomes: %w", err)
	}
	calls = append(calls, recorded...)
	if !complete && unfinished < info.NumAckPending { // whoever answered does not have the last of them yet
		return wary, calls, errBehind
	}
	return wary, calls, nil
}

// A busy lane has tens of thousands of recent outcomes. A worker that takes many such lanes over at once reads only a few of them at a time:
// so the first ones can begin early, and other lanes' requests to the NATS server do not wait behind all that reading. Lanes with fewer than
// readingMuch outcomes wait for nobody.
const (
	readingAtOnce = 4  // lanes
	readingMuch   = 64 // outcomes; no more than stored.Since asks for at first, so that no large batch is asked for before there is a place
)

// inheritOutcomes notes the outcomes that were recorded a moment ago. It returns the times of the calls that they tell of, if these still count
// for the quota.
func (l *lane) inheritOutcomes(ctx context.Context, now time.Time) (calls []time.Time, err error) {
	per := l.writes.rate().Per
	told, seed := map[uint64]int{}, maphash.MakeSeed() // how many calls are known of a key, by its hash: its records tell of the same ones
	read := 0
	for _, kind := range l.kinds() {
		outcomes := l.subjects.OutcomesOf(l.mchid, kind)
		for m, err := range stored.Since(ctx, l.nc, l.subjects.OutcomesStream(), outcomes, time.Now().Add(-l.clock.Wall(outcomesBack))) {
			if err != nil {
				return nil, err
			}
			if read++; read == readingMuch { // before the next batch is asked for
				select {
				case l.reading <- struct{}{}:
					defer func() { <-l.reading }()
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
			at, made := l.clock.At(m.Time), l.inheritOutcome(m, now)
			for key := maphash.String(seed, strings.TrimSuffix(m.Subject, path.Ext(m.Subject))); told[key] < made; told[key]++ {
				if now.Sub(at) < per {
					calls = append(calls, at)
				}
			}
		}
	}
	return calls, nil
}

// kinds are the kinds of the lane's commands.
func (l *lane) kinds() []messages.Kind {
	if l.family == familyRefund {
		return []messages.Kind{messages.KindRefund}
	}
	return []messages.Kind{messages.KindDecision, messages.KindReply, messages.KindComplete}
}

// inheritCommand puts an unfinished command in line. If it is a refund its order may have been refunded a moment ago.
func (l *lane) inheritCommand(m *stored.Msg, now time.Time) {
	_, kind, _ := l.subjects.ParseCommand(m.Subject)
	cmd, malformed := l.decode(kind, m.Header, m.Data)
	if malformed != nil {
		return
	}
	l.line.join(l.about(cmd), m.Sequence, now.Add(l.ackWait))
	if c, ok := cmd.(*messages.RefundCommand); ok {
		l.orders.inherited(now, orderNumbers(c.TransactionID, c.OutTradeNo), c.OutRefundNo)
	}
}

// inheritOutcome notes the order of a refund that was accepted a moment ago. It returns how many calls the outcome's command may have led to
// so far.
func (l *lane) inheritOutcome(m *stored.Msg, now time.Time) (calls int) {
	out, err := messages.DecodeOutcome(m.Data)
	if err != nil {
		return 1 // if it is of a newer version, a refusal is waited out
	}
	if out.Refund != nil { // else not of a refund that was created
		created := headerTime(m.Header, messages.HeaderFirstAt)
		if created.IsZero() {
			created = out.At
		}
		if now.Sub(created) < outcomesBack {
			l.orders.inherited(now, orderNumbers(out.Refund.TransactionID, out.Refund.OutTradeNo), out.Refund.OutRefundNo)
		}
	}
	if out.Status == messages.StatusStarted { // one more is about to be made
		return out.Attempts + 1
	}
	return max(out.Attempts, 1)
}

// about is what a command is about: commands about the same thing are carried out in the order of the stream.
func (l *lane) about(cmd messages.Command) string {
	if l.family == familyComplaint {
		return cmd.Complaint()
	}
	return cmd.Key()
}

// takeOver starts the reading of what the lane's former holder left; a reading that is still under way no longer counts. until is up to when
// that holder may go on making calls.
func (l *lane) takeOver(ctx context.Context, until time.Time, reached func(context.Context) (*jetstream.ConsumerInfo, error)) {
	to := &inheritance{read: make(chan struct{}), until: until}
	l.epoch.Lock()
	l.legacy = to
	l.epoch.Unlock()
	go l.inherit(ctx, to, reached) // ends with the answer, or with ctx
}

// inherited returns the legacy that must have been read before anything begins.
func (l *lane) inherited() *inheritance {
	l.epoch.Lock()
	defer l.epoch.Unlock()
	return l.legacy
}

// wary reports whether a refusal may be due to what the lane's former holder did a moment ago. While that is being read (again)
// it may.
func (l *lane) wary() bool {
	legacy := l.inherited()
	select {
	case <-legacy.read:
		return l.clock.Now().Before(legacy.wary)
	default:
		return true
	}
}

// delivered reads up to where the lane's commands have been delivered to anybody, and what is noted on its consumer.
func (l *lane) delivered(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	have, err := l.js.Consumer(ctx, l.stream, l.name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return &jetstream.ConsumerInfo{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read lane %s: %w", l.name, err)
	}
	l.adopt(have.CachedInfo())
	return have.CachedInfo(), nil
}
