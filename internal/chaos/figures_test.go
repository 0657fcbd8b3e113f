package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"wxpay-worker/messages"
)

// phase is a part of a run, and what came of it.
type phase struct {
	name     string
	length   time.Duration // of the load
	settled  time.Duration // from the load's end until everything had ended
	patients map[string]bool
}

// latencies are, by who pays, how long good commands of a phase took from their first publish to their first `accepted` or end.
// Second refunds of one order, which have to wait for a minute, are left out.
func (a *audit) latencies(phase int, of func(payer string) bool) (all []time.Duration) {
	for _, c := range a.load.commands() {
		if c.fate != good || c.after != nil || !of(c.payer()) {
			continue
		}
		c.mu.Lock()
		published, in := c.published, c.phase
		c.mu.Unlock()
		if in != phase {
			continue
		}
		for _, e := range a.events[identity{c.mchid, c.kind, c.key}] {
			if e.Status != messages.StatusStarted {
				all = append(all, e.at.Sub(published))
				break
			}
		}
	}
	slices.Sort(all)
	return all
}

func percentiles(all []time.Duration) string {
	if len(all) == 0 {
		return "-"
	}
	at := func(p int) time.Duration { return all[(len(all)-1)*p/100].Round(time.Millisecond) }
	return fmt.Sprintf("p50 %v  p90 %v  p99 %v  max %v  (%d)", at(50), at(90), at(99), at(100), len(all))
}

// table is what the run came to.
func (a *audit) table(phases []*phase) string {
	var b strings.Builder
	fmt.Fprintf(&b, "latency from publish to `accepted` or end\n")
	for i, p := range phases {
		fmt.Fprintf(&b, "  %d %s (load %s, settled %s after it)\n", i, p.name, p.length, p.settled.Round(time.Second))
		fmt.Fprintf(&b, "      %-10s %s\n", "others", percentiles(a.latencies(i, func(m string) bool { return !p.patients[m] })))
		if len(p.patients) > 0 {
			fmt.Fprintf(&b, "      %-10s %s\n", "patients", percentiles(a.latencies(i, func(m string) bool { return p.patients[m] })))
		}
	}
	fates, published := map[string]int{}, 0
	for _, c := range a.load.commands() {
		fates[string(c.fate)]++
		published += len(c.sequences)
	}
	fmt.Fprintf(&b, "commands         %s; stored %d times, %d publishes repeated\n", counted(fates), published, a.load.refused)
	statuses, reasons := map[string]int{}, map[string]int{}
	for _, events := range a.events {
		for _, e := range events {
			statuses[string(e.Status)]++
		}
	}
	for _, l := range a.letters {
		reasons[string(l.Reason)]++
	}
	fmt.Fprintf(&b, "outcomes         %s\n", counted(statuses))
	fmt.Fprintf(&b, "dead letters     %s\n", counted(reasons))
	requests, faults := map[string]int{}, 0
	for _, r := range a.site.sim.Requests() {
		requests[string(r.Endpoint)]++
		if r.Fault != nil {
			faults++
		}
	}
	fmt.Fprintf(&b, "requests         %s; %d with a bad answer\n", counted(requests), faults)
	fmt.Fprintf(&b, "done to it       %s\n", counted(a.site.counts))
	p := a.peaks(func(string, peaks) {})
	fmt.Fprintf(&b, "highest rates    %d of %d refund calls/s, %d of %d complaint calls/min, %d of %d queries/s of one merchant\n",
		p.creates, refundQuota, p.writes, complaintQuota, p.queries, queryQuota)
	fmt.Fprintf(&b, "refunds          %d in the books, none twice\n", len(a.site.sim.Refunds()))
	fmt.Fprintf(&b, "windows hit      replied twice (a worker stopped) %d; submitted twice within a minute (a single NATS killed) %d\n",
		a.windows.repliedTwice, a.windows.submittedTwice)
	return b.String()
}

func counted(by map[string]int) string {
	var s []string
	for _, name := range slices.Sorted(maps.Keys(by)) {
		s = append(s, fmt.Sprintf("%s %d", name, by[name]))
	}
	return strings.Join(s, ", ")
}
