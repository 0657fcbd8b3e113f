package chaos

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"wxpay-worker/messages"
)

func (a *audit) linesOf(file string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		f, err := os.Open(file)
		if err != nil {
			return // a worker that was never started has none
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if !yield(lines.Text()) {
				return
			}
		}
	}
}

// slowest explains the commands that took longest to end, for whoever wonders.
func (a *audit) slowest(n int) string {
	type slow struct {
		id   identity
		took time.Duration
	}
	var all []slow
	for _, c := range a.load.commands() {
		id := identity{c.mchid, c.kind, c.key}
		if events := a.events[id]; len(events) > 0 {
			all = append(all, slow{id, events[len(events)-1].at.Sub(c.published)})
		}
	}
	slices.SortFunc(all, func(x, y slow) int { return int(y.took - x.took) })
	var b strings.Builder
	for _, s := range all[:min(n, len(all))] {
		fmt.Fprintf(&b, "%s took %s\n%s", s.id, s.took, a.history(s.id))
	}
	return b.String()
}

// told bounds how many keys a failure is explained for.
const told = 5

// report lists all that was found, and the whole history of the first keys.
func (a *audit) report() string {
	var b strings.Builder
	ids := slices.SortedFunc(maps.Keys(a.found), func(x, y identity) int { return strings.Compare(x.String(), y.String()) })
	for i, id := range ids {
		for _, f := range a.found[id] {
			fmt.Fprintf(&b, "%s: %s\n", id, f)
		}
		if i < told && id.key != "" {
			b.WriteString(a.history(id))
		}
	}
	return b.String()
}

// history is all that is known of a key: what was published, what the simulator saw, the outcomes, the dead letters, and what
// the workers said.
func (a *audit) history(id identity) string {
	var lines []string
	line := func(at time.Time, format string, args ...any) {
		lines = append(lines, fmt.Sprintf("    %9.3fs  %s", at.Sub(a.site.began).Seconds(), fmt.Sprintf(format, args...)))
	}
	keys := map[string]bool{id.key: true}
	orders := map[string]bool{} // whose other refunds may have something to do with it
	for _, c := range a.load.commands() {
		if c.refund != nil && c.refund.number == id.key {
			orders[c.refund.order] = true
		}
	}
	var published []string
	for _, c := range a.load.commands() {
		c.mu.Lock()
		mine := c.mchid == id.mchid && (c.key == id.key || c.key+":reply" == id.key || c.refund != nil && orders[c.refund.order])
		for _, s := range c.sequences {
			mine = mine || messages.SeqKey(s) == id.key
		}
		if mine {
			line(c.published, "published command %d, %s, %s, sequences %d: %s", c.n, c.kind, c.fate, c.sequences, c.body)
			published = append(published, c.key)
			for _, s := range c.sequences {
				keys[messages.SeqKey(s)] = true
			}
			for _, k := range []string{c.key, c.complaint} {
				if k != "" {
					keys[k] = true
				}
			}
			if c.refund != nil {
				keys[c.refund.number] = true
			}
		}
		c.mu.Unlock()
	}
	for _, key := range published {
		keys[key+":reply"] = true
	}
	for _, r := range a.site.sim.Requests() {
		if r.MchID == id.mchid && keys[r.ID] {
			line(trueTime(r.At), "request  %s", r)
		}
	}
	for other, events := range a.events {
		if other.mchid == id.mchid && keys[other.key] {
			for _, e := range events {
				line(e.at, "outcome  %d %s %s by %s, attempts %d, up to %d, %+v", e.sequence, other, e.Status, e.worker, e.Attempts, e.upTo, e.Error)
			}
		}
	}
	for _, l := range a.letters {
		if l.MchID == id.mchid && keys[l.Key] {
			line(l.FailedAt, "letter   %d %s, command sequence %d: %s %s", l.sequence, l.Reason, l.StreamSeq, l.Code, l.Message)
		}
	}
	slices.Sort(lines)
	for _, w := range a.site.workers {
		for said := range a.linesOf(w.log()) {
			for key := range keys {
				if key != "" && (strings.Contains(said, "="+key+" ") || strings.Contains(said, `"`+key+`"`) || strings.Contains(said, "stream_seq="+strings.TrimPrefix(key, "seq-")+" ")) {
					lines = append(lines, "    "+w.name+"  "+said)
					break
				}
			}
		}
	}
	return strings.Join(lines, "\n") + "\n"
}
