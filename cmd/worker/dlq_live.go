package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"wxpay-worker/consumer"
	"wxpay-worker/dlq"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
)

// live is what WeChat Pay says now of what a command is about. Nothing is in it that the payer said or is.
type live struct {
	Refund    *liveRefund    `json:"refund,omitempty"`
	Complaint *liveComplaint `json:"complaint,omitempty"`
}

type liveRefund struct {
	OutRefundNo string `json:"out_refund_no"`
	Found       bool   `json:"found"`
	RefundID    string `json:"refund_id,omitempty"`
	Status      string `json:"status,omitempty"`
	SuccessTime string `json:"success_time,omitempty"`
	// Same says that it has the command's amounts and order.
	Same bool `json:"same_as_command"`
}

type liveComplaint struct {
	ComplaintID  string        `json:"complaint_id"`
	State        string        `json:"complaint_state"`
	FullRefunded bool          `json:"complaint_full_refunded"`
	UserWaits    bool          `json:"incoming_user_response"`
	History      []liveHistory `json:"history"` // the newest entries, oldest first
	Entries      int           `json:"history_entries"`
}

// liveHistory is an entry without its text, which may be about the payer.
type liveHistory struct {
	Time       string `json:"operate_time"`
	Type       string `json:"operate_type"`
	Characters int    `json:"characters"`      // of the text
	Same       bool   `json:"same_as_command"` // the text is that of the command's reply
}

// liveEntries is how many entries of a history are shown.
const liveEntries = 10

// askWeChatPay asks about the refund or the complaint of a letter with the calls that change nothing. An *exitError says that
// nobody could be asked; beside any other error, what is known already is returned.
func (d *deadLetters) askWeChatPay(a *app, l *dlq.Letter) (*live, error) {
	merchant, err := d.merchant(a, l.MchID)
	if err != nil {
		return nil, err
	}
	// What was refused as malformed may still name a refund or a complaint.
	cmd, _ := messages.DecodeCommand(l.Kind, l.MchID, l.Headers(), l.Command)
	out := &live{}
	refund, reply := partsOf(cmd)
	if cmd != nil && l.Kind != messages.KindRefund && cmd.Complaint() != "" {
		if out.Complaint, err = askComplaint(a.ctx, merchant.Complaints, cmd.Complaint(), reply); err != nil {
			err = fmt.Errorf("ask WeChat Pay about the complaint: %w", err)
		}
	}
	if refund != nil && refund.OutRefundNo != "" {
		var failed error
		if out.Refund, failed = askRefund(a.ctx, merchant.Refunds, refund); failed != nil {
			err = errors.Join(err, fmt.Errorf("ask WeChat Pay about the refund: %w", failed))
		}
	}
	if err == nil && *out == (live{}) {
		err = errors.New("--live: the command names no refund or complaint that WeChat Pay could be asked about")
	}
	return out, err
}

// partsOf are the refund and the reply of a command, nil where there is none.
func partsOf(cmd messages.Command) (*messages.RefundParams, *messages.ReplyParams) {
	switch c := cmd.(type) {
	case *messages.RefundCommand:
		return &c.RefundParams, nil
	case *messages.ReplyCommand:
		return nil, &c.ReplyParams
	case *messages.DecisionCommand:
		return c.Refund, c.Reply
	}
	return nil, nil
}

// merchant makes the clients of one configured merchant; the others' keys are not read.
func (d *deadLetters) merchant(a *app, mchid string) (*consumer.Merchant, error) {
	c := d.config
	i := slices.IndexFunc(c.Merchants, func(m MerchantConfig) bool { return m.MchID == mchid })
	if i < 0 {
		return nil, usageError("--live: expected a configuration (--config FILE) with merchant %s, whose keys WeChat Pay is asked with", mchid)
	}
	keys := c.readMerchant(fmt.Sprintf("merchants[%d]", i), &c.Merchants[i])
	roots, err := c.wechatPayRoots()
	if err = cmp.Or(c.err(), err); err != nil {
		return nil, err
	}
	log := quiet(a.err)
	c.warn(log)
	m, err := newMerchants(c, []credentials{keys}, roots, log)
	if err != nil {
		return nil, err
	}
	return &m.all[0], nil
}

func askRefund(ctx context.Context, refunds consumer.Refunds, want *messages.RefundParams) (*liveRefund, error) {
	out := &liveRefund{OutRefundNo: want.OutRefundNo}
	got, err := refunds.QueryRefund(ctx, want.OutRefundNo, want.SubMchID)
	if isAbsent(err) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	out.Found, out.RefundID, out.Status, out.SuccessTime = true, got.RefundID, got.Status, got.SuccessTime
	out.Same = got.Amount.Refund == want.Amount.Refund && got.Amount.Total == want.Amount.Total &&
		sameNumber(want.TransactionID, got.TransactionID) && sameNumber(want.OutTradeNo, got.OutTradeNo)
	return out, nil
}

// isAbsent reports whether a query has provably found no such refund, in version 3 or 2.
func isAbsent(err error) bool {
	e, ok := errors.AsType[*wxpay.Error](err)
	return ok && e.Proven && (e.HTTPStatus == http.StatusNotFound && e.Code == "RESOURCE_NOT_EXISTS" || e.Code == "REFUNDNOTEXIST")
}

// sameNumber compares an order number with the one that was asked for, where both are known.
func sameNumber(want, got string) bool { return want == "" || got == "" || want == got }

func askComplaint(ctx context.Context, complaints consumer.Complaints, id string, reply *messages.ReplyParams) (*liveComplaint, error) {
	detail, err := complaints.Complaint(ctx, id)
	if err != nil {
		return nil, err
	}
	out := &liveComplaint{ComplaintID: id, State: detail.ComplaintState, FullRefunded: detail.ComplaintFullRefunded, UserWaits: detail.IncomingUserResponse, History: []liveHistory{}}
	entries, total, err := newestHistory(ctx, complaints, id)
	out.Entries = total
	for _, e := range entries {
		out.History = append(out.History, liveHistory{
			Time: e.OperateTime, Type: e.OperateType, Characters: utf8.RuneCountInString(e.OperateDetails),
			Same: reply != nil && e.OperateType == wxpay.MerchantResponse && e.OperateDetails == reply.ResponseContent,
		})
	}
	return out, err
}

// historyPage is the most WeChat Pay returns at once.
// Source: 查询投诉单协商历史, https://pay.weixin.qq.com/doc/v3/merchant/4012533439, read 2026-08
const historyPage = 300

// newestHistory returns the newest entries of a complaint's history, oldest first, and how many there are in all. In which order
// WeChat Pay lists them is not documented: of a long history both ends are read.
func newestHistory(ctx context.Context, complaints consumer.Complaints, id string) ([]wxpay.HistoryEntry, int, error) {
	first, err := complaints.NegotiationHistory(ctx, id, historyPage, 0)
	if err != nil {
		return nil, 0, err
	}
	entries, total := first.Data, max(first.TotalCount, len(first.Data))
	if rest := total - len(entries); rest > 0 {
		n := min(rest, historyPage)
		last, err := complaints.NegotiationHistory(ctx, id, n, total-n)
		if err != nil {
			return nil, total, err
		}
		entries = append(entries, last.Data...)
	}
	at := func(e wxpay.HistoryEntry) time.Time {
		t, _ := time.Parse(time.RFC3339, e.OperateTime) // undated: oldest
		return t
	}
	if n := len(entries); n > 1 && at(entries[0]).After(at(entries[n-1])) {
		slices.Reverse(entries) // those of one second stay in the order in which they came
	}
	slices.SortStableFunc(entries, func(a, b wxpay.HistoryEntry) int { return at(a).Compare(at(b)) })
	return entries[max(0, len(entries)-liveEntries):], total, nil
}

// text is for people.
func (v *live) text() string {
	var b strings.Builder
	if c := v.Complaint; c != nil {
		fmt.Fprintf(&b, "  complaint %s: %s", c.ComplaintID, c.State)
		if c.FullRefunded {
			b.WriteString(", refunded in full")
		}
		if c.UserWaits {
			b.WriteString(", the user waits for an answer")
		}
		fmt.Fprintf(&b, "\n  history, %d of %d entries (texts are not shown):\n", len(c.History), c.Entries)
		for _, h := range c.History {
			fmt.Fprintf(&b, "    %s  %s", h.Time, h.Type)
			if h.Characters > 0 {
				fmt.Fprintf(&b, "  (%d characters)", h.Characters)
			}
			if h.Same {
				b.WriteString("  <- the text of this command's reply")
			}
			b.WriteByte('\n')
		}
	}
	if r := v.Refund; r != nil {
		b.WriteString(r.text())
	}
	return b.String()
}

func (r *liveRefund) text() string {
	if !r.Found {
		return fmt.Sprintf("  refund %s: there is none. (Within a minute after an attempt this says nothing.)\n", r.OutRefundNo)
	}
	text := fmt.Sprintf("  refund %s: %s, refund_id %s", r.OutRefundNo, r.Status, r.RefundID)
	if r.SuccessTime != "" {
		text += ", at " + r.SuccessTime
	}
	if !r.Same {
		text += "\n  ITS AMOUNT OR ORDER IS NOT THAT OF THE COMMAND: the number was used for something else."
	}
	return text + "\n"
}
