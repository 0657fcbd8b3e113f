package consumer_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"wxpay-worker/consumer"
	"wxpay-worker/dlq"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// cut is a wire to the NATS server that breaks once, when the worker is about to write something: before the server has it
// (the write is lost) or right after (the answer is). With dead it stays broken, which is what a kill looks like from outside.
type cut struct {
	at    string
	lost  bool
	dead  bool
	mu    sync.Mutex
	happy bool // it has happened; guarded by mu
}

var errCut = errors.New("wire cut")

func (c *cut) Dial(network, address string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.happy && c.dead {
		return nil, errCut
	}
	conn, err := net.Dial(network, address)
	return &cutConn{conn, c}, err
}

type cutConn struct {
	net.Conn
	c *cut
}

func (w *cutConn) Write(p []byte) (int, error) {
	w.c.mu.Lock()
	now := !w.c.happy && bytes.Contains(p, []byte(w.c.at))
	w.c.happy = w.c.happy || now
	w.c.mu.Unlock()
	if !now {
		return w.Conn.Write(p)
	}
	if !w.c.lost {
		if _, err := w.Conn.Write(p); err != nil {
			return 0, err
		}
	}
	return 0, errors.Join(errCut, w.Conn.Close())
}

func (c *cut) broken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.happy
}

// After every durable step, and before it: the wire to NATS breaks there, for a moment or for good. A worker that is started
// afterwards, or the same one, finds what was recorded and ends the command once.
func TestBreakingAtEveryStep(t *testing.T) {
	t.Parallel()
	refused := wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 400, Code: "PARAM_ERROR"}
	refusedReply := wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 400, Code: "PARAM_ERROR"}
	stories := []struct {
		name  string
		kind  messages.Kind
		key   string
		body  string
		fault *wxpaytest.Fault
		end   messages.Status
		steps []string // what is about to be written
		want  []string // the complaint's history
	}{
		{"refund", messages.KindRefund, "R1", refundBody("R1"), nil, messages.StatusAccepted,
			[]string{"wxpay.outcome.1900000001.refund.R1.accepted", "+ACK"}, nil},
		{"refused refund", messages.KindRefund, "R1", refundBody("R1"), &refused, messages.StatusFailed,
			[]string{"wxpay.deadletter.", "STREAM.INFO.WXPAY_COMMANDS", "wxpay.outcome.1900000001.refund.R1.failed", "+TERM"}, nil},
		{"malformed", messages.KindRefund, "seq-1", `{}`, nil, messages.StatusFailed,
			[]string{"wxpay.deadletter.", "refund.seq-1.failed", "+TERM"}, nil},
		{"decision", messages.KindDecision, "D1", approveBody, nil, messages.StatusSucceeded,
			[]string{"decision.D1.started", "reply.D1=3Areply.started", "reply.D1=3Areply.succeeded", "wxpay.command.1900000001.refund", "decision.D1.succeeded", "+ACK"},
			[]string{"MERCHANT_RESPONSE", "MERCHANT_APPROVE_REFUND"}},
		{"refused decision", messages.KindDecision, "D1", approveBody, &refusedReply, messages.StatusFailed,
			[]string{"wxpay.deadletter.", "reply.D1=3Areply.failed", "decision.D1.failed", "+TERM"}, nil},
	}
	for _, s := range stories {
		for _, step := range s.steps {
			for _, lost := range []bool{false, true} {
				for _, dead := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%s/lost=%v/dead=%v", s.name, step, lost, dead), func(t *testing.T) {
						t.Parallel()
						b := setup(t)
						if s.fault != nil {
							b.sim.Fault(*s.fault)
						}
						c := &cut{at: step, lost: lost, dead: dead}
						w := b.startThrough(c)
						b.publish(s.kind, s.body)
						if dead {
							<-w.lostWire
							w.kill()
							b.start()
						}
						if e := b.end(s.kind, s.key); e.Status != s.end {
							t.Errorf("ended %s: %+v", e.Status, e.Error)
						}
						b.settled()
						if !c.broken() {
							t.Error("the story never came to that step")
						}
						if got := b.operates(); s.want != nil && !slices.Equal(got, s.want) {
							t.Errorf("history %v, want %v", got, s.want)
						}
					})
				}
			}
		}
	}
}

// startThrough starts a worker whose wire to NATS is the cut.
func (b *bench) startThrough(c *cut) *worker {
	b.t.Helper()
	lost := make(chan struct{}, 100)
	nc := must(nats.Connect(b.server.URL(), nats.SetCustomDialer(c), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond),
		nats.ReconnectJitter(0, 0), nats.DisconnectErrHandler(func(*nats.Conn, error) { lost <- struct{}{} })))
	w := b.start(func(o *consumer.Options) { o.Conn, o.DeadLetters = nc, must(dlq.New(nc, b.subjects)) })
	b.t.Cleanup(nc.Close)
	w.nc, w.lostWire = nc, lost
	return w
}

// A worker dies while a call is on its way, and WeChat Pay carries it out or not: the next one finds out which.
func TestKilledWhileACallIsOnItsWay(t *testing.T) {
	t.Parallel()
	cases := []struct {
		endpoint wxpaytest.Endpoint
		kind     messages.Kind
		key      string
		body     string
	}{
		{wxpaytest.EndpointRefundCreate, messages.KindRefund, "R1", refundBody("R1")},
		{wxpaytest.EndpointComplaintResponse, messages.KindReply, "P1", replyBody},
		{wxpaytest.EndpointComplaintResponse, messages.KindDecision, "D1", approveBody},
		{wxpaytest.EndpointUpdateRefundProgress, messages.KindDecision, "D1", approveBody},
	}
	for _, c := range cases {
		for _, apply := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%s/applied=%v", c.kind, c.endpoint, apply), func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				arrived, never := make(chan struct{}, 1), make(chan struct{})
				b.sim.Fault(wxpaytest.Fault{Endpoint: c.endpoint, Apply: apply, Answer: wxpaytest.AnswerLost, Arrived: arrived, Hold: never})
				w := b.start()
				b.publish(c.kind, c.body)
				<-arrived
				w.kill()
				b.start()
				if e := b.end(c.kind, c.key); e.Status == messages.StatusFailed {
					t.Errorf("ended %s: %+v", e.Status, e.Error)
				}
				b.settled()
			})
		}
	}
}

// Two workers that both believe the command is theirs: the stream lets one record win, and the call that WeChat Pay does not
// deduplicate is made once.
func TestTwoWorkersWithOneCommand(t *testing.T) {
	t.Parallel()
	for kind, c := range map[messages.Kind][2]string{
		messages.KindRefund: {"R1", refundBody("R1")}, messages.KindReply: {"P1", replyBody}, messages.KindDecision: {"D1", approveBody},
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			arrived, release := make(chan struct{}, 1), make(chan struct{})
			endpoint := map[messages.Kind]wxpaytest.Endpoint{
				messages.KindRefund: wxpaytest.EndpointRefundCreate, messages.KindReply: wxpaytest.EndpointComplaintResponse,
				messages.KindDecision: wxpaytest.EndpointUpdateRefundProgress,
			}[kind]
			b.sim.Fault(wxpaytest.Fault{Endpoint: endpoint, Apply: true, Arrived: arrived, Hold: release})
			b.start()
			b.publish(kind, c[1])
			<-arrived
			// The first is in the middle of its call; the same command arrives at a second one that serves the same lane by another
			// consumer, as after a server that forgot whom it had pinned.
			check(t, must(b.js.Stream(t.Context(), b.subjects.CommandsStream())).UnpinConsumer(t.Context(), laneOf(kind), "worker"))
			b.start()
			b.publish(kind, c[1])
			close(release)
			b.end(kind, c[0])
			b.settled()
			if n := len(b.sim.RequestsTo(endpoint)); kind != messages.KindRefund && n != 1 {
				t.Errorf("%d calls", n)
			}
		})
	}
}

func laneOf(kind messages.Kind) string {
	if kind == messages.KindRefund {
		return "refund-" + mchid
	}
	return "complaint-" + mchid
}
