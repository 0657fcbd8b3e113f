package consumer_test

import (
	"context"
	"io"
	"os"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/dlq"
	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
)

func TestMain(m *testing.M) {
	natstest.Crowd(24)
	os.Exit(m.Run())
}

const mchid = consumertest.MchID

// bench is one installation for one test, with what only these tests do with it.
type bench struct{ *consumertest.Bench }

func setup(t *testing.T) *bench {
	t.Helper()
	return setupWith(t, consumertest.Config{})
}

// setupWith is setup with something of its own.
func setupWith(t *testing.T, c consumertest.Config) *bench {
	t.Helper()
	return &bench{consumertest.New(t, c)}
}

// setupAt is setup by a clock that runs so much faster than the wall's.
func setupAt(t *testing.T, speed int64) *bench {
	t.Helper()
	return setupWith(t, consumertest.Config{Clock: consumer.FastClock(speed)})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// recorder counts the create calls that go through it.
type recorder struct {
	consumer.Refunds
	mu sync.Mutex
	n  int // guarded by mu
}

func (r *recorder) CreateRefund(ctx context.Context, req *wxpay.RefundRequest) (*wxpay.Refund, error) {
	r.mu.Lock()
	r.n++
	r.mu.Unlock()
	return r.Refunds.CreateRefund(ctx, req)
}

func (r *recorder) calls() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

func quiet() logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// putBack puts a dead letter back, as it is, and returns what becomes of its command then.
func (b *bench) putBack(failed consumertest.Event, o dlq.ReplayOptions) consumertest.Event {
	b.T.Helper()
	must(b.Letters.Replay(b.T.Context(), failed.DeadLetter, o))
	return b.Await("what becomes of what was put back", func(e consumertest.Event) bool {
		return e.Kind == failed.Kind && e.Key == failed.Key && e.Status != messages.StatusStarted && e.DeadLetter != failed.DeadLetter
	})
}
