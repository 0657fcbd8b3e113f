package wxpay

import "context"

// The states of a refund. SUCCESS and CLOSED are final; ABNORMAL may still become SUCCESS.
//
// Source: 退款状态变更, https://pay.weixin.qq.com/doc/v3/merchant/4014959631
const (
	RefundSuccess    = "SUCCESS"    // the money has arrived
	RefundClosed     = "CLOSED"     // accepted once, never to be paid: only a new number can refund now
	RefundProcessing = "PROCESSING" // on its way; the merchant may be debited already
	RefundAbnormal   = "ABNORMAL"   // the payer's account does not take it: a person decides, then it is SUCCESS
)

// RefundRequest asks for one refund. Every repetition must be the same in every field.
//
// Amounts are fen (1/100 CNY). Strings hold no code point beyond three bytes of UTF-8 (no emoji): WeChat Pay refuses it.
type RefundRequest struct {
	SubMchID      string `json:"sub_mchid,omitempty"`      // ≤ 32; provider mode only, and required there
	TransactionID string `json:"transaction_id,omitempty"` // ≤ 32; WeChat Pay's order number; this or the next
	OutTradeNo    string `json:"out_trade_no,omitempty"`   // ≤ 32; the merchant's order number
	OutRefundNo   string `json:"out_refund_no"`            // 1–64 of [0-9A-Za-z_-|*@]; the identity of this refund
	Reason        string `json:"reason,omitempty"`         // ≤ 80 bytes (26 Han characters); shown to the payer
	NotifyURL     string `json:"notify_url,omitempty"`     // ≤ 256; an absolute URL without query
	FundsAccount  string `json:"funds_account,omitempty"`  // AVAILABLE or UNSETTLED; empty = the default purse

	Amount RefundAmount `json:"amount"`
}

// RefundAmount is how much of which total.
type RefundAmount struct {
	Refund   int64  `json:"refund"`   // fen; 0 < Refund ≤ Total
	Total    int64  `json:"total"`    // fen; the order's original total, also for the second of several partial refunds
	Currency string `json:"currency"` // CNY; empty = CNY
}

// Refund is what WeChat Pay knows of a refund. Fields that WeChat Pay left out are empty.
type Refund struct {
	RefundID            string             `json:"refund_id"` // WeChat Pay's number; never empty
	OutRefundNo         string             `json:"out_refund_no"`
	TransactionID       string             `json:"transaction_id"`
	OutTradeNo          string             `json:"out_trade_no"`
	Channel             string             `json:"channel"`               // ORIGINAL, BALANCE, OTHER_BALANCE, OTHER_BANKCARD
	UserReceivedAccount string             `json:"user_received_account"` // where it went, masked by WeChat Pay
	SuccessTime         string             `json:"success_time"`          // RFC 3339; only with SUCCESS
	CreateTime          string             `json:"create_time"`           // RFC 3339
	Status              string             `json:"status"`                // RefundSuccess, …; never empty
	FundsAccount        string             `json:"funds_account"`
	Amount              RefundAmountAnswer `json:"amount"`
}

// RefundAmountAnswer is in fen.
type RefundAmountAnswer struct {
	Total       int64  `json:"total"`
	Refund      int64  `json:"refund"`
	PayerTotal  int64  `json:"payer_total"`  // what the payer paid, without discounts
	PayerRefund int64  `json:"payer_refund"` // what the payer gets back
	Currency    string `json:"currency"`
}

var (
	createRefund = endpoint{op: "POST /v3/refund/domestic/refunds", repeatable: true} // by its number
	queryRefund  = endpoint{op: "GET /v3/refund/domestic/refunds/{out_refund_no}", repeatable: true}
)

// CreateRefund applies for a refund. A *Refund means accepted, not paid; QueryRefund tells when it is.
//
// One number refunds once, however often it is sent, so after any doubt the same request may be sent again; at least
// 60 s apart, since of several in quick succession only the first succeeds and the others are told that the amount
// exceeds the rest.
//
//	status code                   meaning                            then
//	400    PARAM_ERROR            a field is wrong (Detail)          never as it is
//	400    INVALID_REQUEST        refused by a business rule         query first: an earlier attempt may have been taken
//	401    SIGN_ERROR             not executed; unsigned answer      mend key or clock, same request
//	403    NOT_ENOUGH             the merchant's balance is too low  top up, same request
//	403    USER_ACCOUNT_ABNORMAL  the payer's account is closed      never; pay back another way
//	403    NO_AUTH                product or permission missing      a person
//	404    MCH_NOT_EXISTS         wrong merchant                     a person
//	404    RESOURCE_NOT_EXISTS    no such order, or not paid         never as it is
//	429    FREQUENCY_LIMITED      may have been taken                query, or the same request later
//	500    SYSTEM_ERROR           unknown                            query, or the same request later
//	502/3  SERVICE_UNAVAILABLE    unknown                            query, or the same request later
//
// A *NoAnswerError with Sent, and a *SignatureError, mean that it may have been taken, too. Limits: 150/s, and 6/s for
// refused ones; 50 partial refunds of one order, at least a minute apart.
//
// Source: 申请退款, https://pay.weixin.qq.com/doc/v3/merchant/4013071036; provider: https://pay.weixin.qq.com/doc/v3/partner/4013080625
func (c *Client) CreateRefund(ctx context.Context, r *RefundRequest) (*Refund, error) {
	uri, err := createRefund.uri(refundNumber(r.OutRefundNo))
	if err != nil {
		return nil, err
	}
	request := *r
	if request.Amount.Currency == "" {
		request.Amount.Currency = "CNY"
	}
	return do(ctx, c, createRefund, uri, &request, func(a *Refund) bool {
		return isRefund(a, r.OutRefundNo) && repeats(&a.Amount.Refund, r.Amount.Refund) && repeats(&a.Amount.Total, r.Amount.Total)
	})
}

// repeats says whether an answer's amount is the request's; one that is left out is.
func repeats(answered *int64, asked int64) bool {
	if *answered == 0 {
		*answered = asked
	}
	return *answered == asked
}

// QueryRefund asks what became of a refund by the merchant's number. subMchID is empty, or the sub-merchant in provider
// mode.
//
//	status code                 meaning                       then
//	400    PARAM_ERROR          the number is not one         never
//	401    SIGN_ERROR           unsigned answer               mend key or clock
//	404    RESOURCE_NOT_EXISTS  no refund was accepted by it  see below
//	429    FREQUENCY_LIMITED    too fast                      after a minute
//	500    SYSTEM_ERROR         –                             later
//
// A proven 404 within the first minute after CreateRefund says nothing: how soon a refund can be queried is not
// promised. Limit: 300/s.
//
// Source: 查询单笔退款, https://pay.weixin.qq.com/doc/v3/merchant/4013071041; provider: https://pay.weixin.qq.com/doc/v3/partner/4013080626
func (c *Client) QueryRefund(ctx context.Context, outRefundNo, subMchID string) (*Refund, error) {
	uri, err := queryRefund.uri(refundNumber(outRefundNo))
	if err != nil {
		return nil, err
	}
	if subMchID != "" {
		if !all(subMchID, 32, isDigit) {
			return nil, &ArgumentError{Op: queryRefund.op, Name: "sub_mchid", Rule: "wants 1 to 32 digits"}
		}
		uri += "?sub_mchid=" + subMchID
	}
	return do(ctx, c, queryRefund, uri, nil, func(a *Refund) bool {
		// Amounts are required: whoever compares them must not take a missing one for another one.
		return isRefund(a, outRefundNo) && a.Amount.Refund > 0 && a.Amount.Total > 0
	})
}

// isRefund says whether an answer is about the refund that was asked for. (A 200 without refund_id has been seen.)
func isRefund(r *Refund, outRefundNo string) bool {
	return r.RefundID != "" && r.Status != "" && r.OutRefundNo == outRefundNo
}

func refundNumber(s string) argument {
	ok := all(s, 64, func(c byte) bool {
		return isAlnum(c) || c == '_' || c == '-' || c == '|' || c == '*' || c == '@'
	})
	return argument{"out_refund_no", s, ok, "wants 1 to 64 of 0-9 A-Z a-z _ - | * @"}
}
