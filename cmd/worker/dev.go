package main

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/sirupsen/logrus"

	"wxpay-worker/consumer"
	"wxpay-worker/internal/natsembed"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

type devCmd struct {
	Listen       string `default:"127.0.0.1:4222" placeholder:"HOST:PORT" help:"Where the NATS server listens; port 0 takes a free one (${default})."`
	Feed         string `placeholder:"FILE" help:"Publish this JSONL file of {\"kind\",\"mchid\",\"command\"} instead of the built-in examples."`
	ExitWhenDone bool   `help:"End when all of them have their outcome; exit 1 if any failed unexpectedly."`
	output
}

// Run runs everything in this process, on a store that is gone afterwards, and shows what happens.
func (d *devCmd) Run(a *app) error {
	if a.config != "" || a.nats != "" {
		return usageError("expected neither --config nor --nats: a worker with a configuration of its own is `worker run`")
	}
	if !isHostPort(d.Listen) {
		return usageError("--listen: expected HOST:PORT")
	}
	feed, err := readFeed(d.Feed)
	if err != nil {
		return err
	}
	s, err := startDev(a, d.Listen, feed.mchids())
	if err != nil {
		return unlessStopped(a.ctx, err)
	}
	defer s.Close()
	header := a.out
	if d.json() {
		header = a.err
	}
	fmt.Fprint(header, s.welcome(feed.mchids()[0]))

	watching, enough := context.WithCancelCause(a.ctx)
	defer enough(nil)
	stopped := make(chan error, 1)
	go func() { // ended by a signal, or by enough; awaited below
		err := s.worker.Run(watching)
		enough(err)
		stopped <- err
	}()
	show := &devShow{printer: printer{a.out, d.json()}, feed: feed, open: newExpectations()}
	err = show.run(watching, s.client, d.ExitWhenDone)
	enough(nil)
	err = errors.Join(<-stopped, err)
	if err == nil && d.ExitWhenDone {
		err = show.summary(a)
	}
	return err
}

// devStack is all that runs in `worker dev`.
type devStack struct {
	*client
	dir    string
	server *embedded
	sim    *wxpaytest.Server
	worker *consumer.Consumer
}

func startDev(a *app, listen string, mchids []string) (s *devStack, err error) {
	s, log, config := &devStack{}, quiet(a.err), defaultConfig()
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.dir, err = os.MkdirTemp("", "worker-dev-"); err != nil {
		return s, fmt.Errorf("make a folder for the store: %w", err)
	}
	// Not synced: nothing outlives this process. Not interrupted: its folder, which is empty, is removed only after it has ended.
	s.server, err = startEmbedded(context.WithoutCancel(a.ctx), natsembed.Options{Listen: listen, Dir: s.dir, NoSync: true}, log)
	if _, ok := errors.AsType[*natsembed.ListenError](err); ok {
		return s, fmt.Errorf("%w: choose another address with --listen HOST:PORT, such as --listen 127.0.0.1:0", err)
	}
	if err != nil {
		return s, err
	}
	if s.client, err = newClient(s.server.nc, config); err != nil {
		return s, err
	}
	if s.sim, err = wxpaytest.Start(wxpaytest.Options{OpenBooks: true, SettleAtOnce: true, KeepRequests: -1}); err != nil {
		return s, err
	}
	config.WechatPay.Hosts = []string{s.sim.URL(), s.sim.BackupURL()}
	config.Settlement.First = time.Second
	all := addMerchants(s.sim, mchids)
	merchants, err := newMerchants(config, simulated(all), s.sim.CertPool(), log)
	if err != nil {
		return s, err
	}
	// For the commands that need a merchant's keys; it goes with the store.
	written := simulateCmd{ConfigOut: s.configFile()}
	if err = written.writeConfigOf(s.sim, all, fmt.Sprintf("nats: {url: %q}\n", s.server.URL())); err != nil {
		return s, err
	}
	s.worker, err = newWorker(a.ctx, s.server.nc, config, merchants, devTrouble{log}, log)
	return s, err
}

// devTrouble tells of commands that met trouble and wait. Outcomes do not, and nobody reads a log here.
type devTrouble struct{ log logrus.FieldLogger }

func (devTrouble) Begin(ctx context.Context, _ consumer.Delivery) context.Context { return ctx }

func (t devTrouble) End(_ context.Context, d consumer.Delivery, r consumer.Result) {
	if r.Again && r.Err != nil && !d.Settlement {
		t.log.WithError(r.Err).Warnf("%s %s %s waits %s", d.MchID, d.Kind, r.Key, r.Delay.Round(time.Second))
	}
}

// Close ends what was started, last first.
func (s *devStack) Close() {
	if s.sim != nil {
		s.sim.Close()
	}
	if s.server != nil {
		s.server.Close()
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir) // in the system's temporary folder, which is cleaned anyway
	}
}

// configFile is a configuration for other commands, as long as this one runs.
func (s *devStack) configFile() string { return filepath.Join(s.dir, "worker.yaml") }

// simulated are the credentials of the simulator's merchants, as those of a configuration are read.
func simulated(merchants []*wxpaytest.Credentials) (all []credentials) {
	for _, c := range merchants {
		all = append(all, credentials{
			mchID: c.MchID, serialNo: c.SerialNo, signer: c.PrivateKey,
			publicKeyID: c.PublicKeyID, publicKeys: map[string]*rsa.PublicKey{c.PublicKeyID: c.PublicKey},
		})
	}
	return all
}

// welcome says what runs, and what to try next.
func (s *devStack) welcome(mchid string) string {
	url, self := s.server.URL(), selfCommand()
	return strings.NewReplacer("URL", url, "WORKER", self, "MCHID", mchid, "SIM1", s.sim.URL(), "SIM2", s.sim.BackupURL(),
		"CONFIG", s.configFile()).Replace(
		`NATS, a WeChat Pay simulator and the worker, all in this process. Nothing is kept when it ends.

  NATS        URL
  WeChat Pay  SIM1 and SIM2 (simulated)

Try next, in another terminal:

  WORKER send refund --nats URL --mchid MCHID --out-refund-no try-1 --out-trade-no order-1 --refund 100 --total 100 --wait
  WORKER send reply --nats URL --mchid MCHID --complaint-id 200000020261121000000000001 --complainted-mchid MCHID --content 您好 --wait
  WORKER show complaint --config CONFIG --mchid MCHID 200000020261121000000000001
  WORKER watch --nats URL --since 1h
  WORKER dlq list --nats URL
  nats --server URL pub wxpay.command.MCHID.refund '{"out_refund_no":"try-2","out_trade_no":"order-2","amount":{"refund":1,"total":100}}'

Outcomes:

`)
}

// selfCommand is what to type to start this program again.
func selfCommand() string {
	self, err := os.Executable()
	if err != nil {
		return "worker"
	}
	if found, err := exec.LookPath("worker"); err == nil && found == self {
		return "worker"
	}
	if strings.HasPrefix(self, filepath.Join(os.TempDir(), "go-build")) { // go run removes it at the end
		return "go run ./cmd/worker"
	}
	return self
}

// devShow publishes the feed and prints what becomes of everything.
type devShow struct {
	printer
	feed   *feed
	open   *expectations
	ends   int
	wrong  []string              // how those ended that should not have
	refund map[*command]*command // the refund inside a decision, by the decision
}

// run returns when ctx ends, or, if all that matters is the feed, when that has ended.
func (w *devShow) run(ctx context.Context, c *client, exitWhenDone bool) error {
	if err := w.publish(ctx, c); err != nil {
		return err
	}
	done := func() bool { return exitWhenDone && w.open.left() == 0 }
	if done() {
		return nil
	}
	for e, err := range c.follow(ctx, jetstream.OrderedConsumerConfig{}) { // the store is fresh: from the beginning
		if err != nil {
			return err
		}
		w.event(e)
		for _, ended := range w.open.meet(e) {
			w.judge(ended, e.outcome.Status)
		}
		if done() {
			break
		}
	}
	return nil
}

func (w *devShow) publish(ctx context.Context, c *client) (err error) {
	w.refund = map[*command]*command{}
	c.publish(ctx, w.feed.commands, func(cmd *command, failed error) {
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("feed, line %d: %w", cmd.line, failed))
			return
		}
		w.open.add(cmd)
		if refund := cmd.refundOf(); refund != nil {
			w.refund[cmd] = refund
			w.open.add(refund)
		}
	})
	return err
}

// judge counts an end. A decision that failed sends no refund.
func (w *devShow) judge(c *command, s messages.Status) {
	w.ends++
	if bad(s) != w.feed.meantToFail[c] {
		w.wrong = append(w.wrong, fmt.Sprintf("line %d: %s %s: %s", c.line, c.kind, c.name(), s))
	}
	if refund := w.refund[c]; refund != nil && bad(s) {
		w.open.remove(refund)
	}
}

// summary is the last line, and the exit code.
func (w *devShow) summary(a *app) error {
	notes := w.wrong
	for _, c := range w.open.missing() {
		notes = append(notes, fmt.Sprintf("line %d: %s %s: no outcome yet", c.line, c.kind, c.name()))
	}
	if len(notes) > 0 {
		return fmt.Errorf("%d ended, %d of them not as expected; %d have no outcome yet\n%s",
			w.ends, len(w.wrong), w.open.left(), strings.Join(notes, "\n"))
	}
	if !w.json {
		fmt.Fprintf(a.out, "\nAll %d ended as expected.\n", w.ends)
	}
	return nil
}
