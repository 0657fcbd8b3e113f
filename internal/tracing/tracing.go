// Package tracing makes OpenTelemetry spans of deliveries and of the calls that they lead to.
//
// A delivery's span continues the trace that its command's traceparent names; the calls are its children. Spans bear what log
// lines bear: identities, verdicts, WeChat Pay's codes. They bear no body, no text of an answer and nothing of a payer. What is
// published is not touched: an outcome carries the traceparent of its command.
//
// Everything is set by OpenTelemetry's own environment variables. Where they ask for nothing, FromEnvironment returns nil, and
// nothing of OpenTelemetry runs.
//
//	t, err := tracing.FromEnvironment(ctx, version, subjects)
//	if t != nil {
//		defer t.Close()
//		… consumer.Options{Observer: t} …
//	}
package tracing

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"wxpay-worker/consumer"
	"wxpay-worker/internal/calls"
	"wxpay-worker/messages"
)

// Tracing makes spans. It is a consumer.Observer and a calls.Observer.
type Tracing struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	subjects messages.Subjects
}

// EnvironmentError says that one of OpenTelemetry's variables asks for what there is not.
type EnvironmentError struct{ Variable, Expected string }

func (e *EnvironmentError) Error() string { return e.Variable + ": expected " + e.Expected }

// FromEnvironment returns nil if no traces are asked for: neither OTEL_TRACES_EXPORTER=otlp nor an endpoint to export to. Endpoint,
// headers, TLS, sampler, batches and resource are set by the variables that the OpenTelemetry specification names. The error is an
// *EnvironmentError, or what the exporter says of its settings; nothing is connected to yet.
//
// Source: OpenTelemetry, Environment Variable Specification, and OTLP Exporter Configuration, opentelemetry.io/docs/specs/otel, 2026-11.
func FromEnvironment(ctx context.Context, version string, subjects messages.Subjects) (*Tracing, error) {
	asked, err := asked()
	if !asked || err != nil {
		return nil, err
	}
	exporter, err := newExporter(ctx)
	if err != nil {
		return nil, err
	}
	named, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(semconv.ServiceName("wxpay-worker"), semconv.ServiceVersion(version)),
		resource.WithFromEnv(), // last: what is said there counts
	)
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("set up tracing: %w", err)
	}
	return New(subjects, sdk.WithBatcher(exporter), sdk.WithResource(named)), nil
}

func asked() (bool, error) {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return false, nil
	}
	switch exporter := os.Getenv("OTEL_TRACES_EXPORTER"); exporter {
	case "":
		return variable("OTEL_EXPORTER_OTLP", "ENDPOINT") != "", nil
	case "otlp":
		return true, nil
	case "none":
		return false, nil
	}
	return false, &EnvironmentError{"OTEL_TRACES_EXPORTER", "otlp or none"}
}

// variable reads a setting of the exporter: that for traces, else that for all.
func variable(prefix, name string) string {
	if v := os.Getenv(prefix + "_TRACES_" + name); v != "" {
		return v
	}
	return os.Getenv(prefix + "_" + name)
}

func newExporter(ctx context.Context) (*otlptrace.Exporter, error) {
	var client otlptrace.Client
	switch variable("OTEL_EXPORTER_OTLP", "PROTOCOL") {
	case "", "http/protobuf", "http/json":
		client = otlptracehttp.NewClient()
	case "grpc":
		client = otlptracegrpc.NewClient()
	default:
		return nil, &EnvironmentError{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf, http/json or grpc"}
	}
	exporter, err := otlptrace.New(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("set up tracing: %w", err)
	}
	return exporter, nil
}

// New returns tracing by a provider of these options.
func New(subjects messages.Subjects, options ...sdk.TracerProviderOption) *Tracing {
	provider := sdk.NewTracerProvider(options...)
	return &Tracing{provider, provider.Tracer("wxpay-worker"), subjects}
}

// closeTime is how long spans that were not exported yet may take at the end.
const closeTime = 5 * time.Second

// Close exports what is left.
func (t *Tracing) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("export the last traces: %w", err)
	}
	return nil
}

// Names of attributes that OpenTelemetry has none for.
const (
	attrMchID     = attribute.Key("wxpay.mchid")
	attrKind      = attribute.Key("wxpay.kind")
	attrKey       = attribute.Key("wxpay.key")
	attrSequence  = attribute.Key("wxpay.stream_seq")
	attrDelivery  = attribute.Key("wxpay.delivery")
	attrVerdict   = attribute.Key("wxpay.verdict")
	attrStatus    = attribute.Key("wxpay.status")
	attrReason    = attribute.Key("wxpay.reason")
	attrDelay     = attribute.Key("wxpay.delay") // seconds
	attrCode      = attribute.Key("wxpay.code")
	attrRequestID = attribute.Key("wxpay.request_id")
)

// traceparent is the header of that name, and no other: what else W3C defines is not in a command.
var traceparent propagation.TraceContext

// Begin is consumer.Observer's.
func (t *Tracing) Begin(ctx context.Context, d consumer.Delivery) context.Context {
	if d.Traceparent != "" {
		ctx = traceparent.Extract(ctx, propagation.MapCarrier{"traceparent": d.Traceparent}) // a malformed one changes nothing
	}
	name, subject := string(d.Kind)+" process", t.subjects.Command(d.MchID, d.Kind)
	if d.Settlement {
		name, subject = "settlement process", t.subjects.SettlementDue(d.MchID)
	}
	ctx, _ = t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		semconv.MessagingSystemKey.String("nats"),
		semconv.MessagingOperationTypeProcess,
		semconv.MessagingOperationName("process"),
		semconv.MessagingDestinationName(subject),
		semconv.MessagingConsumerGroupName(d.Lane),
		attrMchID.String(d.MchID),
		attrKind.String(string(d.Kind)),
		attrSequence.Int64(int64(d.Sequence)),
		attrDelivery.Int64(int64(d.Delivered)),
	))
	return ctx
}

// End is consumer.Observer's.
func (t *Tracing) End(ctx context.Context, d consumer.Delivery, r consumer.Result) {
	span := trace.SpanFromContext(ctx)
	defer span.End()
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attrVerdict.String(r.Verdict))
	text := func(key attribute.Key, value string) {
		if value != "" {
			span.SetAttributes(key.String(value))
		}
	}
	text(attrKey, r.Key)
	text(attrStatus, string(r.Status))
	text(attrReason, string(r.Reason))
	text(attrRequestID, r.RequestID)
	if r.Again {
		span.SetAttributes(attrDelay.Float64(r.Delay.Seconds()))
	}
	if r.Err != nil || r.Reason != "" {
		// The error's text is in the log; here its verdict stands for it.
		span.SetStatus(codes.Error, r.Verdict)
	}
}

// BeginCall is calls.Observer's.
func (t *Tracing) BeginCall(ctx context.Context, c calls.Call) context.Context {
	ctx, _ = t.tracer.Start(ctx, c.Endpoint.String(), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		semconv.HTTPRequestMethodKey.String(c.Method),
		semconv.URLTemplate(c.Template),
		attrMchID.String(c.MchID),
	))
	return ctx
}

// EndCall is calls.Observer's.
func (t *Tracing) EndCall(ctx context.Context, c calls.Call, a calls.Answer) {
	span := trace.SpanFromContext(ctx)
	defer span.End()
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attrCode.String(a.Code))
	if a.HTTPStatus != 0 {
		span.SetAttributes(semconv.HTTPResponseStatusCode(a.HTTPStatus))
	}
	if a.RequestID != "" {
		span.SetAttributes(attrRequestID.String(a.RequestID))
	}
	if !a.OK() {
		span.SetAttributes(semconv.ErrorTypeKey.String(a.Code))
		span.SetStatus(codes.Error, a.Code)
	}
}
