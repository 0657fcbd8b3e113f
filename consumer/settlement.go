package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"wxpay-worker/dlq"
	"wxpay-worker/messages"
)

// An accepted refund is followed by query until its final state, for as long as Settlement.GiveUp. Waiting is done by message
// schedules: one for each refund, which carries the command and replaces the one before, and which the server turns into a
// message when its time has come. So a refund that is being followed costs a record in the store and nothing here.
//
// The schedule is written before `accepted`, `accepted` before the acknowledgement: an `accepted` refund is always followed.

// The headers by which a schedule knows what it follows, besides those that dead letters have too.
const (
	headerSchedule       = "Nats-Schedule"
	headerScheduleTarget = "Nats-Schedule-Target"
	headerAcceptedAt     = "Wxpay-Accepted-At"
	headerLooks          = "Wxpay-Looks"
)

// followed is a refund that is being followed.
type followed struct {
	acceptedAt time.Time
	looks      int // that were taken
	attempts   int // deliveries of the command that made a writing call
}

// follow schedules the next look at a refund and returns when the stream has confirmed it.
func (l *lane) follow(ctx context.Context, o *order, f followed) error {
	kept, _ := messages.KeepHeaders(messages.Header(o.msg.Header))
	header := nats.Header{}
	maps.Copy(header, kept)
	for name, value := range map[string]string{
		headerAcceptedAt:         f.acceptedAt.UTC().Format(time.RFC3339Nano),
		headerLooks:              strconv.Itoa(f.looks),
		messages.HeaderAttempts:  strconv.Itoa(f.attempts),
		messages.HeaderStreamSeq: strconv.FormatUint(o.sequence, 10),
		messages.HeaderFirstAt:   o.began.UTC().Format(time.RFC3339Nano),
		messages.HeaderReplays:   o.msg.Header.Get(messages.HeaderReplays),
		messages.HeaderCommandID: o.cmd.Base().ID,
		headerScheduleTarget:     l.subjects.SettlementDue(l.mchid),
		// Nanoseconds: the client library's own option drops them, and schedules would fire up to a second early.
		headerSchedule: "@at " + time.Now().Add(l.clock.Wall(l.settlement.Delay(f.looks+1))).UTC().Format(time.RFC3339Nano),
	} {
		if value != "" {
			header.Set(name, value)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.storeTimeout)
	defer cancel()
	msg := &nats.Msg{Subject: l.subjects.SettlementAt(l.mchid, o.cmd.Key()), Header: header, Data: o.msg.Data}
	if _, err := l.js.PublishMsg(ctx, msg); err != nil {
		return fmt.Errorf("schedule settlement: %w", err)
	}
	return nil
}

// settler takes what is due, for all merchants.
type settler struct {
	queue

	mu    sync.Mutex
	lanes map[string]*lane // the refund lanes, by merchant; guarded by mu
	busy  map[string]int   // looks in flight by merchant; guarded by mu
}

// How much of the looks in flight one merchant may have: its hanging queries must not stop the others'. As long as nobody else has
// any it may have more, so that 150 refunds/s are followed also when an answer takes 200 ms.
const (
	settlerShare     = 4 // a quarter
	settlerShareSole = 2 // half
)

func newSettler(s *shared) *settler {
	w := &settler{lanes: map[string]*lane{}, busy: map[string]int{}, queue: queue{
		shared: s, stream: s.subjects.SettlementsStream(), name: "settlement", filter: s.subjects.SettlementDue("*"),
		log: s.log.WithField(fieldLane, "settlement"), limit: func() int { return s.concurrency },
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
	}
}

func (w *settler) lane(mchid string) *lane {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lanes[mchid]
}

// due reads a refund whose time has come.
func (w *settler) due(d *delivery) func(context.Context) {
	mchid, ok := w.subjects.ParseSettlementDue(d.msg.Subject)
	l := w.lane(mchid)
	if !ok || l == nil {
		// A merchant that is not configured (any more): it may come back.
		return func(context.Context) { w.finishUnknown(d) }
	}
	o := &order{delivery: d, followed: true, kind: messages.KindRefund, began: headerTime(d.msg.Header, messages.HeaderFirstAt)}
	o.subject, o.sequence = w.subjects.Command(mchid, messages.KindRefund), headerUint(d.msg.Header, messages.HeaderStreamSeq)
	o.cmd, o.malformed = l.decode(o.kind, d.msg.Header, d.msg.Data)
	f := followed{
		acceptedAt: headerTime(d.msg.Header, headerAcceptedAt), looks: int(headerUint(d.msg.Header, headerLooks)) + 1,
		attempts: int(headerUint(d.msg.Header, messages.HeaderAttempts)),
	}
	if !w.enter(mchid) {
		return func(context.Context) {
			l.finish(context.Background(), o, again("merchant is busy", l.settlement.First, nil))
		}
	}
	return func(work context.Context) {
		defer w.leave(mchid)
		ctx, cancel := o.untilLeaseEnd(l.begin(work, o))
		defer cancel()
		e, panicked := l.protect(func() end { return l.look(ctx, o, f) })
		if panicked {
			e = again("panicked", l.settlement.Max, nil)
		}
		l.finish(ctx, o, e)
	}
}

func (w *settler) finishUnknown(d *delivery) {
	if err := d.later(w.settlement.Max); err != nil {
		w.log.WithError(err).Warn("settlement of an unknown merchant not put off")
	}
}

func (w *settler) enter(mchid string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	share := settlerShare
	if _, alone := w.busy[mchid]; len(w.busy) == 0 || alone && len(w.busy) == 1 {
		share = settlerShareSole
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

// look asks what has become of a refund, records it if it has ended, and looks again later if it has not.
func (l *lane) look(ctx context.Context, o *order, f followed) end {
	cmd, ok := o.cmd.(*messages.RefundCommand)
	if !ok { // a schedule that this version cannot read: a newer one may
		return again("unreadable", l.settlement.Max, nil)
	}
	givenUp := l.clock.Now().Sub(f.acceptedAt) >= l.settlement.GiveUp
	if givenUp {
		// Crash after the dead letter was stored: it is there, its `failed` may not be.
		letter, err := l.letters.Find(ctx, l.mchid, messages.KindRefund, cmd.OutRefundNo, o.sequence)
		if err == nil {
			return l.announce(ctx, o, &letter.DeadLetter, letter.Sequence)
		}
		if !errors.Is(err, dlq.ErrNotFound) {
			return again("dead letters unread", l.retry.Initial, err)
		}
	}
	e, err := l.ledger.read(ctx, l.mchid, messages.KindRefund, cmd.OutRefundNo)
	if err != nil {
		return again("ledger unread", l.retry.Initial, err)
	}
	switch e.status() {
	case "", messages.StatusAccepted, messages.StatusAbnormal: // "": the worker died before `accepted`; its command comes again
	default:
		return end{verdict: "ended before", status: e.status()}
	}
	if e.digest != "" && e.digest != cmd.Digest() {
		return end{verdict: "another command's"}
	}
	turn, err := l.looks.turn(func(ready <-chan struct{}) error { return o.wait(ctx, ready) })
	if err != nil {
		return again("out of budget", l.retry.Initial, err)
	}
	defer turn.end()
	found, err := l.merchant().Refunds.QueryRefund(ctx, cmd.OutRefundNo, cmd.SubMchID)
	turn.end()
	if err == nil && sameRefund(cmd, found) {
		out := refundOutcome(cmd, found, max(f.attempts, 1))
		if out.Status != messages.StatusAccepted && out.Status != e.status() {
			if e, err = l.write(ctx, o, e, out); err != nil {
				return l.unrecorded("unrecorded", err)
			}
			// Crash here: recorded, and the look comes again. It finds the end, or goes on following what is abnormal.
		}
		if out.Status == messages.StatusSucceeded || out.Status == messages.StatusClosed {
			return end{verdict: Done.String(), status: out.Status}
		}
	}
	if givenUp {
		if e.status() == messages.StatusAbnormal {
			return end{verdict: "given up", status: messages.StatusAbnormal} // it has its final outcome already
		}
		return l.bury(ctx, o, deadEnd{
			reason: messages.ReasonUnresolved, message: "accepted, and without an end for as long as it was followed", cause: err,
			attempts: &attempts{writes: f.attempts, first: o.began},
		})
	}
	if err := l.follow(ctx, o, f); err != nil {
		return again("unscheduled", l.retry.Initial, err)
	}
	// Crash here: the next look is scheduled and this one comes again. It replaces the schedule.
	return end{verdict: "looked", status: e.status(), err: err}
}
