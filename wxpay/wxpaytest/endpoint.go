package wxpaytest

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Endpoint names a call of WeChat Pay's API.
type Endpoint string

const (
	EndpointRefundCreate         Endpoint = "RefundCreate"         // POST /v3/refund/domestic/refunds
	EndpointRefundQuery          Endpoint = "RefundQuery"          // GET  /v3/refund/domestic/refunds/{out_refund_no}
	EndpointUpdateRefundProgress Endpoint = "UpdateRefundProgress" // POST …/complaints-v2/{complaint_id}/update-refund-progress
	EndpointComplaintResponse    Endpoint = "ComplaintResponse"    // POST …/complaints-v2/{complaint_id}/response
	EndpointComplaintComplete    Endpoint = "ComplaintComplete"    // POST …/complaints-v2/{complaint_id}/complete
	EndpointComplaintDetail      Endpoint = "ComplaintDetail"      // GET  …/complaints-v2/{complaint_id}
	EndpointNegotiationHistory   Endpoint = "NegotiationHistory"   // GET  …/complaints-v2/{complaint_id}/negotiation-historys
	EndpointComplaintList        Endpoint = "ComplaintList"        // GET  …/complaints-v2
	EndpointImageUpload          Endpoint = "ImageUpload"          // POST /v3/merchant-service/images/upload; a form, not JSON
	EndpointNotifyURLCreate      Endpoint = "NotifyURLCreate"      // POST   /v3/merchant-service/complaint-notifications
	EndpointNotifyURLQuery       Endpoint = "NotifyURLQuery"       // GET    …/complaint-notifications
	EndpointNotifyURLUpdate      Endpoint = "NotifyURLUpdate"      // PUT    …/complaint-notifications
	EndpointNotifyURLDelete      Endpoint = "NotifyURLDelete"      // DELETE …/complaint-notifications
	EndpointCertificates         Endpoint = "Certificates"         // GET  /v3/certificates; in public-key mode: always 404
	EndpointV2Refund             Endpoint = "V2Refund"             // POST /secapi/pay/refund; wants a client certificate
	EndpointV2RefundQuery        Endpoint = "V2RefundQuery"        // POST /pay/refundquery
)

// A route is one row of the table: a method, a path with {} for the one variable part, and how the
// request is read: as JSON (or without a body), or as a form. Readers look at the request only, never at the books.
type route struct {
	endpoint Endpoint
	method   string
	path     string
	read     func(q query, body []byte, id string) (operation, *refusal)
	readForm func(q query, form *uploadForm) (operation, *refusal) // instead of read
}

// routes is the table. Source of each path: the page that its reader names.
func routes(o Options) []route {
	const (
		refunds    = "/v3/refund/domestic/refunds"
		complaints = "/v3/merchant-service/complaints-v2"
		notifyURLs = "/v3/merchant-service/complaint-notifications"
	)
	return []route{
		{EndpointRefundCreate, http.MethodPost, refunds, readRefundCreate, nil},
		{EndpointRefundQuery, http.MethodGet, refunds + "/{}", readRefundQuery, nil},
		{EndpointUpdateRefundProgress, http.MethodPost, complaints + "/{}/update-refund-progress", readDecision(o.AllowMixedDecision), nil},
		{EndpointComplaintResponse, http.MethodPost, complaints + "/{}/response", readResponse, nil},
		{EndpointComplaintComplete, http.MethodPost, complaints + "/{}/complete", readComplete, nil},
		{EndpointComplaintDetail, http.MethodGet, complaints + "/{}", readDetail, nil},
		{EndpointComplaintList, http.MethodGet, complaints, readComplaintList, nil},
		{EndpointNegotiationHistory, http.MethodGet, complaints + "/{}/negotiation-historys", readHistory, nil},
		{EndpointImageUpload, http.MethodPost, uploadPath, nil, readUpload},
		{EndpointNotifyURLCreate, http.MethodPost, notifyURLs, readNotifyURL(http.MethodPost), nil},
		{EndpointNotifyURLQuery, http.MethodGet, notifyURLs, readNotifyURL(http.MethodGet), nil},
		{EndpointNotifyURLUpdate, http.MethodPut, notifyURLs, readNotifyURL(http.MethodPut), nil},
		{EndpointNotifyURLDelete, http.MethodDelete, notifyURLs, readNotifyURL(http.MethodDelete), nil},
		{EndpointCertificates, http.MethodGet, "/v3/certificates", readCertificates, nil},
	}
}

// find returns the route of a request, the variable part of its path decoded, and its query.
// The target is taken as it was on the wire: nothing is cleaned up for the client.
func find(table []route, method, target string) (r *route, id string, q query, no *refusal) {
	path, rawQuery, hasQuery := strings.Cut(target, "?")
	for i := range table {
		if table[i].method != method {
			continue
		}
		if raw, ok := match(table[i].path, path); ok {
			r = &table[i]
			if id, no = unescapeSegment(raw); no != nil {
				return r, "", query{}, no
			}
			break
		}
	}
	if r == nil {
		return nil, "", query{}, refuse(http.StatusNotFound, "NOT_FOUND", "请求的URL不存在").
			because("no such method and path (the code of this answer is not documented)").asViolation()
	}
	if hasQuery {
		if q, no = parseQuery(rawQuery); no != nil {
			return r, id, q, no
		}
	}
	return r, id, q, nil
}

// match compares a path with a pattern; {} stands for one non-empty segment.
func match(pattern, path string) (segment string, ok bool) {
	before, after, variable := strings.Cut(pattern, "{}")
	if !variable {
		return "", path == pattern
	}
	if len(path) <= len(before)+len(after) || !strings.HasPrefix(path, before) || !strings.HasSuffix(path, after) {
		return "", false
	}
	segment = path[len(before) : len(path)-len(after)]
	return segment, !strings.Contains(segment, "/")
}

// unescapeSegment decodes a path segment that was escaped by the rules: `|` must travel as %7C,
// `*` and `@` may travel as they are. Source: RFC 3986 section 3.3; M:4013071036 (an out_refund_no may hold all three).
func unescapeSegment(raw string) (string, *refusal) {
	for i := range len(raw) {
		c := raw[i]
		if !isUnreserved(c) && !strings.ContainsRune("%!$&'()*+,;=:@", rune(c)) {
			return "", badURL("the path holds a byte that must be percent-encoded", sourceURL)
		}
	}
	s, err := url.PathUnescape(raw)
	if err != nil {
		return "", badURL("the path is not validly percent-encoded", sourceURL)
	}
	return s, nil
}

func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// A query is what stands behind the question mark, each name once.
type query struct{ values map[string]string }

// parseQuery refuses what a careful client does not send: bad escapes, a name twice.
// Source: M:4012365337 (values are percent-encoded first, then joined).
func parseQuery(raw string) (query, *refusal) {
	q := query{values: map[string]string{}}
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(pair, "=")
		for i := range len(value) {
			if c := value[i]; !isUnreserved(c) && !strings.ContainsRune("%!$'()*,;:@/?", rune(c)) {
				return q, badURL("the query holds a byte that must be percent-encoded", sourceURL)
			}
		}
		decoded, err := url.PathUnescape(value)
		if err != nil {
			return q, badURL("the query is not validly percent-encoded", sourceURL)
		}
		if _, twice := q.values[name]; twice || name == "" {
			return q, badURL("the query names a parameter twice, or none", "stricter than production")
		}
		q.values[name] = decoded
	}
	return q, nil
}

// take returns a parameter and removes it; what is left at end is unknown.
func (q query) take(name string) (string, bool) {
	v, ok := q.values[name]
	delete(q.values, name)
	return v, ok
}

// maxOffset bounds offset; the documents do not.
const maxOffset = 1 << 30

// number takes an integer from least to most, written without sign or leading zeros; otherwise if there is none.
func (q query) number(name string, otherwise, least, most int, source string) (int, *refusal) {
	value, given := q.take(name)
	if !given {
		return otherwise, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || strconv.Itoa(n) != value || n < least || n > most {
		return 0, badQuery(name, value, "out of range", source)
	}
	return n, nil
}

// day takes a date, yyyy-MM-dd: 00:00 of it in China.
func (q query) day(name, source string) (time.Time, *refusal) {
	value, given := q.take(name)
	if !given {
		return time.Time{}, badQuery(name, "", "required", source)
	}
	day, err := time.ParseInLocation(time.DateOnly, value, china)
	if err != nil {
		return time.Time{}, badQuery(name, value, "must be a date, yyyy-MM-dd", source)
	}
	return day, nil
}

func badQuery(name, value, issue, source string) *refusal {
	return refuse(http.StatusBadRequest, "PARAM_ERROR", "参数错误").in("query", name, value, issue).
		because("query " + name + ": " + issue + " (" + source + ")").asViolation()
}

// end refuses parameters that the endpoint does not know.
func (q query) end() *refusal {
	for name := range q.values {
		return refuse(http.StatusBadRequest, "PARAM_ERROR", "参数错误").in("query", name, "", "unknown parameter").
			because("unknown query parameter (stricter than production)").asViolation()
	}
	return nil
}

func badURL(rule, source string) *refusal {
	return refuse(http.StatusBadRequest, "PARAM_ERROR", "参数错误").in("url", "", "", rule).
		because(rule + " (" + source + ")").asViolation()
}

const sourceURL = "M:4012365334, M:4012365337"
