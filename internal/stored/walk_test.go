package stored_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"wxpay-worker/internal/stored"
)

// All that was stored is read, over many batches, whatever else lies between; from a sequence, or from a time.
func TestWalkReadsEverythingThatFits(t *testing.T) {
	t.Parallel()
	nc, js := stream(t)
	const n = 1300
	var middle time.Time
	for i := range n {
		for _, subject := range []string{"s.a", "s.b"} {
			m := nats.NewMsg(subject)
			m.Header.Set("Status", "404") // as a publisher may: it must not be taken for the server's word
			m.Header.Set("N", fmt.Sprint(i))
			if _, err := js.PublishMsg(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		if i == n/2-1 {
			middle = time.Now()
		}
	}
	read := func(seq uint64, since time.Time) (got []string) {
		walk := stored.From(t.Context(), nc, "S", "s.a", seq)
		if !since.IsZero() {
			walk = stored.Since(t.Context(), nc, "S", "s.a", since)
		}
		for m, err := range walk {
			if err != nil {
				t.Fatal(err)
			}
			if m.Subject != "s.a" || m.Header.Get("N") != fmt.Sprint((m.Sequence-1)/2) {
				t.Errorf("message %d on %s: header %v", m.Sequence, m.Subject, m.Header)
			}
			got = append(got, m.Header.Get("N"))
		}
		return got
	}
	if got := read(1, time.Time{}); len(got) != n || got[n-1] != fmt.Sprint(n-1) {
		t.Errorf("read %d of %d", len(got), n)
	}
	if got := read(2*n-1, time.Time{}); len(got) != 1 {
		t.Errorf("read %d, want the last one", len(got))
	}
	if got := read(2*n+1, time.Time{}); len(got) != 0 {
		t.Errorf("read %d beyond the end", len(got))
	}
	if got := read(0, middle); len(got) != n/2 || got[0] != fmt.Sprint(n/2) {
		t.Errorf("read %d since the middle, want %d", len(got), n/2)
	}
}
