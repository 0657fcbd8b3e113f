package wxpaytest_test

import (
	"testing"
	"time"

	"wxpay-worker/wxpay/wxpaytest"
)

func TestPeakRate(t *testing.T) {
	b := setup(t)
	v2 := b.v2()
	other := newCaller(t, b.Server, b.AddMerchant(wxpaytest.Merchant{MchID: "1900000002"}), b.clock.now)
	for _, wait := range []time.Duration{0, 500 * time.Millisecond, 499 * time.Millisecond, time.Millisecond, time.Second} {
		b.clock.forward(wait)
		b.want(get(refunds+"/R1"), 404, "RESOURCE_NOT_EXISTS") // at 0, 500, 999, 1000, 2000 ms
	}
	other.want(get(refunds+"/R1"), 404, "RESOURCE_NOT_EXISTS")
	v2.want(v2.query("out_refund_no", "R1"), "REFUNDNOTEXIST")
	bad := get(refunds + "/R1")
	bad.serial = "00"
	b.want(bad, 401, "SIGN_ERROR")

	query, both := []wxpaytest.Endpoint{wxpaytest.EndpointRefundQuery}, []wxpaytest.Endpoint{wxpaytest.EndpointRefundQuery, wxpaytest.EndpointV2RefundQuery}
	for _, c := range []struct {
		mchid     string
		endpoints []wxpaytest.Endpoint
		window    time.Duration
		want      int
	}{
		{mchid, query, time.Second, 3},
		{mchid, query, time.Second + time.Nanosecond, 4},
		{mchid, query, 500 * time.Millisecond, 2},
		{mchid, query, time.Hour, 6},
		{mchid, both, time.Second, 3},
		{mchid, both, time.Millisecond, 3},
		{mchid, nil, time.Hour, 7},
		{"", nil, time.Hour, 8},
		{"1900000002", query, time.Hour, 1},
		{"1900000002", both[1:], time.Hour, 0},
		{"1900000003", nil, time.Hour, 0},
	} {
		if got := b.PeakRate(c.mchid, c.endpoints, c.window); got != c.want {
			t.Errorf("%q %v in %s: %d, want %d", c.mchid, c.endpoints, c.window, got, c.want)
		}
	}
}
