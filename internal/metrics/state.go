package metrics

import (
	"regexp"

	"github.com/prometheus/client_golang/prometheus"
)

// What this process knows of itself at the moment at which it is asked.

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

func send(ch chan<- prometheus.Metric, d *prometheus.Desc, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

var (
	descReady      = desc("wxpay_ready", "1 if /readyz says that this worker is ready.")
	descConnected  = desc("wxpay_nats_connected", "1 while there is a connection to NATS.")
	descReconnects = desc("wxpay_nats_reconnects_total", "How often the connection to NATS was lost and restored.")
	descHost       = desc("wxpay_host_in_use", "1 for the host of WeChat Pay that a merchant's calls go to.", "mchid", "host")
	descExpires    = desc("wxpay_certificate_expiry_timestamp_seconds",
		"When a certificate expires: merchant (the API certificate, if certificate_file is configured), client (of API v2), platform (WeChat Pay's).", "mchid", "certificate")
)

// state tells of the process: connection, hosts, certificates.
type state struct{ *Metrics }

func (s state) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descReady, descConnected, descReconnects, descHost, descExpires} {
		ch <- d
	}
}

func (s state) Collect(ch chan<- prometheus.Metric) {
	ready := s.ready.Load()
	send(ch, descReady, number(ready != nil && (*ready)()))
	w := s.worker.Load()
	send(ch, descConnected, number(w != nil && w.nc.IsConnected()))
	if w != nil {
		ch <- prometheus.MustNewConstMetric(descReconnects, prometheus.CounterValue, float64(w.nc.Stats().Reconnects))
	}
	merchants := s.merchants.Load()
	if merchants == nil {
		return
	}
	for _, m := range *merchants {
		send(ch, descHost, 1, m.MchID, m.Host())
		for what, expires := range m.Certificates {
			if at := expires(); !at.IsZero() {
				send(ch, descExpires, float64(at.Unix()), m.MchID, what)
			}
		}
	}
}

var (
	laneLabels = []string{"lane", "mchid", "family"}

	descLaneReady   = desc("wxpay_lane_ready", "1 if the lane's consumer is there and commands are asked for.", laneLabels...)
	descLaneServing = desc("wxpay_lane_serving", "1 if the lane is pinned to this worker. An idle lane is pinned to nobody.", laneLabels...)
	descLaneHeld    = desc("wxpay_lane_held", "1 while the lane is held, with the reason; 0 without one.", "lane", "mchid", "family", "reason")
	descLaneProbe   = desc("wxpay_lane_hold_seconds", "How long it takes until a held lane tries the next command.", laneLabels...)
	descLaneFlight  = desc("wxpay_lane_in_flight", "Deliveries that are being handled by this worker.", laneLabels...)
	descLanePaced   = desc("wxpay_lane_paced", "Of the deliveries in flight, those that wait for their turn under a quota.", laneLabels...)
	descLaneQuota   = desc("wxpay_lane_quota_used_ratio", "Calls of the last window that change something, as a share of the quota; 0 without a quota.", laneLabels...)
	descLaneSpeed   = desc("wxpay_lane_speed_ratio", "How far WeChat Pay's throttling has slowed the lane down: 1 is full speed.", laneLabels...)
)

// lanes tells what this worker knows of its lanes.
type lanes struct{ *Metrics }

func (l lanes) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descLaneReady, descLaneServing, descLaneHeld, descLaneProbe, descLaneFlight, descLanePaced, descLaneQuota, descLaneSpeed} {
		ch <- d
	}
}

func (l lanes) Collect(ch chan<- prometheus.Metric) {
	w := l.worker.Load()
	if w == nil {
		return
	}
	for _, s := range w.Status() {
		labels := []string{s.Name, s.MchID, s.Family}
		send(ch, descLaneReady, number(s.Ready), labels...)
		send(ch, descLaneServing, number(s.Serving), labels...)
		send(ch, descLaneFlight, float64(s.InFlight), labels...)
		if s.MchID == "" { // the settlement of all: it is not held, and has no quota of its own
			continue
		}
		send(ch, descLaneHeld, number(s.Held != ""), s.Name, s.MchID, s.Family, holdReason(s.Held))
		send(ch, descLaneProbe, s.HeldFor.Seconds(), labels...)
		send(ch, descLanePaced, float64(s.Paced), labels...)
		send(ch, descLaneQuota, s.QuotaUsed, labels...)
		send(ch, descLaneSpeed, s.Slowed, labels...)
	}
}

// holdReasons are the forms that reasons have. They come by way of the consumer's metadata, where anybody may have written.
var holdReasons = regexp.MustCompile(`^(HTTP \d{3}( [A-Z_0-9]{1,64})?|no answer|answers whose signature cannot be verified|requests cannot be signed)$`)

func holdReason(reason string) string {
	if reason == "" || holdReasons.MatchString(reason) {
		return reason
	}
	return "other"
}
