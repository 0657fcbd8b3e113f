package consumertest

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/sirupsen/logrus"

	"wxpay-worker/consumer"
	"wxpay-worker/dlq"
	"wxpay-worker/wxpay"
)

// AckWait is a lease that is short enough for a test to wait for what a dead worker had, and long enough for a step on a machine that does
// much else.
const AckWait = 5 * time.Minute

// PinnedTTL is the same for a pin.
const PinnedTTL = 2 * time.Second

// Worker is a running consumer.
type Worker struct {
	NC       *nats.Conn
	Consumer *consumer.Consumer
	LostWire chan struct{} // of StartVia: one value each time the connection is lost

	cancel context.CancelFunc
	ended  chan error
}

// Option changes what a worker is started with.
type Option func(*consumer.Options)

// Start runs a worker for all merchants until the test ends, or until it is stopped or killed.
func (b *Bench) Start(options ...Option) *Worker {
	b.T.Helper()
	return b.startWith(must(nats.Connect(b.URL, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))), options)
}

// StartVia starts a worker whose connection to the NATS server is dialled by another, such as a *Cut or a *Gate.
func (b *Bench) StartVia(dialer nats.CustomDialer, options ...Option) *Worker {
	b.T.Helper()
	lost := make(chan struct{}, 100)
	w := b.startWith(must(nats.Connect(b.URL, nats.SetCustomDialer(dialer), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond),
		nats.ReconnectJitter(0, 0), nats.DisconnectErrHandler(func(*nats.Conn, error) { lost <- struct{}{} }))), options)
	w.LostWire = lost
	return w
}

func (b *Bench) startWith(nc *nats.Conn, options []Option) *Worker {
	b.T.Helper()
	o := consumer.Options{
		Conn: nc, Subjects: b.Subjects, DeadLetters: must(dlq.New(nc, b.Subjects)), Log: Log(b.T), Clock: b.Clock,
		Concurrency: 16, AckWait: AckWait, PinnedTTL: PinnedTTL, Drain: 5 * time.Second,
		Retry:      consumer.Retry{Initial: 2 * time.Second, Multiplier: 2, Max: time.Hour, Jitter: 0.2, MaxAttempts: 25, MaxAge: 72 * time.Hour},
		Settlement: consumer.Settlement{First: time.Minute, Max: 6 * time.Hour, GiveUp: 360 * time.Hour},
	}
	for _, id := range slices.Sorted(maps.Keys(b.Creds)) {
		client := b.Client(id)
		o.Merchants = append(o.Merchants, consumer.Merchant{MchID: id, Refunds: client, Complaints: client})
	}
	for _, option := range options {
		option(&o)
	}
	c := must(consumer.New(o))
	ctx, cancel := context.WithCancel(context.Background())
	w := &Worker{NC: nc, Consumer: c, cancel: cancel, ended: make(chan error, 1)}
	b.workers = append(b.workers, w)
	go func() { w.ended <- c.Run(ctx) }()
	b.T.Cleanup(func() { w.Stop(); nc.Close() })
	return w
}

// Drain tells the worker to end, as SIGTERM does.
func (w *Worker) Drain() { w.cancel() }

// Stop drains the worker and waits until it has ended. It may be called again.
func (w *Worker) Stop() error {
	w.Drain()
	err := <-w.ended
	w.ended <- nil
	return err
}

// Kill takes the worker's connection away, so that nothing it does from now on is heard, and abandons it.
func (w *Worker) Kill() {
	w.NC.Close()
	w.cancel()
}

// Client calls for a merchant by API v3.
func (b *Bench) Client(mchid string) *wxpay.Client {
	return b.ClientBy(mchid, b.Creds[mchid].PrivateKey)
}

// ClientBy is Client with another signer.
func (b *Bench) ClientBy(mchid string, signer crypto.Signer) *wxpay.Client {
	creds := b.Creds[mchid]
	keys := must(wxpay.NewKeySet(creds.PublicKeyID, map[string]*rsa.PublicKey{creds.PublicKeyID: creds.PublicKey}))
	return must(wxpay.New(wxpay.Config{
		MchID: mchid, SerialNo: creds.SerialNo, Signer: signer, Keys: keys,
		Hosts: []string{b.Sim.URL(), b.Sim.BackupURL()}, Transport: b.transport(), Timeout: b.Timeout, Now: b.Clock.Now,
	}))
}

// V2 is an option that sends the refunds of all merchants by API v2.
func (b *Bench) V2(o *consumer.Options) {
	for i := range o.Merchants {
		creds := b.Creds[o.Merchants[i].MchID]
		o.Merchants[i].Refunds = must(wxpay.NewV2(wxpay.V2Config{
			MchID: creds.MchID, AppID: creds.AppID, APIKey: []byte(creds.APIv2Key), Transport: b.transport(),
			Certificate: must(tls.X509KeyPair(creds.CertificatePEM, creds.PrivateKeyPEM())),
			Hosts:       []string{b.Sim.URL(), b.Sim.BackupURL()}, Timeout: b.Timeout, Now: b.Clock.Now,
		}))
	}
}

func (b *Bench) transport() *http.Transport {
	t := wxpay.NewTransport(wxpay.TransportConfig{RootCAs: b.Sim.CertPool(), ConnectTimeout: Patience})
	b.T.Cleanup(t.CloseIdleConnections)
	return t
}

// Log shows a worker's log, down to its details, with the test that it belongs to.
func Log(t *testing.T) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(logWriter{t})
	log.SetLevel(logrus.DebugLevel)
	return log
}

type logWriter struct{ t *testing.T }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}
