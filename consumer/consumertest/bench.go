// Package consumertest gives a test one installation of its own: a real NATS server, the simulator over TLS, and as many workers as are
// started, stopped and killed.
//
//	b := consumertest.New(t, consumertest.Config{})
//	b.Start()
//	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
//	b.End(messages.KindRefund, "R1")
//	b.Settled() // nothing is left, and all books agree
//
// Workers and simulator have one clock, which runs faster than the wall's: a rule of 60 seconds takes 0.6. What the NATS server and the network take
// is not sped up, so leases and time-outs are long.
package consumertest

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/consumer"
	"wxpay-worker/dlq"
	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// MchID is the merchant that each installation has.
const MchID = "1900000001"

// Speed is how much faster than the wall's a clock runs if Config names none.
const Speed = 100

// Patience is how long a test waits for what must come: long enough for a machine that does much else.
const Patience = 90 * time.Second

// Config is what an installation may have of its own; the zero value is ready for use.
type Config struct {
	NATS      string            // URL of the server; "" = one that ends with the test
	Clock     *consumer.Clock   // nil = one that runs Speed times as fast as the wall's
	Simulator wxpaytest.Options // its clock is the workers', its books are open
}

// Bench is one installation for one test.
type Bench struct {
	T        *testing.T
	URL      string // of the NATS server
	NC       *nats.Conn
	JS       jetstream.JetStream
	Subjects messages.Subjects
	Sim      *wxpaytest.Server
	Clock    *consumer.Clock
	Letters  *dlq.Queue
	Creds    map[string]*wxpaytest.Credentials // of each merchant
	Timeout  time.Duration                     // for which the clients of workers yet to be started wait for an answer

	workers []*Worker // that were started

	mu     sync.Mutex
	events []Event       // guarded by mu
	acks   []string      // guarded by mu
	news   chan struct{} // closed and replaced at each event and acknowledgement; guarded by mu
}

// Event is an outcome as a subscriber sees it.
type Event struct {
	Subject string
	Header  nats.Header
	*messages.Outcome
}

// New sets an installation up, with the merchant MchID.
func New(t *testing.T, c Config) *Bench {
	t.Helper()
	if c.NATS == "" {
		c.NATS = natstest.Start(t).URL()
	}
	if c.Clock == nil {
		c.Clock = consumer.FastClock(Speed)
	}
	b := &Bench{T: t, URL: c.NATS, Clock: c.Clock, Timeout: Patience, news: make(chan struct{}), Creds: map[string]*wxpaytest.Credentials{}}
	b.NC = must(nats.Connect(b.URL, nats.MaxReconnects(-1), nats.Name(t.Name())))
	t.Cleanup(b.NC.Close)
	b.JS = must(jetstream.New(b.NC))
	b.Subjects = must(messages.NewSubjects("wxpay"))
	b.Letters = must(dlq.New(b.NC, b.Subjects))
	c.Simulator.Now, c.Simulator.OpenBooks = b.Clock.Now, true
	b.Sim = wxpaytest.New(t, c.Simulator)
	b.Merchant(MchID)
	check(t, consumer.EnsureStreams(t.Context(), b.NC, consumer.Streams{Subjects: b.Subjects, Replicas: 1, MaxWaiting: 1000, OutcomesMaxAge: time.Hour}))
	b.listen()
	return b
}

// Merchant adds one more merchant, for workers that are started after this.
func (b *Bench) Merchant(mchid string) {
	b.Creds[mchid] = b.Sim.AddMerchant(wxpaytest.Merchant{MchID: mchid, Balance: -1})
}

// Fault is for faults after which workers start: their clients do not wait for long if there is no answer.
func (b *Bench) Fault(f wxpaytest.Fault) {
	if f.Answer == wxpaytest.AnswerSlow {
		b.Timeout = time.Second
	}
	b.Sim.Fault(f)
}

func (b *Bench) listen() {
	// From the stream, not from the subject: a subscriber of the subject also sees the records that the stream refuses.
	outcomes := must(b.JS.OrderedConsumer(b.T.Context(), b.Subjects.OutcomesStream(), jetstream.OrderedConsumerConfig{}))
	consuming := must(outcomes.Consume(func(m jetstream.Msg) {
		o, err := messages.DecodeOutcome(m.Data())
		if err != nil {
			b.T.Errorf("outcome on %s: %v", m.Subject(), err)
			return
		}
		b.tell(func() { b.events = append(b.events, Event{m.Subject(), m.Headers(), o}) })
	}))
	b.T.Cleanup(func() { consuming.Stop(); <-consuming.Closed() })
	acks := must(b.NC.Subscribe("$JS.ACK."+b.Subjects.CommandsStream()+".>", func(m *nats.Msg) {
		b.tell(func() { b.acks = append(b.acks, string(m.Data)) })
	}))
	check(b.T, errors.Join(acks.SetPendingLimits(-1, -1), b.NC.Flush()))
}

func (b *Bench) tell(news func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	news()
	close(b.news)
	b.news = make(chan struct{})
}

// Events returns every outcome so far, in order.
func (b *Bench) Events() []Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.events)
}

// Acks returns every acknowledgement of a command that the server has seen so far, in order.
func (b *Bench) Acks() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.acks)
}

// ForgetEvents is for a test that has taken the outcomes so far from the stream.
func (b *Bench) ForgetEvents() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = nil
}

// Publish puts a command of MchID on its subject, with headers in pairs, and returns its sequence.
func (b *Bench) Publish(kind messages.Kind, body string, header ...string) uint64 {
	b.T.Helper()
	return b.PublishFor(MchID, kind, body, header...)
}

// PublishFor is Publish for another merchant.
func (b *Bench) PublishFor(mchid string, kind messages.Kind, body string, header ...string) uint64 {
	b.T.Helper()
	msg := nats.NewMsg(b.Subjects.Command(mchid, kind))
	msg.Data = []byte(body)
	for i := 0; i < len(header); i += 2 {
		msg.Header.Set(header[i], header[i+1])
	}
	return must(b.JS.PublishMsg(b.T.Context(), msg)).Sequence
}

// Await returns the first event that fits, waiting for it if need be.
func (b *Bench) Await(what string, fits func(Event) bool) (found Event) {
	b.T.Helper()
	b.Until(what, func() bool {
		events := b.Events()
		i := slices.IndexFunc(events, fits)
		if i >= 0 {
			found = events[i]
		}
		return i >= 0
	})
	return found
}

// Until waits until Events and Acks are enough.
func (b *Bench) Until(what string, enough func() bool) {
	b.T.Helper()
	limit := time.After(Patience)
	for {
		b.mu.Lock()
		news := b.news // of what comes after what is looked at
		b.mu.Unlock()
		if enough() {
			return
		}
		select {
		case <-news:
		case <-limit:
			b.T.Fatalf("never seen: %s; events:\n%slanes:\n%s", what, b.History(), b.standing())
		}
	}
}

// End returns the key's first final event; for refunds, `accepted` too.
func (b *Bench) End(kind messages.Kind, key string) Event {
	b.T.Helper()
	return b.Await(string(kind)+" "+key, func(e Event) bool {
		return e.Kind == kind && e.Key == key && (e.Final || e.Status == messages.StatusAccepted)
	})
}

// Statuses returns the statuses of a key's events, in order.
func (b *Bench) Statuses(kind messages.Kind, key string) (got []messages.Status) {
	for _, e := range b.Events() {
		if e.Kind == kind && e.Key == key {
			got = append(got, e.Status)
		}
	}
	return got
}

// Operates returns the operate_type of the history of the complaint ComplaintID that the merchant brought about, in order.
func (b *Bench) Operates() (got []string) {
	book, ok := b.Sim.ComplaintBook(ComplaintID)
	if !ok {
		return nil
	}
	for _, h := range book.History {
		if h.OperateType != "USER_CREATE_COMPLAINT" {
			got = append(got, h.OperateType)
		}
	}
	return got
}

// Settled waits until no command is left, and then checks what must hold after any story: the simulator's books, no request
// that a correct client does not send, and for every key one end, which a dead letter shares exactly when it is `failed`.
func (b *Bench) Settled() {
	b.T.Helper()
	b.Drained()
	if err := b.Sim.CheckBooks(); err != nil {
		b.T.Errorf("books: %v", err)
	}
	for _, v := range b.Sim.Violations() {
		b.T.Errorf("violation: %s", v)
	}
	ends := map[string][]string{}
	for _, e := range b.Events() {
		if e.Final || e.Status == messages.StatusAccepted {
			key := e.MchID + "/" + string(e.Kind) + "/" + e.Key
			ends[key] = append(ends[key], string(e.Status))
			if e.Status == messages.StatusFailed {
				if letter, err := b.Letters.Get(b.T.Context(), e.DeadLetter); err != nil {
					b.T.Errorf("%s failed with dead letter %d: %v", key, e.DeadLetter, err)
				} else if letter.Key != e.Key && letter.Step != string(e.Kind) && !ended(letter, e.Key) {
					b.T.Errorf("%s failed with the dead letter of %s", key, letter.Key)
				}
			}
		}
	}
	for key, got := range ends {
		finals := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return s == "accepted" })
		if len(got)-len(finals) > 1 || len(finals) > 1 && !slices.Equal(finals, []string{"abnormal", "succeeded"}) {
			b.T.Errorf("%s ended %d times: %v", key, len(got), got)
		}
	}
	if b.T.Failed() {
		b.T.Logf("events:\n%s", b.History())
	}
}

// ended reports whether the letter, which does not stand under its command's own key, is of a command that had begun under that key, itself or
// its reply.
func ended(letter *dlq.Letter, key string) bool {
	return letter.Key == messages.SeqKey(letter.StreamSeq) && (key == letter.CommandID || key == letter.CommandID+":reply")
}

// Drained waits until the commands stream is empty. A work queue shows when that is so only when it is asked: the
// acknowledgements on the wire say when to ask again.
func (b *Bench) Drained() {
	b.T.Helper()
	acks := must(b.NC.SubscribeSync("$JS.ACK." + b.Subjects.CommandsStream() + ".>"))
	defer func() { check(b.T, acks.Unsubscribe()) }()
	limit := time.Now().Add(Patience)
	for {
		stream := must(b.JS.Stream(b.T.Context(), b.Subjects.CommandsStream()))
		if stream.CachedInfo().State.Msgs == 0 {
			return
		}
		if time.Now().After(limit) {
			b.T.Fatalf("%d commands left; events:\n%s", stream.CachedInfo().State.Msgs, b.History())
		}
		_, _ = acks.NextMsg(50 * time.Millisecond) // an acknowledgement, or time to look again
	}
}

// AwaitAck waits until the server has seen one more acknowledgement of any kind.
func (b *Bench) AwaitAck() {
	b.T.Helper()
	sub := must(b.NC.SubscribeSync("$JS.ACK." + b.Subjects.CommandsStream() + ".>"))
	defer func() { check(b.T, sub.Unsubscribe()) }()
	if _, err := sub.NextMsg(Patience); err != nil {
		b.T.Fatalf("no acknowledgement: %v", err)
	}
}

// History is every outcome so far, for the text of a failure.
func (b *Bench) History() string {
	var s strings.Builder
	for _, e := range b.Events() {
		fmt.Fprintf(&s, "  %s %+v\n", e.Subject, e.Outcome)
	}
	return s.String()
}

// standing tells how the lanes stand, at the server and in the workers, and what the workers are doing: for who must find out why
// something never came.
func (b *Bench) standing() string {
	var s strings.Builder
	for _, stream := range []string{b.Subjects.CommandsStream(), b.Subjects.SettlementsStream()} {
		have, err := b.JS.Stream(b.T.Context(), stream)
		if err != nil {
			fmt.Fprintf(&s, "  %s: %v\n", stream, err)
			continue
		}
		list := have.ListConsumers(b.T.Context())
		for info := range list.Info() {
			fmt.Fprintf(&s, "  %s: delivered %+v, %d unacknowledged, %d redelivered, %d to come, %d pulls, paused %v, pins %+v, metadata %v\n", info.Name,
				info.Delivered, info.NumAckPending, info.NumRedelivered, info.NumPending, info.NumWaiting, info.Paused, info.PriorityGroups, info.Config.Metadata)
		}
	}
	for _, w := range b.workers {
		fmt.Fprintf(&s, "  worker, NATS %s: %+v\n", w.NC.Status(), w.Consumer.Status())
	}
	stacks := make([]byte, 8<<20)
	for _, stack := range strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(stack, "/consumer.(*lane)") || strings.Contains(stack, "/consumer.(*queue).run(") { // of all tests that run just now
			s.WriteString(stack + "\n\n")
		}
	}
	return s.String()
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
