package stored_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"

	"wxpay-worker/internal/stored"
)

// A message without a body is not taken for the server's word, whatever header Status its publisher gave it; and the server's word is not
// taken for a message.
func TestAHeaderStatusIsThePublishers(t *testing.T) {
	t.Parallel()
	nc, js := stream(t)
	for _, status := range []string{"100", "204", "404", "408", "503"} {
		m := nats.NewMsg("s." + status)
		m.Header.Set("Status", status)
		ack, err := js.PublishMsg(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		for name, read := range map[string]func() (*stored.Msg, error){
			"At":   func() (*stored.Msg, error) { return stored.At(t.Context(), nc, "S", ack.Sequence) },
			"Next": func() (*stored.Msg, error) { return stored.Next(t.Context(), nc, "S", "s.*", ack.Sequence) },
			"Last": func() (*stored.Msg, error) { return stored.Last(t.Context(), nc, "S", "s."+status) },
		} {
			if got, err := read(); err != nil || got.Subject != m.Subject || got.Header.Get("Status") != status {
				t.Errorf("%s of a message with status %s: %+v, %v", name, status, got, err)
			}
		}
	}
	if _, err := stored.At(t.Context(), nc, "S", 99); !errors.Is(err, stored.ErrNotFound) {
		t.Errorf("a message that is not there: %v", err)
	}
	if _, err := stored.At(t.Context(), nc, "T", 1); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("a stream that is not there: %v", err)
	}
}
