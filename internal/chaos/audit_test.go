package chaos

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"wxpay-worker/internal/stored"
	"wxpay-worker/messages"
)

// identity is under what a command ends.
type identity struct {
	mchid string
	kind  messages.Kind
	key   string
}

func (i identity) String() string { return fmt.Sprintf("%s %s %s", i.mchid, i.kind, i.key) }

// event is one message of the outcome stream.
type event struct {
	sequence uint64
	at       time.Time // when the stream stored it
	upTo     uint64    // of `failed`: the last command that was stored before it
	worker   string
	*messages.Outcome
}

// letter is one message of the dead letter stream.
type letter struct {
	sequence uint64
	n        int // of the command, -1 if it does not say
	*messages.DeadLetter
}

// audit compares what NATS holds with what the simulator's books say and what was asked for. It trusts nothing that the worker
// computes but what its contract promises: subjects, statuses, headers.
type audit struct {
	site     *site
	load     *load
	operator *operator

	lastOutcome, lastLetter uint64
	events                  map[identity][]event
	letters                 map[uint64]letter // by their sequence, also those that were put back
	putBack, named          map[uint64]bool   // letters that the operator has put back, and of which a `failed` tells
	found                   map[identity][]string
	windows                 windows
}

// windows counts what the documented windows let through.
type windows struct {
	repliedTwice   int // a process stopped between its last check and the call
	submittedTwice int // a single NATS server that was killed has forgotten a delivery: one number, submitted twice within a minute
}

func newAudit(s *site, l *load, o *operator) *audit {
	return &audit{site: s, load: l, operator: o, events: map[identity][]event{}, letters: map[uint64]letter{}, putBack: map[uint64]bool{}, named: map[uint64]bool{}}
}

// waiting reads which commands are still in their stream, by sequence.
func (a *audit) waiting(ctx context.Context) (map[uint64]bool, error) {
	open := map[uint64]bool{}
	for m, err := range stored.From(ctx, a.site.nc, a.site.subjects.CommandsStream(), a.site.subjects.Prefix+".command.>", 1) {
		if err != nil {
			return nil, err
		}
		open[m.Sequence] = true
	}
	return open, nil
}

// read catches up with the outcomes and the dead letters.
func (a *audit) read(ctx context.Context) error {
	for m, err := range stored.From(ctx, a.site.nc, a.site.subjects.OutcomesStream(), a.site.subjects.AllOutcomes(), a.lastOutcome+1) {
		if err != nil {
			return err
		}
		o, err := messages.DecodeOutcome(m.Data)
		if err != nil {
			return fmt.Errorf("outcome %d: %w", m.Sequence, err)
		}
		a.lastOutcome = m.Sequence
		id := identity{o.MchID, o.Kind, o.Key}
		upTo, _ := strconv.ParseUint(m.Header.Get(messages.HeaderCommandsSeq), 10, 64) // only `failed` has it
		a.named[o.DeadLetter] = true
		a.events[id] = append(a.events[id], event{m.Sequence, m.Time, upTo, m.Header.Get(messages.HeaderWorker), o})
		if mchid, kind, key, status, ok := a.site.subjects.ParseOutcome(m.Subject); !ok || id != (identity{mchid, kind, key}) || status != o.Status {
			a.fault(id, "outcome %d on %s says something else than its subject", m.Sequence, m.Subject)
		}
	}
	for m, err := range stored.From(ctx, a.site.nc, a.site.subjects.DeadLettersStream(), a.site.subjects.AllDeadLetters(), a.lastLetter+1) {
		if err != nil {
			return err
		}
		l, err := readLetter(m)
		if err != nil {
			return err
		}
		a.lastLetter = m.Sequence
		a.letters[m.Sequence] = l
	}
	for _, l := range a.operator.letters() {
		a.letters[l.sequence], a.putBack[l.sequence] = l, true
	}
	return nil
}

func readLetter(m *stored.Msg) (letter, error) {
	d, err := messages.ParseDeadLetter(messages.Header(m.Header), m.Data)
	if err != nil {
		return letter{}, fmt.Errorf("dead letter %d: %w", m.Sequence, err)
	}
	n, err := strconv.Atoi(nats.Header(d.Original).Get(headerCommand))
	if err != nil {
		n = -1
	}
	return letter{m.Sequence, n, d}, nil
}

func (a *audit) fault(id identity, format string, args ...any) {
	if a.found == nil {
		a.found = map[identity][]string{}
	}
	a.found[id] = append(a.found[id], fmt.Sprintf(format, args...))
}

// settle waits until every command has left its stream and every refund that is followed has ended. A schedule that a full store
// kept from firing is found some minutes later.
func (a *audit) settle(ctx context.Context) error {
	streams := []string{a.site.subjects.CommandsStream(), a.site.subjects.SettlementsStream()}
	return eventually(ctx, 2*patience, func(ctx context.Context) error {
		for _, name := range streams {
			stream, err := a.site.js.Stream(ctx, name)
			if err != nil {
				return err
			}
			if n := stream.CachedInfo().State.Msgs; n > 0 {
				return fmt.Errorf("%d messages left in %s", n, name)
			}
		}
		return nil
	})
}

// acknowledged checks in the middle of everything that what has left the commands stream has its record. What was confirmed is noted
// first, then what is left is read, then the records: in this order nothing can be in between. What a lagging replica does not
// show yet is waited for.
func (a *audit) acknowledged(ctx context.Context) error {
	confirmed := map[uint64]bool{}
	for _, c := range a.load.commands() {
		c.mu.Lock()
		for _, sequence := range c.sequences {
			confirmed[sequence] = true
		}
		c.mu.Unlock()
	}
	return eventually(ctx, patience, func(ctx context.Context) error {
		open, err := a.waiting(ctx)
		if err != nil {
			return err
		}
		if err := a.read(ctx); err != nil {
			return err
		}
		a.found = nil
		a.checkCommands(func(sequence uint64) bool { return open[sequence] || !confirmed[sequence] })
		if len(a.found) > 0 {
			return fmt.Errorf("commands were acknowledged and have no record:\n%s", a.report())
		}
		return nil
	})
}

// complete checks all that must hold once everything has ended.
func (a *audit) complete(ctx context.Context, excuse excuses) error {
	if err := eventually(ctx, patience, a.caughtUp); err != nil {
		return err
	}
	a.found = nil
	a.checkCommands(func(uint64) bool { return false })
	a.checkLetters()
	a.checkMended()
	a.checkRefunds()
	a.checkComplaints(excuse)
	a.checkAnyTime(excuse)
	return nil
}

// soFar checks what must hold at any time, of what acknowledged has read.
func (a *audit) soFar(excuse excuses) {
	a.found = nil
	a.checkAnyTime(excuse)
}

func (a *audit) checkAnyTime(excuse excuses) {
	a.checkEvents()
	a.checkRequests()
	a.checkQuotas()
	a.checkJudge(excuse)
	a.checkLogs()
}

// caughtUp reads all there is, as the streams' leaders say.
func (a *audit) caughtUp(ctx context.Context) error {
	if err := a.read(ctx); err != nil {
		return err
	}
	lastLetter := a.lastLetter
	if len(a.letters) > 0 { // the last of the stream may have been put back
		lastLetter = max(lastLetter, slices.Max(slices.Collect(maps.Keys(a.letters))))
	}
	for name, have := range map[string]uint64{a.site.subjects.OutcomesStream(): a.lastOutcome, a.site.subjects.DeadLettersStream(): lastLetter} {
		stream, err := a.site.js.Stream(ctx, name)
		if err != nil {
			return err
		}
		if state := stream.CachedInfo().State; state.Msgs > 0 && state.LastSeq != have {
			return fmt.Errorf("%s read up to %d of %d", name, have, state.LastSeq)
		}
	}
	return nil
}

// checkCommands: each command that was published, under each of its sequences, has exactly one end and the right one.
func (a *audit) checkCommands(open func(sequence uint64) bool) {
	letters := map[uint64][]letter{}
	for _, l := range a.letters {
		letters[l.StreamSeq] = append(letters[l.StreamSeq], l)
	}
	for _, c := range a.load.commands() {
		c.mu.Lock()
		sequences := slices.Clone(c.sequences)
		c.mu.Unlock()
		for _, sequence := range sequences {
			if !open(sequence) {
				a.checkEnd(c, sequence, letters[sequence])
			}
		}
	}
}

func (a *audit) checkEnd(c *command, sequence uint64, letters []letter) {
	id := identity{c.mchid, c.kind, c.key}
	own := id
	if c.fate == malformed || c.fate == conflict || c.misspelt {
		own.key = messages.SeqKey(sequence)
	}
	if n := len(slices.DeleteFunc(slices.Clone(letters), a.early)); n > 1 {
		a.fault(own, "command %d (sequence %d) has %d dead letters", c.n, sequence, len(letters))
	}
	var reason messages.Reason
	if len(letters) > 0 {
		reason = letters[0].Reason
	}
	done, failed := false, false
	events := a.events[own]
	if c.misspelt {
		events = slices.Concat(events, a.events[id])
	}
	for _, e := range events {
		switch e.Status {
		case messages.StatusFailed:
			failed = failed || e.upTo >= sequence || len(letters) > 0 && e.DeadLetter == letters[0].sequence
		case messages.StatusStarted:
		default:
			done = true
		}
	}
	want := map[fate]messages.Reason{
		malformed: messages.ReasonMalformed, conflict: messages.ReasonConflict, rejected: messages.ReasonRejected, mended: messages.ReasonRejected,
	}[c.fate]
	if c.misspelt {
		want = messages.ReasonMalformed
	}
	switch {
	case c.fate == good && reason != "":
		a.fault(id, "command %d (sequence %d), which is good, has a dead letter: %s", c.n, sequence, reason)
	case c.fate == good && !done:
		a.fault(id, "command %d (sequence %d) is gone from its stream and has no outcome", c.n, sequence)
	case c.fate == mended && done:
	case c.fate != good && done:
		a.fault(own, "command %d (sequence %d), which is %s, was carried out", c.n, sequence, c.fate)
	case c.fate != good && !failed:
		a.fault(own, "command %d (sequence %d), which is %s, is gone from its stream and has no `failed`", c.n, sequence, c.fate)
	case (c.fate == rejected || c.fate == mended) && reason == "": // ended by the `failed` of the same command under an earlier sequence
	case c.fate != good && reason != want:
		a.fault(own, "command %d (sequence %d) is %s; its dead letter says %q", c.n, sequence, c.fate, reason)
	}
}

// checkEvents: the events of each key are a life that the contract knows, of something that was asked for.
func (a *audit) checkEvents() {
	asked := a.asked()
	mendable := map[identity]bool{}
	for _, c := range a.load.commands() {
		if c.fate == mended {
			mendable[identity{c.mchid, c.kind, c.key}] = true
		}
	}
	for id, events := range a.events {
		var finals []messages.Status
		accepted := 0
		for _, e := range events {
			switch {
			case e.Status == messages.StatusAccepted:
				accepted++
				if len(finals) > 0 && !(mendable[id] && len(afterFailures(finals)) == 0) {
					a.fault(id, "`accepted` (outcome %d) after an end", e.sequence)
				}
			case e.Status == messages.StatusFailed:
				if l, there := a.letters[e.DeadLetter]; !there {
					a.fault(id, "`failed` (outcome %d) names dead letter %d, which is not there", e.sequence, e.DeadLetter)
				} else if l.MchID != id.mchid || l.Key != id.key && l.Key+":reply" != id.key {
					a.fault(id, "`failed` (outcome %d) names the dead letter of %s %s", e.sequence, l.MchID, l.Key)
				}
				finals = append(finals, e.Status)
			case e.Status.Final():
				finals = append(finals, e.Status)
			}
		}
		if mendable[id] {
			finals = afterFailures(finals)
		}
		if !oneEnd(finals) || accepted > 1 {
			a.fault(id, "ended %d times (accepted %d times): %v", len(finals), accepted, finals)
		}
		if !asked[id] && !strings.HasPrefix(id.key, "seq-") {
			a.fault(id, "an outcome of something that nobody asked for")
		}
	}
}

// afterFailures are the ends of what was put back until it did not fail.
func afterFailures(finals []messages.Status) []messages.Status {
	for len(finals) > 0 && finals[0] == messages.StatusFailed {
		finals = finals[1:]
	}
	return finals
}

// checkMended: what was put back has been carried out, and no letter of it is left.
func (a *audit) checkMended() {
	for _, c := range a.load.commands() {
		id := identity{c.mchid, c.kind, c.key}
		events := a.events[id]
		if c.fate == mended && (len(events) == 0 || events[len(events)-1].Status == messages.StatusFailed) {
			a.fault(id, "put back, and not carried out")
		}
	}
}

// oneEnd: one final status; `abnormal` may be corrected; what failed may fail once more, being published once more.
func oneEnd(finals []messages.Status) bool {
	if slices.Equal(finals, []messages.Status{messages.StatusAbnormal, messages.StatusSucceeded}) {
		return true
	}
	if len(finals) == 0 || finals[0] == messages.StatusFailed {
		return len(slices.Compact(slices.Clone(finals))) == min(len(finals), 1)
	}
	return len(finals) == 1
}

// asked is everything that may have outcomes, besides what is malformed or a conflict.
func (a *audit) asked() map[identity]bool {
	asked := map[identity]bool{}
	for _, c := range a.load.commands() {
		if !c.fate.done() && c.fate != rejected {
			continue
		}
		asked[identity{c.mchid, c.kind, c.key}] = true
		if c.kind == messages.KindDecision && c.refund != nil {
			asked[identity{c.mchid, messages.KindReply, c.key + ":reply"}] = true
			asked[identity{c.mchid, messages.KindRefund, c.refund.number}] = true
		}
	}
	return asked
}

// checkLetters: each dead letter has its `failed`, and one command one letter.
func (a *audit) checkLetters() {
	commands := a.load.commands()
	by := map[uint64]uint64{}
	for _, l := range a.letters {
		id := identity{l.MchID, l.Kind, l.Key}
		if l.n < 0 || l.n >= len(commands) {
			a.fault(id, "dead letter %d (%s) of a command that nobody published", l.sequence, l.Reason)
		} else if c := commands[l.n]; c.body != string(l.Command) {
			a.fault(id, "dead letter %d does not hold the bytes of command %d", l.sequence, c.n)
		}
		if a.early(l) {
			continue
		}
		if !a.named[l.sequence] {
			a.fault(id, "dead letter %d (%s, command sequence %d) has no `failed`", l.sequence, l.Reason, l.StreamSeq)
		}
		if other, twice := by[l.StreamSeq]; twice {
			a.fault(id, "command sequence %d has dead letters %d and %d", l.StreamSeq, other, l.sequence)
		}
		by[l.StreamSeq] = l.sequence
	}
}

// early reports whether a letter was put back before its `failed` was told, as when outcomes were not taken. Its command, which is still in the
// stream, then gets another one: what that puts back turns out to be done.
func (a *audit) early(l letter) bool { return a.putBack[l.sequence] && !a.named[l.sequence] }

// submittedAgain is the source that the simulator gives for the minute between two submissions of one refund.
const submittedAgain = "(P:4013080629)"

// checkJudge asks the simulator what it thinks.
func (a *audit) checkJudge(excuse excuses) {
	a.windows.submittedTwice = 0
	if err := a.site.sim.CheckBooks(); err != nil && a.windows.repliedTwice == 0 {
		a.fault(identity{}, "the simulator's books: %v", err)
	}
	for _, v := range a.site.sim.Violations() {
		stamp, _, _ := strings.Cut(v, " ")
		at, err := time.Parse(time.RFC3339, stamp)
		if err != nil {
			a.fault(identity{}, "the simulator, undated: %s", v)
			continue
		}
		if excuse.forgetful && strings.HasSuffix(v, submittedAgain) && a.afterKill(at) {
			a.windows.submittedTwice++
			continue
		}
		if _, skew := at.Zone(); excuse.skewed && skew != 0 {
			continue // its clock was wrong: it refuses honest requests, and finds them too early
		}
		id := identity{}
		for _, field := range strings.Fields(v) {
			if mchid, ok := strings.CutPrefix(field, "mchid="); ok {
				id.mchid = mchid
			}
			if key, ok := strings.CutPrefix(field, "id="); ok {
				id.kind, id.key = messages.KindRefund, strings.TrimSuffix(key, ":")
			}
		}
		a.fault(id, "the simulator: %s", v)
	}
}

// afterKill reports whether a NATS node was killed in the minute and a bit before that second.
func (a *audit) afterKill(at time.Time) bool {
	a.site.mu.Lock()
	defer a.site.mu.Unlock()
	return slices.ContainsFunc(a.site.kills, func(kill time.Time) bool {
		ago := at.Add(time.Second).Sub(kill)
		return ago > 0 && ago < time.Minute+ackWait+2*time.Second
	})
}

// checkLogs: no worker has panicked, and none has a data race (CHAOS_RACE).
func (a *audit) checkLogs() {
	for _, w := range a.site.workers {
		for line := range a.linesOf(w.log()) {
			if strings.Contains(line, "panic") || strings.Contains(line, "DATA RACE") || strings.HasPrefix(line, "fatal error") {
				a.fault(identity{}, "%s: %s", w.name, line)
			}
		}
	}
}
