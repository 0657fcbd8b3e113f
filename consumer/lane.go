package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sirupsen/logrus"

	"wxpay-worker/messages"
)

// maxAckPending is how many commands of a lane may be out or in back-off before it stands still. Measured: 10,000 in
// back-off cost fresh ones of the same lane nothing, 100,000 cost 13 % of the throughput.
const maxAckPending = 10_000

// family is what a lane's commands have in common: the quota they share.
type family string

const (
	familyRefund    family = "refund"
	familyComplaint family = "complaint"
)

// lane is one merchant's commands of one family: one durable pull consumer, pinned, so that exactly one worker of the fleet
// serves it at a time.
//
// run is its only goroutine besides the handlers of deliveries; the fields below the line belong to it.
type lane struct {
	*shared
	name       string // of the durable consumer
	filter     string // its subjects
	family     family
	mchid      string
	refunds    Refunds
	complaints Complaints
	provider   bool // commands may name a sub-merchant
	log        logrus.FieldLogger

	memory memory
	turns  turns
	// sure is the newest command that may have been delivered before without our knowing: a later one with delivery count 1
	// is provably delivered for the first time. All bits set: nothing is sure.
	sure   atomic.Uint64
	epoch  sync.Mutex // guards epochs, and sure against being raised for an epoch that is over
	epochs uint64
	// suspects is how many more commands that are not sure are asked about before they are carried out: a server that was
	// killed may have forgotten whom it gave them to, and no more than this were in flight.
	suspects atomic.Int64
	arrived  chan *nats.Msg
	through  chan struct{} // one value for each handler that ends
	kicked   chan struct{} // the connection is new: pulls are gone, and the server may have forgotten counts

	// ---
	pull     *puller
	inFlight int      // handlers
	unshared bool     // nobody served the lane before our first pin: it tells nothing new
	held     []*order // arrived beyond what was asked for (after a reconnect), kept alive until there is room
}

const nothingSure = ^uint64(0)

func newLane(s *shared, m Merchant, f family) *lane {
	l := &lane{
		shared: s, name: string(f) + "-" + m.MchID, family: f, mchid: m.MchID,
		refunds: m.Refunds, complaints: m.Complaints, provider: m.SubMerchants,
		log:     s.log.WithFields(logrus.Fields{fieldLane: string(f) + "-" + m.MchID}),
		memory:  memory{by: map[string]*attempts{}},
		turns:   turns{tail: map[string]chan struct{}{}},
		arrived: make(chan *nats.Msg), through: make(chan struct{}), kicked: make(chan struct{}, 1),
	}
	l.sure.Store(nothingSure)
	l.filter = s.subjects.Command(m.MchID, messages.KindRefund)
	if f == familyComplaint {
		l.filter = s.subjects.ComplaintCommands(m.MchID)
	}
	return l
}

// config is the lane's consumer. No MaxDeliver: a command ends when we say so, never because the server stopped counting.
func (l *lane) config() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: l.name, FilterSubject: l.filter, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: l.clock.Wall(l.ackWait), MaxDeliver: -1, MaxAckPending: maxAckPending,
		PriorityPolicy: jetstream.PriorityPolicyPinned, PriorityGroups: []string{pinGroup}, PinnedTTL: l.pinnedTTL,
	}
}

// ensure makes the lane's consumer what it should be, or is content if it may not and it is.
func (l *lane) ensure(ctx context.Context) error {
	stream := l.subjects.CommandsStream()
	want := l.config()
	have, err := l.js.Consumer(ctx, stream, l.name)
	if err == nil {
		c := have.CachedInfo().Config
		for _, group := range have.CachedInfo().PriorityGroups {
			l.unshared = l.unshared && group.PinnedClientID == ""
		}
		if c.FilterSubject == want.FilterSubject && c.AckWait == want.AckWait && c.MaxDeliver == want.MaxDeliver &&
			c.MaxAckPending == want.MaxAckPending && c.PriorityPolicy == want.PriorityPolicy && c.PinnedTTL == want.PinnedTTL {
			return nil
		}
	} else if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("read lane %s: %w", l.name, err)
	}
	if _, err := l.js.CreateOrUpdateConsumer(ctx, stream, want); err != nil {
		return fmt.Errorf("create lane %s: %w", l.name, err)
	}
	return nil
}

// run serves the lane until ctx ends, then drains it: nothing new is begun, what is in flight may finish as long as work
// lives, the rest is handed back.
func (l *lane) run(ctx, work context.Context) error {
	l.pull = newPuller(l.nc, l.subjects.CommandsStream(), l.name, l.pinnedTTL)
	closed := make(chan struct{})
	sub, err := l.nc.Subscribe(l.pull.inbox+".*", func(m *nats.Msg) {
		select {
		case l.arrived <- m:
		case <-closed:
		}
	})
	if err != nil {
		return fmt.Errorf("serve lane %s: %w", l.name, err)
	}
	defer close(closed)
	tick := time.NewTicker(l.pull.nextLapse())
	defer tick.Stop()
	// Set while the consumer is not known to be there: when to (try to) make sure. A lane that cannot be set up says so and
	// tries on; the others run.
	resume := time.After(0)
	l.unshared = true
	l.unsure(ctx)
	for ctx.Err() == nil {
		if resume == nil {
			if err := l.refill(); err != nil {
				l.log.WithError(err).Warn("cannot pull")
			}
		}
		select {
		case m := <-l.arrived:
			if l.take(work, m) == takenConsumer && resume == nil {
				resume = time.After(pullGrace)
			}
		case <-l.through:
			l.inFlight--
			l.beginHeld(work)
		case <-resume:
			resume = nil
			if err := l.ensure(ctx); err != nil {
				l.log.WithError(err).Warn("lane's consumer is out of reach")
				resume = time.After(pullGrace)
			}
		case <-l.kicked:
			l.pull.lapse(true)
			l.unshared = false
			l.unsure(ctx)
		case <-tick.C:
			l.pull.lapse(false)
			l.keepHeld(ctx)
		case <-ctx.Done():
		}
	}
	return l.drain(sub)
}

// refill asks for as many commands as there is room for, once the last pull is used up; without room it keeps the pin.
func (l *lane) refill() error {
	if room := l.concurrency - l.inFlight - len(l.held); room > 0 && l.pull.outstanding() == 0 {
		return l.pull.ask(room)
	}
	return l.pull.keepPin()
}

// take deals with a message that arrived: a command, or the server's word on a pull.
func (l *lane) take(work context.Context, m *nats.Msg) taken {
	what, repinned := l.pull.take(m)
	if repinned && !l.unshared {
		l.unsure(work)
	}
	l.unshared = l.unshared && !repinned
	if what != takenCommand {
		return what
	}
	o, err := l.open(m)
	if err != nil {
		l.log.WithError(err).Error("delivery that cannot be read; it will come again")
		return what
	}
	if l.inFlight >= l.concurrency {
		l.held = append(l.held, o)
		return what
	}
	l.start(work, o)
	return what
}

// open reads a delivery: metadata and command. What is wrong with the command is kept in the order.
func (l *lane) open(m *nats.Msg) (*order, error) {
	d, err := newDelivery(m, l.clock, l.ackWait)
	if err != nil {
		return nil, err
	}
	o := &order{delivery: d, began: l.clock.Now()}
	_, kind, ok := l.subjects.ParseCommand(m.Subject)
	if !ok {
		return nil, fmt.Errorf("subject %q is not a command's", m.Subject)
	}
	o.kind = kind
	o.cmd, o.malformed = l.decode(o)
	return o, nil
}

// decode decodes and validates the command. A decoder that panics makes a malformed command, not a dead worker.
func (l *lane) decode(o *order) (cmd messages.Command, malformed *messages.MalformedError) {
	defer func() {
		if p := recover(); p != nil {
			l.log.Errorf("panic in decoder: %T", p)
			malformed = &messages.MalformedError{Field: "body", Expected: "a command that can be decoded"}
		}
	}()
	cmd, err := messages.DecodeCommand(o.kind, l.mchid, messages.Header(o.msg.Header), o.msg.Data)
	if err != nil && !errors.As(err, &malformed) {
		malformed = &messages.MalformedError{Field: "body", Expected: "a command that can be decoded"}
	}
	if malformed == nil {
		malformed = l.unfit(cmd)
	}
	return cmd, malformed
}

// unfit reports what the merchant's configuration cannot carry.
func (l *lane) unfit(cmd messages.Command) *messages.MalformedError {
	sub, field := "", "sub_mchid"
	switch c := cmd.(type) {
	case *messages.RefundCommand:
		sub = c.SubMchID
	case *messages.DecisionCommand:
		if c.Refund != nil {
			sub, field = c.Refund.SubMchID, "refund.sub_mchid"
		}
	}
	if sub != "" && !l.provider {
		return &messages.MalformedError{Field: field, Expected: "none, since the merchant is not configured with sub_merchants"}
	}
	return nil
}

// start starts a delivery's handler. Deliveries of one refund number, or of one complaint, take turns as they arrived.
func (l *lane) start(work context.Context, o *order) {
	turn := messages.SeqKey(o.sequence)
	if o.malformed == nil {
		turn = o.cmd.Key()
		if l.family == familyComplaint {
			turn = o.cmd.Complaint()
		}
	}
	ready, done := l.turns.take(turn)
	l.inFlight++
	go func() {
		defer func() { l.through <- struct{}{} }()
		l.handle(work, o, ready, done)
	}()
}

// beginHeld begins the oldest delivery that was held for want of room.
func (l *lane) beginHeld(work context.Context) {
	if len(l.held) > 0 && l.inFlight < l.concurrency {
		o := l.held[0]
		l.held = l.held[1:]
		l.start(work, o)
	}
}

// keepHeld renews the leases of held deliveries; one whose lease cannot be renewed comes again by itself.
func (l *lane) keepHeld(ctx context.Context) {
	kept := l.held[:0]
	for _, o := range l.held {
		if l.clock.Now().Sub(o.leased) > l.ackWait/4 {
			if err := o.renew(ctx); err != nil {
				l.log.WithError(err).Warn("held delivery given up")
				continue
			}
		}
		kept = append(kept, o)
	}
	l.held = kept
}

// unsure notes that any command there is now may have been delivered before, to us or to another.
func (l *lane) unsure(ctx context.Context) {
	l.epoch.Lock()
	l.epochs++
	epoch := l.epochs
	l.sure.Store(nothingSure)
	l.suspects.Store(int64(l.concurrency))
	l.epoch.Unlock()
	go func() { // ends with the answer, or its time-out
		ctx, cancel := context.WithTimeout(ctx, l.storeTimeout)
		defer cancel()
		newest, err := l.ledger.lastCommand(ctx)
		if err != nil {
			return // everything stays unsure, which costs a look-up a command
		}
		l.epoch.Lock()
		defer l.epoch.Unlock()
		if l.epochs == epoch {
			l.sure.Store(newest)
		}
	}()
}

// suspect reports whether a delivery that counts as the first should be asked about all the same.
func (l *lane) suspect(o *order) bool {
	return o.sequence <= l.sure.Load() && l.suspects.Add(-1) >= 0
}

// kick tells the lane that its connection is new.
func (l *lane) kick() {
	select {
	case l.kicked <- struct{}{}:
	default: // it has been told and has not looked yet
	}
}

// drain gives back what has not begun and waits for what has. The server takes back what it could not deliver any more.
func (l *lane) drain(sub *nats.Subscription) error {
	drained := make(chan struct{}, 2)
	sub.SetClosedHandler(func(string) { drained <- struct{}{} })
	if err := sub.Drain(); err != nil {
		drained <- struct{}{} // no connection: what is on its way comes again after ack_wait
	}
	draining := true
	for _, o := range l.held {
		l.finish(o, again("drained", 0, nil))
	}
	for l.inFlight > 0 || draining {
		select {
		case m := <-l.arrived:
			if what, _ := l.pull.take(m); what == takenCommand {
				if err := m.Nak(); err != nil {
					l.log.WithError(err).Warn("delivery not handed back; it comes again after ack_wait")
				}
			}
		case <-l.through:
			l.inFlight--
		case <-drained:
			draining = false
		}
	}
	return l.handOver()
}

// handOver gives the pin up, so that another worker takes the lane at once and not when the pin has run out.
func (l *lane) handOver() error {
	if l.pull.pin == "" || !l.nc.IsConnected() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.storeTimeout)
	defer cancel()
	stream, err := l.js.Stream(ctx, l.subjects.CommandsStream())
	if err == nil {
		err = stream.UnpinConsumer(ctx, l.name, pinGroup)
	}
	if err != nil {
		l.log.WithError(err).Warn("lane not handed over; another worker takes it when the pin has run out")
	}
	return nil
}
