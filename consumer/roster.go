package consumer

import (
	"context"
	"sync"
	"time"
)

// running is one Run.
type running struct {
	ctx   context.Context // ends when the drain begins
	work  context.Context // ends when what is in flight must be handed back
	fail  context.CancelCauseFunc
	group sync.WaitGroup
}

// serve starts a queue; c.mu must be held. stop drains it.
func (r *running) serve(q *queue) (stop context.CancelFunc) {
	ctx, stop := context.WithCancel(r.ctx)
	r.group.Go(func() {
		defer stop()
		if err := q.run(ctx, r.work); err != nil {
			r.fail(err)
		}
	})
	return stop
}

// Reload makes these the merchants whose commands are carried out. Lanes of new ones are begun; those of merchants that are gone
// are drained, and their commands stay in the stream; keys, clients and quotas of the others change without a pause: what is
// in flight ends with those it began with.
func (c *Consumer) Reload(merchants []Merchant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wanted := map[string]bool{}
	for _, m := range merchants {
		for _, f := range []family{familyRefund, familyComplaint} {
			name := laneName(f, m.MchID)
			wanted[name] = true
			if l, known := c.lanes[name]; known {
				l.use(m)
				continue
			}
			l := newLane(c.shared, m, f)
			c.lanes[name] = l
			c.settler.follow(l)
			if c.run != nil {
				l.stop = c.run.serve(&l.queue)
			}
		}
	}
	for name, l := range c.lanes {
		if !wanted[name] {
			delete(c.lanes, name)
			c.settler.drop(l)
			l.stop()
		}
	}
}

// queues lists all that is served.
func (c *Consumer) queues() []*queue {
	c.mu.Lock()
	defer c.mu.Unlock()
	queues := []*queue{&c.settler.queue}
	for _, l := range c.lanes {
		queues = append(queues, &l.queue)
	}
	return queues
}

// LaneStatus is what this worker knows of one of its lanes. What the server knows of it is LaneState.
type LaneStatus struct {
	Name   string // of its consumer
	Stream string // of its commands
	MchID  string // "" for the settlement of all merchants
	Family string // "refund", "complaint" or "settlement"

	Ready    bool // its consumer is there, and commands are asked for
	Serving  bool // it is pinned to this worker: no other one serves it
	InFlight int  // deliveries that are being handled
	Paced    int  // of those, the ones that wait for their turn under a quota

	Held      string        // why it is held, "" if it is not
	HeldFor   time.Duration // until the next command is tried
	QuotaUsed float64       // calls that change something in the last window, as a share of the quota; 0 without a quota
	Slowed    float64       // how far WeChat Pay's throttling has slowed it down: 1 is full speed
}

// Status tells of every lane, and of the settlement, in no particular order.
func (c *Consumer) Status() []LaneStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := []LaneStatus{{
		Name: c.settler.name, Stream: c.settler.stream, Family: settlementLane, Slowed: 1,
		Ready: c.settler.ready.Load(), Serving: *c.settler.pinned.Load() != "", InFlight: int(c.settler.flying.Load()),
	}}
	for _, l := range c.lanes {
		all = append(all, l.status())
	}
	return all
}

func (l *lane) status() LaneStatus {
	s := LaneStatus{
		Name: l.name, Stream: l.stream, MchID: l.mchid, Family: string(l.family),
		Ready: l.ready.Load(), Serving: *l.pinned.Load() != "", InFlight: int(l.flying.Load()), Paced: int(l.paused.Load()),
		HeldFor: l.holding(),
	}
	l.hold.mu.Lock()
	s.Held = l.hold.reason
	l.hold.mu.Unlock()
	s.QuotaUsed, s.Slowed = l.writes.used()
	return s
}
