package wxpay

import (
	"context"
	"strconv"
	"strings"
	"time"
)

var (
	createRefundV2 = endpoint{op: "POST /secapi/pay/refund", repeatable: true} // by its number
	queryRefundV2  = endpoint{op: "POST /pay/refundquery", repeatable: true}
)

// The words of version 2, and those of version 3 for the same.
var (
	// refund_account: the purse that pays. UNSETTLED is named for completeness; it is version 2's default.
	v2RefundAccounts = map[string]string{
		"":          "",
		"AVAILABLE": "REFUND_SOURCE_RECHARGE_FUNDS",
		"UNSETTLED": "REFUND_SOURCE_UNSETTLED_FUNDS",
	}
	v3FundsAccounts = map[string]string{
		"REFUND_SOURCE_RECHARGE_FUNDS":  "AVAILABLE",
		"REFUND_SOURCE_UNSETTLED_FUNDS": "UNSETTLED",
	}
	// refund_status
	v3RefundStatus = map[string]string{
		"SUCCESS":     RefundSuccess,
		"REFUNDCLOSE": RefundClosed,
		"PROCESSING":  RefundProcessing,
		"CHANGE":      RefundAbnormal,
	}
)

// minV2OutTradeNo is how short an order number of version 2 can be.
// Source: 申请退款, https://pay.weixin.qq.com/doc/v2/merchant/4011937624, 2026-08
const minV2OutTradeNo = 6

// Carries says whether version 2 can carry a request, in every field: nil or an *ArgumentError. CreateRefund refuses what it
// refuses, before anything is sent; asking here first tells a command that can never do before it is begun.
func (c *V2Client) Carries(r *RefundRequest) error {
	refused := func(name, rule string) error {
		return &ArgumentError{Op: createRefundV2.op, Name: name, Rule: rule}
	}
	if number := refundNumber(r.OutRefundNo); !number.ok {
		return refused(number.name, number.rule)
	}
	if r.SubMchID != "" && !all(r.SubMchID, 32, isDigit) {
		return refused("sub_mchid", "wants 1 to 32 digits")
	}
	if _, ok := v2RefundAccounts[r.FundsAccount]; !ok {
		return refused("funds_account", "wants AVAILABLE or UNSETTLED, which are all that API v2 knows")
	}
	if r.Amount.Currency != "" && r.Amount.Currency != "CNY" {
		return refused("amount.currency", "wants CNY")
	}
	for _, field := range [...]struct{ name, value string }{
		{"transaction_id", r.TransactionID}, {"out_trade_no", r.OutTradeNo}, {"reason", r.Reason}, {"notify_url", r.NotifyURL},
	} {
		if !isV2Text(field.value) {
			return refused(field.name, "holds a character that API v2 cannot carry")
		}
	}
	if n := len(r.OutTradeNo); n > 0 && n < minV2OutTradeNo {
		return refused("out_trade_no", "wants at least 6 characters in API v2")
	}
	return nil
}

// refundParams are the business fields of a refund that version 2 carries: the same request, the same fields, at every attempt.
func (c *V2Client) refundParams(r *RefundRequest) map[string]string {
	params := map[string]string{
		"transaction_id":  r.TransactionID,
		"out_trade_no":    r.OutTradeNo,
		"out_refund_no":   r.OutRefundNo,
		"total_fee":       strconv.FormatInt(r.Amount.Total, 10),
		"refund_fee":      strconv.FormatInt(r.Amount.Refund, 10),
		"refund_fee_type": "CNY",
		"refund_desc":     r.Reason,
		"refund_account":  v2RefundAccounts[r.FundsAccount],
		"notify_url":      r.NotifyURL,
	}
	c.addSubMerchant(params, r.SubMchID)
	return params
}

// addSubMerchant names the sub-merchant of provider mode.
func (c *V2Client) addSubMerchant(params map[string]string, subMchID string) {
	if subMchID != "" {
		params["sub_mch_id"], params["sub_appid"] = subMchID, c.subAppID
	}
}

// CreateRefund applies for a refund, with the merchant's certificate. A *Refund means accepted, not paid, and its Status is
// RefundProcessing; QueryRefund tells when it is.
//
// One number refunds once, as in version 3. A refusal is an *Error with HTTPStatus 200:
//
//	err_code               meaning                                    then
//	SYSTEMERROR            unknown                                    query, or the same request later
//	BIZERR_NEED_RETRY      their concurrency; unknown                 query, or the same request later
//	FREQUENCY_LIMITED      not taken: an order of 1–2 months, rate    the same request, slower
//	INVALID_REQ_TOO_MUCH   not taken: too many bad requests           the same request after a minute
//	NOTENOUGH              the merchant's balance is too low          top up, same request
//	TRADE_OVERDUE          the order is older than a year             never
//	USER_ACCOUNT_ABNORMAL  the payer's account is closed              never; pay back another way
//	ERROR                  a business rule; see the message           a person
//	REFUND_FEE_MISMATCH    the number was used with other amounts     never as it is
//	INVALID_REQUEST        a business rule                            query first: an earlier attempt may have been taken
//	ORDERNOTEXIST          no such order                              never as it is
//	INVALID_TRANSACTIONID  transaction_id is not one                  never as it is
//	ORDER_NOT_READY        the order is not to be refunded (yet)      may clear
//	PARAM_ERROR            a field is wrong                           never as it is
//	APPID_NOT_EXIST        wrong appid                                a person
//	MCHID_NOT_EXIST        wrong merchant                             a person
//	SIGNERROR              wrong API key or sign_type                 a person, same request
//	CERT_ERROR             the client certificate                     a person, same request
//	NOAUTH                 permission, or the refund IP allow-list    a person, same request
//	REQUIRE_POST_METHOD    –                                          a bug of ours
//	XML_FORMAT_ERROR       –                                          a bug of ours
//
// Unproven, whatever the code, it says nothing for sure: a return_code of FAIL (Code is its err_code, or FAIL) is not
// signed by WeChat Pay, and a status other than 200 is not its own. These, a *NoAnswerError with Sent and a *SignatureError
// mean that the refund may have been taken. So does a client certificate that is refused, where TLS 1.3 lets the request
// out before the handshake's result is known.
//
// Source: 申请退款, https://pay.weixin.qq.com/doc/v2/merchant/4011937624; provider: https://pay.weixin.qq.com/doc/v2/partner/4011984092
func (c *V2Client) CreateRefund(ctx context.Context, r *RefundRequest) (*Refund, error) {
	if err := c.Carries(r); err != nil {
		return nil, err
	}
	params := c.refundParams(r)
	return c.do(ctx, &c.mutual, createRefundV2, params, func(got map[string]string) *Refund {
		for _, name := range []string{"total_fee", "refund_fee"} {
			switch got[name] {
			case "":
				got[name] = params[name]
			case params[name]:
			default:
				return nil
			}
		}
		if got["out_refund_no"] != r.OutRefundNo {
			return nil
		}
		return readV2Refund(got, "", RefundProcessing)
	})
}

// QueryRefund asks what became of a refund by the merchant's number, without the client certificate. subMchID is empty, or
// the sub-merchant in provider mode. A refusal is an *Error with HTTPStatus 200:
//
//	err_code               meaning                       then
//	REFUNDNOTEXIST         no refund was accepted by it  see below
//	SYSTEMERROR            –                             later
//	INVALID_REQUEST, PARAM_ERROR, INVALID_TRANSACTIONID, APPID_NOT_EXIST, MCHID_NOT_EXIST, SIGNERROR,
//	REQUIRE_POST_METHOD, XML_FORMAT_ERROR                a person
//
// A proven REFUNDNOTEXIST within the first minute after CreateRefund says nothing, as in version 3.
//
// Source: 查询退款, https://pay.weixin.qq.com/doc/v2/merchant/4011939577; provider: https://pay.weixin.qq.com/doc/v2/partner/4011985140
func (c *V2Client) QueryRefund(ctx context.Context, outRefundNo, subMchID string) (*Refund, error) {
	if number := refundNumber(outRefundNo); !number.ok {
		return nil, &ArgumentError{Op: queryRefundV2.op, Name: number.name, Rule: number.rule}
	}
	if subMchID != "" && !all(subMchID, 32, isDigit) {
		return nil, &ArgumentError{Op: queryRefundV2.op, Name: "sub_mchid", Rule: "wants 1 to 32 digits"}
	}
	params := map[string]string{"out_refund_no": outRefundNo}
	c.addSubMerchant(params, subMchID)
	return c.do(ctx, &c.plain, queryRefundV2, params, func(got map[string]string) *Refund {
		suffix, ok := v2Index(got, outRefundNo)
		if !ok {
			return nil
		}
		return readV2Refund(got, suffix, v2Status(got["refund_status"+suffix]))
	})
}

// v2Index finds the refund of that number in the list which refundquery answers with, fields "…_0", "…_1", …: the suffix of
// its fields, and whether there is exactly one.
func v2Index(got map[string]string, outRefundNo string) (string, bool) {
	suffix, found := "", 0
	for name, value := range got {
		n, ok := strings.CutPrefix(name, "out_refund_no_")
		if ok && value == outRefundNo && all(n, 4, isDigit) {
			suffix = "_" + n
			found++
		}
	}
	return suffix, found == 1
}

// v2Status translates a refund_status. One that is not known yet stays as it is, like an unknown one of version 3.
func v2Status(s string) string {
	if status, ok := v3RefundStatus[s]; ok {
		return status
	}
	if !isCode(s) {
		return ""
	}
	return s
}

// readV2Refund reads the refund whose fields end in suffix; nil if that is none. Amounts are required: whoever compares
// them must not take a missing one for another one.
func readV2Refund(got map[string]string, suffix, status string) *Refund {
	total, ok1 := v2Fen(got["total_fee"])
	refund, ok2 := v2Fen(got["refund_fee"+suffix])
	payerTotal, _ := v2Fen(got["cash_fee"])
	payerRefund, _ := v2Fen(got["cash_refund_fee"+suffix])
	id := got["refund_id"+suffix]
	if !ok1 || !ok2 || status == "" || !all(id, 32, isAlnum) {
		return nil
	}
	currency := got["fee_type"]
	if currency == "" {
		currency = "CNY" // what an absent fee_type means
	}
	return &Refund{
		RefundID:            id,
		OutRefundNo:         got["out_refund_no"+suffix],
		TransactionID:       got["transaction_id"],
		OutTradeNo:          got["out_trade_no"],
		Channel:             got["refund_channel"+suffix],
		UserReceivedAccount: got["refund_recv_accout"+suffix], // sic
		SuccessTime:         v2Time(got["refund_success_time"+suffix]),
		Status:              status,
		FundsAccount:        v3FundsAccounts[got["refund_account"+suffix]],
		Amount: RefundAmountAnswer{
			Total: total, Refund: refund, PayerTotal: payerTotal, PayerRefund: payerRefund, Currency: currency,
		},
	}
}

func v2Fen(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0 && isDigit(s[0])
}

var beijing = time.FixedZone("", 8*60*60)

// v2Time turns "2016-07-25 15:26:26", Beijing time, into RFC 3339; what is none into nothing.
func v2Time(s string) string {
	t, err := time.ParseInLocation(time.DateTime, s, beijing)
	if err != nil {
		return ""
	}
	return t.Format(time.RFC3339)
}
