package wxpaytest

import (
	"net/http"
	"time"
)

// complaintList is GET /v3/merchant-service/complaints-v2.
type complaintList struct {
	limit, offset    int
	begin, until     time.Time // 00:00 in China of the first day, and of the day after the last
	complaintedMchID string    // "" = of all
}

const (
	sourceList  = "M:4012533431"
	maxListDays = 30 // first and last day counted. Source: M:4012533431 (跨度不超过30天; counting both is the narrower reading)
)

// readComplaintList reads the query: begin_date and end_date are required, limit is 1–50, by default 10.
// Source: M:4012533431; the default: WIKI:apiv3/apis/chapter10_2_11.shtml. complainted_mchid is for providers, but
// the vendor's sample for merchants sends it too (docs/merchant/products/consumer-complaint/development.html).
func readComplaintList(q query, _ []byte, _ string) (operation, *refusal) {
	var l complaintList
	var no *refusal
	if l.limit, no = q.number("limit", 10, 1, 50, sourceList); no != nil {
		return nil, no
	}
	if l.offset, no = q.number("offset", 0, 0, maxOffset, sourceList); no != nil {
		return nil, no
	}
	if l.begin, no = q.day("begin_date", sourceList); no != nil {
		return nil, no
	}
	last, no := q.day("end_date", sourceList)
	if no != nil {
		return nil, no
	}
	l.until = last.AddDate(0, 0, 1)
	if !l.begin.Before(l.until) || l.begin.AddDate(0, 0, maxListDays).Before(l.until) {
		return nil, badQuery("end_date", "", "before begin_date, or more than 30 days", sourceList)
	}
	mchid, given := q.take("complainted_mchid")
	if rule := (textRule{bytes: 64, charset: isDigit}); given && rule.check(mchid) != "" {
		return nil, badQuery("complainted_mchid", mchid, rule.check(mchid), sourceList)
	}
	l.complaintedMchID = mchid
	return l, q.end()
}

// complaintListView is the answer. total_count only with offset 0. Source: M:4012533431.
type complaintListView struct {
	Data       []complaintView `json:"data"`
	Limit      int             `json:"limit"`
	Offset     int             `json:"offset"`
	TotalCount *int            `json:"total_count,omitempty"`
	NewField   newField        `json:"wxpaytest_new_field"`
}

// plan answers with the caller's complaints of these days, by the time of the complaint and in China's days,
// newest first; the documents state no order.
func (l complaintList) plan(b *books, x *exchange) (answer, func()) {
	var found []*complaint
	for i := len(b.filed) - 1; i >= 0; i-- {
		c := b.filed[i]
		if c.mchID == x.merchant.MchID && !c.createdAt.Before(l.begin) && c.createdAt.Before(l.until) &&
			(l.complaintedMchID == "" || l.complaintedMchID == c.complaintedMchID) {
			found = append(found, c)
		}
	}
	v := complaintListView{Data: []complaintView{}, Limit: l.limit, Offset: l.offset, TotalCount: totalCount(len(found), l.offset), NewField: aNewField}
	shown := page(found, l.offset, l.limit)
	if r := b.tooLarge(len(shown)); r != nil {
		return no(r)
	}
	for _, c := range shown {
		v.Data = append(v.Data, b.viewComplaint(c, x.merchant))
	}
	return answer{status: http.StatusOK, body: v}, nil
}

// page is the part of a list that a call asked for.
func page[T any](list []T, offset, limit int) []T {
	first := min(offset, len(list))
	return list[first:min(first+limit, len(list))]
}

// tooLarge refuses a page of so many entries.
func (b *books) tooLarge(n int) *refusal {
	if most := b.options.LargestPage; most <= 0 || n <= most {
		return nil
	}
	return invalidRequest("当前查询结果数据量过大", "the answer would be too large, ask for a smaller limit (M:4012068499)")
}

// totalCount is told on the first page only. Source: M:4012533431, M:4012533439 (当offset=0时返回).
func totalCount(n, offset int) *int {
	if offset > 0 {
		return nil
	}
	return &n
}
