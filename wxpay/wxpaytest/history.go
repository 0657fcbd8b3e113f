package wxpaytest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Request is one request as the simulator saw it. Header and Body are shared: read, do not change.
type Request struct {
	At       time.Time // by Options.Now
	Host     string    // "primary" or "backup"
	Endpoint Endpoint  // "" = none of the known ones
	MchID    string    // as claimed by the Authorization header, in v2 by mch_id
	ID       string    // out_refund_no or complaint_id, of an upload the sha256 in its meta, if the request named one
	Method   string
	URL      string // path and query, as on the wire
	Header   http.Header
	Body     []byte
	Status   int    // as answered; 0 = the client got no answer (not yet, or never); v2 answers 200 to almost all
	Code     string // as answered: code, in v2 err_code, or FAIL for a return_code FAIL; "" = none
	Applied  bool   // this request changed the books (a re-entry of an accepted refund does not)
	Fault    *Fault // the scripted fault it met, if any
	// ClientCertificate is the serial of the certificate that the connection was made with, upper-case
	// hex; "" = none. It may be anybody's.
	ClientCertificate string
	Refusal           string // why the judge refused it, with the rule and its source; "" = it did not
}

// String leaves out headers and body: they hold the signature and the payer's data.
func (r Request) String() string {
	s := strings.TrimRight(fmt.Sprintf("%s %s %s -> %d %s", r.Host, r.Method, r.URL, r.Status, r.Code), " ")
	if r.Applied {
		s += " applied"
	}
	if r.Fault != nil {
		s += " [fault " + r.Fault.String() + "]"
	}
	if r.Refusal != "" {
		s += " refused: " + r.Refusal
	}
	return s
}

// GoString is String, so that %#v keeps the signature to itself as well.
func (r Request) GoString() string { return r.String() }

// fewViolations are listed by Violations in any case, and as many as requests are kept; the rest is only counted.
const fewViolations = 1000

// history remembers requests, the newest keep of them, and violations.
type history struct {
	keep int // <= 0: none

	mu         sync.Mutex
	ring       []*Request // guarded by mu, as is what it points to
	next       int        // where the next one goes once the ring is full
	violations []string
	unlisted   int
	news       chan struct{} // closed at the next request, if somebody waits for it
}

// add remembers r. From here on r belongs to the history.
func (h *history) add(r *Request) {
	if h.keep <= 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.news != nil {
		close(h.news)
		h.news = nil
	}
	if len(h.ring) < h.keep {
		h.ring = append(h.ring, r)
		return
	}
	h.ring[h.next] = r
	h.next = (h.next + 1) % h.keep
}

// answered notes the status and code that are about to be sent.
func (h *history) answered(r *Request, status int, code string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.Status, r.Code = status, code
}

// violate notes what no correct client sends.
func (h *history) violate(r *Request, rule string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.violations) >= max(fewViolations, h.keep) {
		h.unlisted++
		return
	}
	h.violations = append(h.violations,
		fmt.Sprintf("%s %s %s mchid=%s id=%s: %s", r.At.Format(time.RFC3339), r.Method, r.URL, r.MchID, r.ID, rule))
}

// Requests returns the requests seen, oldest first, in the order in which they were judged.
func (s *Server) Requests() []Request {
	return s.history.list(func(*Request) bool { return true })
}

// RequestsTo is Requests of one endpoint.
func (s *Server) RequestsTo(e Endpoint) []Request {
	return s.history.list(func(r *Request) bool { return r.Endpoint == e })
}

// AwaitRequests returns when that many requests to the endpoint ("" = any) have been seen, or with ctx's error. It counts the
// requests that are remembered.
func (s *Server) AwaitRequests(ctx context.Context, e Endpoint, n int) error {
	for {
		s.history.mu.Lock()
		if s.history.news == nil {
			s.history.news = make(chan struct{})
		}
		news := s.history.news
		s.history.mu.Unlock()
		if len(s.history.list(func(r *Request) bool { return e == "" || r.Endpoint == e })) >= n {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (h *history) list(wanted func(*Request) bool) []Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []Request
	for i := range h.ring {
		if r := h.ring[(h.next+i)%len(h.ring)]; wanted(r) {
			list = append(list, *r)
		}
	}
	return list
}

// Violations lists what no correct client sends: bad signatures, missing headers, a replayed nonce,
// null or unknown fields in JSON, XML that is not as it should be, a v2 refund without the merchant's
// certificate, fields over their limit, 4-byte UTF-8, a path that does not exist, a refund submitted again
// within a minute, two refunds of one order within a minute. What an honest user can get wrong (an unknown
// order, too much money, a number used before) is a refusal only.
func (s *Server) Violations() []string {
	s.history.mu.Lock()
	defer s.history.mu.Unlock()
	list := slices.Clone(s.history.violations)
	if n := s.history.unlisted; n > 0 {
		list = append(list, fmt.Sprintf("and %d more", n))
	}
	return list
}
