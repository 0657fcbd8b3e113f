package consumer

import (
	"testing"
	"time"
)

// What is kept as a moment comes back as it was: a dead letter tells when the first attempt was made.
func TestMomentsAreTimes(t *testing.T) {
	var clock *Clock
	for _, at := range []time.Time{{}, longAgo, time.Now(), time.Now().Add(-72 * time.Hour), time.Now().Add(time.Hour).Round(0)} {
		got := clock.timeOf(clock.momentOf(at))
		if got.Sub(at).Abs() > 100*time.Microsecond || got.IsZero() != at.IsZero() {
			t.Errorf("%s came back as %s", at, got)
		}
	}
	if age := clock.since(clock.momentOf(time.Now().Add(-time.Minute))); age < time.Minute || age > time.Hour {
		t.Errorf("a minute ago was %s ago", age)
	}
	if age := clock.since(0); age < 365*24*time.Hour {
		t.Errorf("never was %s ago", age)
	}
}
