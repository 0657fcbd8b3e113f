package consumer

import (
	"context"
	"errors"
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
	began     time.Time // our first attempt
}

// errHistorySlow says that a history could not be read to its end within the lease: it has many pages, and each waits for its turn. Unlike a
// call whose turn did not come, that is a vain read-back, since the next delivery will fare no better.
var errHistorySlow = errors.New("the history takes longer to read than a delivery may take")

// readComplaint reads a complaint back; began is when we first tried to change it. A refusal to show it says nothing about what has
// happened, whatever its code: none is documented to mean that there is no such complaint.
func (l *lane) readComplaint(ctx context.Context, o *job, began time.Time) (*complaintState, error) {
	complaintID := o.cmd.Complaint()
	turn, calling, err := l.under(ctx, o, l.reads, always)
	if err != nil {
		return nil, err
	}
	defer turn.end() // also if it panics: the turns behind it wait for it
	state := &complaintState{began: began}
	detail, err := l.merchant().Complaints.Complaint(calling, complaintID)
	turn.end()
	if err != nil {
		return nil, fmt.Errorf("read complaint back: %w", err)
	}
	state.processed = detail.ComplaintState == wxpay.ComplaintProcessed
	pages := 0
	state.history, err = wxpay.ReadHistory(func(limit, offset int) (*wxpay.NegotiationHistory, error) {
		turn, calling, err := l.under(ctx, o, l.reads, always)
		if err != nil {
			return nil, err
		}
		defer turn.end()
		pages++
		return l.merchant().Complaints.NegotiationHistory(calling, complaintID, limit, offset)
	})
	if errors.Is(err, errNoTurn) && pages > 0 && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = errHistorySlow
	}
	if err != nil {
		return nil, fmt.Errorf("read negotiation history back: %w", err)
	}
	return state, nil
}

// replied looks for the reply's very text, with as many pictures, dated after our first attempt. An entry that shows no pictures, or has no
// date, counts all the same: it is better to take a reply for sent than to send it twice.
func (s *complaintState) replied(r *messages.ReplyParams) found {
	since := s.began.Add(-readBackSkew)
	for _, h := range s.history {
		if h.OperateType != wxpay.MerchantResponse || h.OperateDetails != r.ResponseContent {
			continue
		}
		pictures, at := len(h.ImageList), h.Time()
		if (pictures == 0 || pictures == len(r.ResponseImages)) && (at.IsZero() || !at.Before(since)) {
			return foundSame
		}
	}
	return foundNothing
}

// decided looks for the last decision of the round that was open when we began, or of a later one.
func (s *complaintState) decided(action messages.Action) found {
	same, other := wxpay.MerchantApproveRefund, wxpay.MerchantRefuseRefund
	if action == messages.ActionReject {
		same, other = other, same
	}
	return s.rounds(same, other)
}

// completed reports foundSame for a complaint that needs no completion (any more): it is processed, whoever brought that about; or it was
// completed and the user has continued it since.
func (s *complaintState) completed() found {
	if s.processed {
		return foundSame
	}
	return s.rounds(wxpay.MerchantConfirmComplete, "")
}

// rounds looks for the last entry that is what we want (same) or its opposite (other, "" for none). Each time that the user continues the
// complaint a new round begins, and what was done in earlier rounds says nothing about it. There is one exception: what was done in the round
// that was open when we began counts although that round is over by now, since to do it again would be to do it to the next round.
//
// The entries have WeChat Pay's times, our beginning has ours. If the two clocks differ by more than the time between the user's continuing
// and our first attempt, and the answer to that attempt was lost, the wrong round is taken.
func (s *complaintState) rounds(same, other string) found {
	result := foundNothing
	for _, h := range s.history {
		switch h.OperateType {
		case wxpay.UserContinueComplaint:
			if result == foundSame && h.Time().After(s.began) {
				return foundSame
			}
			result = foundNothing
		case same:
			result = foundSame
		case other: // "" is none, and an entry without a type is not it
			if other == "" {
				continue
			}
			result = foundOther
		}
	}
	return result
}
