package wxpaytest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Refund calls as they look on the wire. What they do to the money is in ledger.go.

// refundParameters are what makes a create the same create.
type refundParameters struct {
	subMchID                        string
	transactionID, outTradeNo       string
	outRefundNo                     string
	reason, notifyURL, fundsAccount string
	amount, total                   int64 // fen
}

// refundCreate is POST /v3/refund/domestic/refunds.
type refundCreate struct {
	refundParameters
	alias string // of v2: the out_trade_no beside a transaction_id, which wins
}

const sourceCreate = "M:4013071036"

// readRefundCreate reads the body. Source: M:4013071036, provider P:4013080625.
func readRefundCreate(q query, body []byte, _ string) (operation, *refusal) {
	if no := q.end(); no != nil {
		return nil, no
	}
	f, no := readForm(body)
	if no != nil {
		return nil, no
	}
	c := &refundCreate{refundParameters: refundParameters{
		subMchID:      f.text("sub_mchid", textRule{bytes: 32, charset: isDigit, source: "P:4013080625"}),
		transactionID: f.text("transaction_id", textRule{bytes: 32, charset: isOrderChar, source: sourceCreate}),
		outTradeNo:    f.text("out_trade_no", textRule{bytes: 32, charset: isOrderChar, source: sourceCreate}),
		outRefundNo:   f.text("out_refund_no", textRule{required: true, bytes: 64, charset: isRefundNoChar, source: sourceCreate}),
		reason:        f.text("reason", textRule{bytes: 80, source: sourceCreate}),
		notifyURL:     f.text("notify_url", textRule{bytes: 256, source: sourceCreate}),
		fundsAccount:  f.text("funds_account", textRule{oneOf: []string{"AVAILABLE", "UNSETTLED"}, source: sourceCreate}),
	}}
	if c.transactionID == "" && c.outTradeNo == "" {
		f.bad("transaction_id", "", "transaction_id or out_trade_no is required ("+sourceCreate+")")
	}
	if c.notifyURL != "" && !isCallbackURL(c.notifyURL) {
		f.bad("notify_url", "", "must be an absolute URL without query ("+sourceCreate+", M:4012075420)")
	}
	if amount := f.object("amount", true, sourceCreate); amount != nil {
		c.readAmount(amount)
	}
	return c, f.end()
}

func (c *refundCreate) readAmount(f *form) {
	c.amount, _ = f.integer("refund", true, 1, sourceCreate)
	c.total, _ = f.integer("total", true, 1, sourceCreate)
	f.text("currency", textRule{required: true, oneOf: []string{"CNY"}, source: sourceCreate})
	if c.amount > c.total {
		f.bad("refund", "", "more than total ("+sourceCreate+")")
	}
	f.end() // amount.from and goods_detail exist for profit sharing only; here they are unknown fields
}

func (c *refundCreate) plan(b *books, x *exchange) (answer, func()) {
	r, effect, refused := c.decide(b, x)
	if refused != nil {
		return no(refused)
	}
	view := viewRefund(r)
	view.OutTradeNo = c.nameOf(b, r)
	return answer{status: http.StatusOK, body: view}, effect
}

// refundQuery is GET /v3/refund/domestic/refunds/{out_refund_no}.
type refundQuery struct{ subMchID, outRefundNo string }

// readRefundQuery reads path and query. Source: M:4013071041, provider P:4013080626.
func readRefundQuery(q query, _ []byte, id string) (operation, *refusal) {
	rule := textRule{bytes: 64, charset: isRefundNoChar}
	if issue := rule.check(id); issue != "" {
		return nil, badURL("out_refund_no: "+issue, "M:4013071041")
	}
	sub, given := q.take("sub_mchid")
	if given && (sub == "" || !allDigits(sub) || len(sub) > 32) {
		return nil, refuse(http.StatusBadRequest, "PARAM_ERROR", "参数错误").in("query", "sub_mchid", sub, "must be 1 to 32 digits").
			because("query sub_mchid: must be 1 to 32 digits (P:4013080626)").asViolation()
	}
	if no := q.end(); no != nil {
		return nil, no
	}
	return refundQuery{sub, id}, nil
}

// plan answers with the refund, once queries can see it. 404 here means the refund, not the order.
// Source: M:4013071041.
func (q refundQuery) plan(b *books, x *exchange) (answer, func()) {
	if r := checkSubMchID(x.merchant, q.subMchID, "query"); r != nil {
		return no(r)
	}
	n := b.numbers[numberKey{x.merchant.MchID, q.outRefundNo}]
	if n == nil || n.refund == nil || n.refund.subMchID != q.subMchID ||
		!b.seenByQueries(n.refund, x.seen.At) {
		return no(refuse(http.StatusNotFound, "RESOURCE_NOT_EXISTS", "退款单不存在").
			because("no such refund, or queries do not see it yet (M:4013071041)"))
	}
	b.settleIfAtOnce(n.refund, x.seen.At)
	x.tells(n.refund.order)
	return answer{status: http.StatusOK, body: viewRefund(n.refund)}, nil
}

// seenByQueries: not at once, perhaps. How soon queries see a new refund is not documented.
func (b *books) seenByQueries(r *refund, now time.Time) bool {
	return now.Sub(r.createdAt) >= b.options.QueryLag
}

// checkSubMchID: a provider must name one of its sub-merchants, a direct merchant must not.
// Source: P:4013080625, P:4013080626, P:4013080622. A client cannot know all of it: not a violation.
func checkSubMchID(m *merchant, sub, location string) *refusal {
	field := "sub_mchid"
	if location == "body" {
		field = "/sub_mchid"
	}
	switch {
	case m.Provider && sub == "":
		return refuse(http.StatusBadRequest, "PARAM_ERROR", "参数错误").in(location, field, "", "required").
			because("a provider must send sub_mchid (P:4013080625, P:4013080626)")
	case !m.Provider && sub != "":
		return refuse(http.StatusBadRequest, "PARAM_ERROR", "参数错误").in(location, field, sub, "not a provider").
			because("sub_mchid is for providers only (M:4013071036)")
	case m.Provider && len(m.SubMchIDs) > 0 && !slices.Contains(m.SubMchIDs, sub):
		return refuse(http.StatusForbidden, "NO_AUTH", "商户号无此接口权限").
			because("the sub-merchant has not granted this provider API refunds (P:4013080622)")
	}
	return nil
}

// refundView is the body of both answers. Source: M:4013071036, M:4013071041.
type refundView struct {
	RefundID            string           `json:"refund_id"`
	OutRefundNo         string           `json:"out_refund_no"`
	TransactionID       string           `json:"transaction_id"`
	OutTradeNo          string           `json:"out_trade_no,omitempty"`
	Channel             string           `json:"channel"`
	UserReceivedAccount string           `json:"user_received_account"`
	SuccessTime         string           `json:"success_time,omitempty"`
	CreateTime          string           `json:"create_time"`
	Status              string           `json:"status"`
	FundsAccount        string           `json:"funds_account"`
	Amount              refundAmountView `json:"amount"`
	PromotionDetail     []struct{}       `json:"promotion_detail"`
	NewField            newField         `json:"wxpaytest_new_field"`
}

type refundAmountView struct {
	Total            int64      `json:"total"`
	Refund           int64      `json:"refund"`
	PayerTotal       int64      `json:"payer_total"`
	PayerRefund      int64      `json:"payer_refund"`
	SettlementRefund int64      `json:"settlement_refund"`
	SettlementTotal  int64      `json:"settlement_total"`
	DiscountRefund   int64      `json:"discount_refund"`
	Currency         string     `json:"currency"`
	From             []struct{} `json:"from"`
}

// newField stands in every answer: new response fields may appear at any time and must be ignored.
// Source: M:4012081709.
type newField struct {
	Since string `json:"since"`
}

var aNewField = newField{Since: "tomorrow"}

func viewRefund(r *refund) refundView {
	v := refundView{
		RefundID:            r.refundID,
		OutRefundNo:         r.outRefundNo,
		TransactionID:       r.order.transactionID,
		OutTradeNo:          r.order.outTradeNo,
		Channel:             "ORIGINAL",
		UserReceivedAccount: "支付用户零钱",
		CreateTime:          stamp(r.createdAt),
		Status:              r.status,
		FundsAccount:        r.fundsAccount,
		PromotionDetail:     []struct{}{},
		NewField:            aNewField,
		Amount: refundAmountView{
			Total: r.total, Refund: r.amount,
			PayerTotal: r.total, PayerRefund: r.amount,
			SettlementRefund: r.amount, SettlementTotal: r.total,
			Currency: "CNY", From: []struct{}{},
		},
	}
	if v.FundsAccount == "" {
		v.FundsAccount = "AVAILABLE"
	}
	if r.status == statusSuccess {
		v.SuccessTime = stamp(r.successAt)
	}
	return v
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isRefundNoChar: [0-9A-Za-z_\-|*@]. Source: M:4013071036.
func isRefundNoChar(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || strings.IndexByte("_-|*@", c) >= 0
}

// isOrderChar: printable ASCII; the documents give no narrower set for order numbers.
func isOrderChar(c byte) bool { return c > ' ' && c < 0x7f }

// isCallbackURL: public URLs that carry no query. Source: M:4012075420, M:4013071036.
func isCallbackURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && !strings.ContainsAny(s, "?#") && u.User == nil
}
