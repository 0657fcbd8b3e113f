package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"wxpay-worker/wxpay"
)

// view is something of WeChat Pay's that can be shown to a person.
type view interface {
	// text writes it for people; times are shown in zone, and now is what deadlines are compared with.
	text(w io.Writer, zone *time.Location, now time.Time)
}

// view prints what WeChat Pay said: one JSON object, or lines for people with the times of this machine's zone.
func (p printer) view(v view) {
	if p.json {
		p.object(v)
		return
	}
	v.text(p.w, time.Local, time.Now())
}

// rows writes lines of a name and what is known under it; what is not known is left out.
type rows struct{ w io.Writer }

func (r rows) row(name, value string) {
	if value != "" {
		fmt.Fprintf(r.w, "%-12s %s\n", name, oneLine(value))
	}
}

func (v *complaintView) text(w io.Writer, zone *time.Location, now time.Time) {
	c, r := &v.Complaint.Complaint, rows{w}
	own := ownNumbers(c)
	fmt.Fprintf(w, "complaint %s of merchant %s\n\n", oneLine(c.ComplaintID), v.MchID)
	r.row("state", withMeaning(c.ComplaintState, complaintStates))
	r.row("made", showTime(c.ComplaintTime, zone))
	r.row("deadline", deadline(c, zone, now))
	r.row("round", round(c.UserComplaintTimes))
	r.row("accused", c.ComplaintedMchID)
	r.row("asks for", asksFor(c))
	r.row("problem", maskNumbers(c.ProblemDescription, own...))
	r.row("tags", strings.Join(c.UserTagList, ", "))
	for _, o := range c.ComplaintOrderInfo {
		r.row("order", yuan(o.Amount)+", "+orderNumbers(o.TransactionID, o.OutTradeNo))
	}
	r.row("refunded", yesNo(c.ComplaintFullRefunded, "every order in full", "not every order in full"))
	r.row("user", yesNo(c.IncomingUserResponse, "waits for an answer to a message", ""))
	r.row("staff", yesNo(c.InPlatformService, "WeChat Pay's staff is on it: the user does not see the merchant's messages", ""))
	r.row("service", yesNo(c.NeedImmediateService, "wants immediate service", ""))
	r.row("pictures", plural(pictureCount(c.ComplaintMediaList, nil), "picture"))
	r.row("phone", "not shown")

	if !v.says(c.ComplaintDetail) {
		fmt.Fprintln(w)
		paragraph(w, maskNumbers(c.ComplaintDetail, own...))
	}
	fmt.Fprintf(w, "\nhistory, oldest first (%s)\n", cmp.Or(plural(len(v.History), "entry"), "nothing"))
	rounds := int64(1)
	for i := range v.History {
		e := &v.History[i]
		if e.OperateType == wxpay.UserContinueComplaint {
			rounds++
			fmt.Fprintf(w, "\n  round %d\n", rounds)
		}
		fmt.Fprintf(w, "\n  %s  %s  %s\n", showTime(e.OperateTime, zone), oneLine(cmp.Or(e.Operator, "?")), oneLine(cmp.Or(operations[e.OperateType], e.OperateType)))
		paragraph(w, maskNumbers(e.OperateDetails, own...))
		if n := pictureCount(e.ComplaintMediaList, e.ImageList); n > 0 {
			paragraph(w, "("+plural(n, "picture")+")")
		}
	}
}

// says reports whether the history holds a text already: the user's first one is in the detail, and usually there too.
func (v *complaintView) says(text string) bool {
	for i := range v.History {
		if v.History[i].OperateDetails == text {
			return true
		}
	}
	return text == ""
}

// complaintStates, operations and refundStates are WeChat Pay's words and what they mean. Words that are not here are shown alone.
var complaintStates = map[string]string{
	wxpay.ComplaintPending:    "the user waits for a reply",
	wxpay.ComplaintProcessing: "replied to, not finished",
	wxpay.ComplaintProcessed:  "finished, unless the user continues it",
}

// Source: 查询投诉单协商历史, https://pay.weixin.qq.com/doc/v3/merchant/4012533439
var operations = map[string]string{
	wxpay.UserCreateComplaint:                   "complains",
	"USER_RESPONSE":                             "writes",
	wxpay.UserContinueComplaint:                 "continues the complaint",
	"USER_COMFIRM_COMPLAINT":                    "is content",
	wxpay.MerchantResponse:                      "replies",
	wxpay.MerchantConfirmComplete:               "reports it as finished",
	wxpay.MerchantApproveRefund:                 "approves the refund",
	wxpay.MerchantRefuseRefund:                  "rejects the refund",
	"COMPLAINT_FULL_REFUNDED_SYSTEM_MESSAGE":    "refunded in full",
	"COMPLAINT_PARTIAL_REFUNDED_SYSTEM_MESSAGE": "refunded in part",
	"COMPLAINT_REFUND_RECEIVED_SYSTEM_MESSAGE":  "the refund has arrived",
	"COMPLAINT_ENTRUSTED_REFUND_SYSTEM_MESSAGE": "refunded on the merchant's behalf",
}

var refundStates = map[string]string{
	wxpay.RefundSuccess:    "the money has arrived",
	wxpay.RefundProcessing: "on its way",
	wxpay.RefundClosed:     "closed: no money moves; only a new number can refund now",
	wxpay.RefundAbnormal:   "the payer's account does not take it: a person decides",
}

// withMeaning is a word of WeChat Pay's, and what it means if that is known.
func withMeaning(word string, known map[string]string) string {
	if text, ok := known[word]; ok {
		return word + ": " + text
	}
	return word
}

// beijing is where WeChat Pay's days begin.
var beijing = time.FixedZone("", 8*60*60)

// deadline is what WeChat Pay measures a merchant by: a first reply until 24:00 of the day after the complaint, the end until 24:00
// of the third day after. When a continued complaint is due is not published.
//
// Source: https://pay.weixin.qq.com/doc/v3/merchant/4012587539
func deadline(c *wxpay.Complaint, zone *time.Location, now time.Time) string {
	made, err := time.Parse(time.RFC3339, c.ComplaintTime)
	if err != nil || c.UserComplaintTimes > 1 {
		return ""
	}
	y, m, d := made.In(beijing).Date()
	before := func(days int) string {
		at := time.Date(y, m, d+days+1, 0, 0, 0, 0, beijing)
		text := "before " + at.In(zone).Format(timeShown)
		if !now.Before(at) {
			text += " (passed)"
		}
		return text
	}
	switch c.ComplaintState {
	case wxpay.ComplaintPending:
		return "reply " + before(1) + ", finish " + before(3)
	case wxpay.ComplaintProcessing:
		return "finish " + before(3)
	}
	return ""
}

// round says how often the user complained of it.
// Source: 消费者投诉常见问题, https://pay.weixin.qq.com/doc/v3/merchant/4016111664
func round(times int64) string {
	switch {
	case times <= 0:
		return ""
	case times == 1:
		return "1, the first"
	case times == 2:
		return "2, upgraded"
	}
	return fmt.Sprintf("%d, repeated", times)
}

// asksFor is what the user wants, as far as WeChat Pay says.
func asksFor(c *wxpay.Complaint) string {
	if c.ApplyRefundAmount > 0 {
		return strings.TrimSpace(c.ProblemType + " of " + yuan(c.ApplyRefundAmount))
	}
	return c.ProblemType
}

// ownNumbers are the numbers of the complaint's orders: nobody's secret, even where the user quotes them.
func ownNumbers(c *wxpay.Complaint) (own []string) {
	for _, o := range c.ComplaintOrderInfo {
		own = append(own, o.TransactionID, o.OutTradeNo)
	}
	return append(own, c.ComplaintID)
}

// pictureCount counts pictures. WeChat Pay lists the same ones in both places, or in one.
func pictureCount(media wxpay.MediaList, images []string) (n int) {
	for _, m := range media {
		n += len(m.MediaURL)
	}
	return max(n, len(images))
}

func (v *refundView) text(w io.Writer, zone *time.Location, _ time.Time) {
	f, r := &v.Refund, rows{w}
	fmt.Fprintf(w, "refund %s of merchant %s\n\n", oneLine(f.OutRefundNo), v.MchID)
	r.row("state", withMeaning(f.Status, refundStates))
	r.row("amount", yuan(f.Amount.Refund)+" of "+yuan(f.Amount.Total))
	if f.Amount.PayerRefund > 0 {
		r.row("to the payer", yuan(f.Amount.PayerRefund)+" of "+yuan(f.Amount.PayerTotal)+" paid")
	}
	r.row("applied for", showTime(f.CreateTime, zone))
	r.row("arrived", showTime(f.SuccessTime, zone))
	r.row("account", maskDigits(f.UserReceivedAccount))
	r.row("channel", f.Channel)
	r.row("paid from", f.FundsAccount)
	r.row("refund_id", f.RefundID)
	r.row("order", orderNumbers(f.TransactionID, f.OutTradeNo))
	r.row("sub_mchid", v.SubMchID)
}

// orderNumbers are those of an order that are known.
func orderNumbers(transactionID, outTradeNo string) string {
	var known []string
	if transactionID != "" {
		known = append(known, "transaction_id "+transactionID)
	}
	if outTradeNo != "" {
		known = append(known, "out_trade_no "+outTradeNo)
	}
	return strings.Join(known, ", ")
}

// timeShown is how times are shown: with the offset, since operators and WeChat Pay may be in different zones.
const timeShown = "2006-01-02 15:04:05 -07:00"

// showTime is a time of WeChat Pay's in another zone; what is no time is shown as it came.
func showTime(s string, zone *time.Location) string {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return oneLine(s)
	}
	return t.In(zone).Format(timeShown)
}

// yuan writes an amount in fen without arithmetic on fractions.
func yuan(fen int64) string {
	sign := ""
	if fen < 0 {
		sign = "-"
	}
	return fmt.Sprintf("%s%d.%02d yuan", sign, absolute(fen/100), absolute(fen%100))
}

func absolute(n int64) int64 { return max(n, -n) }

func yesNo(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

// plural is "" for none.
func plural(n int, one string) string {
	switch n {
	case 0:
		return ""
	case 1:
		return "1 " + one
	}
	if before, ok := strings.CutSuffix(one, "y"); ok {
		one = before + "ie"
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// paragraph writes a text that somebody else wrote, line by line.
func paragraph(w io.Writer, text string) {
	for line := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		if line = strings.TrimSpace(oneLine(line)); line != "" {
			fmt.Fprintf(w, "      %s\n", line)
		}
	}
}
