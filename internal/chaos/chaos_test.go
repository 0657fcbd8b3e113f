package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// plan is a run: which hardships come when is drawn from its seed, phase after phase, until the time is over.
type plan struct {
	nodes int
	seed  uint64
	rate  int // commands a second
	// hasty bounds how often WeChat Pay's minute is waited for: no create call that is answered badly was not carried out, what is
	// refused is of a merchant whose create calls are answered well, and no order is refunded twice. Otherwise a lane that changes
	// hands while a refund is in doubt waits for two minutes: who takes it over cannot know when the last call was made.
	hasty  bool
	length time.Duration // of a phase
	deal   func(r *rand.Rand, n int) (hand []hardship, last bool)
	until  time.Time // no round begins after it
}

// The seeds of the runs that are part of every test run.
const (
	seedAlone   = 5
	seedCluster = 2
)

// TestChaos breaks an installation of real processes and then compares everybody's books. Without CHAOS it is short: much
// at once, for some seconds, with a fixed seed. CHAOS=10m make chaos goes on for as long, half of it with one NATS node and half
// with three; CHAOS_SEED=… repeats the schedule of an earlier run.
func TestChaos(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		name := map[int]string{1: "one NATS node", 3: "three NATS nodes"}[nodes]
		t.Run(name, func(t *testing.T) {
			p := short(nodes)
			if text := os.Getenv("CHAOS"); text != "" {
				length, err := time.ParseDuration(text)
				check(t, err)
				p = long(nodes, length/2)
			} else {
				t.Parallel()
			}
			if text := os.Getenv("CHAOS_SEED"); text != "" {
				seed, err := strconv.ParseUint(text, 10, 64)
				check(t, err)
				p.seed = seed
			}
			p.run(t)
		})
	}
}

// short is one phase with much at once, then the minute that WeChat Pay wants between two submissions.
func short(nodes int) plan {
	p := plan{nodes: nodes, seed: seedAlone, rate: 12, hasty: true, length: 10 * time.Second}
	hand := named("workers killed", "NATS killed", badAnswersName, "workers stopped", "wires cut", "hosts refusing")
	if nodes > 1 {
		p.seed = seedCluster
		hand = named("NATS killed", "workers killed", badAnswersName, "wires slow and blocked", "a merchant held", skewedName, "workers upgraded")
	}
	p.deal = func(*rand.Rand, int) ([]hardship, bool) { return hand, true }
	return p
}

// long goes on for rounds: a phase without hardships, one with a merchant held, one with a merchant drowned, and all the others in
// twos and threes as they come.
func long(nodes int, length time.Duration) plan {
	hands := []int{0, 1, 1, 2, 2, 2, 2, 3}
	without := strings.Split(os.Getenv("CHAOS_WITHOUT"), ",")
	var deck []hardship
	return plan{
		nodes: nodes, seed: uint64(time.Now().UnixNano()), rate: 20, length: 20 * time.Second, until: time.Now().Add(length),
		deal: func(r *rand.Rand, n int) (hand []hardship, last bool) {
			n %= len(hands)
			if n == 0 {
				others := slices.DeleteFunc(slices.Clone(hardships), func(h hardship) bool { return h.name == heldName || h.name == drownedName })
				r.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
				deck = append(named(heldName, drownedName), others...)
			}
			hand, deck = deck[:hands[n]], deck[hands[n]:]
			hand = slices.DeleteFunc(slices.Clone(hand), func(h hardship) bool { return slices.Contains(without, h.name) })
			return hand, n == len(hands)-1
		},
	}
}

func (p plan) run(t *testing.T) {
	t.Logf("seed %d, %d NATS nodes, %d commands a second; again with CHAOS_SEED=%d", p.seed, p.nodes, p.rate, p.seed)
	r := rand.New(rand.NewPCG(p.seed, 0))
	s := newSite(t, rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0)), p.nodes) // its ports are no part of the schedule
	l := newLoad(s, rand.New(rand.NewPCG(p.seed, 1)), p.hasty)
	o, err := newOperator(s, l)
	check(t, err)
	a := newAudit(s, l, o)
	ctx := t.Context()
	var phases []*phase
	var excuse excuses
	for n, more := 0, true; more && !t.Failed(); n++ {
		hand, last := p.deal(r, n)
		ph := &phase{name: names(hand), length: p.length, patients: map[string]bool{}}
		phases = append(phases, ph)
		for _, h := range hand {
			excuse.stopped = excuse.stopped || h.name == "workers stopped"
			excuse.skewed = excuse.skewed || h.name == skewedName
			excuse.forgetful = excuse.forgetful || h.name == "NATS killed" && p.nodes == 1
		}
		t.Logf("%6.2fs phase %d: %s", time.Since(s.began).Seconds(), n, ph.name)
		p.endure(t, ctx, n, ph, hand, s, l, o)
		if err := a.acknowledged(ctx); err != nil {
			t.Errorf("phase %d: %v", n, err)
		}
		if last {
			more = time.Now().Before(p.until)
			ended := time.Now()
			l.inFlight.Wait()
			err := a.settle(ctx)
			if err == nil {
				err = o.finish(ctx, a.settle)
			}
			if err != nil {
				t.Errorf("phase %d: not everything ended: %v\n%s", n, err, a.left(ctx))
			}
			ph.settled = time.Since(ended)
			check(t, a.complete(ctx, excuse))
		} else {
			a.soFar(excuse)
		}
		if len(a.found) > 0 {
			t.Errorf("phase %d, seed %d:\n%s", n, p.seed, a.report())
		}
	}
	t.Logf("seed %d\n%s", p.seed, a.table(phases))
	if n, err := strconv.Atoi(os.Getenv("CHAOS_SLOWEST")); err == nil {
		t.Logf("the slowest:\n%s", a.slowest(n))
	}
}

// endure lets the load and the hardships of one phase run, and returns when everything has been put right again.
func (p plan) endure(t *testing.T, ctx context.Context, n int, ph *phase, hand []hardship, s *site, l *load, o *operator) {
	var busy sync.WaitGroup
	var mu sync.Mutex
	l.twice = !p.hasty && len(hand) > 1 // those with one hardship wait for everything but a patient
	if len(hand) == 1 {
		// What still waits for something of an earlier phase would be taken for waiting for this one's patient.
		check(t, eventually(ctx, patience, func(ctx context.Context) error {
			waits, _, err := s.unfinished(ctx, "")
			if err == nil && waits != "" {
				err = fmt.Errorf("%s waits since an earlier phase", waits)
			}
			return err
		}))
	}
	busy.Go(func() { l.steady(ctx, n, p.rate, ph.length) })
	busy.Go(func() { o.work(ctx, seeded(p.seed, n, "operator"), ph.length) })
	for _, h := range hand {
		tr := &trial{site: s, load: l, hasty: p.hasty, alone: len(hand) == 1, phase: n, length: ph.length, r: seeded(p.seed, n, h.name), patient: func(payer string) {
			mu.Lock()
			defer mu.Unlock()
			ph.patients[payer] = true
		}}
		busy.Go(func() {
			if err := h.do(ctx, tr); err != nil {
				t.Errorf("%s: %v", h.name, err)
			}
		})
	}
	busy.Wait()
	s.sim.ClearFaults()
}

func names(some []hardship) string {
	if len(some) == 0 {
		return "calm"
	}
	var all []string
	for _, h := range some {
		all = append(all, h.name)
	}
	return strings.Join(all, " + ")
}

// left tells what has not ended.
func (a *audit) left(ctx context.Context) string {
	open, err := a.waiting(ctx)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, c := range a.load.commands() {
		for _, sequence := range c.sequences {
			if open[sequence] && b.Len() < 20_000 {
				fmt.Fprintf(&b, "%s: sequence %d is still there\n%s", identity{c.mchid, c.kind, c.key}, sequence, a.history(identity{c.mchid, c.kind, c.key}))
			}
		}
	}
	return b.String()
}
