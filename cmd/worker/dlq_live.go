package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	q, err := d.inquiry(a, l.MchID)
	if err != nil {
		return nil, err
	}
	// What was refused as malformed may still name a refund or a complaint.
	cmd, _ := messages.DecodeCommand(l.Kind, l.MchID, l.Headers(), l.Command)
	out := &live{}
	refund, reply := partsOf(cmd)
	if cmd != nil && l.Kind != messages.KindRefund && cmd.Complaint() != "" {
		if out.Complaint, err = askComplaint(a.ctx, q, cmd.Complaint(), reply); err != nil {
			err = fmt.Errorf("ask WeChat Pay about the complaint: %w", err)
		}
	}
	if refund != nil && refund.OutRefundNo != "" {
		var failed error
		if out.Refund, failed = askRefund(a.ctx, q, refund); failed != nil {
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

// inquiry asks in the name of one configured merchant; the others' keys are not read.
func (d *deadLetters) inquiry(a *app, mchid string) (*inquiry, error) {
	if !slices.ContainsFunc(d.config.Merchants, func(m MerchantConfig) bool { return m.MchID == mchid }) {
		return nil, usageError("--live: expected a configuration (--config FILE) with merchant %s, whose keys WeChat Pay is asked with", mchid)
	}
	return a.openInquiry(d.config, mchid)
}

func askRefund(ctx context.Context, q *inquiry, want *messages.RefundParams) (*liveRefund, error) {
	out := &liveRefund{OutRefundNo: want.OutRefundNo}
	got, err := q.Refunds.QueryRefund(ctx, want.OutRefundNo, want.SubMchID)
	if wxpay.NoSuchRefund(err) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	out.Found, out.RefundID, out.Status, out.SuccessTime = true, got.RefundID, got.Status, got.SuccessTime
	out.Same = consumer.SameRefund(want, got)
	return out, nil
}

func askComplaint(ctx context.Context, q *inquiry, id string, reply *messages.ReplyParams) (*liveComplaint, error) {
	detail, err := q.Complaints.Complaint(ctx, id)
	if err != nil {
		return nil, err
	}
	out := &liveComplaint{ComplaintID: id, State: detail.ComplaintState, FullRefunded: detail.ComplaintFullRefunded, UserWaits: detail.IncomingUserResponse, History: []liveHistory{}}
	entries, err := q.history(ctx, id)
	out.Entries = len(entries)
	for _, e := range entries[max(0, len(entries)-liveEntries):] {
		out.History = append(out.History, liveHistory{
			Time: e.OperateTime, Type: e.OperateType, Characters: utf8.RuneCountInString(e.OperateDetails),
			Same: reply != nil && e.OperateType == wxpay.MerchantResponse && e.OperateDetails == reply.ResponseContent,
		})
	}
	return out, err
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
