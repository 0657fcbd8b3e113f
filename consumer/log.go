package consumer

import (
	"github.com/sirupsen/logrus"

	"wxpay-worker/messages"
)

// The names of the fields of log entries.
const (
	fieldLane      = "lane"
	fieldMchID     = "mchid"
	fieldKind      = "kind"
	fieldKey       = "key"
	fieldSequence  = "stream_seq"
	fieldDelivery  = "delivery"
	fieldVerdict   = "verdict"
	fieldStatus    = "status"
	fieldReason    = "reason"
	fieldLetter    = "dead_letter"
	fieldCode      = "code"
	fieldHTTP      = "http_status"
	fieldRequestID = "request_id"
	fieldDelay     = "delay"
	fieldTook      = "took"
	fieldCount     = "count"
)

// logEnd writes the one line that tells a delivery's whole story. It names commands by their identity, never by content.
func (l *lane) logEnd(o *job, e end, r Result) {
	f := logrus.Fields{
		fieldMchID: l.mchid, fieldKind: string(o.kind), fieldSequence: o.sequence, fieldDelivery: o.delivered,
		fieldVerdict: r.Verdict, fieldTook: r.Took.String(),
	}
	if r.Key != "" {
		f[fieldKey] = r.Key
	}
	if r.Status != "" {
		f[fieldStatus] = string(r.Status)
	}
	if e.letter != 0 {
		f[fieldReason], f[fieldLetter] = string(r.Reason), e.letter
	}
	if r.Again {
		f[fieldDelay] = r.Delay.String()
	}
	if r.HTTPStatus != 0 {
		f[fieldHTTP] = r.HTTPStatus
	}
	if r.Code != "" {
		f[fieldCode] = r.Code
	}
	if r.RequestID != "" {
		f[fieldRequestID] = r.RequestID
	}
	entry := l.log.WithFields(f)
	if r.Err != nil {
		entry = entry.WithError(r.Err)
	}
	switch {
	case r.Status == messages.StatusFailed:
		entry.Warn("command failed")
	case r.Again:
		entry.Info("command waits")
	default:
		entry.Info("command done")
	}
}
