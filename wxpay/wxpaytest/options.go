package wxpaytest

import "time"

// Options of a simulator. The zero value is the strict judge that tests want.
type Options struct {
	// Now is the simulator's clock: the window of request timestamps, the minute between two
	// submissions of a refund, the age of orders, the times in answers, history and platform
	// certificates. Default time.Now.
	// Answers are signed at this time, so a client that verifies freshness must share the clock.
	Now func() time.Time

	// OpenBooks lets unknown orders and complaints appear on first sight: an order with the total that
	// the refund names, a complaint as fast refund, PENDING. For `worker dev` and `worker simulate`.
	OpenBooks bool

	// SettleAtOnce: an accepted refund still answers PROCESSING on create, and is SUCCESS at the first
	// query that sees it. Otherwise it stays PROCESSING until Settle.
	SettleAtOnce bool

	// QueryLag hides a new refund from queries for this long (of Now): WeChat Pay does not promise that
	// a query sees what was just accepted. Zero: visible at once.
	QueryLag time.Duration

	// RefundFeeMismatch answers another amount under a known number (or a total that is not the order's)
	// with the code that stands on paper, REFUND_FEE_MISMATCH, in v2 and v3. By default it is
	// INVALID_REQUEST, which is what both send in practice.
	// Source: M:4013071200; COMM:000246066e04c86deac0e843866000, COMM:0002a44d3ccb50f17200b50de60000.
	RefundFeeMismatch bool

	// Listen and ListenBackup are the addresses of the two hosts. Default 127.0.0.1:0.
	Listen, ListenBackup string

	// Hostnames are further names that the TLS certificate is valid for, besides localhost, 127.0.0.1
	// and ::1, e.g. a container's name.
	Hostnames []string

	// KeepRequests bounds the record of requests, their bodies included (of uploads up to 4 MiB each); the oldest
	// are forgotten first.
	// 0 = 100,000; below 0 = none.
	KeepRequests int

	// AllowQuickRepeat answers a repeated refund create within a minute like any other re-entry. By
	// default only the first submission succeeds, the later ones "exceed the refundable amount".
	// Source: P:4013080629.
	AllowQuickRepeat bool

	// AllowMixedDecision accepts launch_refund_day with REJECT, and reject_reason and reject_media_list
	// with APPROVE, as the vendor's own samples send them. By default they are refused.
	// Source: M:4012467256 (the sample mixes them), COMM:000c42954683506f18401c7c168c00.
	AllowMixedDecision bool

	// LargestPage refuses pages of negotiation-historys and of the list of complaints that would hold more entries than this
	// with INVALID_REQUEST: WeChat Pay bounds the size of its answers, and asks for a smaller limit then. 0 = none is too large.
	// Source: M:4012068499 (code); WIKI:apiv3/apis/chapter10_2_12.shtml, chapter10_2_11.shtml (message).
	LargestPage int

	// HistoryOldestFirst turns the order of negotiation-historys around; the documents state none.
	HistoryOldestFirst bool
}

// withDefaults fills what was left zero.
func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.ListenBackup == "" {
		o.ListenBackup = "127.0.0.1:0"
	}
	if o.KeepRequests == 0 {
		o.KeepRequests = 100_000
	}
	return o
}
