package stored_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"wxpay-worker/internal/natstest"
	"wxpay-worker/internal/stored"
)

// The newest message of each subject that is asked for is read, and nothing else. What cannot be read, or is too much, is an error: it is
// not nothing.
func TestLasts(t *testing.T) {
	t.Parallel()
	nc, js := stream(t)
	publish := func(subject string) {
		t.Helper()
		m := nats.NewMsg(subject)
		m.Header.Set("X", subject)
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	lasts := func(patterns ...string) string {
		t.Helper()
		got, err := stored.Lasts(t.Context(), nc, "S", patterns)
		if err != nil {
			t.Fatalf("%v: %v", patterns, err)
		}
		found := map[string]bool{}
		for _, m := range got {
			found[fmt.Sprintf("%d %s %s", m.Sequence, m.Subject, m.Header.Get("X"))] = true
		}
		return strings.Join(slices.Sorted(maps.Keys(found)), "; ")
	}
	if got := lasts("s.a.*", "s.b.*"); got != "" {
		t.Errorf("in an empty stream: %s", got)
	}
	for _, subject := range []string{"s.a.1", "s.a.2", "s.a.1", "s.b.1", "s.c.1"} {
		publish(subject)
	}
	if got := lasts("s.a.*", "s.b.*", "s.d.*"); got != "2 s.a.2 s.a.2; 3 s.a.1 s.a.1; 4 s.b.1 s.b.1" {
		t.Errorf("read %s", got)
	}
	if got := lasts("s.d.*", "s.e.*"); got != "" {
		t.Errorf("of subjects that nobody used: %s", got)
	}
	if _, err := stored.Lasts(t.Context(), nc, "T", []string{"s.a.*"}); err == nil {
		t.Error("a stream that is not there was read")
	}

	natstest.PublishRaw(t, nc.ConnectedUrl(), "s.broken.1", "NATS/1.0\r\nno header at all\r\n\r\n", "")
	publish("s.c.2") // what was published before it is stored when this is
	if got, err := stored.Lasts(t.Context(), nc, "S", []string{"s.a.*", "s.broken.*"}); err == nil {
		t.Errorf("%d messages, and one that cannot be read was overlooked", len(got))
	}
	for n := range stored.MaxLasts + 1 {
		publish(fmt.Sprintf("s.many.%d", n))
	}
	if got, err := stored.Lasts(t.Context(), nc, "S", []string{"s.many.*"}); err == nil {
		t.Errorf("%d messages of more than can be read", len(got))
	}
}
