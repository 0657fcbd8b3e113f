package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// row is one way to work off a backlog.
type row struct {
	api    string
	by     string
	synced bool // store
	answer time.Duration
}

const (
	byBare        = "bare"         // no queue
	byNaive       = "naive"        // runNaive
	byCareful     = "careful"      // runNaive that keeps promises
	byWorker      = "worker"       // a backlog that has built up while the worker ran
	byWorkerFound = "worker-found" // one that was there when it started: what is not provably new is looked up more
)

func (r row) String() string {
	store := storeName(r.synced)
	if r.by == byBare {
		store = "none"
	}
	return fmt.Sprintf("Throughput/api=%s/answer=%s/store=%s/by=%s", r.api, r.answer, store, r.by)
}

func storeName(synced bool) string {
	if synced {
		return "synced"
	}
	return "unsynced"
}

// most is how many commands a second the row may do at the very most: what has to be waiting.
func (r row) most() int {
	switch {
	case r.answer > 0:
		return int(time.Second/r.answer)*inFlight*5/4 + 1
	case r.api == apiV3:
		return 2500
	case !r.synced:
		return 25_000
	}
	return 9_000
}

func rows() (all []row) {
	for _, api := range []string{apiV3, apiV2} {
		for _, answer := range []time.Duration{0, 50 * time.Millisecond} {
			all = append(all, row{api: api, by: byBare, answer: answer})
			for _, synced := range []bool{false, true} {
				all = append(all, row{api, byNaive, synced, answer}, row{api, byCareful, synced, answer}, row{api, byWorker, synced, answer})
			}
			if answer == 0 {
				all = append(all, row{api, byWorkerFound, true, answer})
			}
		}
	}
	return all
}

func (b *bench) throughput(ctx context.Context) error {
	for range b.repeat {
		for _, r := range rows() {
			if !b.rows.MatchString(r.String()) {
				continue
			}
			f, err := b.measure(ctx, r)
			if err != nil {
				return fmt.Errorf("%s: %w", r, err)
			}
			if err := b.report.add(r.String(), f); err != nil {
				return err
			}
		}
	}
	return nil
}

// warmUp is how long a row runs before it is looked at.
const warmUp = time.Second

// measure works off a backlog and looks at the middle of it.
func (b *bench) measure(ctx context.Context, r row) (f figures, err error) {
	s, undo, err := b.install(ctx, r.synced, r.answer)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, undo()) }()
	waiting := load{URL: s.url, Story: storyPaid, Merchants: 1, Count: int(float64(r.most()) * (b.window + 2*warmUp).Seconds())}
	var p *process
	end := (*process).end
	switch r.by {
	case byBare:
		p, err = startSelf(b.dir, "bare", r.api, b.address)
	case byNaive, byCareful:
		if err = b.publish(waiting); err == nil {
			p, err = startSelf(b.dir, r.by, r.api, b.address, s.url)
		}
	case byWorkerFound:
		if err = b.publish(waiting); err == nil {
			p, err = b.startWorker(settings{api: r.api, nats: s.url, address: b.address, merchants: 1, first: time.Hour})
		}
		end = (*process).stop
	default:
		p, err = b.startWorker(settings{api: r.api, nats: s.url, address: b.address, merchants: 1, first: time.Hour})
		if err == nil {
			err = b.publishPaused(ctx, s, waiting)
		}
		end = (*process).stop
	}
	if p != nil {
		defer func() { err = errors.Join(err, end(p)) }()
	}
	if err != nil {
		return nil, err
	}
	if err := b.answering(ctx); err != nil {
		return nil, err
	}
	time.Sleep(warmUp)
	err = b.profiled(ctx, r.String(), p.pprof, s.pprof, func() error {
		f, err = b.look(ctx, b.window, []*process{p}, s.process)
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, b.checkBacklog(ctx, s, r)
}

// checkBacklog makes sure that the row did what it says: there was work to the end, and all of it was recorded.
func (b *bench) checkBacklog(ctx context.Context, s *store, r row) error {
	if r.by == byBare {
		return nil
	}
	if left, err := s.count(ctx, subjects.CommandsStream()); err != nil || left <= inFlight {
		return errors.Join(err, errors.New("the backlog was worked off before the end"))
	}
	letters, err := s.count(ctx, subjects.DeadLettersStream())
	if err != nil || letters > 0 {
		return errors.Join(err, fmt.Errorf("%d dead letters", letters))
	}
	return nil
}

// look watches for a while and returns what was done, by whom, per command: by those that are measured, the answering side and the
// NATS server.
func (b *bench) look(ctx context.Context, window time.Duration, measured []*process, server *process) (figures, error) {
	f, _, err := b.lookClosely(ctx, window, measured, server)
	return f, err
}

// lookClosely returns what the answering side saw, too.
func (b *bench) lookClosely(ctx context.Context, window time.Duration, measured []*process, server *process) (figures, taken, error) {
	watched := map[string][]*process{"cpu-ns/cmd": measured, "answer-cpu-ns/cmd": {b.answers}, "nats-cpu-ns/cmd": {server}}
	before, err := used(watched)
	if err != nil {
		return nil, taken{}, err
	}
	var from taken
	if err := b.answers.ask("take", &from); err != nil {
		return nil, taken{}, err
	}
	to, err := b.watch(ctx, 0, window)
	if err != nil {
		return nil, taken{}, err
	}
	after, err := used(watched)
	if err != nil {
		return nil, taken{}, err
	}
	if to.Creates == 0 {
		return nil, taken{}, errors.New("nothing was done")
	}
	f := figures{"cmd/s": float64(to.Creates) / to.At.Sub(from.At).Seconds()}
	for unit := range watched {
		f[unit] = float64(after[unit]-before[unit]) / float64(to.Creates)
	}
	if to.Queries > 0 {
		f["query/s"] = float64(to.Queries) / to.At.Sub(from.At).Seconds()
	}
	return f, to, nil
}

// used is the processor time that each group of processes has used so far.
func used(watched map[string][]*process) (map[string]time.Duration, error) {
	sums := map[string]time.Duration{}
	for unit, group := range watched {
		for _, p := range group {
			cpu, err := p.cpu()
			if err != nil {
				return nil, err
			}
			sums[unit] += cpu
		}
	}
	return sums, nil
}

// answering waits for the first call to arrive.
func (b *bench) answering(ctx context.Context) error {
	for ctx.Err() == nil {
		var t taken
		if err := b.answers.ask("take", &t); err != nil || t.Creates > 0 {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return ctx.Err()
}

// publish publishes a load from a process of its own and waits for it.
func (b *bench) publish(l load) error {
	p, err := b.startPublishing(l)
	if err != nil {
		return err
	}
	return p.wait()
}

func (b *bench) startPublishing(l load) (*process, error) {
	description, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	return startSelf(b.dir, "publish", string(description))
}

// startWorker starts the program itself.
func (b *bench) startWorker(s settings) (*process, error) {
	b.workers++
	config, err := s.write(b.dir, fmt.Sprintf("worker-%d", b.workers))
	if err != nil {
		return nil, err
	}
	args := []string{"run", "--config", config}
	address := ""
	if b.profiles != "" {
		if address, err = freeAddress(); err != nil {
			return nil, err
		}
		args = append(args, "--pprof", address)
	}
	p, err := start(b.dir, "worker", b.worker, args...)
	if err != nil {
		return nil, err
	}
	p.pprof = address
	return p, nil
}

// publishPaused publishes while the lanes' consumers are paused, as a person may pause them, and lets them go.
func (b *bench) publishPaused(ctx context.Context, s *store, l load) error {
	for i := range l.Merchants {
		if err := s.paused(ctx, merchantID(l.First+i)); err != nil {
			return err
		}
	}
	if err := b.publish(l); err != nil {
		return err
	}
	return b.resume(ctx, s, l)
}

// resume lets the lanes of a load go.
func (b *bench) resume(ctx context.Context, s *store, l load) error {
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	for i := range l.Merchants {
		if _, err := s.js.ResumeConsumer(ctx, subjects.CommandsStream(), lane(merchantID(l.First+i))); err != nil {
			return err
		}
	}
	return nil
}

// storePatience is how long a busy server may take to answer; the client's own limit is shorter.
const storePatience = 2 * time.Minute

func lane(mchid string) string { return "refund-" + mchid }

// paused pauses a lane that is being served.
func (s *store) paused(ctx context.Context, mchid string) error {
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	if err := s.served(ctx, lane(mchid)); err != nil {
		return err
	}
	_, err := s.js.PauseConsumer(ctx, subjects.CommandsStream(), lane(mchid), time.Now().Add(time.Hour))
	return err
}

// served waits until somebody has pulled from a consumer of commands.
func (s *store) served(ctx context.Context, consumer string) error {
	for {
		have, err := s.js.Consumer(ctx, subjects.CommandsStream(), consumer)
		if err == nil && have.CachedInfo().NumWaiting > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		time.Sleep(5 * time.Millisecond)
	}
}
