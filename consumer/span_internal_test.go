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

// What a lane's consumer tells of its holds is read back; of ours and others', those that overlap count once.
func TestSpansAreTold(t *testing.T) {
	t.Parallel()
	c := FastClock(1)
	const minute = moment(time.Minute)
	var s spans
	for i := range moment(2 * heldKept) {
		s.hold(i*10*minute, (i*10+5)*minute, true)
	}
	told := spansOf(s.text(c)+" 2026/x nonsense 2026-11-28T20:00:00Z/2026-11-28T19:00:00Z", c)
	if held := told.within(0, 1000*minute).Round(time.Minute); len(told) != heldKept || held != heldKept*5*time.Minute {
		t.Errorf("%d spans, held for %s", len(told), held)
	}
	s = spans{{0, 10 * minute}, {30 * minute, 40 * minute}}
	s.merge(spans{{5 * minute, 20 * minute}, {32 * minute, 35 * minute}, {50 * minute, 60 * minute}})
	if len(s) != 3 || s.within(0, 100*minute) != 40*time.Minute {
		t.Errorf("merged: %v", s)
	}
	s.merge(s)
	if len(s) != 3 || s.within(0, 100*minute) != 40*time.Minute {
		t.Errorf("merged with itself: %v", s)
	}
}

// Who takes a lane over knows when it was held before, and that a hold goes on: what its commands' records do not tell, since they were not tried
// meanwhile.
func TestAHoldIsRememberedByTheLane(t *testing.T) {
	t.Parallel()
	l, _ := laneOf(t, 0)
	if _, err := l.js.CreateConsumer(t.Context(), l.stream, l.config()); err != nil {
		t.Fatal(err)
	}
	now := l.clock.moment()
	day := 24 * moment(time.Hour)
	l.hold.spans = spans{{now - 4*day, now - 3*day}, {now - 2*day, now - day/2}}
	for _, reason := range []string{"HTTP 403 NO_AUTH", ""} {
		if err := l.tell(t.Context(), reason, l.clock.Now()); err != nil {
			t.Fatal(err)
		}
		c, err := l.js.Consumer(t.Context(), l.stream, l.name)
		if err != nil {
			t.Fatal(err)
		}
		next := newLane(l.shared, Merchant{MchID: l.mchid}, familyComplaint)
		next.adopt(c.CachedInfo())
		want := 60 * time.Hour
		if reason != "" {
			want = 72 * time.Hour // up to now
		}
		if held := next.heldSince(now-5*day, "").Round(time.Hour); held != want {
			t.Errorf("%q: held for %s, want %s", reason, held, want)
		}
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
