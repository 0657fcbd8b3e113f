package wxpaytest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// The rules of complaints. What a request looks like is in complaint.go.
//
//	            first reply                complete, REJECT, money arrived
//	PENDING ──────────────────▶ PROCESSING ─────────────────▶ PROCESSED
//	   ▲  └────────── REJECT, money arrived ──────────────────▶   │
//	   └───────────────── the user continues ─────────────────────┘
//
// Source: M:4012533436 (states), M:4012467256, M:4016111664, M:4012587539.
const (
	statePending    = "PENDING"
	stateProcessing = "PROCESSING"
	stateProcessed  = "PROCESSED"
)

// operate_type, spelled as documented. Source: M:4012533439; the two that begin a complaint and carry a
// user's message are not in the facts.
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
)

const (
	maxMessagesPerTurn = 20   // until the user answers. Source: M:4016111664
	maxMessages        = 2000 // of the merchant, in total. Source: M:4016111664
)

// A Complaint to enter into the books. It begins PENDING.
type Complaint struct {
	ID               string
	MchID            string   // who may call: the merchant, or its provider
	ComplaintedMchID string   // the accused merchant; "" = MchID
	Orders           []string // transaction ids
	FastRefund       bool     // 极速退款: problem_type REFUND and user tag TRUSTED; only these can be decided
}

// A ComplaintBook is a complaint as the books have it.
type ComplaintBook struct {
	ID, MchID, ComplaintedMchID string
	State                       string // PENDING PROCESSING PROCESSED
	FullRefunded                bool   // complaint_full_refunded
	UserComplaintTimes          int    // 1 + how often the user continued
	History                     []HistoryEntry
}

// A HistoryEntry is one line of the negotiation history. ComplaintBook has them oldest first.
type HistoryEntry struct {
	LogID          string
	Operator       string
	OperateType    string
	OperateTime    time.Time
	OperateDetails string
	Images         []string
}

type complaint struct {
	id, mchID        string
	complaintedMchID string // "" = not known yet, with OpenBooks
	orders           []string
	fast             bool
	createdAt        time.Time
	phone            string

	state     string
	times     int
	userWaits bool // incoming_user_response
	decided   bool // in this round
	approved  bool // in this round
	turn      int  // messages of the merchant since the user last said something
	messages  int  // in total
	history   []HistoryEntry
}

func (c *complaint) note(b *books, now time.Time, operator, operateType, details string, images ...string) {
	c.history = append(c.history, HistoryEntry{
		LogID:          fmt.Sprintf("300285320210322170000%09d", b.nextSerial()),
		Operator:       operator,
		OperateType:    operateType,
		OperateTime:    now,
		OperateDetails: details,
		Images:         images,
	})
}

const (
	operatorUser     = "投诉人"
	operatorMerchant = "商户"
	operatorSystem   = "系统"
)

// encryptedPhone is payer_phone as it travels: RSAES-OAEP with SHA-1 for the merchant's key.
// Source: M:4013053257, M:4013053265.
func (c *complaint) encryptedPhone(m *merchant) string {
	if c.phone == "" {
		cipher, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, m.key, []byte("18500000000"), nil)
		if err != nil {
			return ""
		}
		c.phone = base64.StdEncoding.EncodeToString(cipher)
	}
	return c.phone
}

// findComplaint is the rule of who may: the complaint is the caller's, and the accused is the one named
// (accused "": the call does not name one). Source: M:4016111664 (NO_AUTH). What an unknown
// complaint_id is answered is not in the facts: PARAM_ERROR, of the documented codes the nearest.
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

// stateRefusal is the documented text; its code is inferred in the facts (4a).
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
	case !c.fast:
		return no(refuse(http.StatusBadRequest, "PARAM_ERROR", "非极速退款单据, 不能对本单据进行退款进度更新").
			because("not a complaint of the fast-refund kind (COMM:000c262abc8df03a070e577fa51800)"))
	case c.decided:
		return no(stateRefusal("decided before in this round"))
	case b.fullyRefunded(c):
		return no(stateRefusal("the orders are refunded already"))
	case c.state == stateProcessed:
		return no(stateRefusal("the complaint is processed"))
	}
	return answer{status: http.StatusNoContent}, func() {
		c.decided, c.approved = true, d.approve
		if d.approve {
			c.note(b, x.seen.At, operatorMerchant, operateApproved, fmt.Sprintf("同意退款，预计%d个工作日内发起退款", d.launchRefundDay))
			return
		}
		c.state = stateProcessed
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
	return answer{status: http.StatusNoContent}, func() {
		c.complaintedMchID = m.complaintedMchID
		c.turn++
		c.messages++
		c.userWaits = false
		if c.state == statePending {
			c.state = stateProcessing
		}
		c.note(b, x.seen.At, operatorMerchant, operateResponse, m.content, m.images...)
	}
}

// plan ends a complaint that was replied to. Source: M:4016111664 (fails while PENDING); the answer to a
// second complete is inferred in the facts (4c).
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
		c.state = stateProcessed
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

// refundArrived tells the complaints about an order that a refund of it reached the payer: PROCESSED if
// all their orders are refunded, or if a refund was announced by APPROVE in this round.
// Source: M:4012467256 ("退款到账后，投诉单的状态将自动扭转为处理完成"), M:4012289719.
func (b *books) refundArrived(o *order, now time.Time) {
	for _, c := range b.complained[o.transactionID] {
		full := b.fullyRefunded(c)
		if full {
			c.note(b, now, operatorSystem, operateFullRefunded, "")
		} else {
			c.note(b, now, operatorSystem, operatePartialRefunded, "")
		}
		c.note(b, now, operatorSystem, operateReceived, "")
		if full || c.approved {
			c.state = stateProcessed
		}
	}
}

func (b *books) addComplaint(add Complaint, now time.Time) *complaint {
	c := &complaint{
		id: add.ID, mchID: add.MchID, complaintedMchID: add.ComplaintedMchID,
		orders:    slices.Clone(add.Orders),
		fast:      add.FastRefund,
		createdAt: now,
		state:     statePending,
		times:     1,
	}
	c.note(b, now, operatorUser, operateCreated, "反馈一个重复扣费的问题")
	b.complaints[c.id] = c
	for _, id := range c.orders {
		b.complained[id] = append(b.complained[id], c)
	}
	return c
}

// AddComplaint enters a complaint into the books.
func (s *Server) AddComplaint(c Complaint) {
	if c.ComplaintedMchID == "" {
		c.ComplaintedMchID = c.MchID
	}
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	if s.books.complaints[c.ID] != nil || c.ID == "" || c.MchID == "" {
		_ = s.misuse("AddComplaint %q: known already, or without id or merchant", c.ID)
		return
	}
	s.books.addComplaint(c, s.options.Now())
}

// UserContinues lets the user complain again after PROCESSED: PENDING, a new round.
// Not possible once all is refunded. Source: M:4012587539, M:4012289719.
func (s *Server) UserContinues(complaintID string) error {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	c := s.books.complaints[complaintID]
	switch {
	case c == nil:
		return s.misuse("user continues complaint %s: no such complaint", complaintID)
	case c.state != stateProcessed:
		return s.misuse("user continues complaint %s: it is %s, not PROCESSED", complaintID, c.state)
	case s.books.fullyRefunded(c):
		return s.misuse("user continues complaint %s: its orders are refunded", complaintID)
	}
	c.state, c.decided, c.approved = statePending, false, false
	c.times++
	c.turn, c.userWaits = 0, true
	c.note(s.books, s.options.Now(), operatorUser, operateContinued, "问题未解决，继续投诉")
	return nil
}

// UserReplies lets the user say something: the merchant may send 20 more messages.
func (s *Server) UserReplies(complaintID string) error {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	c := s.books.complaints[complaintID]
	if c == nil {
		return s.misuse("user replies to complaint %s: no such complaint", complaintID)
	}
	c.turn, c.userWaits = 0, true
	c.note(s.books, s.options.Now(), operatorUser, operateUserResponse, "请尽快处理")
	return nil
}

// ComplaintBook returns what the books have on a complaint.
func (s *Server) ComplaintBook(id string) (ComplaintBook, bool) {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	c := s.books.complaints[id]
	if c == nil {
		return ComplaintBook{}, false
	}
	return ComplaintBook{
		ID: c.id, MchID: c.mchID, ComplaintedMchID: c.complaintedMchID,
		State:              c.state,
		FullRefunded:       s.books.fullyRefunded(c),
		UserComplaintTimes: c.times,
		History:            slices.Clone(c.history),
	}, true
}
