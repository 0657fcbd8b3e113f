package wxpaytest_test

import (
	"strings"
	"testing"

	"wxpay-worker/wxpay/wxpaytest"
)

const notifications = "/v3/merchant-service/complaint-notifications"

func notifyAt(method, url string) call {
	return call{method: method, target: notifications, body: `{"url":"` + url + `"}`}
}

func TestComplaintNotifyURL(t *testing.T) {
	b := setup(t)
	other := newCaller(t, b.Server, b.AddMerchant(wxpaytest.Merchant{MchID: "1900000002"}), b.clock.now)
	remove := call{method: "DELETE", target: notifications}
	const first, second = "https://www.example.com/notify", "https://www.example.com/notify2"

	b.want(get(notifications), 404, "RESOURCE_NOT_EXISTS")
	b.want(notifyAt("PUT", first), 404, "RESOURCE_NOT_EXISTS")
	b.want(remove, 404, "RESOURCE_NOT_EXISTS")
	if r := b.want(notifyAt("POST", first), 200, ""); r.text("url") != first || r.text("mchid") != mchid {
		t.Errorf("%v", r)
	}
	b.want(notifyAt("POST", second), 400, "INVALID_REQUEST")
	if r := b.want(get(notifications), 200, ""); r.text("url") != first || b.ComplaintNotifyURL(mchid) != first {
		t.Errorf("%v", r)
	}
	if r := b.want(notifyAt("PUT", second), 200, ""); r.text("url") != second {
		t.Errorf("%v", r)
	}
	other.want(get(notifications), 404, "RESOURCE_NOT_EXISTS")
	if b.ComplaintNotifyURL(mchid) != second || b.ComplaintNotifyURL("1900000002") != "" {
		t.Error(b.ComplaintNotifyURL(mchid))
	}
	b.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointNotifyURLDelete, Answer: wxpaytest.Answer5xx})
	b.want(remove, 500, "SYSTEM_ERROR")
	if r := b.want(remove, 204, ""); len(r.body) != 0 || b.ComplaintNotifyURL(mchid) != "" {
		t.Errorf("%v", r)
	}
	for e, n := range map[wxpaytest.Endpoint]int{
		wxpaytest.EndpointNotifyURLCreate: 2, wxpaytest.EndpointNotifyURLQuery: 3,
		wxpaytest.EndpointNotifyURLUpdate: 2, wxpaytest.EndpointNotifyURLDelete: 3,
	} {
		if seen := b.RequestsTo(e); len(seen) != n {
			t.Errorf("%s: %v", e, seen)
		}
	}
	b.wantViolations(0)
}

// One case per rule of the URL, and of what must not be sent.
func TestRefusedNotifyURL(t *testing.T) {
	b := setup(t)
	rules := map[string]string{}
	defer func() { golden(t, "refused_notifyurl.txt", rules) }()
	for name, q := range map[string]call{
		"http":             notifyAt("POST", "http://www.example.com/notify"),
		"no host":          notifyAt("POST", "https:///notify"),
		"with a query":     notifyAt("PUT", "https://www.example.com/notify?a=1"),
		"over 255":         notifyAt("POST", "https://www.example.com/"+strings.Repeat("n", 232)),
		"no url":           {method: "POST", target: notifications, body: `{}`},
		"other fields":     {method: "PUT", target: notifications, body: `{"url":"https://www.example.com/n","mchid":"1900000001"}`},
		"no body":          {method: "PUT", target: notifications},
		"query parameters": get(notifications + "?mchid=1900000001"),
		"DELETE with body": notifyAt("DELETE", "https://www.example.com/notify"),
	} {
		t.Run(name, func(t *testing.T) {
			before := len(b.Violations())
			defer func() { rules[name] = lastRefusal(b) }()
			b.want(q, 400, "PARAM_ERROR")
			if len(b.Violations()) != before+1 {
				t.Errorf("violations: %q", b.Violations()[before:])
			}
		})
	}
	b.want(notifyAt("POST", "https://www.example.com/"+strings.Repeat("n", 231)), 200, "")
}
