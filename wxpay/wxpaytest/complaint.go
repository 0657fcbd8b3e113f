package wxpaytest

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// Complaint calls as they look on the wire. What they do to a complaint is in docket.go.

// complaintIDRule: string(64). Source: M:4012467256; the character set is stricter than production.
var complaintIDRule = textRule{bytes: 64, charset: func(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c == '-'
}}

// readComplaint is what all complaint calls begin with.
func readComplaint(q query, id string) *refusal {
	if issue := complaintIDRule.check(id); issue != "" {
		return badURL("complaint_id: "+issue, sourceDecision)
	}
	return q.end()
}

// mediaRule of media_id. Source: M:4012467250 (string(512)).
func mediaRule(source string) textRule { return textRule{bytes: 512, source: source} }

// decision is POST …/update-refund-progress.
type decision struct {
	id              string
	approve         bool
	launchRefundDay int64
	rejectReason    string
	rejectMedia     []string
}

const sourceDecision = "M:4012467256"

// readDecision reads the body. Only the fields of the chosen action may be sent, unless mixed.
// Source: M:4012467256; COMM:000c42954683506f18401c7c168c00.
func readDecision(mixed bool) func(query, []byte, string) (operation, *refusal) {
	return func(q query, body []byte, id string) (operation, *refusal) {
		if no := readComplaint(q, id); no != nil {
			return nil, no
		}
		f, no := readForm(body)
		if no != nil {
			return nil, no
		}
		action := f.text("action", textRule{required: true, oneOf: []string{"APPROVE", "REJECT"}, source: sourceDecision})
		d := decision{id: id, approve: action == "APPROVE"}
		var hasDay, hasMedia bool
		d.launchRefundDay, hasDay = f.integer("launch_refund_day", false, 0, sourceDecision)
		d.rejectReason = f.text("reject_reason", textRule{chars: 200, source: sourceDecision})
		d.rejectMedia, hasMedia = f.list("reject_media_list", 4, mediaRule(sourceDecision))
		f.text("remark", textRule{chars: 200, source: sourceDecision})
		const other = "belongs to the other action (" + sourceDecision + "; stricter than production)"
		switch {
		case mixed:
		case d.approve && d.rejectReason != "":
			f.bad("reject_reason", "", other)
		case d.approve && hasMedia:
			f.bad("reject_media_list", "", other)
		case action == "REJECT" && hasDay:
			f.bad("launch_refund_day", "", other)
		}
		return d, f.end()
	}
}

// response is POST …/response.
type response struct {
	id, complaintedMchID, content string
	images                        []string
}

const sourceResponse = "M:4012467254"

// readResponse reads the body. Source: M:4012467254; 500 characters now, 200 on older pages.
func readResponse(q query, body []byte, id string) (operation, *refusal) {
	if no := readComplaint(q, id); no != nil {
		return nil, no
	}
	f, no := readForm(body)
	if no != nil {
		return nil, no
	}
	r := response{
		id:               id,
		complaintedMchID: f.text("complainted_mchid", textRule{required: true, bytes: 64, source: sourceResponse}),
		content:          f.text("response_content", textRule{required: true, chars: 500, source: sourceResponse}),
	}
	r.images, _ = f.list("response_images", 4, mediaRule(sourceResponse))
	link := f.text("jump_url", textRule{bytes: 512, source: sourceResponse})
	text := f.text("jump_url_text", textRule{chars: 10, source: sourceResponse})
	if u, err := url.Parse(link); link != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		f.bad("jump_url", "", "must be an HTTPS URL ("+sourceResponse+")")
	}
	if (link == "") != (text == "") {
		f.bad("jump_url", "", "jump_url and jump_url_text: both or none ("+sourceResponse+")")
	}
	if app := f.object("mini_program_jump_info", false, sourceResponse); app != nil {
		for _, name := range []string{"appid", "path", "text"} {
			app.text(name, textRule{required: true, chars: 512, source: sourceResponse})
		}
		app.end()
	}
	return r, f.end()
}

// complete is POST …/complete.
type complete struct{ id, complaintedMchID string }

// readComplete reads the body. Source: M:4012467255.
func readComplete(q query, body []byte, id string) (operation, *refusal) {
	if no := readComplaint(q, id); no != nil {
		return nil, no
	}
	f, no := readForm(body)
	if no != nil {
		return nil, no
	}
	c := complete{id, f.text("complainted_mchid", textRule{required: true, bytes: 64, source: "M:4012467255"})}
	return c, f.end()
}

// detail is GET …/complaints-v2/{complaint_id}.
type detail struct{ id string }

func readDetail(q query, _ []byte, id string) (operation, *refusal) {
	if no := readComplaint(q, id); no != nil {
		return nil, no
	}
	return detail{id}, nil
}

// complaintView is the answer of detail. Source: M:4012533436, P:4012691648.
type complaintView struct {
	ComplaintID           string               `json:"complaint_id"`
	ComplaintTime         string               `json:"complaint_time"`
	ComplaintDetail       string               `json:"complaint_detail"`
	ComplaintState        string               `json:"complaint_state"`
	ComplaintedMchID      string               `json:"complainted_mchid,omitempty"` // provider answers only
	PayerPhone            string               `json:"payer_phone,omitempty"`
	PayerOpenID           string               `json:"payer_openid"`
	ComplaintOrderInfo    []complaintOrderView `json:"complaint_order_info,omitempty"`
	ComplaintFullRefunded bool                 `json:"complaint_full_refunded"`
	IncomingUserResponse  bool                 `json:"incoming_user_response"`
	UserComplaintTimes    int                  `json:"user_complaint_times"`
	ProblemDescription    string               `json:"problem_description"`
	ProblemType           string               `json:"problem_type"`
	ApplyRefundAmount     int64                `json:"apply_refund_amount,omitempty"` // fen
	UserTagList           []string             `json:"user_tag_list,omitempty"`
	InPlatformService     bool                 `json:"in_platform_service"`
	NeedImmediateService  bool                 `json:"need_immediate_service"`
	NewField              newField             `json:"wxpaytest_new_field"`
}

type complaintOrderView struct {
	TransactionID string `json:"transaction_id"`
	OutTradeNo    string `json:"out_trade_no,omitempty"`
	Amount        int64  `json:"amount"` // fen
}

// plan answers with the complaint as it stands. The first text only; later rounds are in the history.
func (d detail) plan(b *books, x *exchange) (answer, func()) {
	c, r := b.findComplaint(d.id, "", x)
	if r != nil {
		return no(r)
	}
	v := complaintView{
		ComplaintID:           c.id,
		ComplaintTime:         stamp(c.createdAt),
		ComplaintDetail:       "反馈一个重复扣费的问题",
		ComplaintState:        c.state,
		PayerPhone:            c.encryptedPhone(x.merchant),
		PayerOpenID:           "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
		ComplaintFullRefunded: b.fullyRefunded(c),
		IncomingUserResponse:  c.userWaits,
		UserComplaintTimes:    c.times,
		ProblemDescription:    "不满意商家服务",
		ProblemType:           "SERVICE_NOT_WORK",
		NewField:              aNewField,
	}
	if x.merchant.Provider {
		v.ComplaintedMchID = c.complaintedMchID
	}
	if c.fast {
		v.ProblemType, v.UserTagList = "REFUND", []string{"TRUSTED"}
	}
	for _, id := range c.orders {
		if o := b.transactions[id]; o != nil {
			v.ComplaintOrderInfo = append(v.ComplaintOrderInfo, complaintOrderView{o.transactionID, o.outTradeNo, o.total})
			if c.fast {
				v.ApplyRefundAmount += o.total
			}
		}
	}
	return answer{status: http.StatusOK, body: v}, nil
}

// pages is GET …/negotiation-historys.
type pages struct {
	id            string
	limit, offset int
}

// readHistory reads the query: limit 1–300, offset from 0. Source: M:4012533439. What they default to
// is not in the facts: 100 and 0 here.
func readHistory(q query, _ []byte, id string) (operation, *refusal) {
	p := pages{id: id, limit: 100}
	for _, item := range []struct {
		name        string
		to          *int
		least, most int
	}{{"limit", &p.limit, 1, 300}, {"offset", &p.offset, 0, 1 << 30}} {
		value, given := q.take(item.name)
		if !given {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil || strconv.Itoa(n) != value || n < item.least || n > item.most {
			return nil, refuse(http.StatusBadRequest, "PARAM_ERROR", "参数错误").in("query", item.name, value, "out of range").
				because("query " + item.name + ": out of range (M:4012533439)").asViolation()
		}
		*item.to = n
	}
	if no := readComplaint(q, id); no != nil {
		return nil, no
	}
	return p, nil
}

// historyView is one page of the history. Source: M:4012533439 (log_id, operator, operate_time,
// operate_type, operate_details); the names of the image list and the totals are not in the facts.
type historyView struct {
	Data       []entryView `json:"data"`
	Limit      int         `json:"limit"`
	Offset     int         `json:"offset"`
	TotalCount int         `json:"total_count"`
	NewField   newField    `json:"wxpaytest_new_field"`
}

type entryView struct {
	LogID          string   `json:"log_id"`
	Operator       string   `json:"operator"`
	OperateTime    string   `json:"operate_time"`
	OperateType    string   `json:"operate_type"`
	OperateDetails string   `json:"operate_details,omitempty"`
	ImageList      []string `json:"image_list,omitempty"`
	NewField       newField `json:"wxpaytest_new_field"`
}

func (p pages) plan(b *books, x *exchange) (answer, func()) {
	c, r := b.findComplaint(p.id, "", x)
	if r != nil {
		return no(r)
	}
	entries := slices.Clone(c.history)
	if !b.options.HistoryOldestFirst {
		slices.Reverse(entries)
	}
	first := min(p.offset, len(entries))
	last := min(first+p.limit, len(entries))
	v := historyView{Data: []entryView{}, Limit: p.limit, Offset: p.offset, TotalCount: len(entries), NewField: aNewField}
	for _, e := range entries[first:last] {
		v.Data = append(v.Data, entryView{
			LogID: e.LogID, Operator: e.Operator, OperateTime: stamp(e.OperateTime),
			OperateType: e.OperateType, OperateDetails: e.OperateDetails, ImageList: e.Images, NewField: aNewField,
		})
	}
	return answer{status: http.StatusOK, body: v}, nil
}
