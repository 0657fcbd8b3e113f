package main

import (
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/messages"
)

type watchCmd struct {
	MchID  []string `nonempty:"" name:"mchid" sep:"," placeholder:"MCHID" help:"Only these merchants."`
	Kind   []string `nonempty:"" sep:"," enum:"refund,decision,reply,complete" placeholder:"KIND" help:"Only these kinds: refund, decision, reply, complete."`
	Status []string `nonempty:"" sep:"," enum:"started,accepted,succeeded,closed,abnormal,failed" placeholder:"STATUS" help:"Only these: started, accepted, succeeded, closed, abnormal, failed."`
	Key    []string `nonempty:"" sep:"none" placeholder:"KEY" help:"Only these keys: refund numbers, or command ids."`
	Since  string   `nonempty:"" placeholder:"TIME" help:"Also stored ones since then: RFC 3339, or an age such as 2h."`
	Count  int      `placeholder:"N" help:"End after so many."`
	output
}

// Run prints outcomes until there were enough or a signal comes.
func (w *watchCmd) Run(a *app) error {
	from, err := w.from(time.Now())
	if err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	from.FilterSubjects = w.filters(c.config.subjects())
	p, left := printer{a.out, w.json()}, w.Count
	for e, err := range c.follow(a.ctx, from) {
		if err != nil {
			return err
		}
		p.event(e)
		if left--; left == 0 {
			break
		}
	}
	return nil
}

// from is where to begin.
func (w *watchCmd) from(now time.Time) (jetstream.OrderedConsumerConfig, error) {
	var from jetstream.OrderedConsumerConfig
	if w.Count < 0 {
		return from, usageError("--count: expected a positive number")
	}
	for _, mchid := range w.MchID {
		if !messages.ValidMchID(mchid) {
			return from, usageError("--mchid: expected 1 to 32 digits")
		}
	}
	if w.Since == "" {
		from.DeliverPolicy = jetstream.DeliverNewPolicy
		return from, nil
	}
	since, err := parseTime("--since", w.Since, now)
	from.DeliverPolicy, from.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	return from, err
}

// parseTime reads the value of a flag that is a time, or an age.
func parseTime(flag, text string, now time.Time) (time.Time, error) {
	if age, err := time.ParseDuration(text); err == nil && age >= 0 {
		return now.Add(-age), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usageError("%s: expected a time such as 2026-11-21T08:00:00+08:00, or an age such as 2h", flag)
	}
	return t, nil
}

// filters are the subjects to be sent: every combination of what was asked for.
func (w *watchCmd) filters(s messages.Subjects) []string {
	subjects := []string{strings.TrimSuffix(s.AllOutcomes(), ".>")}
	keys := make([]string, len(w.Key))
	for i, key := range w.Key {
		keys[i] = messages.EscapeToken(key)
	}
	for _, tokens := range [][]string{w.MchID, w.Kind, keys, w.Status} {
		if len(tokens) == 0 {
			tokens = []string{"*"}
		}
		var longer []string
		for _, subject := range subjects {
			for _, token := range distinct(tokens) {
				longer = append(longer, subject+"."+token)
			}
		}
		subjects = longer
	}
	return subjects
}
