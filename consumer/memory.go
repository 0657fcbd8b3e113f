package consumer

import (
	"errors"
	"hash/maphash"
	"math"
	"sync"
	"time"
	"unique"

	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
)

// attempts is what this process remembers of the calls it made for one key. It is a help, not a record: for a command that was delivered
// before, a worker that remembers nothing must assume that a call was made a moment ago, and ask.
//
// A hundred thousand commands may be in back-off: BenchmarkBackOff tells what one keeps.
type attempts struct {
	first   moment   // when the first writing call, or the first vain read-back, began
	last    moment   // up to when the newest writing call may have been carried out
	refusal *refusal // of a refund; not believed before a query, a minute later, shows nothing. nil if there was none
	writes  uint16   // deliveries that made at least one writing call
	spared  uint16   // of these, those over which the lane was held: they do not count
	repeats uint16   // deliveries that came to nothing without counting as an attempt: they only make the next delay longer
	open    bool     // it is not known whether the newest call took effect: ask first
	lost    bool     // earlier tries may have been made of which no record is left
}

// refusal is as much of a proven refusal of a command as a dead letter tells. A hundred thousand may be kept, and nearly all say the same.
type refusal struct {
	sequence  uint64 // of the command: another with the same number is tried on its own
	says      unique.Handle[refused]
	requestID string
}

// refused is what WeChat Pay says when it refuses.
type refused struct {
	httpStatus    int
	code, message string
}

// refusalOf is what is kept of the refusal of a command; nil if err is no answer of WeChat Pay's.
func refusalOf(sequence uint64, err error) *refusal {
	var answer *wxpay.Error
	if !errors.As(err, &answer) {
		return nil
	}
	return &refusal{sequence, unique.Make(refused{answer.HTTPStatus, answer.Code, answer.Message}), answer.RequestID}
}

// cause is the refusal as an answer again.
func (r *refusal) cause() error {
	says := r.says.Value()
	return &wxpay.Error{HTTPStatus: says.httpStatus, Code: says.code, Message: says.message, RequestID: r.requestID, Proven: true}
}

// clampWrites is a number of writes that a record tells, as attempts counts them.
func clampWrites(n int) uint16 { return uint16(min(n, math.MaxUint16)) }

// wrote notes that a writing call is about to be made: the only one of this delivery for the key.
func (a *attempts) wrote(now moment) {
	if a.writes < math.MaxUint16 {
		a.writes++
	}
	if a.first == 0 {
		a.first = now
	}
	a.last, a.open = now, true
}

// spare makes the newest writing delivery not count: the lane was held over it.
func (a *attempts) spare() {
	if a.spared < a.writes {
		a.spared++
	}
}

// repeated notes a delivery that came to nothing.
func (a *attempts) repeated() {
	if a.repeats < math.MaxUint16 {
		a.repeats++
	}
}

// tries is how often the command has come to nothing: its next delay is computed from it.
func (a *attempts) tries() int { return int(a.writes) + int(a.repeats) }

// asked notes a read-back that came to nothing. Its age counts like that of an attempt, unless nobody was reached or our own
// setup was at fault.
func (a *attempts) asked(v Verdict, now moment) {
	a.repeated()
	if a.first == 0 && v != Unreached && v != Hold {
		a.first = now
	}
}

// ranOut reports whether no further attempt may be made; held is for how long the command's lane was held since its first attempt.
func (a *attempts) ranOut(r Retry, now moment, held time.Duration) bool {
	return int(a.writes-a.spared) >= r.MaxAttempts || a.first != 0 && time.Duration(now-a.first)-held >= r.MaxAge
}

// maxMemories bounds a lane's memory, in commands. No more than maxAckPending can be in flight or in back-off: what is above that belongs to
// commands that another worker has finished since.
const maxMemories = 2 * maxAckPending

// memory holds the attempts of a lane's unfinished commands, by a hash of kind and key. Two commands with equal hashes, one pair in 2⁶⁴, would
// take each other's attempts for their own. The worst that can come of it is a call that is made without asking first: of a refund by its own
// number, of another command after its own `started`.
type memory struct {
	seed maphash.Seed

	mu sync.Mutex
	by map[uint64]*attempts // guarded by mu. The attempts belong to whoever has the key's turn
}

func newMemory() memory { return memory{seed: maphash.MakeSeed(), by: map[uint64]*attempts{}} }

func (m *memory) hash(kind messages.Kind, key string) uint64 {
	return maphash.Comparable(m.seed, [2]string{string(kind), key})
}

// recall returns what is remembered of the key, nil if nothing is.
func (m *memory) recall(kind messages.Kind, key string) *attempts {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.by[m.hash(kind, key)]
}

// keep remembers the attempts under the key.
func (m *memory) keep(kind messages.Kind, key string, a *attempts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.by) >= maxMemories {
		for other := range m.by { // any: whoever is forgotten asks first, which costs a query
			delete(m.by, other)
			break
		}
	}
	m.by[m.hash(kind, key)] = a
}

// forget drops what is remembered of the key: its command has ended.
func (m *memory) forget(kind messages.Kind, key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.by, m.hash(kind, key))
}

// clear forgets everything.
func (m *memory) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.by)
}

// untouched remembers which commands this process has handed back without a call: those whose turn did not come before the lane went to
// another worker. If the very next delivery of such a command comes to us again, nobody had it in between, and there is no call to wait out.
// (They are asked about all the same, since a single server that is killed may forget counts.)
type untouched struct {
	mu sync.Mutex
	by map[uint64]uint64 // deliveries, by the command's sequence; guarded by mu
}

// maxUntouched is more than are in flight when a lane changes hands.
const maxUntouched = 1024

// note remembers that a delivery, and those before it, made no call.
func (u *untouched) note(d *delivery) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.by) >= maxUntouched {
		for other := range u.by { // any: it will be treated as if somebody had called
			delete(u.by, other)
			break
		}
	}
	u.by[d.sequence] = d.delivered
}

// take reports whether nobody has called for the command before this delivery, and forgets it.
func (u *untouched) take(d *delivery) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	delivered, known := u.by[d.sequence]
	delete(u.by, d.sequence)
	return known && d.delivered == delivered+1
}

// scheduled remembers the commands whose refunds have a schedule already although their `accepted` could not be recorded. Otherwise each try
// to record it would write one more schedule, with looks of its own.
type scheduled struct {
	mu sync.Mutex
	by map[uint64]bool // by sequence; guarded by mu
}

// note remembers a command until it has ended.
func (s *scheduled) note(sequence uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.by) < maxMemories { // beyond that, a command may get a second schedule
		s.by[sequence] = true
	}
}

// has reports whether the command is remembered.
func (s *scheduled) has(sequence uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[sequence]
}

// drop forgets a command.
func (s *scheduled) drop(sequence uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.by, sequence)
}

// clear forgets everything.
func (s *scheduled) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.by)
}

// turns lets the deliveries of one key, or of one complaint, take their turn in the order in which they arrived.
type turns struct {
	mu   sync.Mutex
	tail map[string]chan struct{} // closed when the last one in line is through; guarded by mu
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// take gets in line: ready is closed when it is our turn, and done must be called once when we are through.
func (t *turns) take(key string) (ready <-chan struct{}, done func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before, queued := t.tail[key]
	if !queued {
		before = closed
	}
	mine := make(chan struct{})
	t.tail[key] = mine
	return before, func() {
		close(mine)
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.tail[key] == mine {
			delete(t.tail, key)
		}
	}
}
