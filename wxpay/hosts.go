package wxpay

import (
	"slices"
	"sync"
	"time"
)

// WeChat Pay asks merchants to leave its preferred host when less than 90 % of the last (at most) 100 results of ten
// minutes were good, or when three attempts in a row failed, and to come back by themselves.
//
// Source: 跨城冗灾方案, https://pay.weixin.qq.com/doc/v3/merchant/4012075113, 2025-03-21 (schemes 1 and 2)
const (
	resultsKept   = 100
	resultsAge    = 10 * time.Minute
	resultsNeeded = 10 // for a rate to mean something
	minGood       = 90 // per cent
	failedInARow  = 3
	probeEvery    = 10 * time.Second
)

// hosts decides which host a call tries first. Only connect, read and write failures count as bad: an answer is an
// answer, whatever it says. All methods are safe for concurrent use.
type hosts struct {
	byPreference []string
	whileDown    []string // the same, the preferred one last
	now          func() time.Time

	mu      sync.Mutex
	results []result  // of the preferred host, oldest first, at most resultsKept
	probed  time.Time // when a call last tried the preferred host while it was down
}

type result struct {
	at time.Time
	ok bool
}

func newHosts(bases []string, now func() time.Time) *hosts {
	return &hosts{byPreference: bases, whileDown: append(slices.Clone(bases[1:]), bases[0]), now: now}
}

// order returns the hosts for one call; the slice is not the caller's to change. While the preferred host is down, one
// repeatable call every 10 s tries it first, as a probe.
func (h *hosts) order(repeatable bool) (order []string, probe bool) {
	if len(h.byPreference) == 1 {
		return h.byPreference, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	if !h.down(now) {
		return h.byPreference, false
	}
	if repeatable && now.Sub(h.probed) >= probeEvery {
		h.probed = now
		return h.byPreference, true
	}
	return h.whileDown, false
}

// current is the host that calls try first, probes aside.
func (h *hosts) current() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.byPreference) > 1 && h.down(h.now()) {
		return h.whileDown[0]
	}
	return h.byPreference[0]
}

// note records how an attempt at host went. A good probe brings everybody back; a late success of a call that began
// before the host went down does not.
func (h *hosts) note(host string, ok, probe bool) {
	if len(h.byPreference) == 1 || host != h.byPreference[0] {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	if !h.down(now) {
		h.probed = now // should this result bring it down, the first probe waits its turn
	}
	if ok && probe {
		h.results = h.results[:0]
	}
	if len(h.results) == resultsKept {
		h.results = slices.Delete(h.results, 0, 1)
	}
	h.results = append(h.results, result{now, ok})
}

// down judges by the results that still count. Without any, the preferred host is up: results stop coming in while
// another one is used, and must not keep it down for ever. The caller holds mu.
func (h *hosts) down(now time.Time) bool {
	fresh := slices.IndexFunc(h.results, func(r result) bool { return now.Sub(r.at) < resultsAge })
	if fresh < 0 {
		h.results = h.results[:0]
		return false
	}
	h.results = slices.Delete(h.results, 0, fresh)
	good, n := 0, len(h.results)
	for _, r := range h.results {
		if r.ok {
			good++
		}
	}
	lastFailed := n >= failedInARow && !slices.ContainsFunc(h.results[n-failedInARow:], func(r result) bool { return r.ok })
	return lastFailed || n >= resultsNeeded && good*100 < n*minGood
}
