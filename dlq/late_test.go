package dlq_test

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
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
	s.T.Helper()
	s.StartVia(pass, func(o *consumer.Options) { o.AckWait, o.Retry.Max = ackWait, time.Minute })
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
	s.Sim.Fault(wxpaytest.Fault{Endpoint: a.write, Answer: wxpaytest.AnswerRefusal, Status: 400, Code: "PARAM_ERROR"})
	s.Publish(a.kind, a.body)
	<-told
	letter := s.letters()[0]
	s.copy(letter)
	must(s.Letters.Drop(t.Context(), letter.Sequence))
	close(open)
	if o := s.end(a.kind, a.key, 2); o.Status != messages.StatusAccepted && o.Status != messages.StatusSucceeded {
		t.Errorf("what was put back ended %s", o.Status)
	}
	s.Drained()
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
	original := s.Publish(a.kind, a.body)
	first := s.end(a.kind, a.key, 1)
	s.Sim.ClearFaults()
	letter := must(s.Letters.Get(t.Context(), first.DeadLetter))
	unresolved(s, a, true) // the later try's answer is lost, and reading back does not work for a while
	s.copy(letter)         // whoever put it back died before the letter was gone
	acks := must(s.NC.SubscribeSync("$JS.ACK." + s.Subjects.CommandsStream() + ".>"))
	for limit := time.Now().Add(consumertest.Patience); ; { // until the original has come again and is through
		stream := must(s.JS.Stream(t.Context(), s.Subjects.CommandsStream()))
		if stream.CachedInfo().State.FirstSeq > original {
			break
		}
		if time.Now().After(limit) {
			t.Fatal("the original stays")
		}
		_, _ = acks.NextMsg(50 * time.Millisecond) // an acknowledgement, or time to look again
	}
	s.Sim.ClearFaults()
	if o := s.end(a.kind, a.key, 2); o.Status != messages.StatusSucceeded {
		t.Errorf("the later try, which took effect, ended %s by letter %d; the first one's was %d", o.Status, o.DeadLetter, first.DeadLetter)
	}
	s.Drained()
}
