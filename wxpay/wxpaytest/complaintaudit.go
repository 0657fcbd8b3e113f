package wxpaytest

import (
	"errors"
	"fmt"
	"strings"
)

// checkComplaints reads the histories anew, it does not trust what the rules keep beside them.
func (b *books) checkComplaints() error {
	var found []error
	for _, c := range b.filed {
		audit := complaintAudit{said: map[string]bool{}}
		for _, e := range c.history {
			if wrong := audit.read(b, c.mchID, e); wrong != "" {
				found = append(found, fmt.Errorf("complaint %s: %s (log %s)", c.id, wrong, e.LogID))
			}
		}
	}
	return errors.Join(found...)
}

// A complaintAudit is what a history has said so far: in this round, and since the user last spoke.
type complaintAudit struct {
	replies, decisions, completions int             // in this round
	turn                            int             // messages since the user last spoke
	said                            map[string]bool // the same, what they said
}

// read says what is wrong with the next entry; "" = nothing.
func (a *complaintAudit) read(b *books, mchID string, e HistoryEntry) (wrong string) {
	switch e.OperateType {
	case operateContinued:
		*a = complaintAudit{said: map[string]bool{}}
	case operateUserResponse:
		a.turn = 0
		clear(a.said)
	case operateResponse:
		a.replies++
		a.turn++
		text := e.OperateDetails + "\x00" + strings.Join(b.pictured(mchID, e.Images), "\x00")
		switch {
		case a.said[text]:
			wrong = "the same reply twice in one turn"
		case a.turn > maxMessagesPerTurn:
			wrong = fmt.Sprintf("more than %d messages in one turn", maxMessagesPerTurn)
		}
		a.said[text] = true
	case operateApproved, operateRefused:
		if a.decisions++; a.decisions > 1 {
			wrong = "decided twice in one round"
		}
	case operateCompleted:
		a.completions++
		switch {
		case a.completions > 1:
			wrong = "completed twice in one round"
		case a.replies == 0:
			wrong = "completed without a reply"
		}
	}
	return wrong
}
