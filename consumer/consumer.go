package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sirupsen/logrus"

	"wxpay-worker/dlq"
	"wxpay-worker/messages"
)

// Merchant is one whose commands are carried out, with the clients that call WeChat Pay in its name. The clients are used by many goroutines.
type Merchant struct {
	MchID        string // 1–32 digits
	Refunds      Refunds
	Complaints   Complaints
	SubMerchants bool // provider mode: commands may carry sub_mchid
	Quota        Quota
}

// Quota is what WeChat Pay lets a merchant do, over all its workers. The zero value limits nothing.
// Source: WeChat Pay, pay.weixin.qq.com/doc/v3/merchant/4013071036 (refunds), 4013071041 (queries), 4012068499 (complaints), 2026-08.
type Quota struct {
	Refunds        Rate // create calls
	FailingRefunds Rate // of those, the ones that are refused
	Complaints     Rate // calls that change a complaint
	Queries        Rate // refund queries: five sixths for following refunds, the rest for reading back
}

// DeadLetters keeps the commands that failed. *dlq.Queue does.
type DeadLetters interface {
	// Put stores a letter unless its command has one, and returns the sequence after the stream's confirmation.
	Put(ctx context.Context, d *messages.DeadLetter) (uint64, error)
	// Find returns the letter of one command; dlq.ErrNotFound if there is none.
	Find(ctx context.Context, mchid string, kind messages.Kind, key string, streamSeq uint64) (*dlq.Letter, error)
	// Remove deletes a letter.
	Remove(ctx context.Context, seq uint64) error
}

// Options of a Consumer. All fields are required, except Observer and Clock.
type Options struct {
	Conn        *nats.Conn
	Subjects    messages.Subjects
	Merchants   []Merchant
	DeadLetters DeadLetters
	Log         logrus.FieldLogger

	Concurrency int // deliveries in flight per lane
	// AckWait is how long a delivery is ours before the server gives it to somebody else. No call that changes something begins after three
	// quarters of it, so the clients' time-out should be at most a quarter of it.
	AckWait    time.Duration
	PinnedTTL  time.Duration // how long a lane stays with a worker that is gone
	Drain      time.Duration // how long deliveries in flight may take when Run ends; 0: they are handed back at once
	Retry      Retry
	Settlement Settlement
	Observer   Observer // nil: none
	Clock      *Clock   // nil: the wall clock
}

// Consumer carries out commands. Make it with New, start it with Run.
type Consumer struct {
	mu      sync.Mutex
	lanes   map[string]*lane // by name; guarded by mu
	run     *running         // nil while Run does not run, or drains; guarded by mu
	settler *settler
	drain   time.Duration
	*shared
}

// shared is what the lanes have in common; it does not change while they run.
type shared struct {
	nc          *nats.Conn
	js          jetstream.JetStream
	subjects    messages.Subjects
	ledger      *ledger
	letters     DeadLetters
	log         logrus.FieldLogger
	observer    Observer
	clock       *Clock
	concurrency int
	ackWait     time.Duration
	pinnedTTL   time.Duration
	retry       Retry
	settlement  Settlement
	// storeTimeout bounds one publish: long enough for a cluster to elect a leader, short enough to leave time in the lease
	// to hand the command back.
	storeTimeout time.Duration
	suspects     *turns        // one suspected command at a time in the whole process
	reading      chan struct{} // places for lanes that read a long legacy
}

// maxStoreTimeout is the bound where ack_wait leaves room for it.
const maxStoreTimeout = 10 * time.Second

// New prepares a consumer. It does no I/O; the streams must exist when Run is called (EnsureStreams). The error is nats.go's, and only about
// its own options.
func New(o Options) (*Consumer, error) {
	js, err := jetstream.New(o.Conn)
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	if o.Observer == nil {
		o.Observer = unobserved{}
	}
	c := &Consumer{drain: o.Drain, lanes: map[string]*lane{}, shared: &shared{
		nc: o.Conn, js: js, subjects: o.Subjects, letters: o.DeadLetters, log: o.Log, observer: o.Observer, clock: o.Clock,
		ledger:      newLedger(o.Conn, js, o.Subjects),
		concurrency: o.Concurrency, ackWait: o.AckWait, pinnedTTL: o.PinnedTTL, retry: o.Retry, settlement: o.Settlement,
		storeTimeout: min(maxStoreTimeout, o.Clock.Wall(o.AckWait/2)),
		suspects:     &turns{tail: map[string]chan struct{}{}},
		reading:      make(chan struct{}, readingAtOnce),
	}}
	c.settler = newSettler(c.shared)
	c.Reload(o.Merchants)
	return c, nil
}

// Run serves all lanes until ctx ends, and then drains them: no new deliveries, those in flight may finish within
// Options.Drain, the rest are handed back. It returns an error only if the connection cannot be used at all; what goes wrong
// with a lane is logged and tried again. It is to be called once.
func (c *Consumer) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	r := &running{work: work}
	r.ctx, r.fail = context.WithCancelCause(ctx)
	defer r.fail(nil)

	c.mu.Lock()
	c.run = r
	r.serve(&c.settler.queue)
	for _, l := range c.lanes {
		l.stop = r.serve(&l.queue)
	}
	c.mu.Unlock()

	var helpers sync.WaitGroup
	helping, dismiss := context.WithCancel(work)
	helpers.Go(func() { c.kickAfterReconnects(helping) })
	helpers.Go(func() { c.reportOrphans(helping) })
	helpers.Go(func() { c.balance(r.ctx) })
	helpers.Go(func() { c.settler.sweep(r.ctx) })
	<-r.ctx.Done()
	c.mu.Lock()
	c.run = nil // nothing is begun any more
	c.mu.Unlock()
	// A drain that takes too long is cut: what is in flight then is handed back.
	cut := time.AfterFunc(c.drain, stop)
	r.group.Wait()
	cut.Stop()
	dismiss()
	helpers.Wait()
	// Acknowledgements are not awaited one by one; here is where they must have left.
	if err := c.nc.FlushTimeout(c.storeTimeout); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		c.log.WithError(err).Warn("some acknowledgements may not have left; their commands come again, and the ledger answers")
	}
	if ctx.Err() == nil {
		return context.Cause(r.ctx) // a queue could not be served
	}
	return nil
}

// kickAfterReconnects tells every lane when the connection is new.
func (c *Consumer) kickAfterReconnects(ctx context.Context) {
	connected := c.nc.StatusChanged(nats.CONNECTED)
	defer c.nc.RemoveStatusListener(connected)
	for {
		select {
		case <-connected:
			for _, q := range c.queues() {
				q.kick()
			}
		case <-ctx.Done():
			return
		}
	}
}

// orphanInterval is how often commands of unknown merchants are looked for.
const orphanInterval = time.Minute

// reportOrphans says how many commands wait for merchants that the configuration does not know. They stay untouched.
func (c *Consumer) reportOrphans(ctx context.Context) {
	tick := time.NewTicker(orphanInterval)
	defer tick.Stop()
	reported := map[string]uint64{}
	for {
		orphans, err := c.Orphans(ctx)
		if err != nil && ctx.Err() == nil {
			c.log.WithError(err).Warn("cannot look for orphaned commands")
		}
		for mchid, n := range orphans {
			if reported[mchid] != n {
				c.log.WithFields(logrus.Fields{fieldMchID: mchid, fieldCount: n}).Warn("commands wait for a merchant that is not configured")
			}
		}
		if err == nil {
			reported = orphans
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Orphans counts the waiting commands of merchants that the configuration does not know, by merchant.
func (c *Consumer) Orphans(ctx context.Context) (map[string]uint64, error) {
	var known []string
	c.mu.Lock()
	for _, l := range c.lanes {
		known = append(known, l.mchid)
	}
	c.mu.Unlock()
	return Orphans(ctx, c.js, c.subjects, known)
}

// send puts a command on its subject and awaits the stream's confirmation.
func (s *shared) send(ctx context.Context, mchid string, kind messages.Kind, body []byte, from nats.Header) error {
	ctx, cancel := context.WithTimeout(ctx, s.storeTimeout)
	defer cancel()
	msg := &nats.Msg{Subject: s.subjects.Command(mchid, kind), Data: body, Header: nats.Header{}}
	if trace := messages.Traceparent(messages.Header(from)); trace != "" {
		msg.Header.Set(messages.HeaderTraceparent, trace)
	}
	_, err := s.js.PublishMsg(ctx, msg)
	return err
}
