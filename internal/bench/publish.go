package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/messages"
)

// load is what a publisher publishes: refund commands, each for an order of its own, over merchants in turn.
type load struct {
	URL       string
	Story     string
	First     int // merchant
	Merchants int
	Count     int
	PerSecond float64 // 0: as fast as the stream confirms
}

// runPublish publishes a load and ends when the stream has confirmed all of it.
func runPublish(description string) error {
	var l load
	if err := json.Unmarshal([]byte(description), &l); err != nil {
		return err
	}
	nc, err := nats.Connect(l.URL)
	if err != nil {
		return err
	}
	defer nc.Close()
	var lost error
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(2000), jetstream.WithPublishAsyncErrHandler(
		func(_ jetstream.JetStream, m *nats.Msg, err error) { lost = fmt.Errorf("%s: %w", m.Subject, err) },
	))
	if err != nil {
		return err
	}
	ctx, cancel := untilInputEnds()
	defer cancel()
	began := time.Now()
	for n := range l.Count {
		if l.PerSecond > 0 {
			due := began.Add(time.Duration(float64(n) / l.PerSecond * float64(time.Second)))
			if wait := time.Until(due); wait > 0 {
				time.Sleep(wait)
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if err := l.publish(js, n); err != nil {
			return err
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-ctx.Done():
	}
	return lost
}

func (l load) publish(js jetstream.JetStream, n int) error {
	number := refundNumber(l.Story, n)
	body, err := json.Marshal(refundOf(number))
	if err != nil {
		return err
	}
	subject := subjects.Command(merchantID(l.First+n%l.Merchants), messages.KindRefund)
	if _, err := js.PublishAsync(subject, body, jetstream.WithStallWait(time.Minute)); err != nil {
		return fmt.Errorf("publish command %d: %w", n, err)
	}
	return nil
}
