package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The model is the life of a delivery, as consumer/doc.go draws it, without anything that is not needed to get it wrong: a few
// commands, a few workers that share them, the outcome stream that lets one of several writers win, the dead letters, and the
// books of WeChat Pay. Every step of every worker is one move; between any two a worker may die, its lease may run out, time may
// pass. Which move comes next is drawn. A request arrives at once or never; what is uncertain is its answer.
//
// Two windows are documented. One thing real workers cannot do is atomic here, the last look at the clock and the call, unless
// model.window says otherwise; then what may happen twice is a command that was called for late. And a refund of which a single NATS server has forgotten a delivery may
// be submitted twice within a minute.

// times of the model, in seconds.
const (
	mLease    = 60 // ack_wait
	mBudget   = mLease * 3 / 4
	mMinute   = 60 // between two submissions, and until an absence is believed
	mSettling = 5  // until a complaint's history is read back
	mQueryLag = 50 // a query does not see a refund that is younger, perhaps
)

// weakness is a mistake that the model must notice, or it proves nothing.
type weakness string

const (
	sound           weakness = ""
	ackFirst        weakness = "acknowledges before the record is confirmed"
	repeatsBlindly  weakness = "repeats a call without reading back"
	writesBlindly   weakness = "records without the condition that nothing has come between"
	believesAtOnce  weakness = "believes at once that a refund is absent"
	ignoresStarted  weakness = "does not wait for another worker's `started` to grow old"
	twoLetters      weakness = "stores a dead letter without looking for the command's"
	forgetsToFollow weakness = "acknowledges a dead letter without its `failed`"
)

type status int

const (
	none status = iota
	started
	succeeded
	failed
)

// mCommand is a command of the model and what has become of it.
type mCommand struct {
	reply    bool // WeChat Pay does not deduplicate it; otherwise a refund
	hopeless bool // WeChat Pay refuses it, for good

	// in the commands stream
	gone      bool
	due       int // not delivered before
	delivered int
	forgotten bool // see move
	late      bool // called for after the lease, in the window
	// in the outcome stream
	status  status
	by      int // who wrote it
	at      int
	version int
	ends    int
	// in the dead letters
	letters int
	// at WeChat Pay
	done      int // times that it took effect
	doneAt    int
	submitted int // when it was last called for and might have been executed; -1 never
	early     bool
}

// mWorker carries out one delivery at a time.
type mWorker struct {
	incarnation int // a worker that died and came back is another one
	c           int // of its delivery; -1 none
	leased      int
	pc          step
	read        mCommand // the ledger as it was read
	memory      map[int]mMemory
}

// mMemory is what a worker remembers of its calls for a command.
type mMemory struct {
	open    bool
	last    int
	refused bool // a refusal that is not believed yet
}

type step string

const (
	stepRead     step = "read the ledger"
	stepAnnounce step = "announce"
	stepAsk      step = "read back"
	stepCall     step = "call"
	stepCallNow  step = "call, after the last look at the clock"
	stepRecord   step = "record"
	stepBury     step = "store the dead letter"
	stepFailed   step = "record the failure"
	stepAck      step = "acknowledge"
)

type model struct {
	weak     weakness
	window   bool
	now      int
	commands []mCommand
	workers  []mWorker
	trail    []string
}

func newModel(draw func(n int) int, weak weakness, window bool) *model {
	m := &model{weak: weak, window: window}
	for range 1 + draw(3) {
		m.commands = append(m.commands, mCommand{reply: draw(2) == 0, hopeless: draw(4) == 0, submitted: -1})
	}
	for i := range 1 + draw(3) {
		m.workers = append(m.workers, mWorker{incarnation: i + 1, c: -1, memory: map[int]mMemory{}})
	}
	return m
}

func (m *model) note(format string, args ...any) {
	m.trail = append(m.trail, fmt.Sprintf("%4ds  ", m.now)+fmt.Sprintf(format, args...))
}

// move makes one move. calm moves break nothing: with them alone everything comes to an end.
func (m *model) move(draw func(n int) int, calm bool) {
	w := draw(len(m.workers))
	lot := draw(20)
	switch {
	case lot < 2:
		m.now += []int{1, 4, 10, 20, 61}[draw(5)]
	case lot == 2 && !calm:
		m.note("worker %d dies", m.workers[w].incarnation)
		m.workers[w] = mWorker{incarnation: m.workers[w].incarnation + len(m.workers), c: -1, memory: map[int]mMemory{}}
	case lot == 3 && !calm:
		// A NATS server that is alone is killed: it has forgotten to whom it gave the command, and that it did.
		c := &m.commands[draw(len(m.commands))]
		c.due, c.delivered, c.forgotten = m.now, 0, true
		m.note("NATS forgets its deliveries of a command")
	case m.workers[w].c < 0:
		m.deliver(w, draw)
	default:
		m.step(w, draw, calm)
	}
}

// deliver hands a command to the worker: one that is due and that nobody has a lease on.
func (m *model) deliver(w int, draw func(int) int) {
	var ready []int
	for i, c := range m.commands {
		if !c.gone && c.due <= m.now {
			ready = append(ready, i)
		}
	}
	if len(ready) == 0 {
		m.now++
		return
	}
	i := ready[draw(len(ready))]
	c := &m.commands[i]
	c.due = m.now + mLease
	c.delivered++
	m.workers[w].c, m.workers[w].leased, m.workers[w].pc = i, m.now, stepRead
}

// end ends the delivery: the command is gone, or comes again after the delay.
func (m *model) end(w *mWorker, gone bool, delay int) {
	c := &m.commands[w.c]
	if gone {
		c.gone = true
		m.note("worker %d acknowledges command %d", w.incarnation, w.c)
	} else if !c.gone && m.now < w.leased+mLease { // a stale one means nothing to the server
		c.due = m.now + max(delay, 1)
	}
	w.c = -1
}

// step makes the next step of the worker's delivery.
func (m *model) step(wi int, draw func(int) int, calm bool) {
	w := &m.workers[wi]
	c := &m.commands[w.c]
	m.note("worker %d, command %d: %s", w.incarnation, w.c, w.pc)
	switch w.pc {
	case stepRead:
		m.begin(w, c)
	case stepAnnounce:
		if !m.write(w, c, started) {
			m.end(w, false, 0)
			return
		}
		w.pc = stepAsk
	case stepAsk:
		m.ask(w, c)
	case stepCall:
		if m.now >= w.leased+mBudget || c.reply && m.now >= w.read.at+mBudget {
			m.end(w, false, 0)
			return
		}
		if m.window {
			w.pc = stepCallNow
			return
		}
		m.call(w, c, draw, calm)
	case stepCallNow:
		m.call(w, c, draw, calm)
	case stepRecord:
		if m.weak == ackFirst {
			c.gone = true
		}
		if !m.write(w, c, succeeded) {
			m.end(w, false, 0)
			return
		}
		w.pc = stepAck
	case stepBury:
		if c.letters == 0 || m.weak == twoLetters {
			c.letters++
		}
		w.pc = stepFailed
		if m.weak == forgetsToFollow {
			w.pc = stepAck
		}
	case stepFailed:
		switch c.status {
		case succeeded: // another was first, with a better end
			c.letters = 0
			w.pc = stepAck
			return
		case failed:
			w.pc = stepAck
			return
		}
		w.read = *c // read again, then write: two moves in truth, and the condition covers what comes between
		if m.write(w, c, failed) {
			w.pc = stepAck
		}
	case stepAck:
		delete(w.memory, w.c)
		m.end(w, true, 0)
	}
}

// begin reads what is recorded and decides what the delivery is for.
func (m *model) begin(w *mWorker, c *mCommand) {
	w.read = *c
	memory, known := w.memory[w.c]
	switch {
	case c.letters > 0:
		w.pc = stepFailed
		return
	case c.status == succeeded || c.status == failed:
		w.pc = stepAck
		return
	case !c.reply:
		if !known && c.delivered > 1 {
			memory = mMemory{open: true, last: m.now} // somebody may have called a moment ago
		}
		w.memory[w.c], w.pc = memory, stepAsk
		return
	}
	w.pc = stepAnnounce
	if c.status == started && c.by != w.incarnation {
		memory.open, memory.last = true, max(memory.last, c.at)
		w.memory[w.c] = memory
		if age := m.now - c.at; age < mLease && m.weak != ignoresStarted {
			m.end(w, false, mLease-age)
		}
		return
	}
	w.memory[w.c] = memory
	if c.status == started && m.now-c.at < mLease/2 {
		w.pc = stepAsk
	}
}

// ask reads back what may have happened.
func (m *model) ask(w *mWorker, c *mCommand) {
	memory := w.memory[w.c]
	if !memory.open || m.weak == repeatsBlindly {
		w.pc = stepCall
		return
	}
	age := m.now - memory.last
	if c.reply && age < mSettling {
		m.end(w, false, mSettling-age)
		return
	}
	visible := c.done > 0 && (c.reply || m.now-c.doneAt >= mQueryLag || m.now%2 == 0) // a young refund is seen at times
	switch {
	case visible:
		w.pc = stepRecord
	case !c.reply && age < mMinute && m.weak != believesAtOnce:
		m.end(w, false, mMinute-age)
	case memory.refused:
		w.pc = stepBury
	default:
		memory.open = false
		w.memory[w.c], w.pc = memory, stepCall
	}
}

// call makes the call: WeChat Pay carries it out or not, and answers or not.
func (m *model) call(w *mWorker, c *mCommand, draw func(int) int, calm bool) {
	c.late = c.late || m.now >= w.leased+mBudget || c.reply && m.now >= w.read.at+mBudget
	lot := draw(6)
	if calm {
		lot = 5
	}
	w.memory[w.c] = mMemory{open: true, last: m.now}
	arrives, answered := lot > 1, lot > 3
	if arrives {
		m.arrive(c)
	} else if !c.reply {
		c.early = c.early || c.submitted >= 0 && m.now-c.submitted < mMinute
		c.submitted = m.now // the client must take it for possibly executed
	}
	switch {
	case !answered && c.reply:
		m.end(w, false, mSettling)
	case !answered:
		m.end(w, false, mMinute)
	case c.hopeless && c.reply:
		w.pc = stepBury
	case c.hopeless: // refused: perhaps because of an earlier call
		w.memory[w.c] = mMemory{open: true, last: m.now, refused: true}
		m.end(w, false, mMinute)
	default:
		w.pc = stepRecord
	}
}

// arrive is WeChat Pay: a refund number refunds once, a reply is said as often as it is sent.
func (m *model) arrive(c *mCommand) {
	if !c.reply {
		c.early = c.early || c.submitted >= 0 && m.now-c.submitted < mMinute
		c.submitted = m.now
	}
	if c.hopeless {
		return
	}
	if c.reply || c.done == 0 {
		c.done++
		c.doneAt = m.now
	}
}

// write records, unless something has come between.
func (m *model) write(w *mWorker, c *mCommand, s status) bool {
	if c.version != w.read.version && m.weak != writesBlindly {
		return false
	}
	if s == succeeded || s == failed {
		c.ends++
	}
	c.status, c.by, c.at = s, w.incarnation, m.now
	c.version++
	w.read = *c
	return true
}

// check says what must never be.
func (m *model) check() error {
	for i, c := range m.commands {
		switch {
		case c.gone && c.status != succeeded && c.status != failed:
			return fmt.Errorf("command %d is acknowledged and has no end", i)
		case c.ends > 1:
			return fmt.Errorf("command %d has %d ends", i, c.ends)
		case c.done > 1 && !c.late: // the window
			return fmt.Errorf("command %d took effect %d times", i, c.done)
		case c.letters > 1:
			return fmt.Errorf("command %d has %d dead letters", i, c.letters)
		case c.status == succeeded && c.done == 0:
			return fmt.Errorf("command %d succeeded, and WeChat Pay knows nothing of it", i)
		case c.status == failed && c.done > 0:
			return fmt.Errorf("command %d failed, and WeChat Pay has done it", i)
		case c.early && !c.forgotten && !c.late: // the other one
			return fmt.Errorf("refund %d was submitted twice within a minute", i)
		}
	}
	return nil
}

// finish lets everything come to its end, without further trouble.
func (m *model) finish(draw func(int) int) error {
	for range 20_000 {
		if !slices.ContainsFunc(m.commands, func(c mCommand) bool { return !c.gone }) {
			break
		}
		m.move(draw, true)
		if err := m.check(); err != nil {
			return err
		}
	}
	for i, c := range m.commands {
		if !c.gone || c.status == succeeded && c.letters > 0 || c.status == failed && c.letters != 1 {
			return fmt.Errorf("command %d never came to one end: %+v", i, c)
		}
	}
	return nil
}

// Crash anywhere, redelivery to anyone: every command ends once, and WeChat Pay's books say the same.
func TestModel(t *testing.T) {
	for _, window := range []bool{false, true} {
		t.Run(map[bool]string{false: "call at once", true: "stopped before the call"}[window], func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				lots := rapid.SliceOfN(rapid.IntRange(0, 1<<20), 40, 200).Draw(t, "lots")
				next := 0
				draw := func(n int) int { next++; return lots[(next-1)%len(lots)] % n }
				m := newModel(draw, sound, window)
				for next < len(lots) {
					m.move(draw, false)
					if err := m.check(); err != nil {
						t.Fatalf("%v\n%v", err, m.trail)
					}
				}
				rest := rand.New(rand.NewPCG(uint64(lots[0]), 0))
				if err := m.finish(rest.IntN); err != nil {
					t.Fatalf("%v\n%v", err, m.trail)
				}
			})
		})
	}
}

// The model notices each mistake that it is there for.
func TestModelNotices(t *testing.T) {
	for _, weak := range []weakness{ackFirst, repeatsBlindly, writesBlindly, believesAtOnce, ignoresStarted, twoLetters, forgetsToFollow} {
		t.Run(string(weak), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(20_000) {
				r := rand.New(rand.NewPCG(seed, 0))
				m := newModel(r.IntN, weak, false)
				for range 150 {
					m.move(r.IntN, false)
					if m.check() != nil {
						return
					}
				}
				if m.finish(r.IntN) != nil {
					return
				}
			}
			t.Error("not noticed in 20,000 runs")
		})
	}
}
