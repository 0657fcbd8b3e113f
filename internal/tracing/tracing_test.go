package tracing_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"wxpay-worker/consumer"
	"wxpay-worker/internal/calls"
	"wxpay-worker/internal/tracing"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
)

const mchid = "1900000001"

var subjects = messages.Subjects{Prefix: "wxpay"}

func recorder() (*tracing.Tracing, *tracetest.InMemoryExporter) {
	exporter := tracetest.NewInMemoryExporter()
	return tracing.New(subjects, sdk.WithSyncer(exporter)), exporter
}

// refuses is a client whose refunds are refused.
type refuses struct{}

func (refuses) CreateRefund(context.Context, *wxpay.RefundRequest) (*wxpay.Refund, error) {
	return nil, &wxpay.Error{Op: "POST /v3/refund/domestic/refunds", HTTPStatus: 403, Code: "NOT_ENOUGH", Message: "余额不足", RequestID: "08F1", Proven: true}
}

func (refuses) QueryRefund(context.Context, string, string) (*wxpay.Refund, error) {
	return &wxpay.Refund{}, nil
}

func attributes(s tracetest.SpanStub) map[string]string {
	all := map[string]string{}
	for _, a := range s.Attributes {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

func want(t *testing.T, s tracetest.SpanStub, attrs map[string]string) {
	t.Helper()
	have := attributes(s)
	for key, value := range attrs {
		if have[key] != value {
			t.Errorf("%s: %s is %q, want %q", s.Name, key, have[key], value)
		}
	}
}

// A delivery continues its command's trace, and its calls are its children.
func TestADeliveryContinuesItsCommandsTrace(t *testing.T) {
	t.Parallel()
	o, exported := recorder()
	client := calls.Refunds(refuses{}, mchid, o)
	d := consumer.Delivery{
		MchID: mchid, Kind: messages.KindRefund, Lane: "refund-" + mchid, Sequence: 7, Delivered: 2, Stored: time.Now(),
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	ctx := o.Begin(t.Context(), d)
	_, err := client.CreateRefund(ctx, &wxpay.RefundRequest{OutRefundNo: "R1", Reason: "客户张三"})
	_, _ = client.QueryRefund(ctx, "R1", "")
	o.End(ctx, d, consumer.Result{Key: "R1", Verdict: "hold", Again: true, Delay: 2 * time.Second, Code: "NOT_ENOUGH", HTTPStatus: 403, RequestID: "08F1", Err: err})

	spans := exported.GetSpans()
	if len(spans) != 3 {
		t.Fatalf("%d spans", len(spans))
	}
	create, query, delivery := spans[0], spans[1], spans[2]
	if got := delivery.SpanContext.TraceID().String(); got != "0af7651916cd43dd8448eb211c80319c" || delivery.Parent.SpanID().String() != "b7ad6b7169203331" {
		t.Errorf("the delivery is of trace %s, below %s", got, delivery.Parent.SpanID())
	}
	for _, call := range []tracetest.SpanStub{create, query} {
		if call.Parent.SpanID() != delivery.SpanContext.SpanID() || call.SpanKind != trace.SpanKindClient {
			t.Errorf("%s is below %s", call.Name, call.Parent.SpanID())
		}
	}
	if delivery.Name != "refund process" || delivery.SpanKind != trace.SpanKindConsumer || delivery.Status.Code != codes.Error {
		t.Errorf("%+v", delivery)
	}
	want(t, delivery, map[string]string{
		"messaging.system": "nats", "messaging.operation.type": "process", "messaging.destination.name": "wxpay.command.1900000001.refund",
		"messaging.consumer.group.name": "refund-1900000001", "wxpay.key": "R1", "wxpay.stream_seq": "7", "wxpay.delivery": "2",
		"wxpay.verdict": "hold", "wxpay.delay": "2", "wxpay.request_id": "08F1",
	})
	if create.Name != "POST /v3/refund/domestic/refunds" || create.Status.Code != codes.Error {
		t.Errorf("%+v", create)
	}
	want(t, create, map[string]string{
		"http.request.method": "POST", "url.template": "/v3/refund/domestic/refunds", "http.response.status_code": "403",
		"wxpay.code": "NOT_ENOUGH", "error.type": "NOT_ENOUGH", "wxpay.request_id": "08F1",
	})
	want(t, query, map[string]string{"url.template": "/v3/refund/domestic/refunds/{out_refund_no}", "http.response.status_code": "200", "wxpay.code": "OK"})
	for _, s := range spans {
		if told := fmt.Sprintf("%+v %v", s, attributes(s)); strings.Contains(told, "余额") || strings.Contains(told, "张三") {
			t.Errorf("tells the text of an answer, or of a command: %s", told)
		}
	}
}

// A traceparent that is none begins a new trace; one that was not sampled makes no spans.
func TestOddTraceparents(t *testing.T) {
	t.Parallel()
	o, exported := recorder()
	for _, parent := range []string{"", "x", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"} {
		d := consumer.Delivery{MchID: mchid, Kind: messages.KindReply, Traceparent: parent, Settlement: parent == "x"}
		o.End(o.Begin(t.Context(), d), d, consumer.Result{Verdict: "done"})
	}
	spans := exported.GetSpans()
	if len(spans) != 3 {
		t.Fatalf("%d spans", len(spans))
	}
	for i, s := range spans {
		if s.Parent.IsValid() || s.Status.Code == codes.Error || !s.SpanContext.IsValid() {
			t.Errorf("span %d: %+v", i, s)
		}
	}
	if spans[0].Name != "reply process" || spans[1].Name != "settlement process" {
		t.Errorf("%s, %s", spans[0].Name, spans[1].Name)
	}
}

// The environment decides: nothing asked for is nothing at all, and what there is not is refused by name.
func TestFromEnvironment(t *testing.T) {
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "OTEL_") {
			t.Setenv(name, "")
		}
	}
	for _, tt := range []struct {
		name  string
		env   map[string]string
		on    bool
		wrong string
	}{
		{"nothing", nil, false, ""},
		{"endpoint", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, true, ""},
		{"endpoint of traces", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/x"}, true, ""},
		{"exporter", map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, true, ""},
		{"exporter none", map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, false, ""},
		{"disabled", map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, false, ""},
		{"another exporter", map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, false, "OTEL_TRACES_EXPORTER: expected otlp or none"},
		{"another protocol", map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "thrift"}, false, "OTEL_EXPORTER_OTLP_PROTOCOL: expected"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			o, err := tracing.FromEnvironment(t.Context(), "v1", subjects)
			var wrong *tracing.EnvironmentError
			if (o != nil) != tt.on || (err != nil) != (tt.wrong != "") || err != nil && (!errors.As(err, &wrong) || !strings.HasPrefix(err.Error(), tt.wrong)) {
				t.Errorf("got %v, %v", o, err)
			}
			if o != nil {
				if err := o.Close(); err != nil { // there was nothing to export
					t.Error(err)
				}
			}
		})
	}
}
