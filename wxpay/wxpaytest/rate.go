package wxpaytest

import (
	"slices"
	"time"
)

// PeakRate is the most requests of a merchant ("" = of any) to these endpoints (nil = to any) within a
// window, by Options.Now: those at t and at t+window are in two windows. What counts is that a request
// reached the judge, not how it was answered. Of requests that Options.KeepRequests has forgotten nothing is known.
func (s *Server) PeakRate(mchid string, endpoints []Endpoint, window time.Duration) int {
	var at []time.Time
	for _, r := range s.history.list(func(r *Request) bool {
		return (mchid == "" || r.MchID == mchid) && (endpoints == nil || slices.Contains(endpoints, r.Endpoint))
	}) {
		at = append(at, r.At)
	}
	slices.SortFunc(at, time.Time.Compare) // they arrived concurrently
	peak, first := 0, 0
	for last := range at {
		for at[last].Sub(at[first]) >= window && first < last {
			first++
		}
		peak = max(peak, last-first+1)
	}
	return peak
}
