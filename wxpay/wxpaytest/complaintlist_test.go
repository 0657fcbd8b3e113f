package wxpaytest_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"wxpay-worker/wxpay/wxpaytest"
)

const complaints = "/v3/merchant-service/complaints-v2"

type complaintPage struct {
	Data []struct {
		ID      string `json:"complaint_id"`
		Accused string `json:"complainted_mchid"`
		OpenID  string `json:"payer_openid"`
		Phone   string `json:"payer_phone"`
		State   string `json:"complaint_state"`
	}
	Limit, Offset int
	Total         *int `json:"total_count"`
}

func (p complaintPage) ids() (ids []string) {
	for _, c := range p.Data {
		ids = append(ids, c.ID)
	}
	return ids
}

func (c *caller) list(query string) (p complaintPage) {
	c.t.Helper()
	if err := json.Unmarshal(c.want(get(complaints+"?"+query), 200, "").body, &p); err != nil {
		c.t.Fatal(err)
	}
	return p
}

func TestComplaintList(t *testing.T) {
	b := setup(t) // C1 is older than all of March
	for d := 1; d <= 12; d++ {
		b.clock.set(day(d, 0, 0, 0))
		b.AddComplaint(wxpaytest.Complaint{ID: fmt.Sprintf("L%02d", d), MchID: mchid})
	}
	b.clock.set(day(12, 23, 59, 59))
	b.AddComplaint(wxpaytest.Complaint{ID: "late", MchID: mchid, ComplaintedMchID: "1900000002"})
	b.AddComplaint(wxpaytest.Complaint{ID: "theirs", MchID: "1900000002"})

	const march = "begin_date=2027-03-01&end_date=2027-03-30"
	first := b.list(march)
	if first.Limit != 10 || first.Offset != 0 || first.Total == nil || *first.Total != 13 || len(first.Data) != 10 || first.Data[0].ID != "late" || first.Data[1].ID != "L12" {
		t.Errorf("%+v", first)
	}
	if c := first.Data[1]; c.State != "PENDING" || c.Phone == "" || c.OpenID != "" || c.Accused != "" {
		t.Errorf("%+v", c)
	}
	joined := b.list(march + "&limit=5").ids()
	for offset := 5; offset < 20; offset += 5 {
		p := b.list(fmt.Sprintf("limit=5&offset=%d&%s", offset, march))
		if p.Total != nil || p.Offset != offset || p.Limit != 5 {
			t.Errorf("%+v", p)
		}
		joined = append(joined, p.ids()...)
	}
	all := b.list(march + "&limit=50")
	if len(joined) != 13 || !slices.Equal(joined, all.ids()) {
		t.Errorf("pages %q, whole %q", joined, all.ids())
	}
	for query, want := range map[string][]string{
		"begin_date=2027-03-12&end_date=2027-03-12":                              {"late", "L12"}, // China's days
		"begin_date=2027-03-10&end_date=2027-03-11":                              {"L11", "L10"},
		"begin_date=2027-03-12&end_date=2027-03-12&complainted_mchid=1900000002": {"late"},
		"begin_date=2027-04-01&end_date=2027-04-01":                              nil,
	} {
		if got := b.list(query).ids(); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	b.wantViolations(0)
}

func TestProvidersSeeTheAccused(t *testing.T) {
	b := setup(t)
	provider := newCaller(t, b.Server, b.AddMerchant(wxpaytest.Merchant{MchID: "1900000003", Provider: true}), b.clock.now)
	b.AddComplaint(wxpaytest.Complaint{ID: "P1", MchID: "1900000003", ComplaintedMchID: "1900000004"})
	today := b.clock.now().In(china).Format("2006-01-02")
	if p := provider.list("begin_date=" + today + "&end_date=" + today); len(p.Data) != 1 || p.Data[0].Accused != "1900000004" {
		t.Errorf("%+v", p)
	}
}

// One case per rule of the query.
func TestRefusedComplaintList(t *testing.T) {
	b := setup(t)
	rules := map[string]string{}
	defer func() { golden(t, "refused_list.txt", rules) }()
	for name, query := range map[string]string{
		"no begin_date":              "end_date=2027-03-01",
		"no end_date":                "begin_date=2027-03-01",
		"a date with a time":         "begin_date=2027-03-01T00:00:00Z&end_date=2027-03-01",
		"a date without zeros":       "begin_date=2027-3-1&end_date=2027-03-01",
		"a date that is none":        "begin_date=2027-02-29&end_date=2027-03-01",
		"end before begin":           "begin_date=2027-03-02&end_date=2027-03-01",
		"31 days":                    "begin_date=2027-03-01&end_date=2027-03-31",
		"limit 0":                    "limit=0&begin_date=2027-03-01&end_date=2027-03-01",
		"limit 51":                   "limit=51&begin_date=2027-03-01&end_date=2027-03-01",
		"limit +5":                   "limit=%2B5&begin_date=2027-03-01&end_date=2027-03-01",
		"offset -1":                  "offset=-1&begin_date=2027-03-01&end_date=2027-03-01",
		"complainted_mchid no digit": "complainted_mchid=x&begin_date=2027-03-01&end_date=2027-03-01",
		"complainted_mchid empty":    "complainted_mchid=&begin_date=2027-03-01&end_date=2027-03-01",
		"other parameter":            "state=PENDING&begin_date=2027-03-01&end_date=2027-03-01",
	} {
		t.Run(name, func(t *testing.T) {
			before := len(b.Violations())
			defer func() { rules[name] = lastRefusal(b) }()
			if r := b.want(get(complaints+"?"+query), 400, "PARAM_ERROR"); !strings.Contains(string(r.body), `"location":"query"`) {
				t.Errorf("%v", r)
			}
			if len(b.Violations()) != before+1 {
				t.Errorf("violations: %q", b.Violations()[before:])
			}
		})
	}
}
