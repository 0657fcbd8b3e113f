package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sirupsen/logrus"
)

// maxAckPending is how many messages of a queue may be out or in back-off before it stands still. Measured: 10,000 in
// back-off cost fresh ones of the same queue nothing, 100,000 cost 13 % of the throughput.
const maxAckPending = 10_000

// queue serves one durable pull consumer, pinned, so that exactly one worker of the fleet serves it at a time.
//
// run is its only goroutine besides the handlers of deliveries; the fields below the line belong to it.
type queue struct {
	*shared
	stream string
	name   string // of the durable consumer
	filter string // its subjects
	log    logrus.FieldLogger
	// limit is how many deliveries may be in flight now.
	limit func() int
	// ahead is how many are asked for at once; 0: as many as may be in flight.
	ahead func() int
	// accept prepares a delivery, in the order of arrival, and returns what to do about it in a goroutine of its own.
	accept func(d *delivery) (handle func(work context.Context))
	// found is told what the consumer is like before anything is pulled from it, tend is called now and then and told whether a
	// pull is open.
	found func(work context.Context, info *jetstream.ConsumerInfo)
	tend  func(ctx context.Context, open bool)
	// unsure is told when any message there is now may have been delivered before, to us or to another.
	unsure func(work context.Context)

	arrived chan *nats.Msg
	through chan struct{} // one value for each handler that ends
	kicked  chan struct{} // the connection is new: pulls are gone, and the server may have forgotten counts
	nudged  chan struct{} // the limit may have changed
	yields  chan struct{} // the queue is to be given up for a while

	yielding atomic.Bool // from then until it has been

	ready  atomic.Bool            // what others may know: whether messages are asked for,
	pinned atomic.Pointer[string] // by what the server knows us while the queue is ours, "" while it is not,
	flying atomic.Int64           // and inFlight
	owned  owned                  // until when it is ours, for all we know

	// ---
	pull     *puller
	inFlight int         // handlers
	unshared bool        // as far as we know nobody has served the queue since we began: our first pin is no change of hands
	free     time.Time   // when we saw, at the start, that nobody had the queue or anything of it in hand; zero once it was ours
	giving   bool        // it is being given up: nothing more is asked for
	rest     time.Time   // it has been: nothing is asked for before this
	fewSince time.Time   // when there first came to be room for few since we last asked; zero if there did not
	held     []*delivery // arrived beyond what was asked for (after a reconnect), kept alive until there is room
}

func (q *queue) init() {
	q.arrived, q.through = make(chan *nats.Msg), make(chan struct{})
	q.kicked, q.nudged, q.yields = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	q.pinned.Store(new(string))
	q.owned.asking = make(chan struct{}, 1)
	q.pull = newPuller(q.nc, q.stream, q.name, q.pinnedTTL)
	if q.ahead == nil {
		q.ahead = func() int { return 0 }
	}
}

// config is the queue's consumer.
func (q *queue) config() jetstream.ConsumerConfig {
	return laneConfig(q.name, q.filter, q.clock.Wall(q.ackWait), q.pinnedTTL)
}

// ensure makes the queue's consumer what it should be. A worker that may not change consumers is content with one that fits already. What
// found begins may go on for as long as work lives.
func (q *queue) ensure(ctx, work context.Context) error {
	asked := time.Now()
	change, err := Part{Kind: PartLane, Name: q.name, stream: jetstream.StreamConfig{Name: q.stream}, lane: q.config()}.Plan(ctx, q.js)
	if err != nil {
		return err
	}
	info := change.consumer
	if info == nil {
		info = &jetstream.ConsumerInfo{} // it is new: nobody was given anything
	}
	unpinned := pinOf(info) == ""
	q.unshared = q.unshared && unpinned
	if unpinned && info.NumAckPending == 0 && q.pull.number == 0 { // at the start: a server that was killed may have forgotten both
		q.free = asked
	}
	if q.found != nil {
		q.found(work, info)
	}
	if err := change.Misfit(); err != nil {
		return err
	}
	return change.Apply(ctx, q.js)
}

// run serves the queue until ctx ends, then drains it: nothing new is begun, what is in flight may finish as long as work
// lives, the rest is handed back.
func (q *queue) run(ctx, work context.Context) error {
	ended := make(chan struct{})
	sub, err := q.nc.Subscribe(q.pull.inbox+".*", func(m *nats.Msg) {
		select {
		case q.arrived <- m:
		case <-ended: // nobody takes it any more
		}
	})
	if err != nil {
		return fmt.Errorf("serve lane %s: %w", q.name, err)
	}
	defer close(ended)
	tick := time.NewTicker(q.pull.lapseInterval())
	defer tick.Stop()
	// Set while the consumer is not known to be there: when to (try to) make sure. A queue that cannot be set up says so and
	// tries on; the others run.
	resume := time.After(0)
	q.unshared = true
	q.unsure(work)
	defer q.ready.Store(false)
	for ctx.Err() == nil {
		q.show(resume == nil)
		if resume == nil {
			q.giveUp()
			if err := q.refill(); err != nil {
				q.log.WithError(err).Warn("cannot pull")
			}
		}
		if q.tend != nil && resume == nil {
			q.tend(ctx, q.pull.open())
		}
		select {
		case m := <-q.arrived:
			if q.take(work, m) == takenConsumer && resume == nil {
				resume = time.After(pullGrace)
			}
		case <-q.through:
			q.inFlight--
			q.beginHeld(work)
		case <-q.nudged:
		case <-q.yields:
			q.giving = q.pull.pin != ""
			q.yielding.Store(q.giving)
		case <-resume:
			resume = nil
			if err := q.ensure(ctx, work); err != nil {
				q.log.WithError(err).Warn("lane's consumer is out of reach")
				resume = time.After(pullGrace)
			}
		case <-q.kicked:
			q.pull.forget()
			q.owned.extend(time.Time{}, 0)
			q.unshared = false
			q.unsure(work)
		case <-tick.C:
			q.pull.lapse()
			q.keepHeld(ctx)
		case <-ctx.Done():
		}
	}
	return q.drain(sub)
}

// show lets others know how the queue stands.
func (q *queue) show(ready bool) {
	q.ready.Store(ready)
	q.flying.Store(int64(q.inFlight))
	if pin := q.pull.pin; *q.pinned.Load() != pin {
		q.pinned.Store(&pin)
	}
}

// giveUp hands the queue to another worker once nothing of it is in our hands, if it is to be given up.
func (q *queue) giveUp() {
	if !q.giving || q.pull.open() || q.inFlight > 0 || len(q.held) > 0 {
		return
	}
	q.log.Info("lane given up: another worker has fewer")
	q.handOver()
	q.giving, q.pull.pin = false, ""
	q.yielding.Store(false)
	q.rest = time.Now().Add(balanceRest * q.pinnedTTL)
}

// refill asks for as many messages as there is room for, once the last pull is used up; without room it keeps the pin.
func (q *queue) refill() error {
	if q.giving || time.Now().Before(q.rest) {
		return q.pull.keepPin()
	}
	limit := q.limit()
	room := limit - q.inFlight - len(q.held)
	if room <= 0 || q.pull.open() || q.few(room, limit/worthPulling) {
		return q.pull.keepPin()
	}
	if ahead := q.ahead(); ahead > 0 {
		room = min(room, ahead)
	}
	return q.pull.ask(room)
}

const (
	// A pull for each single command would take a sixth to a third of all the processor time that a v2 refund costs (measured at half load).
	// So a pull waits until there is room for a sixteenth of what may be in flight,
	worthPulling = 16
	// but no longer than this: where some deliveries hang, the rest of the queue must not wait for them.
	fewWait = 5 * time.Millisecond
)

// few reports whether there is room for so few that it should wait for more.
func (q *queue) few(room, enough int) bool {
	now := time.Now()
	switch {
	case room >= enough:
	case q.fewSince.IsZero():
		q.fewSince = now
		time.AfterFunc(fewWait, q.nudge)
		return true
	case now.Sub(q.fewSince) < fewWait:
		return true
	}
	q.fewSince = time.Time{}
	return false
}

// take deals with a message that arrived: a delivery, or the server's word on a pull.
func (q *queue) take(work context.Context, m *nats.Msg) taken {
	what, repinned := q.pull.take(m)
	if what != takenCommand {
		return what
	}
	q.show(q.ready.Load())
	if repinned {
		q.owned.extend(time.Time{}, 0)
	}
	d, err := newDelivery(m, q.clock, q.ackWait)
	if err != nil {
		q.log.WithError(err).Error("delivery that cannot be read; it will come again")
		return what
	}
	d.pin = q.pull.pin
	// Nobody served the queue when we looked, but somebody may have had it and gone before it came to us.
	if repinned && !(q.unshared && d.first) {
		q.unsure(work)
	}
	q.unshared = q.unshared && !repinned
	if q.inFlight >= q.concurrency {
		q.held = append(q.held, d)
		return what
	}
	q.begin(work, d)
	return what
}

// begin starts a delivery's handler.
func (q *queue) begin(work context.Context, d *delivery) {
	handle := q.accept(d)
	q.inFlight++
	go func() {
		defer func() { q.through <- struct{}{} }()
		handle(work)
	}()
}

// beginHeld begins the oldest delivery that was held for want of room.
func (q *queue) beginHeld(work context.Context) {
	if len(q.held) > 0 && q.inFlight < q.concurrency {
		d := q.held[0]
		q.held = q.held[1:]
		q.begin(work, d)
	}
}

// keepHeld renews the leases of held deliveries; one whose lease cannot be renewed comes again by itself.
func (q *queue) keepHeld(ctx context.Context) {
	kept := q.held[:0]
	for _, d := range q.held {
		if q.clock.Now().Sub(d.leased) > q.ackWait/4 {
			if err := d.renew(ctx); err != nil {
				q.log.WithError(err).Warn("held delivery given up")
				continue
			}
		}
		kept = append(kept, d)
	}
	q.held = kept
}

// kick tells the queue that its connection is new.
func (q *queue) kick() { signal(q.kicked) }

// yield asks the queue to let another worker have it.
func (q *queue) yield() {
	q.yielding.Store(true)
	signal(q.yields)
}

// nudge tells the queue that its limit may have changed.
func (q *queue) nudge() { signal(q.nudged) }

// signal wakes whoever reads c; if it has been told and has not looked yet, that is enough.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// drain gives back what has not begun and waits for what has. The server takes back what it could not deliver any more.
func (q *queue) drain(sub *nats.Subscription) error {
	defer q.pinned.Store(new(string))
	drained := make(chan struct{}, 2)
	sub.SetClosedHandler(func(string) { drained <- struct{}{} })
	if err := sub.Drain(); err != nil {
		drained <- struct{}{} // no connection: what is on its way comes again after ack_wait
	}
	draining := true
	for _, d := range q.held {
		q.giveBack(d.msg)
	}
	for q.inFlight > 0 || draining {
		select {
		case m := <-q.arrived:
			if what, _ := q.pull.take(m); what == takenCommand {
				q.giveBack(m)
			}
		case <-q.through:
			q.inFlight--
		case <-drained:
			draining = false
		}
	}
	q.handOver()
	return nil
}

func (q *queue) giveBack(m *nats.Msg) {
	if err := m.Nak(); err != nil {
		q.log.WithError(err).Warn("delivery not handed back; it comes again after ack_wait")
	}
}

// handOver gives the pin up, so that another worker takes the queue at once and not when the pin has run out. If it has, as in a drain that
// takes long, another has the queue by now, and that one's pin is not ours to end.
func (q *queue) handOver() {
	if q.pull.pin == "" || !q.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), q.storeTimeout)
	defer cancel()
	if errors.Is(q.askWhose(ctx, q.pull.pin), errTaken) {
		return
	}
	stream, err := q.js.Stream(ctx, q.stream)
	if err == nil {
		err = stream.UnpinConsumer(ctx, q.name, pinGroup)
	}
	if err != nil {
		q.log.WithError(err).Warn("lane not handed over; another worker takes it when the pin has run out")
	}
}
