package chaos

import (
	"slices"
	"time"

	"wxpay-worker/wxpay/wxpaytest"
)

// writing are the calls that the quota of complaints counts, creating those of refunds, asking those of queries.
var (
	writing  = []wxpaytest.Endpoint{wxpaytest.EndpointUpdateRefundProgress, wxpaytest.EndpointComplaintResponse, wxpaytest.EndpointComplaintComplete}
	creating = []wxpaytest.Endpoint{wxpaytest.EndpointRefundCreate, wxpaytest.EndpointV2Refund}
	asking   = []wxpaytest.Endpoint{wxpaytest.EndpointRefundQuery, wxpaytest.EndpointV2RefundQuery}
)

// peak is the most calls of a merchant within any window, by the true time.
func (a *audit) peak(requests []wxpaytest.Request, mchid string, endpoints []wxpaytest.Endpoint, window time.Duration) int {
	var at []time.Time
	for _, r := range requests {
		if r.MchID == mchid && slices.Contains(endpoints, r.Endpoint) {
			at = append(at, trueTime(r.At))
		}
	}
	slices.SortFunc(at, time.Time.Compare)
	peak, first := 0, 0
	for last := range at {
		for at[last].Sub(at[first]) >= window {
			first++
		}
		peak = max(peak, last-first+1)
	}
	return peak
}

// peaks are the highest rates of any merchant.
type peaks struct{ creates, writes, queries int }

func (a *audit) peaks(each func(mchid string, p peaks)) (highest peaks) {
	requests := a.site.sim.Requests()
	for i := range merchants {
		p := peaks{
			a.peak(requests, mchid(i), creating, time.Second), a.peak(requests, mchid(i), writing, time.Minute), a.peak(requests, mchid(i), asking, time.Second),
		}
		each(mchid(i), p)
		highest = peaks{max(highest.creates, p.creates), max(highest.writes, p.writes), max(highest.queries, p.queries)}
	}
	return highest
}

// handedOver is how many queries may be seen in a window in which the looks at accepted refunds went from one worker to another, who
// cannot know how the first one bunched them. The true figure is in the closing table.
func handedOver(quota int) int { return quota + quota/4 }

func (a *audit) checkQuotas() {
	a.peaks(func(mchid string, p peaks) {
		id := identity{mchid: mchid}
		if p.creates > refundQuota {
			a.fault(id, "%d refund calls within a second, %d are allowed", p.creates, refundQuota)
		}
		if p.writes > complaintQuota {
			a.fault(id, "%d complaint calls within a minute, %d are allowed", p.writes, complaintQuota)
		}
		if p.queries > handedOver(queryQuota) {
			a.fault(id, "%d queries within a second, %d are allowed", p.queries, queryQuota)
		}
	})
}
