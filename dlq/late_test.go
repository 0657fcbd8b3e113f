package dlq_test

import (
	"bytes"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/sirupsen/logrus"

	"wxpay-worker/consumer"
	"wxpay-worker/dlq"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// wire is a connection to the NATS server whose writes are looked at first: a write that is not let pass is lost.
type wire struct {
	net.Conn
	pass func(p []byte) bool
}

func (w *wire) Write(p []byte) (int, error) {
	if !w.pass(p) {
		return len(p), nil
	}
	return w.Conn.Write(p)
}

type wires func(p []byte) bool

func (pass wires) Dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	return &wire{conn, pass}, err
}

// workOver runs a worker whose writes to NATS are looked at.
func (s *stage) workOver(pass wires, ackWait time.Duration) {
	s.t.Helper()
	nc := must(nats.Connect(s.server.URL(), nats.SetCustomDialer(pass)))
	log := logrus.New()
	log.SetOutput(testWriter{s.t})
	c := must(consumer.New(consumer.Options{
		Conn: nc, Subjects: s.subjects, DeadLetters: must(dlq.New(nc, s.subjects)), Log: log, Clock: s.clock,
		Merchants:   []consumer.Merchant{{MchID: mchid, Refunds: s.client, Complaints: s.client}},
		Concurrency: 16, AckWait: ackWait, PinnedTTL: time.Second, Drain: 5 * time.Second,
		Retry:      consumer.Retry{Initial: 2 * time.Second, Multiplier: 2, Max: time.Minute, Jitter: 0.2, MaxAttempts: 25, MaxAge: 72 * time.Hour},
		Settlement: consumer.Settlement{First: time.Minute, Max: 6 * time.Hour, GiveUp: 360 * time.Hour},
	}))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		<-ended
		nc.Close()
	})
}

// A letter may be put back the moment it is there, before its `failed` is: the command that was put back is a new try, and is not
// ended by that.
func TestALetterIsPutBackBeforeItsFailureIsTold(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	var once sync.Once
	told, open := make(chan struct{}), make(chan struct{})
	s.workOver(func(p []byte) bool {
		if bytes.Contains(p, []byte("refund.R1.failed")) {
			once.Do(func() { close(told); <-open })
		}
		return true
	}, 4*time.Minute)
	a := acts[0]
	s.sim.Fault(wxpaytest.Fault{Endpoint: a.write, Answer: wxpaytest.AnswerRefusal, Status: 400, Code: "PARAM_ERROR"})
	must(s.js.Publish(t.Context(), s.subjects.Command(mchid, a.kind), []byte(a.body)))
	<-told
	letter := s.letters()[0]
	s.copy(letter)
	must(s.queue.Drop(t.Context(), letter.Sequence))
	close(open)
	if o := s.end(a.kind, a.key, 2); o.Status != messages.StatusAccepted && o.Status != messages.StatusSucceeded {
		t.Errorf("what was put back ended %s", o.Status)
	}
	s.drained()
}

// The acknowledgement of a failed command is lost, its letter is put back, and while that is carried out the original comes again:
// it does not end the later try.
func TestTheOriginalDoesNotEndALaterTry(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	var lost atomic.Bool
	s.workOver(func(p []byte) bool { return !bytes.Contains(p, []byte("+TERM")) || !lost.CompareAndSwap(false, true) }, 8*time.Minute)
	a := acts[1]
	failures[0].script(s, a)
	original := must(s.js.Publish(t.Context(), s.subjects.Command(mchid, a.kind), []byte(a.body))).Sequence
	first := s.end(a.kind, a.key, 1)
	s.sim.ClearFaults()
	letter := must(s.queue.Get(t.Context(), first.DeadLetter))
	unresolved(s, a, true) // the later try's answer is lost, and reading back does not work for a while
	s.copy(letter)         // whoever put it back died before the letter was gone
	acks := must(s.nc.SubscribeSync("$JS.ACK." + s.subjects.CommandsStream() + ".>"))
	for limit := time.Now().Add(patience); ; { // until the original has come again and is through
		stream := must(s.js.Stream(t.Context(), s.subjects.CommandsStream()))
		if stream.CachedInfo().State.FirstSeq > original {
			break
		}
		if time.Now().After(limit) {
			t.Fatal("the original stays")
		}
		_, _ = acks.NextMsg(50 * time.Millisecond) // an acknowledgement, or time to look again
	}
	s.sim.ClearFaults()
	if o := s.end(a.kind, a.key, 2); o.Status != messages.StatusSucceeded {
		t.Errorf("the later try, which took effect, ended %s by letter %d; the first one's was %d", o.Status, o.DeadLetter, first.DeadLetter)
	}
	s.drained()
}
