package wxpaytest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"wxpay-worker/wxpay/wxpaytest"
)

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = t
}

var china = time.FixedZone("", 8*60*60)

// day is an hour of a day of March 2027 in China, as everything in deadlines is.
func day(d, hour, minute, second int) time.Time {
	return time.Date(2027, time.March, d, hour, minute, second, 0, china)
}

// complained enters C2 at a time.
func complained(t *testing.T, at time.Time) *bench {
	b := setup(t)
	b.clock.set(at)
	b.AddComplaint(wxpaytest.Complaint{ID: "C2", MchID: mchid, FastRefund: true})
	return b
}

func (b *bench) wantOverdue(want ...string) {
	b.t.Helper()
	var got []string
	for _, m := range b.Overdue() {
		if m.ComplaintID == "C2" { // C1 is older and nobody cares for it
			got = append(got, fmt.Sprintf("%d %s", m.Round, m.Deadline))
		}
	}
	if !slices.Equal(got, want) {
		b.t.Errorf("at %s: overdue %q, want %q", b.clock.now(), got, want)
	}
}

// The calendar is China's, whatever the hour of the complaint.
func TestDeadlines(t *testing.T) {
	for _, at := range []time.Time{day(5, 0, 0, 0), day(5, 23, 59, 59), day(5, 12, 0, 0).UTC()} {
		b := complained(t, at)
		book, _ := b.ComplaintBook("C2")
		if !book.BeganAt.Equal(at) || !book.ReplyBy.Equal(day(7, 0, 0, 0)) || !book.FinishBy.Equal(day(9, 0, 0, 0)) ||
			!book.RepliedAt.IsZero() || !book.FinishedAt.IsZero() || len(book.Rounds) != 1 || book.Rounds[0] != book.Round {
			t.Errorf("%s: %+v", at, book)
		}
	}
	b := complained(t, time.Date(2027, time.December, 30, 1, 0, 0, 0, china))
	if book, _ := b.ComplaintBook("C2"); !book.FinishBy.Equal(time.Date(2028, time.January, 3, 0, 0, 0, 0, china)) {
		t.Errorf("over the year's end: %+v", book)
	}
}

func TestOverdue(t *testing.T) {
	b := complained(t, day(5, 12, 0, 0))
	b.clock.set(day(6, 23, 59, 59))
	b.wantOverdue()
	b.clock.set(day(7, 0, 0, 0)) // at 24:00 it is too late
	b.wantOverdue("1 reply")
	b.clock.set(day(8, 23, 59, 59))
	b.wantOverdue("1 reply")
	b.clock.set(day(9, 0, 0, 0))
	b.wantOverdue("1 reply", "1 finish")
	b.want(respond("C2", "您好"), 204, "")
	b.clock.set(day(9, 1, 0, 0))
	b.want(finish("C2"), 204, "")
	b.wantOverdue("1 reply", "1 finish") // done after all, too late all the same
	book, _ := b.ComplaintBook("C2")
	if !book.RepliedAt.Equal(day(9, 0, 0, 0)) || !book.FinishedAt.Equal(day(9, 1, 0, 0)) {
		t.Errorf("%+v", book)
	}
	list := b.Overdue()
	if last := list[len(list)-1].String(); !strings.Contains(last, "C2") || !strings.Contains(last, "finish by 2027-03-09T00:00:00+08:00, done 2027-03-09T01:00:00+08:00") {
		t.Errorf("%s", last)
	}
	if first := list[0]; first.ComplaintID != "C1" || first.MchID != mchid || !strings.HasSuffix(first.String(), "done not yet") {
		t.Errorf("%+v", first)
	}
}

func TestDeadlinesMet(t *testing.T) {
	b := complained(t, day(5, 12, 0, 0))
	b.clock.set(day(6, 23, 59, 59))
	b.want(respond("C2", "您好"), 204, "")
	b.clock.set(day(8, 23, 59, 59))
	b.want(respond("C2", "请稍候"), 204, "") // only the first one counts
	b.want(finish("C2"), 204, "")
	b.clock.set(day(20, 0, 0, 0))
	b.wantOverdue()
}

// What is finished in time is owed no reply; what is finished later is.
func TestFinishedWithoutAReply(t *testing.T) {
	for at, want := range map[time.Time][]string{day(6, 23, 59, 59): nil, day(7, 0, 0, 0): {"1 reply"}} {
		b := complained(t, day(5, 12, 0, 0))
		b.clock.set(at)
		b.want(reject("C2"), 204, "")
		b.clock.set(day(20, 0, 0, 0))
		b.wantOverdue(want...)
	}
}

// A continued complaint owes a reply and an end anew; the earlier round stays as it was.
func TestDeadlinesOfARound(t *testing.T) {
	b := complained(t, day(5, 12, 0, 0))
	b.want(respond("C2", "您好"), 204, "")
	b.want(finish("C2"), 204, "")
	b.clock.set(day(10, 9, 0, 0))
	if err := b.UserContinues("C2"); err != nil {
		t.Fatal(err)
	}
	b.wantOverdue()
	book, _ := b.ComplaintBook("C2")
	if len(book.Rounds) != 2 || book.Rounds[1] != book.Round || !book.RepliedAt.IsZero() || !book.FinishedAt.IsZero() ||
		!book.ReplyBy.Equal(day(12, 0, 0, 0)) || !book.FinishBy.Equal(day(14, 0, 0, 0)) || !book.Rounds[0].FinishedAt.Equal(day(5, 12, 0, 0)) {
		t.Errorf("%+v", book)
	}
	b.clock.set(day(14, 0, 0, 0))
	b.wantOverdue("2 reply", "2 finish")
}

// Money that arrives ends a round; a second time it does not end later.
func TestMoneyFinishesInTime(t *testing.T) {
	b := setup(t)
	b.want(refund("R1", 60), 200, "")
	b.clock.forward(time.Minute)
	b.want(refund("R2", 40), 200, "")
	b.want(approve("C1"), 204, "")
	for i, no := range []string{"R1", "R2"} {
		b.clock.forward(time.Hour)
		if err := b.Settle(mchid, no, "SUCCESS"); err != nil {
			t.Fatal(err)
		}
		if book, _ := b.ComplaintBook("C1"); !book.FinishedAt.Equal(b.clock.now().Add(-time.Duration(i) * time.Hour)) {
			t.Errorf("%s: %+v", no, book.Round)
		}
	}
}
