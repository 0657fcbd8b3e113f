package consumer

import (
	"testing"
	"time"

	"wxpay-worker/wxpay"
)

// Commands age but for the times at which they were held, also those that are older than the process.
func TestCommandsAgeUnlessHeld(t *testing.T) {
	t.Parallel()
	const hour = moment(time.Hour)
	r := Retry{MaxAttempts: 25, MaxAge: 72 * time.Hour}
	for _, tt := range []struct {
		name       string
		first, now moment
		held       []span
		want       bool
	}{
		{"young", hour, 72 * hour, nil, false},
		{"old", hour, 73 * hour, nil, true},
		{"begun before the process", -1000 * hour, hour, nil, true},
		{"held for a minute", -1000 * hour, hour, []span{{-60 * hour, -60*hour + moment(time.Minute)}}, true},
		{"held all the time", -1000 * hour, hour, []span{{-1001 * hour, 2 * hour}}, false},
		{"held before it began", hour, 73 * hour, []span{{-100 * hour, 0}}, true},
		{"held twice", hour, 80 * hour, []span{{2 * hour, 5 * hour}, {10 * hour, 15 * hour}}, false},
		{"held twice, and old", hour, 81 * hour, []span{{2 * hour, 5 * hour}, {10 * hour, 15 * hour}}, true},
	} {
		a := &attempts{first: tt.first, writes: 1}
		if got := a.ranOut(r, tt.now, spans(tt.held).within(a.first, tt.now)); got != tt.want {
			t.Errorf("%s: ran out %v", tt.name, got)
		}
	}
	a := &attempts{first: hour, writes: 30, spared: 6}
	if a.ranOut(r, 2*hour, 0) {
		t.Error("spared attempts count")
	}
	a.spared = 5
	if !a.ranOut(r, 2*hour, 0) {
		t.Error("25 attempts that count are not too many")
	}
}

// A probe that meets the trouble again goes on with the hold that there was.
func TestSpans(t *testing.T) {
	t.Parallel()
	var s spans
	s.hold(10, 20, true)
	s.hold(25, 40, false)
	s.hold(50, 60, true)
	if got := s.within(0, 100); got != 40 {
		t.Errorf("held for %d of 40", got)
	}
	if got := s.within(15, 55); got != 30 {
		t.Errorf("held for %d of 30 within", got)
	}
	for i := range moment(maxSpans) {
		s.hold(100+i*10, 105+i*10, true)
	}
	if len(s) != maxSpans || s[0].from != 100 {
		t.Errorf("%d spans, the first from %d", len(s), s[0].from)
	}
}

// An entry of which WeChat Pay does not say what it is says nothing.
func TestAnEntryWithoutAType(t *testing.T) {
	t.Parallel()
	s := &complaintState{history: []wxpay.HistoryEntry{{OperateType: wxpay.UserCreateComplaint}, {}}}
	if got := s.completed(); got != foundNothing {
		t.Errorf("completed: %d", got)
	}
}
