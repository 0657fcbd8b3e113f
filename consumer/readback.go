package consumer

import (
	"context"
	"fmt"
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

// readComplaint reads a complaint back. A complaint that WeChat Pay provably does not have reads as one with nothing in it:
// the writing call will be refused for it.
func (l *lane) readComplaint(ctx context.Context, o *order, since time.Time) (*complaintState, error) {
	complaintID := o.cmd.Complaint()
	turn, calling, err := l.under(ctx, o, l.reads, always)
	if err != nil {
		return nil, err
	}
	state := &complaintState{since: since}
	detail, err := l.merchant().Complaints.Complaint(calling, complaintID)
	turn.end()
	if Classify(callRead, err) == Rejected {
		return state, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read complaint back: %w", err)
	}
	state.processed = detail.ComplaintState == wxpay.ComplaintProcessed
	state.history, err = wxpay.ReadHistory(func(limit, offset int) (*wxpay.NegotiationHistory, error) {
		turn, calling, err := l.under(ctx, o, l.reads, always)
		if err != nil {
			return nil, err
		}
		defer turn.end()
		return l.merchant().Complaints.NegotiationHistory(calling, complaintID, limit, offset)
	})
	if err != nil {
		return nil, fmt.Errorf("read negotiation history back: %w", err)
	}
	return state, nil
}

// replied looks for the reply's very text with as many pictures, dated after our first attempt. A history that shows no pictures
// says nothing of them, and an entry without a date nothing of that: a reply is rather taken for done than repeated.
func (s *complaintState) replied(r *messages.ReplyParams) found {
	for _, h := range s.history {
		if h.OperateType != wxpay.MerchantResponse || h.OperateDetails != r.ResponseContent {
			continue
		}
		pictures, at := len(h.ImageList), h.Time()
		if (pictures == 0 || pictures == len(r.ResponseImages)) && (at.IsZero() || !at.Before(s.since)) {
			return foundSame
		}
	}
	return foundNothing
}

// decided looks for the last decision since the user last continued the complaint: that begins a new round.
func (s *complaintState) decided(action messages.Action) found {
	result := foundNothing
	same, other := wxpay.MerchantApproveRefund, wxpay.MerchantRefuseRefund
	if action == messages.ActionReject {
		same, other = other, same
	}
	for _, h := range s.history {
		switch h.OperateType {
		case wxpay.UserContinueComplaint:
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
