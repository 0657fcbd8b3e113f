package calls_test

import (
	"context"
	"testing"

	"wxpay-worker/consumer"
	"wxpay-worker/internal/calls"
	"wxpay-worker/internal/metrics"
	"wxpay-worker/internal/tracing"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// instant is a client that costs nothing, so that what is measured is the telling.
type instant struct{}

var refund = &wxpay.Refund{}

func (instant) CreateRefund(context.Context, *wxpay.RefundRequest) (*wxpay.Refund, error) {
	return refund, nil
}

func (instant) QueryRefund(context.Context, string, string) (*wxpay.Refund, error) {
	return refund, nil
}

// BenchmarkTelling is what a delivery with one call costs beyond its work: off; with metrics; with traces that are not sampled, and
// that are. A call itself costs a signature, a millisecond or so, and a round trip.
func BenchmarkTelling(b *testing.B) {
	type observer interface {
		consumer.Observer
		calls.Observer
	}
	subjects := messages.Subjects{Prefix: "wxpay"}
	for _, tt := range []struct {
		name string
		o    observer
	}{
		{"off", nil},
		{"metrics", metrics.New(metrics.Build{})},
		{"traces, not sampled", tracing.New(subjects, sdk.WithSampler(sdk.NeverSample()))},
		{"traces", tracing.New(subjects)},
	} {
		b.Run(tt.name, func(b *testing.B) {
			var r consumer.Refunds = instant{}
			if tt.o != nil {
				r = calls.Refunds(r, mchid, tt.o)
			}
			d := consumer.Delivery{MchID: mchid, Kind: messages.KindRefund, Lane: "refund-" + mchid, Sequence: 1, Delivered: 1}
			result := consumer.Result{Key: "R1", Verdict: "done", Status: messages.StatusAccepted}
			request := &wxpay.RefundRequest{}
			b.ReportAllocs()
			for b.Loop() {
				ctx := b.Context()
				if tt.o != nil {
					ctx = tt.o.Begin(ctx, d)
				}
				if _, err := r.CreateRefund(ctx, request); err != nil {
					b.Fatal(err)
				}
				if tt.o != nil {
					tt.o.End(ctx, d, result)
				}
			}
		})
	}
}
