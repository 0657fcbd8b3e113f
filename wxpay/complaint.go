package wxpay

import (
	"context"
	"encoding/json"
	"strconv"
)

// RefundProgress is the merchant's decision on a complaint that asks for a refund. What is set is sent; only the fields
// of the chosen action should be.
type RefundProgress struct {
	Action          string   `json:"action"`                      // APPROVE or REJECT
	LaunchRefundDay *int64   `json:"launch_refund_day,omitempty"` // APPROVE: refund within so many working days, 0 = today
	RejectReason    string   `json:"reject_reason,omitempty"`     // REJECT: ≤ 200 characters
	RejectMediaList []string `json:"reject_media_list,omitempty"` // REJECT: ≤ 4 media ids
	Remark          string   `json:"remark,omitempty"`            // ≤ 200 characters, for WeChat Pay's staff; the user does not see it
}

// ComplaintResponse is a message to the complaining user.
type ComplaintResponse struct {
	ComplaintedMchID    string               `json:"complainted_mchid"`         // the accused merchant; the sub-merchant in provider mode
	ResponseContent     string               `json:"response_content"`          // ≤ 500 characters
	ResponseImages      []string             `json:"response_images,omitempty"` // ≤ 4 media ids
	JumpURL             string               `json:"jump_url,omitempty"`        // ≤ 512, https; with JumpURLText or not at all
	JumpURLText         string               `json:"jump_url_text,omitempty"`   // ≤ 10 characters
	MiniProgramJumpInfo *MiniProgramJumpInfo `json:"mini_program_jump_info,omitempty"`
}

// MiniProgramJumpInfo links to a mini program; all three are required.
type MiniProgramJumpInfo struct {
	AppID string `json:"appid"`
	Path  string `json:"path"`
	Text  string `json:"text"`
}

// The states of a complaint. A user who is not content brings it back to PENDING.
const (
	ComplaintPending    = "PENDING"    // 待处理
	ComplaintProcessing = "PROCESSING" // 处理中
	ComplaintProcessed  = "PROCESSED"  // 已处理完成
)

// Complaint is what WeChat Pay knows of a complaint. ComplaintDetail and PayerPhone are the user's: they belong in no
// log. Fields that WeChat Pay left out are empty.
type Complaint struct {
	ComplaintID           string           `json:"complaint_id"`            // never empty
	ComplaintTime         string           `json:"complaint_time"`          // RFC 3339
	ComplaintDetail       string           `json:"complaint_detail"`        // the user's first text; later ones are in the history
	ComplaintState        string           `json:"complaint_state"`         // ComplaintPending, …; never empty
	ComplaintedMchID      string           `json:"complainted_mchid"`       // provider mode only
	ProblemType           string           `json:"problem_type"`            // REFUND, SERVICE_NOT_WORK, OTHERS, or empty
	ProblemDescription    string           `json:"problem_description"`     // what it is about, in a few words
	ComplaintFullRefunded bool             `json:"complaint_full_refunded"` // every order of it is refunded in full
	IncomingUserResponse  bool             `json:"incoming_user_response"`  // a message of the user waits for an answer
	InPlatformService     bool             `json:"in_platform_service"`     // while true the user does not see the merchant's messages
	NeedImmediateService  bool             `json:"need_immediate_service"`
	UserComplaintTimes    int64            `json:"user_complaint_times"` // how often the user complained: 1 first, 2 upgraded, more = repeated
	ApplyRefundAmount     int64            `json:"apply_refund_amount"`  // fen; a wish, and only with REFUND
	UserTagList           []string         `json:"user_tag_list"`        // TRUSTED, HIGH_RISK
	ComplaintOrderInfo    []ComplaintOrder `json:"complaint_order_info"` // may be none, may be several
	ComplaintMediaList    MediaList        `json:"complaint_media_list"`
	PayerPhone            string           `json:"payer_phone"` // encrypted; see DecryptSensitive
}

// ComplaintOrder is an order that is complained of.
type ComplaintOrder struct {
	TransactionID string `json:"transaction_id"`
	OutTradeNo    string `json:"out_trade_no"`
	Amount        int64  `json:"amount"` // fen
}

// The values of HistoryEntry.OperateType that this package and its users look for; there are many others. The first four tell what the
// merchant did. Every history begins with UserCreateComplaint, and each UserContinueComplaint begins a new round. The spelling is WeChat
// Pay's.
//
// Source: 查询投诉单协商历史, https://pay.weixin.qq.com/doc/v3/merchant/4012533439
const (
	MerchantResponse        = "MERCHANT_RESPONSE"
	MerchantConfirmComplete = "MERCHANT_CONFIRM_COMPLETE"
	MerchantApproveRefund   = "MERCHANT_APPROVE_REFUND"
	MerchantRefuseRefund    = "MERCHANT_REFUSE_RERUND"
	UserCreateComplaint     = "USER_CREATE_COMPLAINT"
	UserContinueComplaint   = "USER_CONTINUE_COMPLAINT"
)

// HistoryEntry is one thing that was said or done about a complaint.
type HistoryEntry struct {
	LogID              string    `json:"log_id"`
	Operator           string    `json:"operator"`
	OperateTime        string    `json:"operate_time"`    // RFC 3339
	OperateType        string    `json:"operate_type"`    // MerchantResponse, …, and many others
	OperateDetails     string    `json:"operate_details"` // may quote the user: belongs in no log
	ImageList          []string  `json:"image_list"`
	ComplaintMediaList MediaList `json:"complaint_media_list"`
}

// NegotiationHistory is one page of a complaint's history.
type NegotiationHistory struct {
	Data       []HistoryEntry `json:"data"` // in no documented order; ReadHistory sorts
	Limit      int            `json:"limit"`
	Offset     int            `json:"offset"`
	TotalCount int            `json:"total_count"` // of all pages; told on the first one (offset 0), else 0
}

// Media are pictures of one kind.
type Media struct {
	MediaType string   `json:"media_type"`
	MediaURL  []string `json:"media_url"`
}

// MediaList is written by WeChat Pay as a list in some answers and as a single object in others. Pictures decide
// nothing here, so a shape that is neither reads as none and does not cost the rest of the answer.
type MediaList []Media

// UnmarshalJSON never fails.
func (l *MediaList) UnmarshalJSON(data []byte) error {
	var one Media
	*l = nil
	if json.Unmarshal(data, (*[]Media)(l)) == nil {
		return nil
	}
	*l = nil
	if json.Unmarshal(data, &one) == nil {
		*l = MediaList{one}
	}
	return nil
}

var (
	updateRefundProgress = endpoint{op: "POST /v3/merchant-service/complaints-v2/{complaint_id}/update-refund-progress"}
	respondComplaint     = endpoint{op: "POST /v3/merchant-service/complaints-v2/{complaint_id}/response"}
	completeComplaint    = endpoint{op: "POST /v3/merchant-service/complaints-v2/{complaint_id}/complete"}
	complaintDetail      = endpoint{op: "GET /v3/merchant-service/complaints-v2/{complaint_id}", repeatable: true}
	negotiationHistory   = endpoint{op: "GET /v3/merchant-service/complaints-v2/{complaint_id}/negotiation-historys", repeatable: true}
)

// UpdateRefundProgress tells the user whether the merchant will refund. APPROVE announces only: the refund is a call of
// its own. REJECT ends the complaint. nil means recorded, by a proven 204.
//
//	status code               meaning                                        then
//	400    PARAM_ERROR        a field, or this complaint takes no decision   never as it is
//	400    INVALID_REQUEST    perhaps decided before, or refunded already    read the complaint
//	401    SIGN_ERROR         not executed; unsigned answer                  mend key or clock
//	403    NO_AUTH            another merchant's complaint, or permission    a person
//	429    FREQUENCY_LIMITED  not executed                                   slower
//	500    SYSTEM_ERROR       unknown                                        read the complaint
//
// It cannot be repeated: after any doubt, a *NoAnswerError with Sent or a *SignatureError too, look in the history for
// MerchantApproveRefund or MerchantRefuseRefund. Limit, together with the next two: 60 a minute.
//
// Source: 更新退款审批结果, https://pay.weixin.qq.com/doc/v3/merchant/4012467256, 2025-09-01; 消费者投诉常见问题, …/4016111664
func (c *Client) UpdateRefundProgress(ctx context.Context, complaintID string, p *RefundProgress) error {
	return c.tell(ctx, updateRefundProgress, complaintID, p)
}

// RespondComplaint sends the user a message. nil means recorded, by a proven 204. The first one makes a PENDING
// complaint PROCESSING.
//
//	status code               meaning                                              then
//	400    PARAM_ERROR        a field                                              never as it is
//	400    INVALID_REQUEST    20 messages without an answer of the user, or "later"  read the complaint
//	401    SIGN_ERROR         not executed; unsigned answer                        mend key or clock
//	403    NO_AUTH            wrong ComplaintedMchID, or links are not enabled     a person
//	429    FREQUENCY_LIMITED  not executed                                         slower
//	500    SYSTEM_ERROR       unknown                                              read the history
//
// WeChat Pay does not deduplicate: sent twice, the user reads it twice. After any doubt look in the history for
// MerchantResponse.
//
// Source: 提交回复, https://pay.weixin.qq.com/doc/v3/merchant/4012467254; 消费者投诉常见问题, …/4016111664
func (c *Client) RespondComplaint(ctx context.Context, complaintID string, r *ComplaintResponse) error {
	return c.tell(ctx, respondComplaint, complaintID, r)
}

// CompleteComplaint reports that the merchant is done, and has WeChat Pay ask the user whether that is so. nil means
// recorded, by a proven 204. It is refused while the complaint is PENDING: respond first.
//
//	status code               meaning                                     then
//	400    PARAM_ERROR        a field                                     never as it is
//	400    INVALID_REQUEST    PENDING, or perhaps PROCESSED already       read the complaint
//	401    SIGN_ERROR         not executed; unsigned answer               mend key or clock
//	403    NO_AUTH            wrong complaintedMchID, or permission       a person
//	429    FREQUENCY_LIMITED  not executed                                slower
//	500    SYSTEM_ERROR       unknown                                     read the complaint
//
// Source: 反馈处理完成, https://pay.weixin.qq.com/doc/v3/merchant/4012467255
func (c *Client) CompleteComplaint(ctx context.Context, complaintID, complaintedMchID string) error {
	return c.tell(ctx, completeComplaint, complaintID, &struct {
		ComplaintedMchID string `json:"complainted_mchid"`
	}{complaintedMchID})
}

// Complaint reads a complaint. Errors: PARAM_ERROR (400), SIGN_ERROR (401), NO_AUTH (403; another merchant's),
// FREQUENCY_LIMITED (429), SYSTEM_ERROR (500); asking again does no harm.
//
// Source: 查询投诉单详情, https://pay.weixin.qq.com/doc/v3/merchant/4012533436
func (c *Client) Complaint(ctx context.Context, complaintID string) (*Complaint, error) {
	uri, err := complaintDetail.uri(complaint(complaintID))
	if err != nil {
		return nil, err
	}
	return do(ctx, c, complaintDetail, uri, nil, func(a *Complaint) bool {
		return a.ComplaintID == complaintID && a.ComplaintState != ""
	})
}

// NegotiationHistory reads what was said and done about a complaint: limit entries (1–300) from offset on. Errors as for
// Complaint. This is the read-back that makes the three calls above safe to try again; ReadHistory reads all pages.
//
// Source: 查询投诉单协商历史, https://pay.weixin.qq.com/doc/v3/merchant/4012533439
func (c *Client) NegotiationHistory(ctx context.Context, complaintID string, limit, offset int) (*NegotiationHistory, error) {
	uri, err := negotiationHistory.uri(complaint(complaintID),
		argument{name: "limit", ok: limit >= 1 && limit <= 300, rule: "wants 1 to 300"},
		argument{name: "offset", ok: offset >= 0, rule: "wants 0 or more"})
	if err != nil {
		return nil, err
	}
	uri += "?limit=" + strconv.Itoa(limit) + "&offset=" + strconv.Itoa(offset)
	page, err := do(ctx, c, negotiationHistory, uri, nil, func(a *historyAnswer) bool { return a.check(offset) })
	if err != nil {
		return nil, err
	}
	return &page.NegotiationHistory, nil
}

// historyAnswer tells an empty history from an answer that is no history: from the first a caller concludes that
// nothing was done yet.
//
// data may be left out, and total_count comes with the first page only: of a page behind the end there is only limit and offset, which are
// always there. Source: 查询投诉单协商历史, https://pay.weixin.qq.com/doc/v3/merchant/4012533439, 2025-08-28
type historyAnswer struct {
	NegotiationHistory
	data, total, offset bool // are there
}

func (a *historyAnswer) UnmarshalJSON(data []byte) error {
	var seen struct {
		Data       *json.RawMessage `json:"data"`
		TotalCount *int             `json:"total_count"`
		Offset     *int             `json:"offset"`
	}
	if err := json.Unmarshal(data, &seen); err != nil {
		return err
	}
	a.data, a.total, a.offset = seen.Data != nil, seen.TotalCount != nil, seen.Offset != nil
	return json.Unmarshal(data, &a.NegotiationHistory)
}

// check says whether the answer is a page of a history that begins at offset. One that counts entries which it does not hold is none.
func (a *historyAnswer) check(offset int) bool {
	if len(a.Data) == 0 && a.TotalCount > offset {
		return false
	}
	return a.data || a.total || offset > 0 && a.offset && a.Offset == offset
}

// tell makes one of the calls that are answered by 204.
func (c *Client) tell(ctx context.Context, e endpoint, complaintID string, request any) error {
	uri, err := e.uri(complaint(complaintID))
	if err != nil {
		return err
	}
	_, err = do[nothing](ctx, c, e, uri, request, nil)
	return err
}

func complaint(id string) argument {
	ok := all(id, 64, func(c byte) bool { return isAlnum(c) || c == '_' || c == '-' })
	return argument{"complaint_id", id, ok, "wants 1 to 64 of 0-9 A-Z a-z _ -"}
}
