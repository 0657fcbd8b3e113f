package wxpaytest

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// The negotiation history [协商历史] of a complaint: who did what, in the words of operate_type.

// operate_type, spelled as documented. Source: M:4012533439.
const (
	operateCreated         = "USER_CREATE_COMPLAINT"
	operateUserResponse    = "USER_RESPONSE"
	operateContinued       = "USER_CONTINUE_COMPLAINT"
	operateResponse        = "MERCHANT_RESPONSE"
	operateCompleted       = "MERCHANT_CONFIRM_COMPLETE"
	operateApproved        = "MERCHANT_APPROVE_REFUND"
	operateRefused         = "MERCHANT_REFUSE_RERUND" // sic
	operateFullRefunded    = "COMPLAINT_FULL_REFUNDED_SYSTEM_MESSAGE"
	operatePartialRefunded = "COMPLAINT_PARTIAL_REFUNDED_SYSTEM_MESSAGE"
	operateReceived        = "COMPLAINT_REFUND_RECEIVED_SYSTEM_MESSAGE"
	operateServiceApplied  = "USER_APPLY_PLATFORM_SERVICE"
	operateServiceFinished = "PLATFORM_SERVICE_FINISHED"
)

const (
	operatorUser     = "投诉人"
	operatorMerchant = "商户"
	operatorPlatform = "微信支付客服"
	operatorSystem   = "系统"
)

// A HistoryEntry is one line of the negotiation history. ComplaintBook has them oldest first.
type HistoryEntry struct {
	LogID          string
	Operator       string
	OperateType    string
	OperateTime    time.Time
	OperateDetails string
	Images         []string // media ids as the merchant named them; answers show URLs instead
	Invisible      bool     // a merchant's message that the user does not see: in_platform_service was true
}

func (c *complaint) note(b *books, now time.Time, operator, operateType, details string, images ...string) {
	c.history = append(c.history, HistoryEntry{
		LogID:          fmt.Sprintf("300285320210322170000%09d", b.nextSerial()),
		Operator:       operator,
		OperateType:    operateType,
		OperateTime:    now,
		OperateDetails: details,
		Images:         images,
		Invisible:      operateType == operateResponse && c.served,
	})
}

// Replies returns the merchant's messages (operate_type MERCHANT_RESPONSE) in a complaint, oldest first; nil
// if there is no such complaint. WeChat Pay deduplicates none of them: a test of a client that promises to say
// a thing once finds here how often it was said.
func (s *Server) Replies(complaintID string) []HistoryEntry {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	var said []HistoryEntry
	if c := s.books.complaints[complaintID]; c != nil {
		for _, e := range c.history {
			if e.OperateType == operateResponse {
				said = append(said, e)
			}
		}
	}
	return said
}

// historyPage is GET …/negotiation-historys.
type historyPage struct {
	id            string
	limit, offset int
}

const sourceHistory = "M:4012533439"

// readHistory reads the query: limit 1–300, by default 100, offset from 0. Source: M:4012533439; the
// defaults: WIKI:apiv3/apis/chapter10_2_12.shtml.
func readHistory(q query, _ []byte, id string) (operation, *refusal) {
	p := historyPage{id: id}
	var no *refusal
	if p.limit, no = q.number("limit", 100, 1, 300, sourceHistory); no != nil {
		return nil, no
	}
	if p.offset, no = q.number("offset", 0, 0, maxOffset, sourceHistory); no != nil {
		return nil, no
	}
	if no := readComplaint(q, id); no != nil {
		return nil, no
	}
	return p, nil
}

// historyView is one page of the history. data is optional, and so left out where it is empty. Source: M:4012533439, P:4012691802.
type historyView struct {
	Data       []entryView `json:"data,omitempty"`
	Limit      int         `json:"limit"`
	Offset     int         `json:"offset"`
	TotalCount *int        `json:"total_count,omitempty"`
	NewField   newField    `json:"wxpaytest_new_field"`
}

type entryView struct {
	LogID              string     `json:"log_id"`
	Operator           string     `json:"operator"`
	OperateTime        string     `json:"operate_time"`
	OperateType        string     `json:"operate_type"`
	OperateDetails     string     `json:"operate_details,omitempty"`
	ImageList          []string   `json:"image_list,omitempty"`
	ComplaintMediaList *mediaView `json:"complaint_media_list,omitempty"`
	NewField           newField   `json:"wxpaytest_new_field"`
}

// mediaView shows pictures. An object here, a list of such objects in a complaint. Source: M:4012533439.
type mediaView struct {
	MediaType string   `json:"media_type"`
	MediaURL  []string `json:"media_url"`
}

func (p historyPage) plan(b *books, x *exchange) (answer, func()) {
	c, r := b.findComplaint(p.id, "", x)
	if r != nil {
		return no(r)
	}
	entries := slices.Clone(c.history)
	if !b.options.HistoryOldestFirst {
		slices.Reverse(entries)
	}
	v := historyView{Limit: p.limit, Offset: p.offset, TotalCount: totalCount(len(entries), p.offset), NewField: aNewField}
	shown := page(entries, p.offset, p.limit)
	if r := b.tooLarge(len(shown)); r != nil {
		return no(r)
	}
	for _, e := range shown {
		v.Data = append(v.Data, b.viewEntry(e))
	}
	return answer{status: http.StatusOK, body: v}, nil
}

func (b *books) viewEntry(e HistoryEntry) entryView {
	v := entryView{
		LogID: e.LogID, Operator: e.Operator, OperateTime: stamp(e.OperateTime),
		OperateType: e.OperateType, OperateDetails: e.OperateDetails, NewField: aNewField,
	}
	for _, id := range e.Images {
		v.ImageList = append(v.ImageList, b.pictureURL(id))
	}
	if len(v.ImageList) > 0 {
		v.ComplaintMediaList = &mediaView{MediaType: "OPERATION_IMAGE", MediaURL: v.ImageList}
	}
	return v
}

// pictureURL is where answers say that a picture is. It does not hold the media_id of the upload but another
// identifier, percent-encoded, as in the vendor's samples: nobody can find an upload again in a history.
// Source: P:4012467223 (…/images/ChsyMDAw…AQ%3D%3D), COMM:00020ca612c4503f2161b5cb76a400 (what upload answers
// is not what this URL holds). What image_list holds besides a URL is not documented: the same here.
func (b *books) pictureURL(mediaID string) string {
	return b.address() + "/v3/merchant-service/images/" + url.QueryEscape(base64.StdEncoding.EncodeToString([]byte("\n\x1b"+mediaID)))
}
