package consumer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"wxpay-worker/internal/stored"
	"wxpay-worker/messages"
)

// ledger is what has been recorded of commands: the outcome stream itself. There is no second store to keep in step.
type ledger struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	subjects messages.Subjects
	worker   string  // who we are in `started` events
	recent   *recent // what we wrote ourselves: a replica may not have it yet
	lookups  together[string, newest]
}

// maxLookups is how many keys are looked up at once: a key has a record of each status at most, and of many of them fewer.
const maxLookups = stored.MaxLasts / 6

func newLedger(nc *nats.Conn, js jetstream.JetStream, subjects messages.Subjects) *ledger {
	l := &ledger{nc: nc, js: js, subjects: subjects, worker: nuid.Next(), recent: newRecent()}
	l.lookups.do, l.lookups.weight, l.lookups.most = l.lookUp, func(string) int { return 1 }, func() int { return maxLookups }
	return l
}

// newest is what a look-up found.
type newest struct {
	record *stored.Msg // nil if the key has none
	err    error
}

// lookUp returns the newest record of each key, in the order of the keys' filters.
func (l *ledger) lookUp(filters []string) ([]newest, error) {
	found := make([]newest, len(filters))
	if len(filters) > 1 {
		records, err := stored.Lasts(context.Background(), l.nc, l.subjects.OutcomesStream(), slices.Compact(slices.Sorted(slices.Values(filters))))
		if err == nil {
			of := newestOf(records)
			for i, filter := range filters {
				found[i].record = of[filter]
			}
			return found, nil
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, err
		}
		// A record that cannot be read may be to blame. Look each key up by itself, so that the others do not suffer for it.
	}
	for i, filter := range filters { // one key is looked up as such: the server answers that in fewer words
		m, err := stored.Last(context.Background(), l.nc, l.subjects.OutcomesStream(), filter)
		switch {
		case errors.Is(err, stored.ErrNotFound):
			err = nil
		case errors.Is(err, context.DeadlineExceeded): // not once more for each key: all who ask meanwhile wait
			return nil, err
		}
		found[i] = newest{m, err}
	}
	return found, nil
}

// newestOf returns the newest of each key's records, by the keys' filters.
func newestOf(records []*stored.Msg) map[string]*stored.Msg {
	of := map[string]*stored.Msg{}
	for _, m := range records {
		filter := strings.TrimSuffix(m.Subject, path.Ext(m.Subject)) + ".*"
		if have := of[filter]; have == nil || have.Sequence < m.Sequence {
			of[filter] = m
		}
	}
	return of
}

// entry is the newest record of one key.
type entry struct {
	filter   string    // all statuses of the key: the condition of every write
	sequence uint64    // of the record, 0 if there is none: the next write names it
	stored   time.Time // when the outcomes stream stored the record that was read

	outcome     *messages.Outcome // nil if there is none
	digest      string            // of the command it speaks of
	worker      string            // who wrote it
	firstAt     time.Time         // when the first attempt was announced, carried from one record to the next
	commandSeq  uint64            // of the command it speaks of
	commandsSeq uint64            // of `failed`: the last command that was stored before it,
	commandsAt  time.Time         // and when; zero in records of before there was this
	spared      int               // of `started`: attempts that do not count, since the lane was held over them
	held        time.Duration     // and for how long it was, since the first
}

// errBehind says that the replica that was asked does not have yet what must be there: ask again.
var errBehind = errors.New("a replica that is behind was read")

// errStale says that somebody else recorded something of the key first: read again, decide again.
var errStale = errors.New("the ledger has moved on")

// status is that of the newest record, "" if there is none.
func (e *entry) status() messages.Status {
	if e.outcome == nil {
		return ""
	}
	return e.outcome.Status
}

// undone reports whether the newest try has failed and it is proven that nothing happened, in that one or before.
func (e *entry) undone() bool {
	if e.status() != messages.StatusFailed || e.outcome.Error == nil {
		return false
	}
	switch e.outcome.Error.Reason {
	case messages.ReasonMalformed, messages.ReasonRejected, messages.ReasonExhausted:
		return true
	}
	return false
}

// storesApart is the most by which the clocks of the servers that lead two streams may differ.
const storesApart = time.Minute

// laterThan reports whether the record is of a later try than the command: its sequence is higher, and not of a stream that was made anew since.
func (e *entry) laterThan(o *job) bool {
	anew := o.storedAfter(e.stored.Add(storesApart))
	if !e.commandsAt.IsZero() {
		anew = o.storedAfter(e.commandsAt)
	}
	return e.commandSeq > o.sequence && !anew
}

// standing is what an entry means for a command that has just been delivered.
type standing int

const (
	standingOpen     standing = iota // nothing ended yet: carry it out
	standingRetry                    // an earlier try failed; this command was stored after that: a new try, which reads back first
	standingEnded                    // this command, or one that equals it, has ended (or is being followed): acknowledge
	standingConflict                 // the key belongs to a command with other parameters
)

// standing compares the entry with a command of the same key.
func (e *entry) standing(digest string, o *job) standing {
	same := e.digest == digest
	switch e.status() {
	case "":
		return standingOpen
	case messages.StatusStarted:
		if !same {
			return standingConflict
		}
		return standingOpen
	case messages.StatusFailed:
		binds := e.outcome.Error != nil && e.outcome.Error.Reason == messages.ReasonUnresolved
		switch {
		case o.sequence <= e.commandsSeq && !o.storedAfter(e.commandsAt) && same:
			return standingEnded
		case !same && binds:
			return standingConflict
		}
		// Another digest that is older than the failure: it was waiting beside the command that failed, and is a try of its own.
		return standingRetry
	default:
		if !same {
			return standingConflict
		}
		return standingEnded
	}
}

// read returns the newest record of the key. The replica that answers may be a moment behind. If it lacks what we wrote ourselves, the error is
// errBehind; if it lacks what others wrote, the condition of the next write finds that out.
func (l *ledger) read(ctx context.Context, mchid string, kind messages.Kind, key string) (*entry, error) {
	e := &entry{filter: l.subjects.OutcomeFilter(mchid, kind, key)}
	written := l.recent.sequence(e.filter)
	found, err := l.lookups.ask(ctx, e.filter)
	if err == nil {
		err = found.err
	}
	m := found.record
	switch {
	case err != nil:
		return nil, fmt.Errorf("read ledger: %w", err)
	case m == nil && written == 0:
		return e, nil
	case m == nil, m.Sequence < written:
		return nil, errBehind
	}
	o, err := messages.DecodeOutcome(m.Data)
	if err != nil {
		return nil, fmt.Errorf("read ledger: outcome %d: %w", m.Sequence, err)
	}
	e.sequence, e.stored, e.outcome = m.Sequence, m.Time, o
	e.digest = m.Header.Get(messages.HeaderDigest)
	e.worker = m.Header.Get(messages.HeaderWorker)
	if e.firstAt = headerTime(m.Header, messages.HeaderFirstAt); e.firstAt.IsZero() {
		e.firstAt = o.At // a record that does not say was the first
	}
	e.commandSeq = headerUint(m.Header, messages.HeaderStreamSeq)
	e.commandsSeq, e.commandsAt = headerUint(m.Header, messages.HeaderCommandsSeq), headerTime(m.Header, messages.HeaderCommandsAt)
	e.spared = int(min(headerUint(m.Header, messages.HeaderSpared), math.MaxUint16))
	if e.held, err = time.ParseDuration(m.Header.Get(messages.HeaderHeld)); err != nil {
		e.held = 0 // absent: the header is ours
	}
	return e, nil
}

// write records an outcome if the entry is still the newest, and returns the new newest entry. It returns errStale if it is
// not; after any other error the record may or may not be there: read again.
func (l *ledger) write(ctx context.Context, e *entry, o *messages.Outcome, n note) (*entry, error) {
	body, err := o.Encode()
	if err != nil {
		return nil, fmt.Errorf("record outcome: %w", err)
	}
	h := nats.Header(o.Headers(l.subjects))
	h.Set(messages.HeaderWorker, l.worker)
	h.Set(messages.HeaderStreamSeq, strconv.FormatUint(n.commandSeq, 10))
	if n.digest != "" {
		h.Set(messages.HeaderDigest, n.digest)
	}
	if n.traceparent != "" {
		h.Set(messages.HeaderTraceparent, n.traceparent)
	}
	if !n.firstAt.IsZero() {
		h.Set(messages.HeaderFirstAt, n.firstAt.UTC().Format(time.RFC3339Nano))
	}
	if n.commandsSeq != 0 {
		h.Set(messages.HeaderCommandsSeq, strconv.FormatUint(n.commandsSeq, 10))
	}
	if !n.commandsAt.IsZero() {
		h.Set(messages.HeaderCommandsAt, n.commandsAt.UTC().Format(time.RFC3339Nano))
	}
	if n.spared != 0 {
		h.Set(messages.HeaderSpared, strconv.Itoa(n.spared))
	}
	if n.held >= time.Second {
		h.Set(messages.HeaderHeld, n.held.Round(time.Second).String())
	}
	msg := &nats.Msg{Subject: l.subjects.Outcome(o.MchID, o.Kind, o.Key, o.Status), Header: h, Data: body}
	ack, err := l.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequenceForSubject(e.sequence, e.filter))
	if stored.IsStale(err) {
		return nil, errStale
	}
	if err != nil {
		return nil, fmt.Errorf("record outcome: %w", err)
	}
	l.recent.wrote(e.filter, ack.Sequence)
	return &entry{
		filter: e.filter, sequence: ack.Sequence, outcome: o, digest: n.digest, worker: l.worker, firstAt: n.firstAt,
		commandSeq: n.commandSeq, commandsSeq: n.commandsSeq, commandsAt: n.commandsAt, spared: n.spared, held: n.held,
	}, nil
}

// note is what a record tells other workers, besides the outcome.
type note struct {
	digest      string
	traceparent string
	firstAt     time.Time
	commandSeq  uint64
	commandsSeq uint64    // of `failed`
	commandsAt  time.Time // likewise
	spared      int       // of `started`
	held        time.Duration
}

// recent remembers for a while which record of a key we wrote last.
type recent struct {
	mu sync.Mutex
	by fading[string, uint64] // sequences by the keys' filters; guarded by mu
}

// recentFor is how long a record is remembered, at least: replicas are behind by much less.
const recentFor = 5 * time.Second

func newRecent() *recent { return &recent{by: fading[string, uint64]{lasts: recentFor, now: time.Now}} }

func (r *recent) wrote(filter string, sequence uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.by.put(filter, sequence)
}

// sequence returns that of the key's record, 0 if none is remembered.
func (r *recent) sequence(filter string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	sequence, _ := r.by.get(filter)
	return sequence
}

// failedWith reports whether the key has a `failed` that names the dead letter, be it the key's newest record or not.
func (l *ledger) failedWith(ctx context.Context, mchid string, kind messages.Kind, key string, letter uint64) (bool, error) {
	subject := l.subjects.Outcome(mchid, kind, key, messages.StatusFailed)
	for m, err := range stored.From(ctx, l.nc, l.subjects.OutcomesStream(), subject, 1) {
		if err != nil {
			return false, err
		}
		o, err := messages.DecodeOutcome(m.Data)
		if err != nil {
			return false, fmt.Errorf("read ledger: outcome %d: %w", m.Sequence, err)
		}
		if o.DeadLetter == letter {
			return true, nil
		}
	}
	return false, nil
}

// mayLack reports whether records that were made since then may be gone: expired, purged, or with the stream, if that was made anew.
func (l *ledger) mayLack(ctx context.Context, since time.Time) (bool, error) {
	stream, err := l.js.Stream(ctx, l.subjects.OutcomesStream())
	if err != nil {
		return false, fmt.Errorf("read oldest outcome: %w", err)
	}
	info := stream.CachedInfo()
	removed := info.State.FirstSeq > 1 && (info.State.Msgs == 0 || info.State.FirstTime.After(since))
	return removed || info.Created.After(since), nil
}

// lastCommand is the sequence of the newest command there was, of any merchant, and when the stream stored it.
func (l *ledger) lastCommand(ctx context.Context) (sequence uint64, at time.Time, err error) {
	stream, err := l.js.Stream(ctx, l.subjects.CommandsStream())
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("read last command: %w", err)
	}
	state := stream.CachedInfo().State
	return state.LastSeq, state.LastTime, nil
}

func headerTime(h nats.Header, name string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, h.Get(name))
	if err != nil {
		return time.Time{} // absent: only workers write these headers
	}
	return t
}

func headerUint(h nats.Header, name string) uint64 {
	n, err := strconv.ParseUint(h.Get(name), 10, 64)
	if err != nil {
		return 0 // absent, or what a publisher made up
	}
	return n
}
