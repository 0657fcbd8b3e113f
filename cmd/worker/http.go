package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel"

	"wxpay-worker/consumer"
	"wxpay-worker/internal/metrics"
	"wxpay-worker/internal/tracing"
)

// monitor is what can be seen of a running worker from outside: /metrics, /healthz and /readyz at http.listen, and traces where
// OpenTelemetry's environment variables ask for them. With neither, it is empty and costs nothing.
type monitor struct {
	observers
	config  *Config
	health  *health
	log     logrus.FieldLogger
	metrics *metrics.Metrics // nil: http.listen is ""
	tracing *tracing.Tracing // nil: not asked for
	server  *http.Server     // nil as metrics
}

// newMonitor begins to serve. ctx ends when the drain begins. The error is a *exitError.
func newMonitor(ctx context.Context, c *Config, log logrus.FieldLogger) (*monitor, error) {
	m := &monitor{config: c, health: newHealth(ctx, c), log: log}
	var err error
	if m.tracing, err = tracing.FromEnvironment(ctx, thisBuild().Version, c.subjects()); err != nil {
		return nil, &exitError{exitUsage, err}
	}
	if m.tracing != nil {
		otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.WithError(err).Warn("traces not exported") }))
		m.observers = append(m.observers, m.tracing)
	}
	if c.HTTP.Listen == "" {
		return m, nil
	}
	listener, err := net.Listen("tcp", c.HTTP.Listen)
	if err != nil {
		m.Close()
		c.fail("http.listen", "an address that is free: %v (another HOST:PORT, or \"\" for none)", err)
		return nil, c.err()
	}
	build := thisBuild()
	m.metrics = metrics.New(metrics.Build{Version: build.Version, Commit: build.Commit, Go: build.Go})
	m.metrics.SetReady(func() bool { return m.health.ready(context.Background()).Ready })
	m.observers = append(m.observers, m.metrics)
	m.server = &http.Server{
		Handler: m.routes(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, // more than a scrape takes, which asks NATS
		IdleTimeout:  time.Minute,      // more than the time between two scrapes, so that they share a connection
	}
	go func() { // ended by Close
		if err := m.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.WithError(err).Error("metrics and health are not served any more")
		}
	}()
	log.WithField(fieldURL, "http://"+listener.Addr().String()).Info("serving /metrics, /healthz and /readyz")
	return m, nil
}

func (m *monitor) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.metrics.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		alive := !m.health.ended.Load()
		answer(w, alive, map[string]bool{"alive": alive})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		state := m.health.ready(r.Context())
		answer(w, state.Ready, state)
	})
	return mux
}

// answer writes 200, or 503 if something is not well.
func answer(w http.ResponseWriter, well bool, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !well {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(body) // fails only for somebody who went away
}

// watch makes the monitor tell of a consumer from now on.
func (m *monitor) watch(c *consumer.Consumer, nc *nats.Conn) error {
	if m.metrics != nil {
		if err := m.metrics.Watch(c, nc, m.config.subjects()); err != nil {
			return err
		}
	}
	return m.health.watch(c, nc)
}

// Close ends serving, and exports the traces that were not exported yet.
func (m *monitor) Close() {
	m.health.ended.Store(true)
	if m.tracing != nil {
		if err := m.tracing.Close(); err != nil {
			m.log.WithError(err).Warn("traces lost")
		}
	}
	if m.server != nil {
		_ = m.server.Close() // nobody waits for an answer any more
	}
}
