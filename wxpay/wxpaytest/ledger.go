package wxpaytest

import (
	"fmt"
	"net/http"
	"time"
)

// The rules of money. What a request looks like is in refund.go.

const (
	maxPartialRefunds = 50                   // per order. Source: M:4013071036
	maxOrderAge       = 365 * 24 * time.Hour // from payment. Source: M:4013071001
	spacing           = time.Minute          // between submissions on one order. Source: P:4013080629, M:4013071036
)

// States of a refund. Source: M:4014959631.
const (
	statusProcessing = "PROCESSING"
	statusSuccess    = "SUCCESS"
	statusClosed     = "CLOSED"
	statusAbnormal   = "ABNORMAL"
)

// An Order that was paid.
type Order struct {
	MchID    string // who refunds it: the merchant, or its provider
	SubMchID string // the seller, in provider mode

	// TransactionID is made up if empty. An empty OutTradeNo is learned from the first refund naming one.
	TransactionID, OutTradeNo string

	Total  int64     // fen
	PaidAt time.Time // zero = now
}

// A Refund as the books have it.
type Refund struct {
	MchID, SubMchID           string
	OutRefundNo, RefundID     string
	TransactionID, OutTradeNo string
	Status                    string    // PROCESSING SUCCESS CLOSED ABNORMAL
	Amount, Total             int64     // fen: of this refund, of its order
	Creates                   int       // well-formed create calls that named the number, refused ones included
	CreatedAt                 time.Time // when it was accepted
}

type order struct {
	mchID, subMchID, transactionID, outTradeNo string
	total                                      int64
	paidAt                                     time.Time
	refunds                                    []*refund // accepted, oldest first
	linked                                     bool      // a client has read, or written, both numbers together
}

type tradeKey struct{ mchID, subMchID, outTradeNo string }

func (o *order) name() string {
	if o.transactionID != "" {
		return o.transactionID
	}
	return o.outTradeNo
}

// committed is the money that refunds have taken or may still take from the order.
func (o *order) committed() int64 {
	return o.sum(func(r *refund) bool { return r.status != statusClosed })
}

// arrived is the money that reached the payer.
func (o *order) arrived() int64 {
	return o.sum(func(r *refund) bool { return r.status == statusSuccess })
}

func (o *order) sum(counts func(*refund) bool) (fen int64) {
	for _, r := range o.refunds {
		if counts(r) {
			fen += r.amount
		}
	}
	return fen
}

// A refund that was accepted. Everything but status, submittedAt and successAt stays as it was accepted.
type refund struct {
	refundParameters
	mchID       string
	refundID    string
	order       *order
	status      string
	createdAt   time.Time
	submittedAt time.Time // last submission that was answered with this refund
	successAt   time.Time
	number      *number
}

// Rules with a name that other code compares.
const (
	ruleOtherAmount = "the number was used before with other parameters (M:4013071200, COMM:000246066e04c86deac0e843866000)"
	ruleOtherOrder  = "the number was used before for another order (M:4013071200)"
	ruleEarly       = "the same refund submitted again within a minute of an attempt that may have been executed (P:4013080629)"
	ruleOrderEarly  = "another refund of the same order within a minute of the last one (M:4013071036)"
)

func invalidRequest(message, rule string) *refusal {
	return refuse(http.StatusBadRequest, "INVALID_REQUEST", message).because(rule)
}

// otherAmount has two codes, one in practice and one on paper. Source: M:4013071200; COMM:000246066e04c86deac0e843866000
// (v3), COMM:0002a44d3ccb50f17200b50de60000 (v2).
func (b *books) otherAmount(rule string) *refusal {
	no := invalidRequest("订单金额或退款金额与之前请求不一致，请核实后再试", rule)
	if b.options.RefundFeeMismatch {
		no.code = "REFUND_FEE_MISMATCH"
	}
	return no
}

func exceeds(rule string) *refusal {
	return invalidRequest("申请退款金额超过订单可退金额", rule)
}

// decide applies the rules in this order: who may, the number, the order, the money. It is what v2 and v3
// have in common.
func (c *refundCreate) decide(b *books, x *exchange) (r *refund, effect func(), no *refusal) {
	if no := checkSubMchID(x.merchant, c.subMchID, "body"); no != nil {
		return nil, nil, no
	}
	n := b.number(numberKey{x.merchant.MchID, c.outRefundNo})
	n.creates++
	if n.refund != nil {
		if no := c.differs(b, n.refund); no != nil {
			return nil, nil, no
		}
	}
	now := x.seen.At
	var early bool
	if x.attempt, early = n.begin(now); early && !b.options.AllowQuickRepeat {
		x.violate(ruleEarly)
	}
	if n.refund != nil {
		if no := c.reenter(b, n.refund, now); no != nil {
			return nil, nil, no
		}
		x.tells(n.refund.order)
		return n.refund, nil, nil
	}
	o, no := b.findOrder(x.merchant.MchID, c.refundParameters, now)
	if no == nil {
		no = c.check(b, x, o, now)
	}
	if no != nil {
		return nil, nil, no
	}
	r, effect = c.accept(b, x, n, o, now)
	x.tells(o)
	return r, effect, nil
}

// differs compares a create with the refund that has its number. Source: M:4013071200, P:4013080629; that reason,
// notify_url and funds_account count too is stricter than production.
func (c *refundCreate) differs(b *books, r *refund) *refusal {
	switch {
	case c.subMchID != r.subMchID:
		return invalidRequest("您的请求参数与订单信息不一致", ruleOtherOrder)
	case c.transactionID != "" && c.transactionID != r.order.transactionID,
		c.outTradeNo != "" && r.order.outTradeNo != "" && c.outTradeNo != r.order.outTradeNo:
		return invalidRequest("支付单号校验不一致，请核实后再试", ruleOtherOrder)
	case c.amount != r.amount, c.total != r.total,
		c.reason != r.reason, c.notifyURL != r.notifyURL, c.fundsAccount != r.fundsAccount:
		return b.otherAmount(ruleOtherAmount)
	}
	return nil
}

// reenter is a create of a refund that exists: answered with the refund, closed ones included, never with
// a new one. Source: P:4013080629, M:4013071036; CLOSED is not documented.
func (c *refundCreate) reenter(b *books, r *refund, now time.Time) *refusal {
	if now.Sub(r.submittedAt) < spacing && !b.options.AllowQuickRepeat {
		return exceeds("submitted again within a minute: only the first succeeds (P:4013080629)")
	}
	r.submittedAt = now
	return nil
}

// check is everything that can stand between a known order and a new refund.
func (c *refundCreate) check(b *books, x *exchange, o *order, now time.Time) *refusal {
	switch {
	case c.total != o.total:
		return b.otherAmount("amount.total is not the order's total (M:4013071200, COMM:000246066e04c86deac0e843866000)")
	case now.Sub(o.paidAt) > maxOrderAge:
		return refuse(http.StatusBadRequest, "TRADE_OVERDUE", "订单已超过可退款的最大期限").
			because("the order was paid more than 365 days ago (M:4013071001, M:4013071200; the v3 status is not documented)")
	case len(o.refunds) >= maxPartialRefunds:
		return invalidRequest("订单部分退款次数超过上限", "an order has at most 50 refunds (M:4013071036; message not documented)")
	case o.committed()+c.amount > o.total:
		return exceeds("more than the order's refundable rest (P:4013080629)")
	}
	if fen, limited := b.purses[payer(x.merchant.MchID, c.subMchID)]; limited && fen < c.amount {
		return refuse(http.StatusForbidden, "NOT_ENOUGH", "基本账户余额不足，请充值后重新发起").
			because("the balance is too low, nothing is recorded (M:4013071036)")
	}
	return nil
}

// accept makes the refund; nothing of it is in the books before effect ran.
func (c *refundCreate) accept(b *books, x *exchange, n *number, o *order, now time.Time) (*refund, func()) {
	c.link(b, o)
	if !c.spaced(o, now) && !b.options.AllowQuickRepeat {
		x.violate(ruleOrderEarly)
	}
	r := &refund{
		refundParameters: c.refundParameters,
		mchID:            x.merchant.MchID,
		refundID:         fmt.Sprintf("503%026d", b.nextSerial()),
		order:            o,
		status:           statusProcessing,
		createdAt:        now,
		submittedAt:      now,
		number:           n,
	}
	return r, func() {
		b.learn(o, c.nameOf(b, r))
		n.refund = r
		o.refunds = append(o.refunds, r)
		b.refunds = append(b.refunds, r)
		b.refundIDs[r.refundID] = r
		b.pay(r, -1)
		b.refundAccepted(o, now)
	}
}

// link notes that the request itself names both numbers of its order.
func (c *refundCreate) link(b *books, o *order) {
	o.linked = o.linked || c.transactionID != "" && (c.outTradeNo != "" || c.aliasFits(b, o))
}

// aliasFits: can the out_trade_no beside the transaction_id be that of the order?
func (c *refundCreate) aliasFits(b *books, o *order) bool {
	return c.alias != "" && (o.outTradeNo == c.alias || o.outTradeNo == "" && b.trades[tradeKey{o.mchID, o.subMchID, c.alias}] == nil)
}

// nameOf is the out_trade_no that an answer shows: the order's, or the one that accept is to teach it.
func (c *refundCreate) nameOf(b *books, r *refund) string {
	switch o := r.order; {
	case o.outTradeNo != "", r.number.refund == r:
		return o.outTradeNo
	case c.aliasFits(b, o):
		return c.alias
	}
	return c.outTradeNo
}

// findOrder resolves the order that a refund names. transaction_id wins; if both are given they must be
// one order. Source: M:4013071036; of another merchant, mchid or mode: M:4013071200, P:4013080629.
func (b *books) findOrder(mchID string, p refundParameters, now time.Time) (*order, *refusal) {
	trade := tradeKey{mchID, p.subMchID, p.outTradeNo}
	var o *order
	if p.transactionID != "" {
		o = b.transactions[p.transactionID]
	} else {
		o = b.trades[trade]
	}
	if o == nil && b.options.OpenBooks {
		return b.openOrder(mchID, p, now)
	}
	switch {
	case o == nil:
		return nil, refuse(http.StatusNotFound, "RESOURCE_NOT_EXISTS", "订单不存在").
			because("the order is unknown or unpaid (M:4013071036)")
	case o.mchID != mchID, o.subMchID != p.subMchID:
		return nil, invalidRequest("您的请求参数与订单信息不一致", "the order belongs to another merchant or mode (M:4013071200, P:4013080629)")
	case p.outTradeNo != "" && o.outTradeNo != "" && o.outTradeNo != p.outTradeNo,
		p.outTradeNo != "" && o.outTradeNo == "" && b.trades[trade] != nil:
		return nil, invalidRequest("您的请求参数与订单信息不一致", "transaction_id and out_trade_no are not one order (M:4013071200)")
	}
	return o, nil
}

// openOrder makes an order on first sight, for OpenBooks.
func (b *books) openOrder(mchID string, p refundParameters, now time.Time) (*order, *refusal) {
	if p.outTradeNo != "" && b.trades[tradeKey{mchID, p.subMchID, p.outTradeNo}] != nil {
		return nil, invalidRequest("您的请求参数与订单信息不一致", "transaction_id and out_trade_no are not one order (M:4013071200)")
	}
	return b.addOrder(Order{
		MchID: mchID, SubMchID: p.subMchID,
		TransactionID: p.transactionID, OutTradeNo: p.outTradeNo,
		Total: p.total, PaidAt: now,
	}), nil
}

func (b *books) addOrder(add Order) *order {
	if add.TransactionID == "" {
		add.TransactionID = fmt.Sprintf("42000%023d", b.nextSerial())
	}
	o := &order{
		mchID: add.MchID, subMchID: add.SubMchID,
		transactionID: add.TransactionID,
		total:         add.Total, paidAt: add.PaidAt,
	}
	b.orders = append(b.orders, o)
	b.transactions[o.transactionID] = o
	b.learn(o, add.OutTradeNo)
	return o
}

// learn notes the merchant's own number of an order.
func (b *books) learn(o *order, outTradeNo string) {
	if o.outTradeNo == "" && outTradeNo != "" {
		o.outTradeNo = outTradeNo
		b.trades[tradeKey{o.mchID, o.subMchID, outTradeNo}] = o
	}
}

// payer is whose money a refund is: the seller's. Source: P:4013080622, P:4013080625.
func payer(mchID, subMchID string) string {
	if subMchID != "" {
		return subMchID
	}
	return mchID
}

// pay moves a refund's money out of (-1) or back into (+1) a purse that has a bottom.
func (b *books) pay(r *refund, sign int64) {
	who := payer(r.mchID, r.subMchID)
	if _, limited := b.purses[who]; limited {
		b.purses[who] += sign * r.amount
	}
}

// settle ends a refund. Source: M:4014959631 (PROCESSING → SUCCESS | CLOSED | ABNORMAL → SUCCESS).
func (b *books) settle(r *refund, status string, now time.Time) error {
	allowed := r.status == statusProcessing && (status == statusSuccess || status == statusClosed || status == statusAbnormal) ||
		r.status == statusAbnormal && status == statusSuccess
	if !allowed {
		return fmt.Errorf("settle refund %s of %s: from %s to %s is not a way that exists", r.outRefundNo, r.mchID, r.status, status)
	}
	r.status = status
	switch status {
	case statusSuccess:
		r.successAt = now
		b.refundArrived(r.order, now)
	case statusClosed:
		b.pay(r, +1)
	}
	return nil
}

func (b *books) settleIfAtOnce(r *refund, now time.Time) {
	if b.options.SettleAtOnce && r.status == statusProcessing {
		_ = b.settle(r, statusSuccess, now) // PROCESSING to SUCCESS always is a way
	}
}

// AddOrder enters a paid order into the books.
func (s *Server) AddOrder(o Order) {
	if o.PaidAt.IsZero() {
		o.PaidAt = s.options.Now()
	}
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	_, sameTransaction := s.books.transactions[o.TransactionID]
	_, sameTrade := s.books.trades[tradeKey{o.MchID, o.SubMchID, o.OutTradeNo}]
	if o.TransactionID != "" && sameTransaction || o.OutTradeNo != "" && sameTrade || o.Total <= 0 || o.MchID == "" {
		_ = s.misuse("AddOrder %q %q: known already, or without merchant or total", o.TransactionID, o.OutTradeNo)
		return
	}
	s.books.addOrder(o)
}

// SetBalance fills or empties the purse that refunds of mchid (or of a sub-merchant) are paid from.
// Below 0 = unlimited.
func (s *Server) SetBalance(mchid string, fen int64) {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	if fen < 0 {
		delete(s.books.purses, mchid)
		return
	}
	s.books.purses[mchid] = fen
}

// Settle ends a refund: SUCCESS, CLOSED or ABNORMAL; ABNORMAL may become SUCCESS.
func (s *Server) Settle(mchid, outRefundNo, status string) error {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	n := s.books.numbers[numberKey{mchid, outRefundNo}]
	if n == nil || n.refund == nil {
		return fmt.Errorf("settle refund %s of %s: no such refund", outRefundNo, mchid)
	}
	return s.books.settle(n.refund, status, s.options.Now())
}

// Refund returns what the books have under a number; false if nothing was ever accepted.
func (s *Server) Refund(mchid, outRefundNo string) (Refund, bool) {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	n := s.books.numbers[numberKey{mchid, outRefundNo}]
	if n == nil || n.refund == nil {
		return Refund{}, false
	}
	return n.refund.page(), true
}

// Refunds returns all refunds that were ever accepted, oldest first.
func (s *Server) Refunds() []Refund {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	list := make([]Refund, 0, len(s.books.refunds))
	for _, r := range s.books.refunds {
		list = append(list, r.page())
	}
	return list
}

func (r *refund) page() Refund {
	return Refund{
		MchID: r.mchID, SubMchID: r.subMchID,
		OutRefundNo: r.outRefundNo, RefundID: r.refundID,
		TransactionID: r.order.transactionID, OutTradeNo: r.order.outTradeNo,
		Status: r.status,
		Amount: r.amount, Total: r.total,
		Creates:   r.number.creates,
		CreatedAt: r.createdAt,
	}
}
