package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/nats-io/nats.go"
	"github.com/sirupsen/logrus"

	"wxpay-worker/consumer"
	"wxpay-worker/dlq"
	"wxpay-worker/internal/natsembed"
)

type runCmd struct {
	Pprof string `placeholder:"HOST:PORT" help:"Serve profiles of the process (Go's net/http/pprof) at http://HOST:PORT/debug/pprof/; only an address of this machine itself, such as 127.0.0.1:6060, port 0 for a free one."`
}

// Run consumes until the first signal, drains, and ends: the consumer first, then the connection, then the embedded server.
func (r *runCmd) Run(a *app) error {
	if r.Pprof != "" && !isLoopback(r.Pprof) {
		return usageError("--pprof: expected HOST:PORT with a loopback host, such as 127.0.0.1:6060: profiles tell of what is in memory")
	}
	letGarbageGather()
	hangups := make(chan os.Signal, 1) // one that comes while another is dealt with counts for all that follow
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	c, keys, err := a.loadMerchants()
	if err != nil {
		return err
	}
	roots, err := c.wechatPayRoots()
	if err != nil {
		return err
	}
	log := newLogger(a.err, c)
	monitor, err := newMonitor(a.ctx, c, log)
	if err != nil {
		return err
	}
	defer monitor.Close()
	shop := newWorkshop(c, roots, log)
	shop.calls = monitor.ofCalls()
	if monitor.metrics != nil {
		shop.downloaded = monitor.metrics.Downloaded
	}
	merchants, err := newRoster(shop, keys, monitor.metrics)
	if err != nil {
		return err
	}
	defer merchants.stop()
	c.warn(log)
	if r.Pprof != "" {
		stop, err := servePprof(r.Pprof, log)
		if err != nil {
			return err
		}
		defer stop()
	}
	return serve(a, c, merchants, monitor, hangups)
}

func noMerchants(c *Config) error {
	if c.file == "" {
		return usageError("no configuration: expected %s in this folder, or --config FILE with at least one merchant "+
			"(worker simulate --config-out FILE writes an example; worker dev needs none)", defaultFile)
	}
	c.fail("merchants", "at least one merchant")
	return c.err()
}

// serve consumes until ctx ends and what was in flight is drained.
func serve(a *app, c *Config, merchants *roster, monitor *monitor, hangups <-chan os.Signal) error {
	log := merchants.log
	nc, own, end, err := openNATS(a.ctx, c, log)
	if err != nil {
		return unlessStopped(a.ctx, err)
	}
	defer end()
	ctx, done := monitor.whileStored(a.ctx, own)
	defer done()
	w, err := newWorker(ctx, nc, c, merchants.served(), monitor.ofDeliveries(), log)
	if err != nil {
		return unlessStopped(a.ctx, errors.Join(storeFailure(ctx), err))
	}
	if err := monitor.watch(w, nc); err != nil {
		return err
	}
	log.WithFields(logrus.Fields{fieldVersion: thisBuild().Version, fieldMerchants: len(merchants.merchants)}).Info("worker started")
	told := context.AfterFunc(ctx, func() { log.Infof("draining: what is in flight has %s to finish", c.Consumer.Drain) })
	defer told()
	defer (&reloader{app: a, running: c, roster: merchants, worker: w, log: log}).start(ctx, hangups)()
	err = w.Run(ctx)
	monitor.health.ended.Store(true)
	log.Info("worker stopped")
	return errors.Join(storeFailure(ctx), err)
}

// unlessStopped forgives what failed only because there was no more time for it: nothing was begun yet.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// openNATS connects to the configured servers, however long it takes, or starts one of its own. end undoes it.
func openNATS(ctx context.Context, c *Config, log logrus.FieldLogger) (nc *nats.Conn, own *natsembed.Server, end func(), err error) {
	if c.NATS.URL == "" {
		e, err := startEmbedded(ctx, natsembed.Options{Listen: c.NATS.Embedded.Listen, Dir: c.path(c.NATS.Embedded.Dir)}, log)
		if err != nil {
			return nil, nil, nil, c.blame(err)
		}
		log.WithFields(logrus.Fields{fieldNATS: e.URL(), fieldDir: c.path(c.NATS.Embedded.Dir)}).Info("embedded NATS server started")
		return e.nc, e.Server, e.Close, nil
	}
	options, err := dialOptions(c, log)
	if err != nil {
		return nil, nil, nil, err
	}
	never := func(error) bool { return false } // whatever is wrong over there may be mended
	err = patiently(ctx, log, never, func() (err error) {
		nc, err = dial(c, options)
		return err
	})
	if err != nil {
		return nil, nil, nil, err
	}
	log.WithField(fieldNATS, nc.ConnectedUrlRedacted()).Info("connected to NATS")
	return nc, nil, nc.Close, nil
}

// blame turns the error of the embedded server's start into one that names the key to mend, if there is such a key.
func (c *Config) blame(err error) error {
	listen, notThere := errors.AsType[*natsembed.ListenError](err)
	dir, ok := errors.AsType[*natsembed.DirError](err)
	switch {
	case notThere:
		c.fail("nats.embedded.listen", "an address that is free: %v (another HOST:PORT; port 0 takes a free one)", listen.Unwrap())
	case ok && dir.Taken:
		c.fail("nats.embedded.dir", "a folder that no other worker uses: %v (each worker needs its own; or share one NATS server, nats.url)", dir.Unwrap())
	case ok:
		c.fail("nats.embedded.dir", "a folder for the store, in which this user may make files: %v", dir.Unwrap())
	default:
		return err
	}
	return c.err()
}

// newWorker prepares a consumer whose streams exist.
func newWorker(ctx context.Context, nc *nats.Conn, c *Config, merchants []consumer.Merchant, observer consumer.Observer, log logrus.FieldLogger) (*consumer.Consumer, error) {
	err := patiently(ctx, log, isLasting, func() error {
		return jetStreamError(consumer.EnsureStreams(ctx, nc, c.installation().Streams))
	})
	if err != nil {
		return nil, err
	}
	letters, err := dlq.New(nc, c.subjects())
	if err != nil {
		return nil, err
	}
	return consumer.New(consumer.Options{
		Conn: nc, Subjects: c.subjects(), Merchants: merchants, DeadLetters: letters, Log: log, Observer: observer,
		Concurrency: c.Consumer.Concurrency, AckWait: c.Consumer.AckWait, PinnedTTL: c.Consumer.PinnedTTL, Drain: c.Consumer.Drain,
		Retry: consumer.Retry{
			Initial: c.Retry.Initial, Multiplier: c.Retry.Multiplier, Max: c.Retry.Max, Jitter: c.Retry.Jitter,
			MaxAttempts: c.Retry.MaxAttempts, MaxAge: c.Retry.MaxAge,
		},
		Settlement: consumer.Settlement{First: c.Settlement.First, Max: c.Settlement.Max, GiveUp: c.Settlement.GiveUp},
	})
}
