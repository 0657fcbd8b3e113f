package consumer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"wxpay-worker/messages"
)

// A command that panics is buried as poison at once (handle.go). One that kills the whole process leaves nobody to do that: when
// its lease is over it comes to the next worker, and would kill one after the other.
//
// The server counts deliveries, but back-off makes many of them, too. So a command that was delivered several times, without this process
// having answered any of them, is only a suspect. Whoever handles a suspect marks it on the lane's consumer before, and takes the mark
// away after. A mark that the next worker finds there tells of a process that died over the command. The third death makes it a dead letter.
//
// A process handles one suspect at a time: otherwise the innocent ones would share the guilty one's deaths. A suspicion ends with the
// first call that the command leads to. All of it is best effort: a single server that is killed may forget counts.

const (
	suspectAfter = 3 // deliveries
	poisonDeaths = 3 // processes

	aloneMetadata  = "wxpay_alone"  // the suspect that is being handled, and by whom: <sequence>:<worker>
	deathsMetadata = "wxpay_deaths" // <sequence>:<processes that died over it>, separated by blanks
	deathsKept     = 16             // suspects in deathsMetadata: the newest
)

// suspicion is what a lane knows of its suspects.
type suspicion struct {
	worker   string // who we are
	mu       sync.Mutex
	answered map[uint64]bool // commands that this process has handed back, and whether they are suspects still; guarded by mu
	deaths   map[uint64]int  // processes that died, by the command's sequence; guarded by mu
}

// suspected reports whether the delivery is of a command that may have killed those who handled it before.
func (s *suspicion) suspected(d *delivery) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	suspect, answered := s.answered[d.sequence]
	return suspect || !answered && d.delivered > suspectAfter
}

// note is told how a delivery ended: it confirms or ends a suspicion.
func (s *suspicion) note(o *job, e end) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !e.again {
		delete(s.answered, o.sequence)
		delete(s.deaths, o.sequence)
		return
	}
	if o.delivered < suspectAfter {
		return // the next delivery is not suspected either
	}
	if len(s.answered) >= maxMemories {
		for other := range s.answered { // any: it may be suspected once more
			delete(s.answered, other)
			break
		}
	}
	s.answered[o.sequence] = o.suspect && !o.wrote
}

// clear forgets what this process has answered: others may have handled the commands since.
func (s *suspicion) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.answered)
}

// adopt reads what the lane's consumer says of suspects. Another worker's mark is a death.
func (s *suspicion) adopt(metadata map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.deaths)
	for _, entry := range strings.Fields(metadata[deathsMetadata]) {
		sequence, n, _ := strings.Cut(entry, ":")
		seq, err1 := strconv.ParseUint(sequence, 10, 64)
		deaths, err2 := strconv.Atoi(n)
		if err1 == nil && err2 == nil { // somebody else's word otherwise
			s.deaths[seq] = deaths
		}
	}
	sequence, worker, _ := strings.Cut(metadata[aloneMetadata], ":")
	if seq, err := strconv.ParseUint(sequence, 10, 64); err == nil && worker != s.worker {
		s.deaths[seq]++
	}
}

// died returns how many processes died over the command.
func (s *suspicion) died(sequence uint64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deaths[sequence]
}

// write puts the mark of a suspect, 0 for none, and all deaths into the metadata.
func (s *suspicion) write(metadata map[string]string, alone uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, worker, _ := strings.Cut(metadata[aloneMetadata], ":"); worker == s.worker { // not another's, should it have the lane by now
		delete(metadata, aloneMetadata)
	}
	if alone != 0 {
		metadata[aloneMetadata] = fmt.Sprintf("%d:%s", alone, s.worker)
	}
	delete(metadata, deathsMetadata)
	var entries []string
	sequences := slices.Sorted(maps.Keys(s.deaths))
	for _, seq := range sequences[max(0, len(sequences)-deathsKept):] {
		entries = append(entries, fmt.Sprintf("%d:%d", seq, s.deaths[seq]))
	}
	if len(entries) > 0 {
		metadata[deathsMetadata] = strings.Join(entries, " ")
	}
}

// handleSuspect handles a delivery of a suspect, alone and with a mark.
func (l *lane) handleSuspect(ctx context.Context, d *delivery) {
	o := l.newJob(d)
	o.suspect = true
	ctx = l.begin(ctx, o)
	ready, done := l.suspects.take("")
	defer done()
	err := o.wait(ctx, ready)
	if err == nil {
		err = o.wait(ctx, l.inherited().read)
	}
	if err != nil {
		l.finish(ctx, o, again("not begun", 0, err))
		return
	}
	l.mark(ctx, d.sequence)
	defer l.mark(ctx, 0)
	// Crash from here on: the mark says over which command.
	deaths := l.suspicion.died(d.sequence)
	if deaths > poisonDeaths { // even reading it was too much
		l.finish(ctx, o, l.buryPoison(ctx, o))
		return
	}
	ready, done = l.join(o)
	if deaths == poisonDeaths {
		defer done()
		l.finish(ctx, o, l.buryPoison(ctx, o))
		return
	}
	l.handle(ctx, o, ready, done)
}

func (l *lane) buryPoison(ctx context.Context, o *job) end {
	return l.bury(ctx, o, deadEnd{reason: messages.ReasonPoison, message: "the worker died each time it handled the command"})
}

// mark says on the lane's consumer which suspect is being handled, 0 for none.
func (l *lane) mark(ctx context.Context, sequence uint64) {
	err := l.annotate(context.WithoutCancel(ctx), func(metadata map[string]string) { l.suspicion.write(metadata, sequence) })
	if err != nil {
		l.log.WithError(err).Warn("suspected command not marked: should it kill this process, that will not be counted")
	}
}
