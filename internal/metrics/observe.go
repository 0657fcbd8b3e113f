package metrics

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"wxpay-worker/consumer"
	"wxpay-worker/internal/calls"
)

// delivery is what has happened during a delivery so far. It lies in the delivery's context, so that its calls find it.
type delivery struct{ wrote atomic.Bool }

type deliveryKey struct{}

// Begin is consumer.Observer's.
func (m *Metrics) Begin(ctx context.Context, d consumer.Delivery) context.Context {
	return context.WithValue(ctx, deliveryKey{}, &delivery{})
}

// End is consumer.Observer's.
func (m *Metrics) End(ctx context.Context, d consumer.Delivery, r consumer.Result) {
	kind, settlement := string(d.Kind), strconv.FormatBool(d.Settlement)
	m.deliveries.WithLabelValues(d.MchID, kind, settlement, r.Verdict).Inc()
	m.handling.WithLabelValues(kind, settlement).Observe(r.Took.Seconds())
	if own, ok := ctx.Value(deliveryKey{}).(*delivery); ok && own.wrote.Load() {
		m.attempts.WithLabelValues(d.MchID, kind).Inc()
	}
	if r.Reason != "" {
		m.deadLetters.WithLabelValues(d.MchID, kind, string(r.Reason)).Inc()
	}
	if !recorded(r) {
		return
	}
	m.commands.WithLabelValues(d.MchID, kind, string(r.Status)).Inc()
	if !d.Settlement { // what is delivered there was stored when the look was scheduled
		m.commandDuration.WithLabelValues(kind, string(r.Status)).Observe(max(0, time.Since(d.Stored).Seconds()))
	}
}

// recorded reports whether a delivery wrote down its status, and did not only find it written.
func recorded(r consumer.Result) bool {
	return r.Status != "" && (r.Reason != "" || r.Verdict == consumer.Done.String())
}

// BeginCall is calls.Observer's.
func (m *Metrics) BeginCall(ctx context.Context, c calls.Call) context.Context {
	if own, ok := ctx.Value(deliveryKey{}).(*delivery); ok && c.Writes {
		own.wrote.Store(true)
	}
	return ctx
}

// EndCall is calls.Observer's.
func (m *Metrics) EndCall(_ context.Context, c calls.Call, a calls.Answer) {
	endpoint := c.Endpoint.String()
	m.calls.WithLabelValues(c.MchID, endpoint, a.Code).Inc()
	m.callDuration.WithLabelValues(endpoint, a.Code).Observe(a.Took.Seconds())
}
