package consumer_test

import (
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sirupsen/logrus"

	"wxpay-worker/consumer"
	"wxpay-worker/dlq"
	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
	"wxpay-worker/wxpay/wxpaytest"
)

func TestMain(m *testing.M) {
	natstest.Crowd(24)
	os.Exit(m.Run())
}

const mchid = "1900000001"

// speed is how much faster than the wall the worker's and the simulator's clock run: the rule of 60 seconds takes 0.6 s.
const speed = 100

// bench is one installation for one test: a real NATS server, the simulator over TLS, and as many workers as are started.
type bench struct {
	t        *testing.T
	url      string // of the NATS server
	nc       *nats.Conn
	js       jetstream.JetStream
	subjects messages.Subjects
	sim      *wxpaytest.Server
	clock    *consumer.Clock
	letters  *dlq.Queue
	creds    map[string]*wxpaytest.Credentials
	workers  []*worker     // that were started
	timeout  time.Duration // for which clients wait for an answer

	mu     sync.Mutex
	events []event       // every outcome, in order; guarded by mu
	acks   []string      // every acknowledgement the server saw, in order; guarded by mu
	news   chan struct{} // closed and replaced at each event and acknowledgement; guarded by mu
}

// event is an outcome as a subscriber sees it.
type event struct {
	subject string
	header  nats.Header
	*messages.Outcome
}

func setup(t *testing.T) *bench {
	t.Helper()
	return setupWith(t, wxpaytest.Options{})
}

// setupWith is setup with another simulator; its clock is the worker's, its books are open.
func setupWith(t *testing.T, sim wxpaytest.Options) *bench {
	t.Helper()
	return setupAt(t, consumer.FastClock(speed), sim)
}

// setupAt is setupWith by another clock.
func setupAt(t *testing.T, clock *consumer.Clock, sim wxpaytest.Options) *bench {
	t.Helper()
	return setupOn(t, natstest.Start(t).URL(), clock, sim)
}

// setupOn is setupAt at another NATS server.
func setupOn(t *testing.T, url string, clock *consumer.Clock, sim wxpaytest.Options) *bench {
	t.Helper()
	b := &bench{t: t, url: url, clock: clock, timeout: patience, news: make(chan struct{}), creds: map[string]*wxpaytest.Credentials{}}
	b.nc = must(nats.Connect(url, nats.MaxReconnects(-1), nats.Name(t.Name())))
	t.Cleanup(b.nc.Close)
	b.js = must(jetstream.New(b.nc))
	b.subjects = must(messages.NewSubjects("wxpay"))
	b.letters = must(dlq.New(b.nc, b.subjects))
	sim.Now, sim.OpenBooks = b.clock.Now, true
	b.sim = wxpaytest.New(t, sim)
	b.merchant(mchid)
	check(t, consumer.EnsureStreams(t.Context(), b.nc, consumer.Streams{Subjects: b.subjects, Replicas: 1, MaxWaiting: 1000, OutcomesMaxAge: time.Hour}))
	b.listen()
	return b
}

func (b *bench) merchant(mchid string) {
	b.creds[mchid] = b.sim.AddMerchant(wxpaytest.Merchant{MchID: mchid, Balance: -1})
}

// fault is for faults after which workers start: their clients do not wait for long if there is no answer.
func (b *bench) fault(f wxpaytest.Fault) {
	if f.Answer == wxpaytest.AnswerSlow {
		b.timeout = time.Second
	}
	b.sim.Fault(f)
}

func (b *bench) listen() {
	// From the stream, not from the subject: a subscriber of the subject also sees the records that the stream refuses.
	outcomes := must(b.js.OrderedConsumer(b.t.Context(), b.subjects.OutcomesStream(), jetstream.OrderedConsumerConfig{}))
	consuming := must(outcomes.Consume(func(m jetstream.Msg) {
		o, err := messages.DecodeOutcome(m.Data())
		if err != nil {
			b.t.Errorf("outcome on %s: %v", m.Subject(), err)
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.events = append(b.events, event{m.Subject(), m.Headers(), o})
		close(b.news)
		b.news = make(chan struct{})
	}))
	b.t.Cleanup(func() { consuming.Stop(); <-consuming.Closed() })
	acks := must(b.nc.Subscribe("$JS.ACK."+b.subjects.CommandsStream()+".>", func(m *nats.Msg) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.acks = append(b.acks, string(m.Data))
		close(b.news)
		b.news = make(chan struct{})
	}))
	check(b.t, errors.Join(acks.SetPendingLimits(-1, -1), b.nc.Flush()))
}

// worker is a running consumer.
type worker struct {
	nc       *nats.Conn
	consumer *consumer.Consumer
	cancel   context.CancelFunc
	lostWire chan struct{} // of startThrough: one value when the wire was cut
	ended    chan error
}

type option func(*consumer.Options)

// start runs a worker until the test ends, or until it is stopped or killed.
func (b *bench) start(options ...option) *worker {
	b.t.Helper()
	nc := must(nats.Connect(b.url, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond)))
	log := logrus.New()
	log.SetOutput(testWriter{b.t})
	log.SetLevel(logrus.DebugLevel)
	o := consumer.Options{
		Conn: nc, Subjects: b.subjects, DeadLetters: must(dlq.New(nc, b.subjects)), Log: log, Clock: b.clock,
		Concurrency: 16, AckWait: ackWait, PinnedTTL: minPinnedTTL, Drain: 5 * time.Second,
		Retry:      consumer.Retry{Initial: 2 * time.Second, Multiplier: 2, Max: time.Hour, Jitter: 0.2, MaxAttempts: 25, MaxAge: 72 * time.Hour},
		Settlement: consumer.Settlement{First: time.Minute, Max: 6 * time.Hour, GiveUp: 360 * time.Hour},
	}
	for _, id := range slices.Sorted(maps.Keys(b.creds)) {
		client := b.client(id)
		o.Merchants = append(o.Merchants, consumer.Merchant{MchID: id, Refunds: client, Complaints: client})
	}
	for _, option := range options {
		option(&o)
	}
	c := must(consumer.New(o))
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{nc: nc, consumer: c, cancel: cancel, ended: make(chan error, 1)}
	b.workers = append(b.workers, w)
	go func() { w.ended <- c.Run(ctx) }()
	b.t.Cleanup(func() { w.stop(); nc.Close() })
	return w
}

// stop ends the worker as SIGTERM does, and waits for it.
func (w *worker) stop() error {
	w.cancel()
	err := <-w.ended
	w.ended <- nil // stop may be called again
	return err
}

// kill takes the worker's connection away, so that nothing it does from now on is heard, and abandons it.
func (w *worker) kill() {
	w.nc.Close()
	w.cancel()
}

func (b *bench) client(mchid string) *wxpay.Client {
	return b.clientBy(mchid, b.creds[mchid].PrivateKey)
}

// clientBy is a client with another signer.
func (b *bench) clientBy(mchid string, signer crypto.Signer) *wxpay.Client {
	creds := b.creds[mchid]
	keys := must(wxpay.NewKeySet(creds.PublicKeyID, map[string]*rsa.PublicKey{creds.PublicKeyID: creds.PublicKey}))
	transport := wxpay.NewTransport(wxpay.TransportConfig{RootCAs: b.sim.CertPool(), ConnectTimeout: patience})
	b.t.Cleanup(transport.CloseIdleConnections)
	return must(wxpay.New(wxpay.Config{
		MchID: mchid, SerialNo: creds.SerialNo, Signer: signer, Keys: keys,
		Hosts: []string{b.sim.URL(), b.sim.BackupURL()}, Transport: transport, Timeout: b.timeout, Now: b.clock.Now,
	}))
}

// publish puts a command on its subject and returns its sequence.
func (b *bench) publish(kind messages.Kind, body string, header ...string) uint64 {
	b.t.Helper()
	return b.publishFor(mchid, kind, body, header...)
}

func (b *bench) publishFor(mchid string, kind messages.Kind, body string, header ...string) uint64 {
	b.t.Helper()
	msg := nats.NewMsg(b.subjects.Command(mchid, kind))
	msg.Data = []byte(body)
	for i := 0; i < len(header); i += 2 {
		msg.Header.Set(header[i], header[i+1])
	}
	return must(b.js.PublishMsg(b.t.Context(), msg)).Sequence
}

// await returns the first event that fits, waiting for it if need be.
func (b *bench) await(what string, fits func(event) bool) (found event) {
	b.t.Helper()
	b.until(what, func() bool {
		i := slices.IndexFunc(b.events, fits)
		if i >= 0 {
			found = b.events[i]
		}
		return i >= 0
	})
	return found
}

// until waits until what was seen is enough; it is called with b.mu held.
func (b *bench) until(what string, enough func() bool) {
	b.t.Helper()
	limit := time.After(patience)
	for {
		b.mu.Lock()
		news, done := b.news, enough()
		b.mu.Unlock()
		if done {
			return
		}
		select {
		case <-news:
		case <-limit:
			b.t.Fatalf("never seen: %s; events:\n%slanes:\n%s", what, b.history(), b.standing())
		}
	}
}

// standing tells how the lanes stand, at the server and in the workers, and what the workers are doing: for who must find out why
// something never came.
func (b *bench) standing() string {
	var s strings.Builder
	for _, stream := range []string{b.subjects.CommandsStream(), b.subjects.SettlementsStream()} {
		have, err := b.js.Stream(b.t.Context(), stream)
		if err != nil {
			fmt.Fprintf(&s, "  %s: %v\n", stream, err)
			continue
		}
		list := have.ListConsumers(b.t.Context())
		for info := range list.Info() {
			fmt.Fprintf(&s, "  %s: delivered %+v, %d unacknowledged, %d redelivered, %d to come, %d pulls, paused %v, pins %+v, metadata %v\n", info.Name,
				info.Delivered, info.NumAckPending, info.NumRedelivered, info.NumPending, info.NumWaiting, info.Paused, info.PriorityGroups, info.Config.Metadata)
		}
	}
	for _, w := range b.workers {
		fmt.Fprintf(&s, "  worker, NATS %s: %+v\n", w.nc.Status(), w.consumer.Status())
	}
	stacks := make([]byte, 8<<20)
	for _, stack := range strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(stack, "/consumer.(*lane)") || strings.Contains(stack, "/consumer.(*queue).run(") { // of all tests that run just now
			s.WriteString(stack + "\n\n")
		}
	}
	return s.String()
}

// end returns the key's first final event; for refunds, `accepted` too.
func (b *bench) end(kind messages.Kind, key string) event {
	b.t.Helper()
	return b.await(string(kind)+" "+key, func(e event) bool {
		return e.Kind == kind && e.Key == key && (e.Final || e.Status == messages.StatusAccepted)
	})
}

func (b *bench) history() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var s strings.Builder
	for _, e := range b.events {
		fmt.Fprintf(&s, "  %s %+v\n", e.subject, e.Outcome)
	}
	return s.String()
}

// statuses returns the statuses of a key's events, in order.
func (b *bench) statuses(kind messages.Kind, key string) (got []messages.Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if e.Kind == kind && e.Key == key {
			got = append(got, e.Status)
		}
	}
	return got
}

// settled waits until no command is left, and then checks what must hold after any story: the simulator's books, no request
// that a correct client does not send, and for every key one end, which a dead letter shares exactly when it is `failed`.
func (b *bench) settled() {
	b.t.Helper()
	b.drainedCommands()
	if err := b.sim.CheckBooks(); err != nil {
		b.t.Errorf("books: %v", err)
	}
	for _, v := range b.sim.Violations() {
		b.t.Errorf("violation: %s", v)
	}
	ends := map[string][]string{}
	b.mu.Lock()
	for _, e := range b.events {
		if e.Final || e.Status == messages.StatusAccepted {
			key := e.MchID + "/" + string(e.Kind) + "/" + e.Key
			ends[key] = append(ends[key], string(e.Status))
			if e.Status == messages.StatusFailed {
				if letter, err := b.letters.Get(b.t.Context(), e.DeadLetter); err != nil {
					b.t.Errorf("%s failed with dead letter %d: %v", key, e.DeadLetter, err)
				} else if letter.Key != e.Key && letter.Step != string(e.Kind) {
					b.t.Errorf("%s failed with the dead letter of %s", key, letter.Key)
				}
			}
		}
	}
	b.mu.Unlock()
	for key, got := range ends {
		finals := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return s == "accepted" })
		if len(got)-len(finals) > 1 || len(finals) > 1 && !slices.Equal(finals, []string{"abnormal", "succeeded"}) {
			b.t.Errorf("%s ended %d times: %v", key, len(got), got)
		}
	}
	if b.t.Failed() {
		b.t.Logf("events:\n%s", b.history())
	}
}

// drainedCommands waits until the commands stream is empty. A work queue shows when that is so only when it is asked: the
// acknowledgements on the wire say when to ask again.
func (b *bench) drainedCommands() {
	b.t.Helper()
	acks := must(b.nc.SubscribeSync("$JS.ACK." + b.subjects.CommandsStream() + ".>"))
	defer func() { check(b.t, acks.Unsubscribe()) }()
	limit := time.Now().Add(patience)
	for {
		stream := must(b.js.Stream(b.t.Context(), b.subjects.CommandsStream()))
		if stream.CachedInfo().State.Msgs == 0 {
			return
		}
		if time.Now().After(limit) {
			b.t.Fatalf("%d commands left; events:\n%s", stream.CachedInfo().State.Msgs, b.history())
		}
		_, _ = acks.NextMsg(50 * time.Millisecond) // an acknowledgement, or time to look again
	}
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

// testWriter shows a worker's log with the test that it belongs to.
type testWriter struct{ t *testing.T }

var _ io.Writer = testWriter{}

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// awaitAck waits until the server has seen one more acknowledgement of any kind.
func (b *bench) awaitAck() {
	b.t.Helper()
	sub := must(b.nc.SubscribeSync("$JS.ACK." + b.subjects.CommandsStream() + ".>"))
	defer func() { check(b.t, sub.Unsubscribe()) }()
	if _, err := sub.NextMsg(patience); err != nil {
		b.t.Fatalf("no acknowledgement: %v", err)
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

// patience is how long a test waits for what must come: long enough for a machine that does much else.
const patience = 90 * time.Second

// ackWait is short enough for a test to wait for what a dead worker had, and long enough for a step on a machine that does much else.
const ackWait = 5 * time.Minute

// minPinnedTTL is the same for a pin.
const minPinnedTTL = 2 * time.Second

func quiet() logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}
