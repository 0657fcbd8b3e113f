package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/dlq"
	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
	"wxpay-worker/wxpay/wxpaytest"
)

// Dead letters of every sort are put back, more than once, while a real worker carries commands out at the simulator. Whatever
// happens, each command takes effect once.

func TestMain(m *testing.M) {
	natstest.Crowd(16)
	os.Exit(m.Run())
}

const (
	mchid       = consumertest.MchID
	complaintID = "C1"
)

// stage is one installation with a worker.
type stage struct {
	*consumertest.Bench
	panics atomic.Bool // whether the next writing call is made and then panicked upon
}

func newStage(t *testing.T) *stage {
	t.Helper()
	return &stage{Bench: consumertest.New(t, consumertest.Config{Clock: consumer.FastClock(2 * consumertest.Speed)})}
}

// panicky makes its call, and then panics if it is told to: what a bug after the call looks like.
type panicky struct {
	*wxpay.Client
	s *stage
}

func (p panicky) after() {
	if p.s.panics.Swap(false) {
		panic("a bug")
	}
}

func (p panicky) CreateRefund(ctx context.Context, r *wxpay.RefundRequest) (*wxpay.Refund, error) {
	defer p.after()
	return p.Client.CreateRefund(ctx, r)
}

func (p panicky) UpdateRefundProgress(ctx context.Context, id string, r *wxpay.RefundProgress) error {
	defer p.after()
	return p.Client.UpdateRefundProgress(ctx, id, r)
}

func (p panicky) RespondComplaint(ctx context.Context, id string, r *wxpay.ComplaintResponse) error {
	defer p.after()
	return p.Client.RespondComplaint(ctx, id, r)
}

func (p panicky) CompleteComplaint(ctx context.Context, id, mchid string) error {
	defer p.after()
	return p.Client.CompleteComplaint(ctx, id, mchid)
}

// work starts a worker that gives up after one attempt or ten minutes, and returns how to stop it. It is stopped at the test's end.
func (s *stage) work() (stop func()) {
	s.T.Helper()
	w := s.Start(func(o *consumer.Options) {
		client := panicky{s.Client(mchid), s}
		o.Merchants[0].Refunds, o.Merchants[0].Complaints = client, client
		o.AckWait, o.Retry.MaxAttempts, o.Retry.MaxAge = 20*time.Minute, 1, 10*time.Minute
	})
	stop = func() {
		if err := w.Stop(); err != nil {
			s.T.Errorf("worker: %v", err)
		}
	}
	s.T.Cleanup(stop)
	return stop
}

// ends returns the final outcomes of the key so far; for a refund, accepted counts.
func (s *stage) ends(kind messages.Kind, key string) (got []*messages.Outcome) {
	for _, e := range s.Events() {
		if e.Kind == kind && e.Key == key && (e.Final || e.Status == messages.StatusAccepted) {
			got = append(got, e.Outcome)
		}
	}
	return got
}

// end waits for the nth of them and returns it.
func (s *stage) end(kind messages.Kind, key string, nth int) *messages.Outcome {
	s.T.Helper()
	s.Until(fmt.Sprintf("end %d of %s %s", nth, kind, key), func() bool { return len(s.ends(kind, key)) >= nth })
	return s.ends(kind, key)[nth-1]
}

func (s *stage) letters() (got []*dlq.Letter) {
	s.T.Helper()
	return all(s.T, s.Letters, "", "")
}

// act is a kind of command, and what can be done to it.
type act struct {
	kind      messages.Kind
	key, body string
	write     wxpaytest.Endpoint   // its last writing call
	reads     []wxpaytest.Endpoint // how it is read back
	effects   []string             // what it leaves in the complaint's history
	good      messages.Status
}

var complaintReads = []wxpaytest.Endpoint{wxpaytest.EndpointComplaintDetail, wxpaytest.EndpointNegotiationHistory}

var acts = []act{
	{messages.KindRefund, "R1", `{"out_refund_no":"R1","out_trade_no":"T1","amount":{"refund":60,"total":100}}`,
		wxpaytest.EndpointRefundCreate, []wxpaytest.Endpoint{wxpaytest.EndpointRefundQuery}, nil, messages.StatusAccepted},
	{messages.KindReply, "P1", `{"id":"P1","complaint_id":"C1","complainted_mchid":"1900000001","response_content":"您好"}`,
		wxpaytest.EndpointComplaintResponse, complaintReads, []string{"MERCHANT_RESPONSE"}, messages.StatusSucceeded},
	{messages.KindDecision, "D1", `{"id":"D1","complaint_id":"C1","action":"APPROVE","reply":{"complainted_mchid":"1900000001","response_content":"您好"},` +
		`"refund":{"out_refund_no":"R9","out_trade_no":"T9","amount":{"refund":60,"total":100}}}`,
		wxpaytest.EndpointUpdateRefundProgress, complaintReads, []string{"MERCHANT_RESPONSE", "MERCHANT_APPROVE_REFUND"}, messages.StatusSucceeded},
	{messages.KindComplete, "F1", `{"id":"F1","complaint_id":"C1","complainted_mchid":"1900000001"}`,
		wxpaytest.EndpointComplaintComplete, complaintReads, []string{"MERCHANT_RESPONSE", "MERCHANT_CONFIRM_COMPLETE"}, messages.StatusSucceeded},
}

// failure is how a command becomes a dead letter.
type failure struct {
	name     string
	reason   messages.Reason
	happened bool // whether it took effect all the same
	script   func(*stage, act)
}

var failures = []failure{
	{"rejected", messages.ReasonRejected, false, func(s *stage, a act) {
		s.Sim.Fault(wxpaytest.Fault{Endpoint: a.write, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 400, Code: "PARAM_ERROR"})
	}},
	{"exhausted", messages.ReasonExhausted, false, func(s *stage, a act) {
		s.Sim.Fault(wxpaytest.Fault{Endpoint: a.write, Times: -1, Answer: wxpaytest.Answer429})
	}},
	{"unresolved", messages.ReasonUnresolved, false, func(s *stage, a act) { unresolved(s, a, false) }},
	{"unresolved, but done", messages.ReasonUnresolved, true, func(s *stage, a act) { unresolved(s, a, true) }},
	{"poison, but done", messages.ReasonPoison, true, func(s *stage, a act) {
		s.panics.Store(a.kind != messages.KindDecision)
		if a.kind == messages.KindDecision { // not at its reply
			arrived, hold := make(chan struct{}), make(chan struct{})
			s.Sim.Fault(wxpaytest.Fault{Endpoint: a.write, Apply: true, Arrived: arrived, Hold: hold})
			go func() { <-arrived; s.panics.Store(true); close(hold) }()
		}
	}},
}

// unresolved: the answer to the call is lost, and from then on nothing can be read back.
func unresolved(s *stage, a act, done bool) {
	arrived, hold := make(chan struct{}), make(chan struct{})
	s.Sim.Fault(wxpaytest.Fault{Endpoint: a.write, Apply: done, Answer: wxpaytest.AnswerLost, Arrived: arrived, Hold: hold})
	go func() {
		<-arrived
		for _, read := range a.reads {
			s.Sim.Fault(wxpaytest.Fault{Endpoint: read, Times: -1, Answer: wxpaytest.Answer5xx})
		}
		close(hold)
	}()
}

// fail lets a command become a dead letter, mends what was in its way, and returns the letter.
func (s *stage) fail(a act, f failure) *dlq.Letter {
	s.T.Helper()
	if a.kind == messages.KindComplete { // a complaint that nobody has replied to cannot be completed
		if err := s.Client(mchid).RespondComplaint(s.T.Context(), complaintID, &wxpay.ComplaintResponse{ComplaintedMchID: mchid, ResponseContent: "before"}); err != nil {
			s.T.Fatal(err)
		}
	}
	f.script(s, a)
	s.Publish(a.kind, a.body)
	o := s.end(a.kind, a.key, 1)
	s.Sim.ClearFaults()
	s.Drained()
	if o.Status != messages.StatusFailed || o.Error.Reason != f.reason {
		s.T.Fatalf("ended %s: %+v", o.Status, o.Error)
	}
	return must(s.Letters.Get(s.T.Context(), o.DeadLetter))
}

var looked = dlq.ReplayOptions{Unresolved: true}

// copy puts the command back and leaves the letter, as one does who is killed in between.
func (s *stage) copy(l *dlq.Letter) {
	s.T.Helper()
	must(s.JS.PublishMsg(s.T.Context(), must(s.Letters.Prepare(l, looked))))
}

// replay puts the command back, as the second run does.
func (s *stage) replay(l *dlq.Letter) {
	s.T.Helper()
	must(s.Letters.Replay(s.T.Context(), l.Sequence, looked))
}

// manner is how a letter is put back more than once.
type manner struct {
	name  string
	again func(s *stage, a act, l *dlq.Letter, stop func())
}

var manners = []manner{
	{"once", func(s *stage, _ act, l *dlq.Letter, _ func()) { s.replay(l) }},
	{"killed before the letter went, again at once", func(s *stage, _ act, l *dlq.Letter, stop func()) {
		stop() // both copies wait
		s.copy(l)
		s.replay(l)
		s.work()
	}},
	{"killed before the letter went, again when the command had ended", func(s *stage, a act, l *dlq.Letter, _ func()) {
		s.copy(l)
		s.end(a.kind, a.key, 2)
		s.replay(l)
	}},
	{"killed before the letter went, again while the command is under way", func(s *stage, a act, l *dlq.Letter, _ func()) {
		arrived, hold := make(chan struct{}, 8), make(chan struct{})
		s.Sim.Fault(wxpaytest.Fault{Endpoint: a.reads[0], Answer: wxpaytest.AnswerRight, Arrived: arrived, Hold: hold})
		s.copy(l)
		<-arrived
		s.copy(l)
		close(hold)
		must(s.Letters.Drop(s.T.Context(), l.Sequence))
	}},
	{"by two at once", func(s *stage, _ act, l *dlq.Letter, _ func()) {
		var wait sync.WaitGroup
		var done, gone atomic.Int32
		for range 2 {
			wait.Go(func() {
				back, err := s.Letters.Replay(context.Background(), l.Sequence, looked)
				switch {
				case errors.Is(err, dlq.ErrNotFound), err == nil && back.Gone:
					gone.Add(1)
				case err == nil:
					done.Add(1)
				default:
					s.T.Errorf("replay: %v", err)
				}
			})
		}
		wait.Wait()
		if done.Load() != 1 || gone.Load() != 1 {
			s.T.Errorf("%d put it back, %d found that somebody else had", done.Load(), gone.Load())
		}
	}},
}

// Whatever a letter is about and however it is put back: the command takes effect once, ends well, and leaves no letter.
func TestReplayExecutesNothingTwice(t *testing.T) {
	t.Parallel()
	for _, a := range acts {
		for _, f := range failures {
			for _, m := range manners {
				t.Run(fmt.Sprintf("%s/%s/%s", a.kind, f.name, m.name), func(t *testing.T) {
					t.Parallel()
					s := newStage(t)
					stop := s.work()
					l := s.fail(a, f)
					m.again(s, a, l, stop)
					if o := s.end(a.kind, a.key, 2); o.Status != a.good {
						t.Errorf("ended %s: %+v", o.Status, o.Error)
					}
					s.Drained()
					s.check(a)
				})
			}
		}
	}
}

// check looks at everything that a double execution would show in. The command has failed so often before its good end; without a number,
// once.
func (s *stage) check(a act, failed ...int) {
	s.T.Helper()
	if err := s.Sim.CheckBooks(); err != nil {
		s.T.Errorf("books: %v", err)
	}
	for _, v := range s.Sim.Violations() {
		s.T.Errorf("violation: %s", v)
	}
	for _, l := range s.letters() {
		s.T.Errorf("letter %+v is left", l.DeadLetter)
	}
	number := "R1"
	if a.kind == messages.KindDecision {
		number = "R9"
		s.end(messages.KindRefund, number, 1)
	}
	if book, ok := s.Sim.Refund(mchid, number); ok != (a.kind == messages.KindRefund || a.kind == messages.KindDecision) || ok && book.Amount != 60 {
		s.T.Errorf("refund %+v, %v", book, ok)
	}
	if a.effects != nil {
		book, _ := s.Sim.ComplaintBook(complaintID)
		var got []string
		for _, e := range book.History {
			if strings.HasPrefix(e.OperateType, "MERCHANT_") {
				got = append(got, e.OperateType)
			}
		}
		if !slices.Equal(got, a.effects) {
			s.T.Errorf("history %v, want %v", got, a.effects)
		}
	}
	var ends []messages.Status
	for _, o := range s.ends(a.kind, a.key) {
		ends = append(ends, o.Status)
	}
	want := slices.Repeat([]messages.Status{messages.StatusFailed}, append(failed, 1)[0])
	if want = append(want, a.good); !slices.Equal(ends, want) {
		s.T.Errorf("ends %v, want %v", ends, want)
	}
}

// A command that fails again is one new letter, which knows how often it was put back; the second copy, which was there before
// that failure, ends with it.
func TestReplayThatFailsAgain(t *testing.T) {
	t.Parallel()
	for _, a := range acts {
		t.Run(string(a.kind), func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.work()
			l := s.fail(a, failures[0])
			arrived, hold := make(chan struct{}, 1), make(chan struct{})
			s.Sim.Fault(wxpaytest.Fault{Endpoint: a.write, Answer: wxpaytest.AnswerRefusal, Status: 400, Code: "PARAM_ERROR", Arrived: arrived, Hold: hold})
			s.copy(l)
			<-arrived
			s.copy(l)
			close(hold)
			must(s.Letters.Drop(t.Context(), l.Sequence))
			o := s.end(a.kind, a.key, 2)
			s.Drained()
			left := s.letters()
			if o.Status != messages.StatusFailed || len(left) != 1 || left[0].Sequence != o.DeadLetter || left[0].Replays != 1 {
				t.Fatalf("ended %s with letter %d; letters %+v", o.Status, o.DeadLetter, left)
			}
			if n := len(s.Sim.RequestsTo(a.write)); n != 2 {
				t.Errorf("%d calls", n)
			}
			s.replay(left[0])
			if o := s.end(a.kind, a.key, 3); o.Status != a.good {
				t.Errorf("ended %s: %+v", o.Status, o.Error)
			}
			s.Drained()
		})
	}
}

// What fails for good as it is fails again, as a letter of its own, and calls nobody.
func TestReplayOfWhatCannotBe(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.work()
	s.Publish(messages.KindRefund, acts[0].body)
	s.end(messages.KindRefund, "R1", 1)
	s.Publish(messages.KindRefund, `no command`)
	s.Publish(messages.KindRefund, strings.Replace(acts[0].body, "60", "61", 1))
	s.Drained()
	for _, l := range s.letters() {
		s.copy(l) // killed
		s.replay(l)
	}
	s.Drained()
	got := map[messages.Reason]int{}
	for _, l := range s.letters() {
		if got[l.Reason]++; l.Replays != 1 {
			t.Errorf("letter %+v", l.DeadLetter)
		}
	}
	if got[messages.ReasonMalformed] != 2 || got[messages.ReasonConflict] != 2 || len(got) != 2 {
		t.Errorf("letters %v", got)
	}
	if n := len(s.Sim.RequestsTo(wxpaytest.EndpointRefundCreate)); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// A malformed command is carried out once it is corrected, also by somebody who had to begin twice.
func TestReplayOfACorrectedCommand(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.work()
	s.Publish(messages.KindReply, `{"id":"P1","complaint_id":"C1","complainted_mchid":"1900000001","content":"您好"}`)
	s.Drained()
	l := s.letters()[0]
	if l.Reason != messages.ReasonMalformed {
		t.Fatalf("letter %+v", l.DeadLetter)
	}
	corrected := dlq.ReplayOptions{Patch: []byte(`{"content":null,"response_content":"您好"}`)}
	must(s.JS.PublishMsg(t.Context(), must(s.Letters.Prepare(l, corrected)))) // killed
	must(s.Letters.Replay(t.Context(), l.Sequence, corrected))
	if o := s.end(messages.KindReply, "P1", 1); o.Status != messages.StatusSucceeded || o.ID != "P1" {
		t.Errorf("ended %+v", o)
	}
	s.Drained()
	book, _ := s.Sim.ComplaintBook(complaintID)
	if err := s.Sim.CheckBooks(); err != nil || len(book.History) == 0 || len(s.letters()) != 0 {
		t.Errorf("books %v, history %v, letters %v", err, book.History, s.letters())
	}
}
