package consumer

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
)

// family is what a lane's commands have in common: the quota they share.
type family string

const (
	familyRefund    family = "refund"
	familyComplaint family = "complaint"
)

// lane is one merchant's commands of one family: a queue of their own, with its own quota, its own troubles and its own
// memory.
type lane struct {
	queue
	family family
	mchid  string
	api    atomic.Pointer[Merchant] // as it was last configured
	stop   context.CancelFunc       // drains the lane; the Consumer's

	writes *pace // calls that change something
	reads  *pace // reading back: an allowance of its own, so that neither starves the other
	looks  *pace // of a refund lane: following accepted refunds
	orders *spacing

	following together[followed, struct{}] // schedules the first looks at what was accepted
	paused    atomic.Int64                 // deliveries that wait for their turn under a quota: while there are any, no more are asked for

	hold   hold
	memory memory
	turns  turns
	line   line
	notes  sync.Mutex // one change of the consumer's metadata at a time

	suspicion suspicion
	untouched untouched
	scheduled scheduled
	// sure is the newest command that may have been delivered before without our knowing: a later one with delivery count 1
	// is provably delivered for the first time. All bits set: nothing is sure.
	sure   atomic.Uint64
	epoch  sync.Mutex   // guards epochs and legacy; sure is raised under it, and only for the epoch that is not over
	epochs uint64       // how often everything became unsure
	legacy *inheritance // what the lane's former holder left; nothing begins before it has been read
	// unasked is how many more commands that count as delivered for the first time, and are not sure, are asked about at WeChat Pay before
	// they are carried out: a server that was killed may have forgotten that it had delivered them. No more than this were in flight.
	unasked atomic.Int64
	pin     string // by which we had the lane when it was last in doubt; the queue's goroutine's
}

const nothingSure = ^uint64(0)

func newLane(s *shared, m Merchant, f family) *lane {
	name := laneName(f, m.MchID)
	l := &lane{
		queue: queue{
			shared: s, stream: s.subjects.CommandsStream(), name: name, filter: laneFilter(s.subjects, f, m.MchID),
			log: s.log.WithField(fieldLane, name),
		},
		family: f, mchid: m.MchID, stop: func() {},
		memory: newMemory(),
		turns:  turns{tail: map[string]chan struct{}{}},
		line:   newLine(),

		suspicion: suspicion{worker: s.ledger.worker, answered: map[uint64]bool{}, deaths: map[uint64]int{}},
		untouched: untouched{by: map[uint64]uint64{}},
		scheduled: scheduled{by: map[uint64]bool{}},
	}
	l.writes, l.reads, l.looks = newPace(s.clock), newPace(s.clock), newPace(s.clock)
	l.writes.spreads = true // what waits for it waits in the lane; looks wait in a queue that all merchants share
	l.use(m)
	l.orders = newSpacing(s.clock)
	l.following.do, l.following.weight = l.followAll, followed.size
	l.following.most = func() int { return min(maxTogether, int(s.nc.MaxPayload()/8)) }
	l.limit = l.room
	l.ahead = l.prefetch
	l.accept, l.unsure, l.found, l.tend = l.receive, l.doubt, l.findWork, l.tendHold
	l.hold = hold{subs: map[string]*subHold{}, told: true}
	l.init()
	l.sure.Store(nothingSure)
	return l
}

// readBackShare is how many times as many reading calls a complaint lane may make as calls that change something: detail and
// history, of each. WeChat Pay publishes no figure for them; it allows 200 list queries a minute.
const readBackShare = 2

// use makes the merchant's clients and quotas those of the lane. What is in flight ends with those it began with.
func (l *lane) use(m Merchant) {
	l.api.Store(&m)
	q := m.Quota
	if l.family == familyComplaint {
		l.writes.adjust(q.Complaints, Rate{})
		l.reads.adjust(Rate{N: q.Complaints.N * readBackShare, Per: q.Complaints.Per}, Rate{})
		return
	}
	l.writes.adjust(q.Refunds, q.FailingRefunds)
	if q.Queries.N > 0 {
		reads := max(1, q.Queries.N/6)
		l.looks.adjust(Rate{N: max(1, q.Queries.N-reads), Per: q.Queries.Per}, Rate{})
		l.reads.adjust(Rate{N: reads, Per: q.Queries.Per}, Rate{})
	} else {
		l.looks.adjust(Rate{}, Rate{})
		l.reads.adjust(Rate{}, Rate{})
	}
}

// merchant is the merchant as it was last configured.
func (l *lane) merchant() *Merchant { return l.api.Load() }

// prefetch is how many commands are asked for at once, 0 for any number: a second's worth of the quota, which is many refunds
// and one complaint call.
func (l *lane) prefetch() int {
	r := l.writes.rate()
	if r.N == 0 {
		return 0
	}
	return max(1, int(time.Duration(r.N)*time.Second/r.Per))
}

// room is how many deliveries may be in flight now: none more while some of what is here waits for the quota.
func (l *lane) room() int {
	switch {
	case l.paused.Load() > 0, l.holding() > 0:
		return 0
	case l.probing():
		return 1
	}
	return l.concurrency
}

// receive reads a delivered command and puts it in line: it is the lane's queue.accept. What is wrong with the command is kept in the job.
//
// Deliveries of one refund number, or of one complaint, take turns as they arrived, and let older commands about it go first.
func (l *lane) receive(d *delivery) func(context.Context) {
	if l.suspicion.suspected(d) {
		return func(work context.Context) { l.handleSuspect(work, d) }
	}
	o := l.newJob(d)
	o.untouched = l.untouched.take(d)
	ready, done := l.join(o)
	return func(work context.Context) { l.handle(work, o, ready, done) }
}

// join decodes the command and puts it in line.
func (l *lane) join(o *job) (ready <-chan struct{}, done func()) {
	o.cmd, o.malformed = l.decode(o.kind, o.header, o.body)
	turn := messages.SeqKey(o.sequence)
	if o.malformed == nil {
		o.about = l.about(o.cmd)
		l.line.join(o.about, o.sequence, time.Time{})
		turn = o.about
	}
	return l.turns.take(turn)
}

// decode decodes and validates the command. A decoder that panics makes a malformed command, not a dead worker.
func (l *lane) decode(kind messages.Kind, header nats.Header, body []byte) (cmd messages.Command, malformed *messages.MalformedError) {
	undecodable := &messages.MalformedError{Field: "command", Expected: "what can be decoded"}
	defer func() {
		if p := recover(); p != nil {
			l.log.Errorf("panic in decoder: %T", p)
			malformed = undecodable
		}
	}()
	cmd, err := messages.DecodeCommand(kind, l.mchid, messages.Header(header), body)
	if err != nil && !errors.As(err, &malformed) {
		malformed = undecodable
	}
	return cmd, malformed
}

// unfit reports what the merchant's configuration cannot carry. It may have been another when the command was begun: what may have happened
// is asked about first.
func (l *lane) unfit(cmd messages.Command) *messages.MalformedError {
	refund, prefix := cmd, ""
	if d, ok := cmd.(*messages.DecisionCommand); ok && d.Refund != nil {
		refund, prefix = d.RefundStep(), "refund."
	}
	c, ok := refund.(*messages.RefundCommand)
	if !ok {
		return nil
	}
	if c.SubMchID != "" && !l.merchant().SubMerchants {
		return &messages.MalformedError{Field: prefix + "sub_mchid", Expected: "none, since the merchant is not configured with sub_merchants"}
	}
	var argument *wxpay.ArgumentError
	if api, limited := l.merchant().Refunds.(interface {
		Carries(*wxpay.RefundRequest) error
	}); limited && errors.As(api.Carries(refundRequest(c)), &argument) {
		return &messages.MalformedError{Field: prefix + argument.Name, Expected: "what the merchant's refund_api carries: " + argument.Rule}
	}
	return nil
}

// findWork is told what the lane's consumer is like before anything is pulled from it; info is as it was before us.
func (l *lane) findWork(ctx context.Context, info *jetstream.ConsumerInfo) {
	l.adopt(info)
	if l.inherited() == nil {
		l.takeOver(ctx, time.Time{}, func(ctx context.Context) (have *jetstream.ConsumerInfo, err error) {
			if have, info = info, nil; have == nil { // again
				return l.delivered(ctx)
			}
			return have, nil
		})
	}
}

// doubt notes that any command that is in the stream now may have been delivered before, to us or to another worker.
func (l *lane) doubt(ctx context.Context) {
	var until time.Time // up to when whoever had the lane may go on making calls
	if l.pin != l.pull.pin {
		if time.Since(l.free) >= l.pinnedTTL { // otherwise nobody had it: no pin runs out so soon after we saw none
			until = l.clock.At(time.Now().Add(2 * l.tenure()))
		}
		l.free = time.Time{}
		// Another may have had the lane: what we remember of open commands may be out of date. Who remembers nothing asks.
		l.pin = l.pull.pin
		l.memory.clear()
		l.line.clear()
		l.suspicion.clear()
		l.scheduled.clear()
		l.takeOver(ctx, until, l.delivered)
	}
	l.epoch.Lock()
	l.epochs++
	epoch := l.epochs
	l.sure.Store(nothingSure)
	l.unasked.Store(int64(l.concurrency))
	l.epoch.Unlock()
	for _, p := range []*pace{l.writes, l.reads} {
		p.restart(nil, until) // whoever had the lane may have used its quota up
	}
	go func() { // ends with the answer, or its time-out
		ctx, cancel := context.WithTimeout(ctx, l.storeTimeout)
		defer cancel()
		newest, _, err := l.ledger.lastCommand(ctx)
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

// forgotten reports whether a delivery that counts as the first should be asked about all the same.
func (l *lane) forgotten(o *job) bool {
	return o.sequence <= l.sure.Load() && l.unasked.Add(-1) >= 0
}
