package consumer

import (
	"testing"
	"time"

	"wxpay-worker/messages"
)

// What is remembered of a command goes when it turns out to have ended, as when the answer to its record was lost: its replay, days later, is not
// taken for one that has been tried ever since.
func TestADuplicateIsForgotten(t *testing.T) {
	t.Parallel()
	complaints, _ := laneOf(t, 0)
	l := newLane(complaints.shared, Merchant{MchID: "1900000001"}, familyRefund)
	l.sure.Store(0)
	cmd, malformed := l.decode(messages.KindRefund, nil, []byte(`{"out_refund_no":"R1","transaction_id":"T","amount":{"refund":1,"total":1}}`))
	if malformed != nil {
		t.Fatal(malformed)
	}
	o := &job{delivery: &delivery{delivered: 1}, kind: messages.KindRefund, sequence: 1, cmd: cmd}
	e, err := l.ledger.read(t.Context(), l.mchid, o.kind, "R1")
	if err == nil {
		_, err = l.write(t.Context(), o, e, &messages.Outcome{Kind: o.kind, Key: "R1", Status: messages.StatusAccepted, Refund: &messages.Refund{OutRefundNo: "R1"}})
	}
	if err != nil {
		t.Fatal(err)
	}
	l.memory.keep(o.kind, "R1", &attempts{writes: 1, open: true})
	if e := l.carryOut(t.Context(), o); e.verdict != "duplicate" {
		t.Fatalf("ended %+v", e)
	}
	if a := l.memory.recall(o.kind, "R1"); a != nil {
		t.Errorf("remembered: %+v", a)
	}
}

// A call that panics gives its turn under the quota back: the turns behind it would wait for it until their leases end, and the lane with them.
func TestAPanicEndsItsTurn(t *testing.T) {
	t.Parallel()
	made, _ := laneOf(t, 0)
	rate := Rate{N: 6, Per: 60 * time.Millisecond}
	m := Merchant{MchID: "1900000001", Refunds: struct{ Refunds }{}, Complaints: struct{ Complaints }{}, Quota: Quota{Queries: rate, Complaints: rate}}
	order := func(cmd messages.Command) *job {
		return &job{cmd: cmd, delivery: &delivery{clock: made.clock, ackWait: made.ackWait, leased: made.clock.Now()}}
	}
	refunds, complaints := newLane(made.shared, m, familyRefund), newLane(made.shared, m, familyComplaint)
	for name, c := range map[string]struct {
		lane *lane
		pace *pace
		call func(l *lane) end
	}{
		"query": {refunds, refunds.reads, func(l *lane) end {
			cmd := &messages.RefundCommand{}
			e, _ := l.askRefund(t.Context(), order(cmd), cmd, &entry{}, &attempts{}, false)
			return e
		}},
		"complaint": {complaints, complaints.reads, func(l *lane) end {
			_, err := l.readComplaint(t.Context(), order(&messages.ReplyCommand{}), time.Now())
			return end{err: err}
		}},
		"picture": {complaints, complaints.writes, func(l *lane) end {
			_, e := l.mediaID(t.Context(), order(&messages.ReplyCommand{}), "", &attempts{}, nil)
			return *e
		}},
	} {
		c.lane.owned.extend(time.Now(), time.Hour)
		if e, panicked := c.lane.protect(func() end { return c.call(c.lane) }); !panicked {
			t.Fatalf("%s: no panic, but %+v", name, e)
		}
		for i, made := range c.pace.all.calls {
			if made != nil && !made.isOver() {
				t.Errorf("%s: call %d is still being made", name, i)
			}
		}
	}
}

// A command's place in its stream is told by sequence and by that stream's own time, whatever the clocks of the servers of other streams say: what
// has failed is not tried again when it is delivered once more, and what was stored after the stream was made anew is a new try.
func TestWhatHasFailedIsToldByTheCommandsOwnClock(t *testing.T) {
	t.Parallel()
	failed := time.Now()
	e := &entry{
		outcome: &messages.Outcome{Status: messages.StatusFailed, Error: &messages.Failure{Reason: messages.ReasonRejected}}, digest: "d", commandSeq: 7, commandsSeq: 9,
		commandsAt: failed, stored: failed.Add(-time.Hour), // by a server whose clock is behind
	}
	for _, c := range []struct {
		sequence uint64
		stored   time.Time
		want     standing
		later    bool
	}{
		{7, failed.Add(-time.Second), standingEnded, false},
		{9, failed, standingEnded, false},
		{10, failed.Add(time.Nanosecond), standingRetry, false},
		{5, failed.Add(-time.Second), standingEnded, true},
		{5, failed.Add(time.Nanosecond), standingRetry, false}, // of a stream that is new
	} {
		j := &job{sequence: c.sequence, stored: c.stored}
		if got := e.standing("d", j); got != c.want || e.laterThan(j) != c.later {
			t.Errorf("command %d: standing %v, want %v; later %v", c.sequence, got, c.want, e.laterThan(j))
		}
	}
}
