package consumer

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// settler takes what is due, for all merchants.
type settler struct {
	queue

	mu    sync.Mutex
	lanes map[string]*lane // the refund lanes, by merchant; guarded by mu
	busy  map[string]int   // looks in flight by merchant; guarded by mu
	// queued is when the last of a merchant's looks that found no room comes again; guarded by mu.
	queued map[string]time.Time
}

// What part of the looks in flight (Options.Concurrency) one merchant may have, as a divisor: its hanging queries must not stop the
// others'. As long as no other merchant has any it may have more, so that 150 refunds/s are followed also when an answer takes 200 ms.
// When few places are left, no merchant may have more than leaves one such share free, since the queries of several may hang.
const (
	settlerShare     = 4 // a quarter
	settlerShareSole = 2 // half
	settlerFew       = 4 // a quarter
)

func newSettler(s *shared) *settler {
	w := &settler{lanes: map[string]*lane{}, busy: map[string]int{}, queued: map[string]time.Time{}, queue: queue{
		shared: s, stream: s.subjects.SettlementsStream(), name: settlementLane, filter: s.subjects.SettlementDue("*"),
		log: s.log.WithField(fieldLane, settlementLane), limit: func() int { return s.concurrency },
	}}
	w.unsure = w.restart
	w.accept = w.due
	w.init()
	return w
}

// restart supposes that whoever took what was due before us has used the quotas. A look that is taken twice changes nothing.
func (w *settler) restart(context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.lanes {
		l.looks.restart(nil, time.Time{})
	}
}

// follow makes a refund lane's merchant one whose refunds are followed.
func (w *settler) follow(l *lane) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l.family == familyRefund {
		w.lanes[l.mchid] = l
	}
}

// drop ends that; what is due of the merchant is put off.
func (w *settler) drop(l *lane) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lanes[l.mchid] == l {
		delete(w.lanes, l.mchid)
		delete(w.queued, l.mchid)
	}
}

func (w *settler) lane(mchid string) *lane {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lanes[mchid]
}

// due reads what refunds are to be looked at.
func (w *settler) due(d *delivery) func(context.Context) {
	mchid, ok := w.subjects.ParseSettlementDue(d.msg.Subject)
	l := w.lane(mchid)
	if !ok || l == nil {
		// A merchant that is not configured here (any more): it may come back, or be another worker's that takes this queue next.
		return func(context.Context) { w.putOff(d, min(w.settlement.Max, unknownDelay)+w.inLine(mchid, Rate{})) }
	}
	s, err := readSchedule(d.msg)
	if err != nil {
		// Of a newer version, perhaps: that may take it.
		w.log.WithError(err).WithField(fieldMchID, mchid).Error("settlements cannot be read; they are kept")
		return func(context.Context) { w.putOff(d, w.settlement.Max) }
	}
	if !w.enter(mchid) {
		w.log.WithField(fieldMchID, mchid).Debug("looks put off: the merchant has as many in flight as it may")
		return func(context.Context) { w.putOff(d, w.settlement.First+w.inLine(mchid, l.looks.rate())) }
	}
	return func(work context.Context) {
		defer w.leave(mchid)
		l.lookAll(work, d, s)
	}
}

// putOff lets what is due come again after a while, by a new schedule. Handed back it would stay in the consumer's back-off; and when that is
// full, which one merchant's refunds could bring about, no merchant's are looked at any more.
func (w *settler) putOff(d *delivery, delay time.Duration) {
	schedule := &nats.Msg{Subject: d.msg.Header.Get(headerScheduler), Header: ownHeaders(d.msg), Data: d.msg.Data}
	if schedule.Subject == "" { // nothing that a schedule has brought: not ours
		if err := d.nak(delay); err != nil {
			w.log.WithError(err).Warn("settlements not put off; they come again after ack_wait")
		}
		return
	}
	if err := w.dueAfter(schedule, d.msg.Subject, delay); err != nil {
		w.log.WithError(err).Warn("settlements not put off; they come again after ack_wait")
		return
	}
	// Crash here: scheduled, and this comes again. It replaces the schedule.
	if err := d.ack(); err != nil {
		w.log.WithError(err).Warn("settlements put off but not acknowledged: they come again, and change nothing")
	}
}

// unknownDelay is how long looks for a merchant that is not configured here are put off: short, since it may be configured by then.
const unknownDelay = 10 * time.Minute

// unlimitedLooks is how many looks a second come back to a merchant without a quota after they were put off.
const unlimitedLooks = 1000

// inLine is how much longer a look that found no room is put off, because of those of its merchant that were put off before it: they come
// back no faster than the merchant may look. Otherwise all of them would come back once a minute, however many they are, and the store
// would do nothing else.
func (w *settler) inLine(mchid string, looks Rate) time.Duration {
	each := time.Second / unlimitedLooks
	if looks.N > 0 {
		each = looks.Per / time.Duration(looks.N)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.clock.Now()
	last, told := w.queued[mchid]
	if _, known := w.lanes[mchid]; !known && !told {
		w.log.WithField(fieldMchID, mchid).Warn("accepted refunds of a merchant that is not configured here are looked at later; all workers need the same merchants")
	}
	at := latest(last, now).Add(each)
	w.queued[mchid] = at
	return at.Sub(now)
}

func (w *settler) enter(mchid string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	merchants, left := len(w.busy), w.concurrency
	if w.busy[mchid] == 0 {
		merchants++
	}
	for _, looks := range w.busy {
		left -= looks
	}
	share := settlerShare
	switch {
	case merchants == 1:
		share = settlerShareSole
	case left <= w.concurrency/settlerFew:
		share = max(share, merchants+1)
	}
	if w.busy[mchid] >= max(1, w.concurrency/share) {
		return false
	}
	w.busy[mchid]++
	return true
}

func (w *settler) leave(mchid string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy[mchid]--; w.busy[mchid] == 0 {
		delete(w.busy, mchid)
	}
}
