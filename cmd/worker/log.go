package main

import (
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/sirupsen/logrus"
)

// Names of log fields; those of deliveries are package consumer's.
const (
	fieldNATS      = "nats"
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
		log.SetFormatter(&logrus.JSONFormatter{TimestampFormat: time.RFC3339Nano})
	}
	return log
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
