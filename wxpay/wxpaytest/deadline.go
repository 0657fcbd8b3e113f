package wxpaytest

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A Round is what a merchant owes the user from one complaining to the next: a reply, and an end. Its times are
// by Options.Now. The deadlines are those of China's calendar, whatever hour it was: first reply by 24:00 of
// the day after, finished by 24:00 of the third day after; at 24:00 itself it is too late.
//
// Source: M:4012587539. That a continued complaint counts anew is not documented, but it is PENDING again.
// (The guide for phones, kf.qq.com/faq/230125a6NbmA230125vMNZnE.html, says 24 and 72 hours instead.)
type Round struct {
	BeganAt    time.Time // the complaint, or its continuation
	ReplyBy    time.Time
	FinishBy   time.Time
	RepliedAt  time.Time // the merchant's first message; zero = none yet
	FinishedAt time.Time // PROCESSED; zero = not yet
}

func newRound(now time.Time) Round {
	return Round{BeganAt: now, ReplyBy: endOfDay(now, 1), FinishBy: endOfDay(now, 3)}
}

// endOfDay is 24:00 in China of the day that is so many days after t's.
func endOfDay(t time.Time, days int) time.Time {
	year, month, day := t.In(china).Date()
	return time.Date(year, month, day+days+1, 0, 0, 0, 0, china)
}

// replyMissed: no reply in time. A complaint that was finished in time is owed none any more.
func (r Round) replyMissed(now time.Time) bool {
	return missed(r.RepliedAt, r.ReplyBy, now) && missed(r.FinishedAt, r.ReplyBy, now)
}

func (r Round) finishMissed(now time.Time) bool { return missed(r.FinishedAt, r.FinishBy, now) }

// missed: was it not done (at; zero = not yet) before by?
func missed(at, by, now time.Time) bool {
	if at.IsZero() {
		at = now
	}
	return !at.Before(by)
}

// A MissedDeadline is what a merchant did too late, or not yet though it is too late.
type MissedDeadline struct {
	ComplaintID, MchID string
	Round              int       // 1 = the complaint itself, 2 = the first time the user continued it
	Deadline           string    // "reply" or "finish"
	By                 time.Time // Round.ReplyBy or Round.FinishBy
	At                 time.Time // when it was done after all; zero = not yet
}

func (m MissedDeadline) String() string {
	at := "not yet"
	if !m.At.IsZero() {
		at = stamp(m.At)
	}
	return fmt.Sprintf("complaint %s of %s round %d: %s by %s, done %s", m.ComplaintID, m.MchID, m.Round, m.Deadline, stamp(m.By), at)
}

// Overdue lists the deadlines that were missed by now (Options.Now), earliest first: empty, if every merchant met
// its own. A test that only wants to know of one merchant or complaint picks by MchID or ComplaintID.
func (s *Server) Overdue() []MissedDeadline {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	now := s.options.Now()
	var list []MissedDeadline
	for _, c := range s.books.filed {
		for i, r := range c.rounds {
			if r.replyMissed(now) {
				list = append(list, MissedDeadline{c.id, c.mchID, i + 1, "reply", r.ReplyBy, r.RepliedAt})
			}
			if r.finishMissed(now) {
				list = append(list, MissedDeadline{c.id, c.mchID, i + 1, "finish", r.FinishBy, r.FinishedAt})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b MissedDeadline) int {
		return cmp.Or(a.By.Compare(b.By), cmp.Compare(a.ComplaintID, b.ComplaintID))
	})
	return list
}
