package chaos

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// site is one installation: NATS nodes and workers as processes, the simulator over TLS in this one, and a wire between each
// worker and each node.
type site struct {
	dir      string
	began    time.Time
	programs programs
	sim      *wxpaytest.Server
	skew     atomic.Int64 // of the simulator's clock, in nanoseconds
	creds    []*wxpaytest.Credentials
	nodes    []*node
	workers  []*worker
	nc       *nats.Conn // ours, without a wire
	js       jetstream.JetStream
	subjects messages.Subjects
	log      func(format string, args ...any)

	mu     sync.Mutex
	counts map[string]int // what was done to the site; guarded by mu
	thaws  []time.Time    // when stopped workers were let go on; guarded by mu
	kills  []time.Time    // when NATS nodes were killed; guarded by mu
}

const (
	merchants   = 10
	v2Merchants = 3 // the last of them refund by API v2
	workers     = 3

	// The times of the workers' configuration: short, so that a lane changes hands and a lease ends within a test. The rules of
	// WeChat Pay's, such as the minute between two submissions of a refund, are what they are.
	ackWait        = 8 * time.Second
	upgradedWait   = 9 * time.Second
	wechatTimeout  = 2 * time.Second
	refundQuota    = 40  // per second and merchant: what a merchant that is drowned runs into
	complaintQuota = 60  // per minute
	queryQuota     = 300 // per second
)

func mchid(i int) string { return fmt.Sprintf("19000000%02d", i+1) }

// isV2 reports whether the merchant refunds by API v2.
func isV2(i int) bool { return i >= merchants-v2Merchants }

// isProvider reports whether the merchant is a service provider, which refunds for its two sub-merchants: one by v3, one by v2.
func isProvider(i int) bool { return i == 1 || i == merchants-1 }

// subMchID is one of a provider's two.
func subMchID(i, which int) string { return fmt.Sprintf("19100000%02d", 2*i+which) }

// newSite starts everything and returns when the streams are there.
func newSite(t *testing.T, r *rand.Rand, nodes int) *site {
	t.Helper()
	p, err := build()
	check(t, err)
	s := &site{dir: t.TempDir(), began: time.Now(), programs: p, counts: map[string]int{}, log: t.Logf}
	s.subjects, err = messages.NewSubjects("wxpay")
	check(t, err)
	s.startSimulator(t, r)
	s.nodes, err = newNodes(s.dir, p.nats, nodes)
	check(t, err)
	for _, n := range s.nodes {
		check(t, n.start())
		t.Cleanup(n.kill)
	}
	s.connect(t)
	for _, version := range []string{"a", "b"} {
		check(t, s.configure(version))
	}
	for i := range workers {
		w, err := s.newWorker(fmt.Sprintf("w%d", i+1))
		check(t, err)
		t.Cleanup(w.remove)
		check(t, w.start())
	}
	s.awaitStreams(t)
	return s
}

// startSimulator starts WeChat Pay with a clock that may be wrong. The zone of its times is how wrong: nothing else sees it.
func (s *site) startSimulator(t *testing.T, r *rand.Rand) {
	now := func() time.Time {
		skew := time.Duration(s.skew.Load())
		return time.Now().UTC().Add(skew).In(time.FixedZone("", int(skew/time.Second)))
	}
	primary, err := natstest.Address()
	check(t, err)
	backup, err := natstest.Address()
	check(t, err)
	// A new refund is not seen by queries at once, and the bank settles it later.
	s.sim, err = wxpaytest.Start(wxpaytest.Options{
		Now: now, Listen: primary, ListenBackup: backup, QueryLag: 2 * time.Second, KeepRequests: 1_000_000,
	})
	check(t, err)
	t.Cleanup(s.sim.Close)
	for i := range merchants {
		m := wxpaytest.Merchant{MchID: mchid(i)}
		if isProvider(i) {
			m.Provider, m.SubMchIDs = true, []string{subMchID(i, 0), subMchID(i, 1)}
		}
		s.creds = append(s.creds, s.sim.AddMerchant(m))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.bank(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

// trueTime is when something happened that the simulator dated.
func trueTime(at time.Time) time.Time {
	_, skew := at.Zone()
	return at.Add(-time.Duration(skew) * time.Second)
}

// bank ends refunds some time after they were accepted: one in twenty is closed, one in twenty is abnormal for a while.
func (s *site) bank(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		for _, r := range s.sim.Refunds() {
			h := fnv.New32a()
			h.Write([]byte(r.OutRefundNo))
			age := time.Since(trueTime(r.CreatedAt))
			var next string
			switch lot := h.Sum32() % 20; {
			case r.Status == "ABNORMAL" && age > 8*time.Second:
				next = "SUCCESS"
			case r.Status != "PROCESSING" || age < 2*time.Second:
			case lot == 0:
				next = "CLOSED"
			case lot == 1:
				next = "ABNORMAL"
			default:
				next = "SUCCESS"
			}
			if next != "" {
				if err := s.sim.Settle(r.MchID, r.OutRefundNo, next); err != nil {
					s.log("bank: %v", err)
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (s *site) connect(t *testing.T) {
	var urls []string
	for _, n := range s.nodes {
		urls = append(urls, "nats://"+n.address)
	}
	nc, err := nats.Connect(strings.Join(urls, ","), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // lost connections are what it is about
	check(t, err)
	t.Cleanup(nc.Close)
	s.nc = nc
	s.js, err = jetstream.New(nc)
	check(t, err)
}

// awaitStreams waits until the workers have made their streams.
func (s *site) awaitStreams(t *testing.T) {
	t.Helper()
	check(t, eventually(t.Context(), patience, func(ctx context.Context) error {
		for _, name := range []string{s.subjects.CommandsStream(), s.subjects.OutcomesStream(), s.subjects.DeadLettersStream(), s.subjects.SettlementsStream()} {
			if _, err := s.js.Stream(ctx, name); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	}))
}

// configure writes a version of the workers' configuration. Version b is what a team might roll out: other concurrency, longer
// leases and pins.
func (s *site) configure(version string) error {
	concurrency, wait, pin, first := 16, ackWait, 2*time.Second, time.Second
	if version == "b" {
		concurrency, wait, pin, first = 32, upgradedWait, 3*time.Second, 1500*time.Millisecond
	}
	var y strings.Builder
	fmt.Fprintf(&y, "nats: {prefix: wxpay, replicas: %d}\n", len(s.nodes))
	fmt.Fprintf(&y, "wechatpay: {hosts: [%q, %q], ca_file: ca.pem, timeout: %s, connect_timeout: 1s}\n", s.sim.URL(), s.sim.BackupURL(), wechatTimeout)
	fmt.Fprintf(&y, "consumer: {concurrency: %d, ack_wait: %s, pinned_ttl: %s, drain: 10s}\n", concurrency, wait, pin)
	// No command of ours gives up: a good one that does not succeed is a defect.
	fmt.Fprintf(&y, "retry: {initial: 200ms, max: 4s, max_attempts: 1000}\nsettlement: {first: %s, max: 3s}\n", first)
	fmt.Fprintf(&y, "http: {listen: \"\"}\nlog: {level: debug, format: text}\nmerchants:\n")
	files := map[string][]byte{"ca.pem": s.sim.CAPEM()}
	for i, c := range s.creds {
		files[c.MchID+"_key.pem"], files[c.MchID+"_cert.pem"], files[c.MchID+"_pub.pem"] = c.PrivateKeyPEM(), c.CertificatePEM, c.PublicKeyPEM()
		fmt.Fprintf(&y, "  - mchid: %[1]q\n    serial_no: %[2]q\n    private_key_file: %[1]s_key.pem\n    public_keys: [{id: %[3]s, file: %[1]s_pub.pem}]\n",
			c.MchID, c.SerialNo, c.PublicKeyID)
		fmt.Fprintf(&y, "    quota: {refunds: %d/s, complaints: %d/m, queries: %d/s}\n", refundQuota, complaintQuota, queryQuota)
		if isProvider(i) {
			fmt.Fprintf(&y, "    sub_merchants: true\n")
		}
		if isV2(i) {
			files[c.MchID+"_v2.key"] = []byte(c.APIv2Key)
			fmt.Fprintf(&y, "    refund_api: v2\n    v2: {appid: %[2]s, api_key_file: %[1]s_v2.key, client_cert_file: %[1]s_cert.pem, client_key_file: %[1]s_key.pem}\n",
				c.MchID, c.AppID)
		}
	}
	files["worker-"+version+".yaml"] = []byte(y.String())
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// did counts something that was done to the site, and logs it with its time.
func (s *site) did(what, format string, args ...any) {
	s.mu.Lock()
	s.counts[what]++
	s.mu.Unlock()
	s.log("%6.2fs %s %s", time.Since(s.began).Seconds(), what, fmt.Sprintf(format, args...))
}

// worker is one place in the fleet: a process, then another, on the same wires.
type worker struct {
	site  *site
	name  string
	wires []*wire

	mu      sync.Mutex
	version string   // of the configuration; guarded by mu
	process *process // nil: not running; guarded by mu
}

func (s *site) newWorker(name string) (*worker, error) {
	w := &worker{site: s, name: name, version: "a"}
	for _, n := range s.nodes {
		wire, err := newWire(n.address)
		if err != nil {
			return nil, err
		}
		w.wires = append(w.wires, wire)
	}
	s.workers = append(s.workers, w)
	return w, nil
}

func (w *worker) log() string { return filepath.Join(w.site.dir, w.name+".log") }

// start runs the worker, if it is not running.
func (w *worker) start() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.process != nil {
		return nil
	}
	var urls []string
	for _, wire := range w.wires {
		urls = append(urls, wire.url())
	}
	p, err := launch(w.log(), w.site.programs.worker, []string{"WXPAY_NATS_URL=" + strings.Join(urls, ",")},
		"run", "--config", filepath.Join(w.site.dir, "worker-"+w.version+".yaml"))
	w.process = p
	return err
}

// kill is kill -9.
func (w *worker) kill() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.process != nil {
		w.process.kill()
		w.process = nil
	}
}

// freeze stops the process in the middle of whatever it does; the returned function lets it go on, if it is still there.
func (w *worker) freeze() (thaw func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.process
	if p == nil {
		return func() {}
	}
	p.signal(syscall.SIGSTOP)
	return func() {
		w.site.mu.Lock()
		defer w.site.mu.Unlock()
		p.signal(syscall.SIGCONT)
		w.site.thaws = append(w.site.thaws, time.Now())
	}
}

var errStillThere = errors.New("the worker has not ended although it was told to")

// replace ends the worker as SIGTERM does and starts another one with that version of the configuration.
func (w *worker) replace(version string) error {
	w.mu.Lock()
	p := w.process
	w.process, w.version = nil, version
	w.mu.Unlock()
	if p != nil {
		p.signal(syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(patience):
			p.kill()
			return errStillThere
		}
		if code := p.state.ExitCode(); code > 0 { // below 0: killed meanwhile
			return fmt.Errorf("worker %s ended with exit code %d: %s", w.name, code, w.lastWords())
		}
	}
	return w.start()
}

// lastWords is the end of the worker's log.
func (w *worker) lastWords() string {
	log, err := os.ReadFile(w.log())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(log), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

func (w *worker) remove() {
	w.kill()
	for _, wire := range w.wires {
		_ = wire.close()
	}
}

// patience is how long the suite waits for what must come.
const patience = 4 * time.Minute

// eventually asks again and again, since nothing tells, until ask has no error, for as long as limit.
func eventually(ctx context.Context, limit time.Duration, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		each, done := context.WithTimeout(ctx, 5*time.Second)
		err := ask(each)
		done()
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil { // once time is up every question fails for that
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
