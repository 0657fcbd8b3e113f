package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/consumer"
	"wxpay-worker/internal/natsembed"
)

// health knows whether this worker can do its work.
type health struct {
	ctx     context.Context // ends when the drain begins
	streams []string
	config  string // the file; "" if there is none
	worker  atomic.Pointer[servedBy]
	store   atomic.Pointer[natsembed.Server] // nil: not ours
	ended   atomic.Bool
}

// servedBy is the consumer at work, and its connection.
type servedBy struct {
	*consumer.Consumer
	nc *nats.Conn
	js jetstream.JetStream
}

func newHealth(ctx context.Context, c *Config) *health {
	h := &health{ctx: ctx, config: c.file}
	for _, part := range c.installation().Parts() {
		if part.Kind == consumer.PartStream {
			h.streams = append(h.streams, part.Name)
		}
	}
	return h
}

// watch makes h judge by a consumer from now on.
func (h *health) watch(c *consumer.Consumer, nc *nats.Conn) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	h.worker.Store(&servedBy{c, nc, js})
	return nil
}

// readiness is the answer of /readyz.
type readiness struct {
	Ready   bool              `json:"ready"`
	Reasons []string          `json:"reasons,omitempty"` // why not
	Lanes   int               `json:"lanes"`             // of this worker, whether it serves them or stands by
	Held    map[string]string `json:"held,omitempty"`    // of those, the ones that are held, and why
	Store   string            `json:"store,omitempty"`   // why the embedded server's store takes nothing more, if so
	Check   string            `json:"check,omitempty"`   // what tells more
}

// readyTime bounds what is asked of NATS.
const readyTime = 2 * time.Second

// ready says whether commands are carried out here, as far as it is up to this worker: it may stand by for another one.
func (h *health) ready(ctx context.Context) (r readiness) {
	defer func() {
		if r.Ready = len(r.Reasons) == 0; !r.Ready {
			r.Check = strings.TrimSuffix("worker check --config "+h.config, " --config ")
		}
	}()
	not := func(format string, args ...any) { r.Reasons = append(r.Reasons, fmt.Sprintf(format, args...)) }
	if h.ended.Load() {
		not("stopped")
		return r
	}
	if own := h.store.Load(); own != nil {
		if err := own.Failure(); err != nil {
			r.Store = (&storeError{err}).Error()
			not("%s", r.Store)
		}
	}
	w := h.worker.Load()
	switch {
	case h.ctx.Err() != nil:
		not("draining: what is in flight is being finished")
		return r
	case w == nil:
		not("starting: NATS was not reached yet, or its streams are not ready")
		return r
	case !w.nc.IsConnected():
		not("no connection to NATS: %s", strings.ToLower(w.nc.Status().String()))
	}
	able := h.lanes(w, &r)
	if len(r.Reasons) > 0 {
		return r
	}
	for _, missing := range h.missing(ctx, w) {
		not("%s", missing)
	}
	if able == 0 && len(r.Held) == r.Lanes {
		not("no lane can run: all are held")
	} else if able == 0 {
		not("no lane can run: their consumers are not there yet")
	}
	return r
}

// lanes counts the merchants' lanes and returns how many could carry a command out now. A held one can when its time has come.
func (h *health) lanes(w *servedBy, r *readiness) (able int) {
	for _, l := range w.Status() {
		if l.MchID == "" {
			continue
		}
		r.Lanes++
		if l.Ready && l.HeldFor <= 0 {
			able++
		}
		if l.Held != "" {
			if r.Held == nil {
				r.Held = map[string]string{}
			}
			r.Held[l.Name] = printable(l.Held)
		}
	}
	return able
}

// missing looks whether the streams are there.
func (h *health) missing(ctx context.Context, w *servedBy) (reasons []string) {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	for _, name := range h.streams {
		_, err := w.js.Stream(ctx, name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			reasons = append(reasons, "stream "+name+" is not there")
		case err != nil:
			return append(reasons, fmt.Sprintf("stream %s: %v", name, jetStreamError(err)))
		}
	}
	return reasons
}
