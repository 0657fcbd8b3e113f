package wxpaytest

import (
	"fmt"
	"net/http"
	"time"
)

// The rules of complaints: what the merchant's calls and the refunds of its orders do. What a request looks
// like is in complaint.go, what user and platform do in complainant.go, the deadlines in deadline.go.
//
//	            first reply                complete, REJECT, money arrived
//	PENDING ──────────────────▶ PROCESSING ─────────────────▶ PROCESSED
//	   ▲  └────────── REJECT, money arrived ──────────────────▶   │
//	   └──────── the user continues: a new round ─────────────────┘
//
//	                  PENDING              PROCESSING           PROCESSED
//	reply             → PROCESSING         recorded             recorded (not documented)
//	complete          refused              → PROCESSED          refused (not documented)
//	APPROVE           once a round         once a round         refused
//	REJECT            → PROCESSED, if nothing was decided       refused
//	all money there   → PROCESSED          → PROCESSED          stays
//	some money there  → PROCESSED if the round has an APPROVE, otherwise stays
//	user continues    misuse               misuse               → PENDING, unless fully refunded
//	user replies      stays                stays                stays
//
// Once all orders are fully refunded nothing can be decided any more, whatever the state, and the user can
// only leave messages. A decision counts for its round: after the user continued there may be another one
// (whether WeChat Pay takes a new APPROVE then is not documented).
//
// Source: M:4012533436 (states), M:4012467256, M:4016111664, M:4012587539, M:4012289719.
const (
	maxMessagesPerTurn = 20   // until the user answers. Source: M:4016111664
	maxMessages        = 2000 // of the merchant, in total. Source: M:4016111664
)

// findComplaint is the rule of who may: the complaint is the caller's, and the accused is the one named
// (accused "": the call does not name one). Source: M:4016111664 (NO_AUTH). What an unknown
// complaint_id is answered is not documented: PARAM_ERROR, of the documented codes the nearest.
func (b *books) findComplaint(id, accused string, x *exchange) (*complaint, *refusal) {
	c := b.complaints[id]
	if c == nil && b.options.OpenBooks {
		c = b.addComplaint(Complaint{ID: id, MchID: x.merchant.MchID, FastRefund: true}, x.seen.At)
	}
	switch {
	case c == nil:
		return nil, refuse(http.StatusBadRequest, "PARAM_ERROR", "投诉单不存在").in("url", "complaint_id", id, "unknown").
			because("no such complaint (code not documented)")
	case c.mchID != x.merchant.MchID:
		return nil, refuse(http.StatusForbidden, "NO_AUTH", "商户号无此投诉单权限").
			because("the complaint belongs to another mchid (M:4016111664)")
	case accused != "" && c.complaintedMchID != "" && accused != c.complaintedMchID:
		return nil, refuse(http.StatusForbidden, "NO_AUTH", "您暂无权限为该投诉单提交商户回复").
			because("complainted_mchid is not the accused merchant (M:4016111664)")
	}
	return c, nil
}

// stateRefusal is the documented text; its code is not documented: INVALID_REQUEST is what a rule of business is refused with.
func stateRefusal(rule string) *refusal {
	return invalidRequest("当前单据状态不支持操作, 请检查是否重复调用", rule+" (M:4016111664)")
}

// plan decides once a round. APPROVE moves neither money nor state; REJECT ends the round.
// Source: M:4012467256; COMM:000c262abc8df03a070e577fa51800 (not a fast refund).
func (d decision) plan(b *books, x *exchange) (answer, func()) {
	c, r := b.findComplaint(d.id, "", x)
	switch {
	case r != nil:
		return no(r)
	case !c.fast():
		return no(refuse(http.StatusBadRequest, "PARAM_ERROR", "非极速退款单据, 不能对本单据进行退款进度更新").
			because("not a complaint of the fast-refund kind (COMM:000c262abc8df03a070e577fa51800)"))
	case c.round().decided:
		return no(stateRefusal("decided before in this round"))
	case b.fullyRefunded(c):
		return no(stateRefusal("the orders are refunded already"))
	case c.state == stateProcessed:
		return no(stateRefusal("the complaint is processed"))
	}
	if r := b.checkMedia(x.merchant, "/reject_media_list", d.rejectMedia); r != nil {
		return no(r)
	}
	return answer{status: http.StatusNoContent}, func() {
		c.round().decided, c.round().approved = true, d.approve
		if d.approve {
			c.note(b, x.seen.At, operatorMerchant, operateApproved, fmt.Sprintf("同意退款，预计%d个工作日内发起退款", d.launchRefundDay))
			return
		}
		c.finish(x.seen.At)
		c.note(b, x.seen.At, operatorMerchant, operateRefused, d.rejectReason, d.rejectMedia...)
	}
}

// plan lets the merchant speak: the first reply of a round moves PENDING to PROCESSING. There is no
// idempotency key: the same words again are a second message. Source: M:4012467254, M:4016111664.
func (m response) plan(b *books, x *exchange) (answer, func()) {
	c, r := b.findComplaint(m.id, m.complaintedMchID, x)
	switch {
	case r != nil:
		return no(r)
	case c.turn >= maxMessagesPerTurn, c.messages >= maxMessages:
		return no(invalidRequest("当前投诉单已达单次回复上限，请等待用户回复",
			"at most 20 messages until the user answers, 2000 in total (M:4016111664; code not documented)"))
	}
	if r := b.checkMedia(x.merchant, "/response_images", m.images); r != nil {
		return no(r)
	}
	return answer{status: http.StatusNoContent}, func() {
		c.complaintedMchID = m.complaintedMchID
		c.turn++
		c.messages++
		c.userWaits = false
		if c.state == statePending {
			c.state = stateProcessing
		}
		if r := c.round(); r.RepliedAt.IsZero() {
			r.RepliedAt = x.seen.At
		}
		c.note(b, x.seen.At, operatorMerchant, operateResponse, m.content, m.images...)
	}
}

// plan ends a complaint that was replied to. Source: M:4016111664 (fails while PENDING); the answer to a
// second complete is not documented.
func (m complete) plan(b *books, x *exchange) (answer, func()) {
	c, r := b.findComplaint(m.id, m.complaintedMchID, x)
	switch {
	case r != nil:
		return no(r)
	case c.state == statePending:
		return no(stateRefusal("not replied to yet"))
	case c.state == stateProcessed:
		return no(stateRefusal("the complaint is processed"))
	}
	return answer{status: http.StatusNoContent}, func() {
		c.complaintedMchID = m.complaintedMchID
		c.finish(x.seen.At)
		c.note(b, x.seen.At, operatorMerchant, operateCompleted, "")
	}
}

// fullyRefunded is complaint_full_refunded: the money of all orders has arrived. Source: M:4012533436.
func (b *books) fullyRefunded(c *complaint) bool {
	for _, id := range c.orders {
		if o := b.transactions[id]; o == nil || o.arrived() < o.total {
			return false
		}
	}
	return len(c.orders) > 0
}

// refundAccepted tells the complaints about an order that a refund of it was started, in full or in part.
// Source: developers.weixin.qq.com/miniprogram/dev/server/API/VirtualPayment/api_get_negotiation_history, which
// explains the same operate_types: both are written when a refund is started (发起), RECEIVED when it arrives.
func (b *books) refundAccepted(o *order, now time.Time) {
	for _, c := range b.complained[o.transactionID] {
		operate := operateFullRefunded
		for _, id := range c.orders {
			if other := b.transactions[id]; other == nil || other.committed() < other.total {
				operate = operatePartialRefunded
			}
		}
		c.note(b, now, operatorSystem, operate, "")
	}
}

// refundArrived tells the complaints about an order that a refund of it reached the payer: PROCESSED if
// all their orders are refunded, or if a refund was announced by APPROVE in this round.
// Source: M:4012467256 ("退款到账后，投诉单的状态将自动扭转为处理完成"), M:4012289719.
func (b *books) refundArrived(o *order, now time.Time) {
	for _, c := range b.complained[o.transactionID] {
		c.note(b, now, operatorSystem, operateReceived, "")
		if b.fullyRefunded(c) || c.round().approved {
			c.finish(now)
		}
	}
}
