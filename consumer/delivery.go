package consumer

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// delivery is one hand-over of a command by the server, and our lease on it.
//
// The lease runs for ack_wait from arrival, or from the last renewal that the server confirmed; after it the server hands
// the command to somebody else. No writing call begins after three quarters of it (the budget), so that a call that was
// begun in time also ends in time.
type delivery struct {
	msg       *nats.Msg
	sequence  uint64    // of the command in the commands stream: its identity there
	delivered uint64    // hand-overs so far, this one included; a single server may forget some at kill -9
	stored    time.Time // when the server stored the command, by its clock
	first     bool      // whether the queue's consumer had delivered nothing before
	pin       string    // by which the queue was ours when it was delivered

	clock   *Clock
	ackWait time.Duration
	arrived time.Time // by our clock, as what follows
	leased  time.Time // when the lease began
}

func newDelivery(msg *nats.Msg, clock *Clock, ackWait time.Duration) (*delivery, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return nil, fmt.Errorf("read delivery metadata: %w", err)
	}
	now := clock.Now()
	return &delivery{
		msg: msg, sequence: meta.Sequence.Stream, delivered: meta.NumDelivered, stored: meta.Timestamp, first: meta.Sequence.Consumer == 1,
		clock: clock, ackWait: ackWait, arrived: now, leased: now,
	}, nil
}

// leaseEnd is when the server may hand the command to somebody else.
func (d *delivery) leaseEnd() time.Time { return d.leased.Add(d.ackWait) }

// untilLeaseEnd returns a context for what is done for the delivery: it ends with the lease, since after that the command is somebody else's.
func (d *delivery) untilLeaseEnd(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d.clock.Wall(d.leaseEnd().Sub(d.clock.Now())))
}

// mayWrite reports whether there is budget left to begin a call that changes something at WeChat Pay.
func (d *delivery) mayWrite() bool {
	return d.clock.Now().Before(d.leased.Add(d.ackWait * 3 / 4))
}

// renew starts the lease anew, once the server has confirmed it. It must not be tried after the lease's end: the server
// confirms it to whoever asks, also while somebody else has the command by then.
func (d *delivery) renew(ctx context.Context) error {
	asked := d.clock.Now()
	if !asked.Before(d.leaseEnd()) {
		return fmt.Errorf("renew lease: it ended %s ago", asked.Sub(d.leaseEnd()))
	}
	ctx, cancel := d.untilLeaseEnd(ctx)
	defer cancel()
	if err := d.msg.InProgress(nats.Context(ctx)); err != nil {
		return fmt.Errorf("renew lease: %w", err)
	}
	d.leased = asked
	return nil
}

// wait returns nil when ready is closed and the lease is fresh enough to begin on; it renews the lease for as long as it waits. It returns an
// error if the lease cannot be renewed, or ctx ends.
func (d *delivery) wait(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ready:
		if ctx.Err() == nil && d.fresh() { // nearly always, and without a timer
			return nil
		}
	default:
	}
	beat := time.NewTicker(max(d.clock.Wall(d.ackWait/4), time.Millisecond))
	defer beat.Stop()
	for {
		select {
		case <-ready:
			if d.fresh() {
				return nil
			}
			return d.renew(ctx)
		case <-beat.C:
			if err := d.renew(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fresh reports whether less than a quarter of the lease is over: then something may be begun without renewing it.
func (d *delivery) fresh() bool { return d.clock.Now().Sub(d.leased) < d.ackWait/4 }

// The ends of a delivery. An acknowledgement that is lost costs one redelivery, which the ledger answers: none is awaited.

// ack says that the command has ended and its end is recorded.
func (d *delivery) ack() error { return d.msg.Ack() }

// nak hands the command back, to come again after the delay.
func (d *delivery) nak(delay time.Duration) error {
	if delay = d.clock.Wall(delay); delay <= 0 {
		return d.msg.Nak() // NakWithDelay(0) is the same, but says so less plainly
	}
	return d.msg.NakWithDelay(delay)
}

// term says that the command has ended as a dead letter. The reason shows in the server's advisory.
func (d *delivery) term(reason string) error { return d.msg.Respond([]byte("+TERM " + reason)) }
