package wxpaytest

import "net/http"

// Complaints as they are read: one by its id, and the list. The history is in negotiation.go.

const complaintDetail = "反馈一个重复扣费的问题"

// detail is GET …/complaints-v2/{complaint_id}.
type detail struct{ id string }

func readDetail(q query, _ []byte, id string) (operation, *refusal) {
	if no := readComplaint(q, id); no != nil {
		return nil, no
	}
	return detail{id}, nil
}

// complaintView is a complaint in an answer. Source: M:4012533436, P:4012691648 (detail), M:4012533431 (list).
type complaintView struct {
	ComplaintID           string               `json:"complaint_id"`
	ComplaintTime         string               `json:"complaint_time"`
	ComplaintDetail       string               `json:"complaint_detail"`
	ComplaintState        string               `json:"complaint_state"`
	ComplaintedMchID      string               `json:"complainted_mchid,omitempty"` // provider answers only
	PayerPhone            string               `json:"payer_phone,omitempty"`
	PayerOpenID           string               `json:"payer_openid,omitempty"` // not in the list
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

// plan answers with the complaint as it stands.
func (d detail) plan(b *books, x *exchange) (answer, func()) {
	c, r := b.findComplaint(d.id, "", x)
	if r != nil {
		return no(r)
	}
	v := b.viewComplaint(c, x.merchant)
	v.PayerOpenID = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"
	return answer{status: http.StatusOK, body: v}, nil
}

// viewComplaint shows the first text only; later rounds are in the history. Source: M:4016111664.
func (b *books) viewComplaint(c *complaint, m *merchant) complaintView {
	v := complaintView{
		ComplaintID:           c.id,
		ComplaintTime:         stamp(c.createdAt),
		ComplaintDetail:       complaintDetail,
		ComplaintState:        c.state,
		PayerPhone:            c.encryptedPhone(m),
		ComplaintFullRefunded: b.fullyRefunded(c),
		IncomingUserResponse:  c.userWaits,
		UserComplaintTimes:    len(c.rounds),
		ProblemDescription:    "不满意商家服务",
		ProblemType:           c.problem,
		UserTagList:           c.tags,
		InPlatformService:     c.served,
		NeedImmediateService:  c.immediate,
		NewField:              aNewField,
	}
	if m.Provider {
		v.ComplaintedMchID = c.complaintedMchID
	}
	for _, id := range c.orders {
		if o := b.transactions[id]; o != nil {
			v.ComplaintOrderInfo = append(v.ComplaintOrderInfo, complaintOrderView{o.transactionID, o.outTradeNo, o.total})
			if c.problem == problemRefund {
				v.ApplyRefundAmount += o.total
			}
		}
	}
	return v
}
