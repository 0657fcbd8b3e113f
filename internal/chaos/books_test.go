package chaos

import (
	"encoding/json"
	"encoding/xml"
	"slices"
	"time"

	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// wishes are all refunds that may be made, by merchant and number.
func (a *audit) wishes() map[identity]*wish {
	all := map[identity]*wish{}
	for _, c := range a.load.commands() {
		if c.refund != nil && c.fate != conflict {
			all[identity{c.mchid, messages.KindRefund, c.refund.number}] = c.refund
		}
	}
	return all
}

// checkRefunds: the books hold exactly the refunds that were wished for, each once, and the outcomes say what the books say.
func (a *audit) checkRefunds() {
	wishes := a.wishes()
	made := map[identity]bool{}
	for _, r := range a.site.sim.Refunds() {
		id := identity{r.MchID, messages.KindRefund, r.OutRefundNo}
		if made[id] {
			a.fault(id, "refunded twice: %s", r.RefundID)
		}
		made[id] = true
		w := wishes[id]
		if w == nil || w.amount != r.Amount || w.order != r.TransactionID || w.sub != r.SubMchID {
			a.fault(id, "refunded %d fen of order %s of %s, which nobody asked for", r.Amount, r.TransactionID, r.SubMchID)
		}
		events := a.events[id]
		if len(events) == 0 {
			a.fault(id, "refunded, and no outcome says so")
			continue
		}
		last := events[len(events)-1]
		want := map[string]messages.Status{"SUCCESS": messages.StatusSucceeded, "CLOSED": messages.StatusClosed, "ABNORMAL": messages.StatusAbnormal}[r.Status]
		if last.Status != want {
			a.fault(id, "the books say %s, the last outcome %s", r.Status, last.Status)
		}
		if last.Refund == nil || last.Refund.RefundID != r.RefundID || last.Refund.Amount.Refund != r.Amount {
			a.fault(id, "the last outcome (%d) is of another refund than the books'", last.sequence)
		}
	}
	for id, events := range a.events {
		for _, e := range events {
			if id.kind == messages.KindRefund && e.Refund != nil && !made[id] {
				a.fault(id, "`%s` (outcome %d), and the books have no such refund", e.Status, e.sequence)
			}
		}
	}
}

// checkRequests: every create call bears a number and parameters that were asked for.
func (a *audit) checkRequests() {
	wishes := map[identity][]*wish{}
	for _, c := range a.load.commands() {
		if c.refund != nil {
			id := identity{c.mchid, messages.KindRefund, c.refund.number}
			wishes[id] = append(wishes[id], c.refund)
		}
	}
	for _, r := range a.site.sim.Requests() {
		var got wish
		var err error
		switch r.Endpoint {
		case wxpaytest.EndpointRefundCreate:
			var body struct {
				Sub    string `json:"sub_mchid"`
				Number string `json:"out_refund_no"`
				Order  string `json:"transaction_id"`
				Amount struct{ Refund, Total int64 }
			}
			err = json.Unmarshal(r.Body, &body)
			got = wish{body.Sub, body.Number, body.Order, body.Amount.Refund, body.Amount.Total}
		case wxpaytest.EndpointV2Refund:
			var body struct {
				Sub    string `xml:"sub_mch_id"`
				Number string `xml:"out_refund_no"`
				Order  string `xml:"transaction_id"`
				Refund int64  `xml:"refund_fee"`
				Total  int64  `xml:"total_fee"`
			}
			err = xml.Unmarshal(r.Body, &body)
			got = wish{body.Sub, body.Number, body.Order, body.Refund, body.Total}
		default:
			continue
		}
		id := identity{r.MchID, messages.KindRefund, got.number}
		if err != nil || !slices.ContainsFunc(wishes[id], func(w *wish) bool { return *w == got }) {
			a.fault(id, "a create call of %d of %d fen for order %s, which nobody asked for (%v)", got.amount, got.total, got.order, err)
		}
	}
}

// excuses are the documented windows that what was done to the installation opens.
type excuses struct {
	stopped   bool // workers were stopped, not killed
	forgetful bool // a NATS server that is alone was killed
	skewed    bool // the simulator's clock was wrong: it refuses honest requests
}

// checkComplaints: what users were told, and what became of their complaints, is what was asked for, once.
func (a *audit) checkComplaints(excuse excuses) {
	a.windows.repliedTwice = 0
	for _, c := range a.load.commands() {
		if c.complaint == "" {
			continue
		}
		id := identity{c.mchid, c.kind, c.key}
		if c.text != "" {
			said := 0
			for _, reply := range a.site.sim.Replies(c.complaint) {
				if reply.OperateDetails == c.text {
					said++
				}
			}
			switch {
			case c.fate == conflict && said > 0:
				a.fault(id, "the reply of a conflicting command was sent")
			case c.fate.done() && said > 1 && excuse.stopped && a.afterThaw(c):
				a.windows.repliedTwice++
			case c.fate.done() && said != 1:
				a.fault(id, "replied %d times", said)
			}
		}
		book, _ := a.site.sim.ComplaintBook(c.complaint)
		count := map[string]int{}
		for _, h := range book.History {
			count[h.OperateType]++
		}
		want := map[string]string{"APPROVE": "MERCHANT_APPROVE_REFUND", "REJECT": "MERCHANT_REFUSE_RERUND"}[c.action]
		if c.fate == good && want != "" && count[want] != 1 {
			a.fault(id, "%s %d times in the complaint's history", want, count[want])
		}
		if c.kind == messages.KindComplete && book.State != "PROCESSED" {
			a.fault(id, "completed; the complaint is %s", book.State)
		}
		if c.kind == messages.KindDecision && c.fate == good && c.refund != nil {
			if _, there := a.site.sim.Refund(c.mchid, c.refund.number); !there {
				a.fault(id, "approved, and its refund %s was never made", c.refund.number)
			}
		}
	}
}

// afterThaw reports whether one of the calls that said the command's reply came right after a stopped worker was let go on: the
// documented window.
func (a *audit) afterThaw(c *command) bool {
	a.site.mu.Lock()
	thaws := slices.Clone(a.site.thaws)
	a.site.mu.Unlock()
	for _, r := range a.site.sim.RequestsTo(wxpaytest.EndpointComplaintResponse) {
		if r.ID != c.complaint || !r.Applied {
			continue
		}
		for _, thaw := range thaws {
			if late := trueTime(r.At).Sub(thaw); late >= 0 && late < 2*time.Second {
				return true
			}
		}
	}
	return false
}
