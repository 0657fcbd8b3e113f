package main

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/sirupsen/logrus"
)

// Names of log fields; those of deliveries are package consumer's.
const (
	fieldNATS      = "nats"
	fieldDir       = "dir" // of the embedded server
	fieldMchID     = "mchid"
	fieldMerchants = "merchants"
	fieldVersion   = "version"
	fieldSubject   = "subject"
	fieldAddress   = "address"
	fieldURL       = "url"
	fieldKeys      = "keys"    // of the configuration
	fieldChanges   = "changes" // how many merchants differ
)

// newLogger writes to w as the configuration says.
func newLogger(w io.Writer, c *Config) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(w)
	level, err := logrus.ParseLevel(c.Log.Level)
	if err != nil {
		level = logrus.InfoLevel // impossible: the configuration is checked
	}
	log.SetLevel(level)
	format := c.Log.Format
	if !c.set("log.format") && isTerminal(w) {
		format = "text"
	}
	if format == "text" {
		log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, TimestampFormat: time.DateTime})
	} else {
		log.SetFormatter(&jsonLines{any: logrus.JSONFormatter{TimestampFormat: time.RFC3339Nano}})
	}
	return log
}

// jsonLines writes the same lines as logrus.JSONFormatter at a fifth of the cost, which a line for each delivery makes noticeable: no
// reflection, no further map.
type jsonLines struct{ any logrus.JSONFormatter }

func (f *jsonLines) Format(e *logrus.Entry) ([]byte, error) {
	var room [16]string
	names := append(room[:0], logrus.FieldKeyTime, logrus.FieldKeyLevel, logrus.FieldKeyMsg)
	for name := range e.Data {
		if slices.Contains(names[:3], name) {
			return f.any.Format(e) // it gives fields of these names others
		}
		names = append(names, name)
	}
	slices.Sort(names)
	buffer := e.Buffer
	if buffer == nil {
		buffer = &bytes.Buffer{}
	}
	buffer.Grow(512) // as logrus keeps it for the next line
	b := buffer.AvailableBuffer()
	for i, name := range names {
		b = append(b, "{,"[min(i, 1)])
		b = append(appendJSONString(b, name), ':')
		var err error
		switch name {
		case logrus.FieldKeyTime:
			b = append(e.Time.AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
		case logrus.FieldKeyLevel:
			b = appendJSONString(b, e.Level.String())
		case logrus.FieldKeyMsg:
			b = appendJSONString(b, e.Message)
		default:
			if b, err = appendJSONValue(b, e.Data[name]); err != nil {
				return f.any.Format(e)
			}
		}
	}
	return append(b, '}', '\n'), nil
}

func appendJSONValue(b []byte, value any) ([]byte, error) {
	switch v := value.(type) {
	case string:
		return appendJSONString(b, v), nil
	case error:
		return appendJSONString(b, v.Error()), nil
	case int:
		return strconv.AppendInt(b, int64(v), 10), nil
	case uint64:
		return strconv.AppendUint(b, v, 10), nil
	}
	text, err := json.Marshal(value)
	return append(b, text...), err
}

func appendJSONString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			text, err := json.Marshal(s)
			if err != nil { // impossible for a string
				return append(b, `""`...)
			}
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// quiet is the logger of commands whose output is for people: only what is wrong shows.
func quiet(w io.Writer) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(w)
	log.SetLevel(logrus.WarnLevel)
	log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, TimestampFormat: time.TimeOnly})
	return log
}

// natsEvents makes the connection's troubles heard.
func natsEvents(log logrus.FieldLogger) []nats.Option {
	return []nats.Option{
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: closed by us
				log.WithError(err).Warn("connection to NATS lost; reconnecting")
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.WithField(fieldNATS, nc.ConnectedUrlRedacted()).Warn("connected to NATS again")
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			entry := log.WithError(err)
			if sub != nil {
				entry = entry.WithField(fieldSubject, sub.Subject)
			}
			entry.Warn("NATS reports an error")
		}),
	}
}
