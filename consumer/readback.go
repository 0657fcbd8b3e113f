package consumer

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
)

// found is what a complaint that was read back says of a step.
type found int

const (
	foundNothing found = iota // it did not take effect
	foundSame                 // it did
	foundOther                // the opposite did
)

// complaintState is what was read back of a complaint: its detail and its negotiation history, oldest entry first.
type complaintState struct {
	processed bool
	history   []wxpay.HistoryEntry
	since     time.Time // entries before it are older than our first attempt
}

// Spellings are WeChat Pay's.
// Source: WeChat Pay, 查询投诉单协商历史, pay.weixin.qq.com/doc/v3/merchant/4012533439, 2026-08.
const (
	operateResponse = "MERCHANT_RESPONSE"
	operateComplete = "MERCHANT_CONFIRM_COMPLETE"
	operateApprove  = "MERCHANT_APPROVE_REFUND"
	operateReject   = "MERCHANT_REFUSE_RERUND"
	operateContinue = "USER_CONTINUE_COMPLAINT"

	stateProcessed = "PROCESSED"
)

const (
	historyPage = 300  // the most WeChat Pay returns at once
	historyMost = 6000 // a complaint takes 2,000 merchant messages; more entries than this are not believed
)

// readComplaint reads a complaint back. A complaint that WeChat Pay provably does not have reads as one with nothing in it:
// the writing call will be refused for it.
func (l *lane) readComplaint(ctx context.Context, o *order, since time.Time) (*complaintState, error) {
	complaintID := o.cmd.Complaint()
	turn, err := l.under(ctx, o, l.reads)
	if err != nil {
		return nil, err
	}
	state := &complaintState{since: since}
	detail, err := l.merchant().Complaints.Complaint(ctx, complaintID)
	turn.end()
	if Classify(callRead, err) == Rejected {
		return state, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read complaint back: %w", err)
	}
	state.processed = detail.ComplaintState == stateProcessed
	for offset := 0; ; offset += historyPage {
		if offset >= historyMost {
			return nil, errTooLong
		}
		turn, err := l.under(ctx, o, l.reads)
		if err != nil {
			return nil, err
		}
		page, err := l.merchant().Complaints.NegotiationHistory(ctx, complaintID, historyPage, offset)
		turn.end()
		if err != nil {
			return nil, fmt.Errorf("read negotiation history back: %w", err)
		}
		state.history = append(state.history, page.Data...)
		if len(page.Data) < historyPage {
			break
		}
	}
	// The order of the answer is not documented. Entries of one second stay in the order in which they came, oldest first.
	if n := len(state.history); n > 1 && operateTime(state.history[0]).After(operateTime(state.history[n-1])) {
		slices.Reverse(state.history)
	}
	slices.SortStableFunc(state.history, func(a, b wxpay.HistoryEntry) int {
		return cmp.Compare(operateTime(a).UnixNano(), operateTime(b).UnixNano())
	})
	return state, nil
}

// replied looks for the reply's very text with as many pictures, dated after our first attempt. A history that shows no
// pictures says nothing of them: a reply is rather taken for done than repeated.
func (s *complaintState) replied(r *messages.ReplyParams) found {
	for _, h := range s.history {
		pictures := len(h.ImageList)
		if h.OperateType == operateResponse && h.OperateDetails == r.ResponseContent && !operateTime(h).Before(s.since) &&
			(pictures == 0 || pictures == len(r.ResponseImages)) {
			return foundSame
		}
	}
	return foundNothing
}

// decided looks for the last decision since the user last continued the complaint: that begins a new round.
func (s *complaintState) decided(action messages.Action) found {
	result := foundNothing
	same, other := operateApprove, operateReject
	if action == messages.ActionReject {
		same, other = other, same
	}
	for _, h := range s.history {
		switch h.OperateType {
		case operateContinue:
			result = foundNothing
		case same:
			result = foundSame
		case other:
			result = foundOther
		}
	}
	return result
}

// completed: a complaint that is processed needs no completion, whoever brought it about.
func (s *complaintState) completed() found {
	if s.processed {
		return foundSame
	}
	return foundNothing
}

func operateTime(h wxpay.HistoryEntry) time.Time {
	t, err := time.Parse(time.RFC3339, h.OperateTime)
	if err != nil {
		return time.Time{} // undated: counts as old, never as ours
	}
	return t
}
