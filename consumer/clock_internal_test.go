package consumer

import (
	"testing"
	"time"
)

// What is kept as a moment comes back as it was: a dead letter tells when the first attempt was made.
func TestMomentsAreTimes(t *testing.T) {
	for _, at := range []time.Time{{}, longAgo, time.Now(), time.Now().Add(-72 * time.Hour), time.Now().Add(time.Hour).Round(0)} {
		m := momentOf(at)
		if got := m.time(); got.Sub(at).Abs() > time.Microsecond || got.IsZero() != at.IsZero() {
			t.Errorf("%s came back as %s", at, got)
		}
	}
	var clock *Clock
	if age := clock.since(momentOf(time.Now().Add(-time.Minute))); age < time.Minute || age > time.Hour {
		t.Errorf("a minute ago was %s ago", age)
	}
	if age := clock.since(0); age < 365*24*time.Hour {
		t.Errorf("never was %s ago", age)
	}
}
