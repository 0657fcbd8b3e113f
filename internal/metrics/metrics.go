// Package metrics counts what a worker does, and tells it in Prometheus' format.
//
// All names begin with wxpay_; doc/operations.md lists each of them, and a test compares the two. Labels are merchants, kinds, lanes,
// endpoints and words of which there are a bounded number: never a refund number, a command's id, a complaint, a sub-merchant or a
// text of an answer.
//
// What is known here (deliveries, calls, lanes) is always told. What only the NATS server knows (what waits, how old it is) is
// asked for when it is read, within a bound of time, and absent when the server does not answer: a scrape never hangs.
//
//	m := metrics.New(build)
//	c, err := consumer.New(consumer.Options{Observer: m, …})
//	m.Watch(c, nc, subjects)
//	http.Handle("/metrics", m.Handler())
package metrics

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"wxpay-worker/consumer"
	"wxpay-worker/messages"
)

// Metrics is what one worker tells. It is a consumer.Observer and a calls.Observer.
type Metrics struct {
	registry *prometheus.Registry
	own      []prometheus.Collector // those whose names begin with wxpay_
	counters
	worker    atomic.Pointer[worker]     // nil until Watch
	merchants atomic.Pointer[[]Merchant] // nil until SetMerchants
	ready     atomic.Pointer[func() bool]
}

// worker is whom to ask when metrics are read.
type worker struct {
	*consumer.Consumer
	nc       *nats.Conn
	js       jetstream.JetStream
	subjects messages.Subjects
}

// Merchant is what is to be told of a merchant besides its commands.
type Merchant struct {
	MchID string
	Host  func() string // where its calls go now
	// Certificates by what they are: "merchant" (the API certificate), "client" (of API v2), "platform" (WeChat Pay's). A function
	// returns when the certificate expires; the zero time if that is not known yet.
	Certificates map[string]func() time.Time
}

// Build is which program this is.
type Build struct{ Version, Commit, Go string }

// counters are what is counted as it happens.
type counters struct {
	commands        *prometheus.CounterVec
	commandDuration *prometheus.HistogramVec
	attempts        *prometheus.CounterVec
	deliveries      *prometheus.CounterVec
	handling        *prometheus.HistogramVec
	deadLetters     *prometheus.CounterVec
	calls           *prometheus.CounterVec
	callDuration    *prometheus.HistogramVec
	downloads       *prometheus.CounterVec
	reloads         *prometheus.CounterVec
	reloadOK        prometheus.Gauge
	loaded          prometheus.Gauge
}

// New returns metrics that have counted nothing yet.
func New(b Build) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	own := func(c prometheus.Collector) {
		m.registry.MustRegister(c)
		m.own = append(m.own, c)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		own(c)
		return c
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		own(h)
		return h
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		own(g)
		return g
	}
	m.counters = counters{
		commands: counter("wxpay_commands_total",
			"Statuses that this worker recorded. Final are succeeded, closed, abnormal and failed.", "mchid", "kind", "status"),
		commandDuration: histogram("wxpay_command_duration_seconds",
			"Time from the publishing of a command to the status that its handling ended in; following accepted refunds is not counted.",
			[]float64{.025, .05, .1, .25, .5, 1, 2.5, 10, 30, 120, 600, 3600, 6 * 3600, 24 * 3600}, "kind", "status"),
		attempts: counter("wxpay_attempts_total",
			"Deliveries of commands that made at least one call that changes something.", "mchid", "kind"),
		deliveries: counter("wxpay_deliveries_total",
			"Deliveries that ended, by the verdict that their log line names. Settlement: looks at accepted refunds.", "mchid", "kind", "settlement", "verdict"),
		handling: histogram("wxpay_delivery_duration_seconds",
			"Time that deliveries were here, waiting for a quota included.",
			[]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}, "kind", "settlement"),
		deadLetters: counter("wxpay_dead_letters_total",
			"Commands that this worker ended as dead letters.", "mchid", "kind", "reason"),
		calls: counter("wxpay_calls_total",
			"Calls at WeChat Pay. Codes in upper case are WeChat Pay's, proven; those in lower case ours.", "mchid", "endpoint", "code"),
		callDuration: histogram("wxpay_call_duration_seconds",
			"Time that calls at WeChat Pay took, of all merchants.",
			[]float64{.01, .025, .05, .1, .2, .3, .5, .75, 1, 2, 3, 5, 10, 20}, "endpoint", "code"),
		downloads: counter("wxpay_platform_certificate_downloads_total",
			"Downloads of platform certificates.", "mchid", "result"),
		reloads: counter("wxpay_reloads_total",
			"Reloads of the configuration that were asked for by SIGHUP.", "result"),
		reloadOK: gauge("wxpay_last_reload_successful",
			"0 if the last reload failed, so that an older configuration is in use; 1 otherwise."),
		loaded: gauge("wxpay_config_loaded_timestamp_seconds",
			"When the configuration in use was loaded."),
	}
	for _, result := range []string{resultOK, resultFailed} {
		m.reloads.WithLabelValues(result)
	}
	m.reloadOK.Set(1)
	m.loaded.SetToCurrentTime()
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "wxpay_build_info", Help: "1, with what this program was built from as labels.",
	}, []string{"version", "commit", "goversion"})
	info.WithLabelValues(b.Version, b.Commit, b.Go).Set(1)
	for _, c := range []prometheus.Collector{info, state{m}, lanes{m}, stores{m}} {
		own(c)
	}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

const (
	resultOK     = "ok"
	resultFailed = "failed"
)

func result(err error) string {
	if err != nil {
		return resultFailed
	}
	return resultOK
}

// Watch makes m tell of a worker from now on.
func (m *Metrics) Watch(c *consumer.Consumer, nc *nats.Conn, subjects messages.Subjects) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	m.worker.Store(&worker{c, nc, js, subjects})
	return nil
}

// SetMerchants makes m tell of these merchants, and no others. What is counted of them starts at 0: of a counter that appears only
// when something happens, Prometheus does not see that first time.
func (m *Metrics) SetMerchants(all []Merchant) {
	m.merchants.Store(&all)
	for _, merchant := range all {
		for _, kind := range messages.Kinds {
			for _, reason := range messages.Reasons {
				m.deadLetters.WithLabelValues(merchant.MchID, string(kind), string(reason))
			}
			for _, status := range statuses(kind) {
				m.commands.WithLabelValues(merchant.MchID, string(kind), string(status))
			}
		}
	}
}

// statuses are those in which the handling of a command can end.
func statuses(k messages.Kind) []messages.Status {
	if k == messages.KindRefund {
		return []messages.Status{messages.StatusAccepted, messages.StatusSucceeded, messages.StatusClosed, messages.StatusAbnormal, messages.StatusFailed}
	}
	return []messages.Status{messages.StatusSucceeded, messages.StatusFailed}
}

// SetReady makes m tell what ready answers.
func (m *Metrics) SetReady(ready func() bool) { m.ready.Store(&ready) }

// Reloaded notes how a reload of the configuration went.
func (m *Metrics) Reloaded(err error) {
	m.reloads.WithLabelValues(result(err)).Inc()
	if err != nil {
		m.reloadOK.Set(0)
		return
	}
	m.reloadOK.Set(1)
	m.loaded.SetToCurrentTime()
}

// Downloaded notes how a download of platform certificates went.
func (m *Metrics) Downloaded(mchid string, err error) {
	m.downloads.WithLabelValues(mchid, result(err)).Inc()
}

// maxScrapes is how many scrapes may run at once: each may ask the NATS server a lot. More are answered 503.
const maxScrapes = 3

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
}
