package consumer

import (
	"errors"

	"github.com/sirupsen/logrus"

	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
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
func (l *lane) logEnd(o *order, e end, err error) {
	f := logrus.Fields{
		fieldMchID: l.mchid, fieldKind: o.kind, fieldSequence: o.sequence, fieldDelivery: o.delivered,
		fieldVerdict: e.verdict, fieldTook: l.clock.Now().Sub(o.began).String(),
	}
	if o.cmd != nil && o.malformed == nil {
		f[fieldKey] = o.cmd.Key()
	}
	if e.status != "" {
		f[fieldStatus] = e.status
	}
	if e.letter != 0 {
		f[fieldReason], f[fieldLetter] = e.reason, e.letter
	}
	if e.again {
		f[fieldDelay] = e.delay.String()
	}
	var answer *wxpay.Error
	switch {
	case errors.As(err, &answer):
		f[fieldCode], f[fieldHTTP], f[fieldRequestID] = answer.Code, answer.HTTPStatus, answer.RequestID
	case e.failure != nil && e.failure.HTTPStatus != 0:
		f[fieldCode], f[fieldHTTP], f[fieldRequestID] = e.failure.Code, e.failure.HTTPStatus, e.failure.RequestID
	}
	entry := l.log.WithFields(f)
	if err != nil {
		entry = entry.WithError(err)
	}
	switch {
	case e.status == messages.StatusFailed:
		entry.Warn("command failed")
	case e.again:
		entry.Info("command waits")
	default:
		entry.Info("command done")
	}
}
