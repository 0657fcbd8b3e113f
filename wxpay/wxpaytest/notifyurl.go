package wxpaytest

import (
	"net/http"
	"strings"
)

// The URL at which a merchant wants to be told of complaints. It is kept, never called.
//
// Source: M:4012458679 (create), M:4012459282 (update), M:4012459014 (query), M:4012460452 (delete). What is
// answered when there is one already, or none, is documented for the query only: 404 in the vendor's sample code
// (M:4015821404; 400 on the old page WIKI:apiv3/apis/chapter10_2_3.shtml). The others are answered here as they
// would have to be for the four to be different calls.

// notifyURL is POST, PUT, GET or DELETE /v3/merchant-service/complaint-notifications.
type notifyURL struct {
	method string
	url    string // of POST and PUT
}

const sourceNotifyURL = "M:4012458679, M:4012459282"

// readNotifyURL reads a body that names the URL: string(255), HTTPS, without query.
func readNotifyURL(method string) func(query, []byte, string) (operation, *refusal) {
	return func(q query, body []byte, _ string) (operation, *refusal) {
		if no := q.end(); no != nil {
			return nil, no
		}
		if method == http.MethodGet || method == http.MethodDelete {
			return notifyURL{method: method}, nil
		}
		f, no := readForm(body)
		if no != nil {
			return nil, no
		}
		n := notifyURL{method, f.text("url", textRule{required: true, bytes: 255, source: sourceNotifyURL})}
		if n.url != "" && !(strings.HasPrefix(n.url, "https://") && isCallbackURL(n.url)) {
			f.bad("url", "", "must be an HTTPS URL without query ("+sourceNotifyURL+", M:4012075420)")
		}
		return n, f.end()
	}
}

// notifyURLView is the answer of all but DELETE.
type notifyURLView struct {
	MchID    string   `json:"mchid"`
	URL      string   `json:"url"`
	NewField newField `json:"wxpaytest_new_field"`
}

func (n notifyURL) plan(b *books, x *exchange) (answer, func()) {
	mchID := x.merchant.MchID
	known, exists := b.notifyURLs[mchID]
	view := func(url string) answer {
		return answer{status: http.StatusOK, body: notifyURLView{mchID, url, aNewField}}
	}
	switch {
	case n.method == http.MethodPost && exists:
		return no(invalidRequest("投诉通知回调地址已存在", "there is a notification URL already: PUT changes it (not documented)"))
	case n.method != http.MethodPost && !exists:
		return no(refuse(http.StatusNotFound, "RESOURCE_NOT_EXISTS", "投诉通知回调地址不存在").
			because("there is no notification URL (M:4015821404)"))
	case n.method == http.MethodGet:
		return view(known), nil
	case n.method == http.MethodDelete:
		return answer{status: http.StatusNoContent}, func() { delete(b.notifyURLs, mchID) }
	}
	return view(n.url), func() { b.notifyURLs[mchID] = n.url }
}

// ComplaintNotifyURL is the URL at which a merchant asked to be told of complaints; "" = none.
func (s *Server) ComplaintNotifyURL(mchid string) string {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	return s.books.notifyURLs[mchid]
}
