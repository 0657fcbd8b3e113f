package wxpaytest

import (
	"strconv"
	"time"
)

// v2 refund calls as they look on the wire. The money is that of ledger.go, one set of books with v3.

// Where the money comes from, and what v3 calls it. Source: V2M:4011937624, M:4013071036.
const (
	accountUnsettled = "REFUND_SOURCE_UNSETTLED_FUNDS" // the default
	accountRecharge  = "REFUND_SOURCE_RECHARGE_FUNDS"
)

// v2Refund is POST /secapi/pay/refund.
type v2Refund struct{ refundCreate }

// readV2Refund reads the elements. Source: V2M:4011937624, provider V2P:4011984092.
func readV2Refund(f *v2form, subMchID string) operation {
	c := refundCreate{refundParameters: refundParameters{
		subMchID:      subMchID,
		transactionID: f.text("transaction_id", textRule{bytes: 32, charset: isOrderChar, source: sourceV2}),
		outTradeNo:    f.text("out_trade_no", textRule{least: 6, bytes: 32, charset: isOrderChar, source: sourceV2}),
		outRefundNo:   f.text("out_refund_no", textRule{required: true, bytes: 64, charset: isRefundNoChar, source: sourceV2}),
		total:         f.integer("total_fee", true, 1, sourceV2),
		amount:        f.integer("refund_fee", true, 1, sourceV2),
		reason:        f.text("refund_desc", textRule{bytes: 80, source: sourceV2}),
		notifyURL:     f.text("notify_url", textRule{bytes: 256, source: sourceV2}),
		fundsAccount:  fundsAccountOf(f.text("refund_account", textRule{oneOf: []string{accountUnsettled, accountRecharge}, source: sourceV2})),
	}}
	f.text("refund_fee_type", textRule{oneOf: []string{"CNY"}, source: sourceV2})
	if c.transactionID == "" && c.outTradeNo == "" {
		f.bad("transaction_id", "transaction_id or out_trade_no is required ("+sourceV2+")")
	}
	if c.notifyURL != "" && !isCallbackURL(c.notifyURL) {
		f.bad("notify_url", "must be an absolute URL without query ("+sourceV2+")")
	}
	if c.amount > c.total {
		f.bad("refund_fee", "more than total_fee ("+sourceV2+")")
	}
	if c.transactionID != "" { // it wins, whatever the other one names
		c.outTradeNo, c.alias = "", c.outTradeNo
	}
	return &v2Refund{c}
}

// fundsAccountOf is refund_account in the words of v3, so that one number means one refund in both.
func fundsAccountOf(refundAccount string) string {
	switch refundAccount {
	case accountUnsettled:
		return "UNSETTLED"
	case accountRecharge:
		return "AVAILABLE"
	}
	return ""
}

func refundAccountOf(fundsAccount string) string {
	if fundsAccount == "AVAILABLE" {
		return accountRecharge
	}
	return accountUnsettled
}

func (c *v2Refund) plan(b *books, x *exchange) (answer, func()) {
	r, effect, refused := c.decide(b, x)
	if refused != nil {
		return no(refused.inV2("ORDERNOTEXIST"))
	}
	return answer{body: viewV2Refund(r, c.nameOf(b, r))}, effect
}

// viewV2Refund is the answer. Source: V2M:4011937624, answer fields; wxpaytest_new_field as in v3.
func viewV2Refund(r *refund, outTradeNo string) []element {
	amount, total := fen(r.amount), fen(r.total)
	return []element{
		{"transaction_id", r.order.transactionID},
		{"out_trade_no", outTradeNo},
		{"out_refund_no", r.outRefundNo},
		{"refund_id", r.refundID},
		{"refund_channel", ""}, // production sends empty elements; they are not signed
		{"refund_fee", amount},
		{"settlement_refund_fee", amount},
		{"total_fee", total},
		{"settlement_total_fee", total},
		{"fee_type", "CNY"},
		{"cash_fee", total},
		{"cash_fee_type", "CNY"},
		{"cash_refund_fee", amount},
		{"coupon_refund_fee", "0"},
		{"coupon_refund_count", "0"},
		{"wxpaytest_new_field", "since ]]> tomorrow"},
	}
}

func fen(n int64) string { return strconv.FormatInt(n, 10) }

// v2PerPage is how many refunds a query by order number returns. Source: V2M:4011939577.
const v2PerPage = 10

// v2Query is POST /pay/refundquery.
type v2Query struct {
	subMchID, refundID, outRefundNo, transactionID, outTradeNo string
	offset                                                     int64
}

const sourceV2Query = "V2M:4011939577"

// readV2Query reads the elements. Source: V2M:4011939577, V2M:4011985140.
func readV2Query(f *v2form, subMchID string) operation {
	q := v2Query{
		subMchID:      subMchID,
		refundID:      f.text("refund_id", textRule{bytes: 32, charset: isOrderChar, source: sourceV2Query}),
		outRefundNo:   f.text("out_refund_no", textRule{bytes: 64, charset: isRefundNoChar, source: sourceV2Query}),
		transactionID: f.text("transaction_id", textRule{bytes: 32, charset: isOrderChar, source: sourceV2Query}),
		outTradeNo:    f.text("out_trade_no", textRule{least: 6, bytes: 32, charset: isOrderChar, source: sourceV2Query}),
		offset:        f.integer("offset", false, 0, sourceV2Query),
	}
	if q.refundID+q.outRefundNo+q.transactionID+q.outTradeNo == "" {
		f.bad("out_refund_no", "one of refund_id, out_refund_no, transaction_id, out_trade_no is required ("+sourceV2Query+")")
	}
	return q
}

// plan answers with the refunds that queries can see. Source: V2M:4011939577.
func (q v2Query) plan(b *books, x *exchange) (answer, func()) {
	if r := checkSubMchID(x.merchant, q.subMchID, "body"); r != nil {
		return no(r.inV2(""))
	}
	found, byOrder := q.find(b, x)
	if len(found) == 0 {
		return no(refuseV2("REFUNDNOTEXIST", "退款订单查询失败").
			because("no such refund, or queries do not see it yet (V2M:4011939577)"))
	}
	total := int64(len(found))
	if q.offset >= total {
		return no(refuseV2("PARAM_ERROR", "参数错误:offset").because("offset is beyond total_refund_count (V2M:4011939577)"))
	}
	found = found[q.offset:min(q.offset+v2PerPage, total)]
	o := found[0].order
	v := []element{
		{"transaction_id", o.transactionID}, {"out_trade_no", o.outTradeNo},
		{"total_fee", fen(o.total)}, {"settlement_total_fee", fen(o.total)}, {"fee_type", "CNY"}, {"cash_fee", fen(o.total)},
		{"refund_count", strconv.Itoa(len(found))}, {"wxpaytest_new_field", "tomorrow"},
	}
	if byOrder {
		v = append(v, element{"total_refund_count", fen(total)})
	}
	for i, r := range found {
		b.settleIfAtOnce(r, x.seen.At)
		v = append(v, viewV2Status(r, strconv.Itoa(i))...)
	}
	x.tells(o)
	return answer{body: v}, nil
}

// find follows the documented order: refund_id, out_refund_no, transaction_id, out_trade_no; what stands
// behind the first one given does not count.
func (q v2Query) find(b *books, x *exchange) (found []*refund, byOrder bool) {
	mchID := x.merchant.MchID
	var all []*refund
	switch {
	case q.refundID != "":
		all = []*refund{b.refundIDs[q.refundID]}
	case q.outRefundNo != "":
		if n := b.numbers[numberKey{mchID, q.outRefundNo}]; n != nil {
			all = []*refund{n.refund}
		}
	default:
		byOrder = true
		o := b.trades[tradeKey{mchID, q.subMchID, q.outTradeNo}]
		if q.transactionID != "" {
			o = b.transactions[q.transactionID]
		}
		if o != nil {
			all = o.refunds
		}
	}
	for _, r := range all {
		if r != nil && r.mchID == mchID && r.subMchID == q.subMchID && b.seenByQueries(r, x.seen.At) {
			found = append(found, r)
		}
	}
	return found, byOrder
}

// viewV2Status is one refund of the list; accout is theirs. Source: V2M:4011939577.
func viewV2Status(r *refund, i string) []element {
	v := []element{
		{"out_refund_no_" + i, r.outRefundNo},
		{"refund_id_" + i, r.refundID},
		{"refund_channel_" + i, "ORIGINAL"},
		{"refund_fee_" + i, fen(r.amount)},
		{"settlement_refund_fee_" + i, fen(r.amount)},
		{"coupon_refund_fee_" + i, "0"},
		{"coupon_refund_count_" + i, "0"},
		{"refund_status_" + i, v2Status(r.status)},
		{"refund_account_" + i, refundAccountOf(r.fundsAccount)},
		{"refund_recv_accout_" + i, "支付用户零钱"},
	}
	if r.status == statusSuccess {
		v = append(v, element{"refund_success_time_" + i, r.successAt.In(china).Format(time.DateTime)})
	}
	return v
}

// v2Status is refund_status_$n. Source: V2M:4011939577 (CHANGE is an abnormal refund).
func v2Status(status string) string {
	switch status {
	case statusClosed:
		return "REFUNDCLOSE"
	case statusAbnormal:
		return "CHANGE"
	}
	return status
}
