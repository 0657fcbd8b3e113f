package stored_test

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/internal/natstest"
	"wxpay-worker/internal/stored"
)

// What fits is counted, and nothing else; removed messages are not.
func TestCount(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowDirect: true})
	if err != nil {
		t.Fatal(err)
	}
	counts := func(pattern string, want uint64) {
		t.Helper()
		if got, err := stored.Count(t.Context(), nc, "S", pattern); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", pattern, got, err, want)
		}
	}
	counts("s.>", 0)
	for i := range 5 {
		for _, subject := range []string{"s.a", "s.b"} {
			if _, err := js.Publish(t.Context(), fmt.Sprintf("%s.%d", subject, i), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	counts("s.>", 10)
	counts("s.a.*", 5)
	counts("s.b.3", 1)
	counts("s.c.*", 0)
	if err := stream.DeleteMsg(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	counts("s.a.*", 4)
	if _, err := stored.Count(t.Context(), nc, "T", "s.>"); err == nil {
		t.Error("a stream that is not there was counted")
	}
}
