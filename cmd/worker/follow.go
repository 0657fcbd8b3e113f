package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/messages"
)

// event is an outcome as the stream holds it.
type event struct {
	subject  string
	sequence uint64
	header   nats.Header
	data     []byte
	outcome  *messages.Outcome // nil if a newer worker's cannot be read
}

func newEvent(subject string, sequence uint64, header nats.Header, data []byte) *event {
	e := &event{subject: subject, sequence: sequence, header: header, data: data}
	e.outcome, _ = messages.DecodeOutcome(data)
	return e
}

// bad reports whether an end is one that somebody has to look at.
func bad(s messages.Status) bool {
	return s == messages.StatusFailed || s == messages.StatusClosed || s == messages.StatusAbnormal
}

// follow yields outcomes in order, the stored ones that from asks for and then the coming ones, until ctx ends. An error ends it.
func (c *client) follow(ctx context.Context, from jetstream.OrderedConsumerConfig) iter.Seq2[*event, error] {
	return func(yield func(*event, error) bool) {
		stream := c.config.subjects().OutcomesStream()
		consumer, err := c.js.OrderedConsumer(ctx, stream, from)
		if err == nil && from.DeliverPolicy == jetstream.DeliverNewPolicy {
			consumer, err = c.fromHere(ctx, stream, consumer, from)
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			err = fmt.Errorf("no stream %s: start a worker first, or check nats.prefix", stream)
		}
		var arriving jetstream.MessagesContext
		if err == nil {
			arriving, err = consumer.Messages()
		}
		if err != nil {
			if ctx.Err() == nil {
				yield(nil, fmt.Errorf("follow outcomes: %w", jetStreamError(err)))
			}
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		come := arrivals(ctx, arriving)
		for {
			var a arrival
			select {
			case a = <-come:
			case <-ctx.Done():
			}
			if ctx.Err() != nil {
				return
			}
			if a.err != nil {
				yield(nil, fmt.Errorf("follow outcomes: %w", a.err))
				return
			}
			if !yield(a.event, nil) {
				return
			}
		}
	}
}

// arrival is an outcome, or why no more of them come.
type arrival struct {
	event *event
	err   error
}

// arrivals passes on what arrives until ctx ends. While the server has no JetStream the library tries again and heeds no context: whoever waits
// for an arrival must not wait for it.
func arrivals(ctx context.Context, arriving jetstream.MessagesContext) <-chan arrival {
	come := make(chan arrival)
	context.AfterFunc(ctx, arriving.Stop) // which ends the library's trying, in a moment
	go func() {                           // ends with ctx, or that moment later
		for {
			var a arrival
			var meta *jetstream.MsgMetadata
			m, err := arriving.Next(jetstream.NextContext(ctx))
			if err == nil {
				meta, err = m.Metadata()
			}
			if a.err = err; err == nil {
				a.event = newEvent(m.Subject(), meta.Sequence.Stream, m.Headers(), m.Data())
			}
			select {
			case come <- a:
			case <-ctx.Done():
			}
			if err != nil || ctx.Err() != nil {
				return
			}
		}
	}()
	return come
}

// fromHere returns a consumer for all that comes after made was. A connection that is lost before anything has come makes the library begin
// with what is new then, so that made itself would miss what came meanwhile. (A watcher may not ask the stream where it ends.)
func (c *client) fromHere(ctx context.Context, stream string, made jetstream.Consumer, from jetstream.OrderedConsumerConfig) (jetstream.Consumer, error) {
	info := made.CachedInfo()
	from.DeliverPolicy, from.OptStartSeq = jetstream.DeliverByStartSequencePolicy, info.Delivered.Stream+1
	_ = c.js.DeleteConsumer(ctx, stream, info.Name) // or the server does, when it has been idle for a while
	return c.js.OrderedConsumer(ctx, stream, from)
}

// printer writes results, as lines for people or as JSON.
type printer struct {
	w    io.Writer
	json bool
}

// event prints an outcome.
func (p printer) event(e *event) {
	if p.json {
		p.object(struct {
			Subject  string          `json:"subject"`
			Sequence uint64          `json:"sequence"`
			Headers  nats.Header     `json:"headers"`
			Data     json.RawMessage `json:"data"`
		}{e.subject, e.sequence, e.header, jsonOrText(e.data)})
		return
	}
	o := e.outcome
	if o == nil {
		fmt.Fprintf(p.w, "%s (an outcome this version cannot read)\n", e.subject)
		return
	}
	fmt.Fprintln(p.w, strings.TrimRight(fmt.Sprintf("%s  %-10s  %-8s  %-28s  %-9s  %s",
		o.At.UTC().Format(time.RFC3339), o.MchID, o.Kind, o.Key, o.Status, detail(o)), " "))
}

// detail is the rest of an outcome's line. Payer data stays out of it.
func detail(o *messages.Outcome) string {
	switch {
	case o.Error != nil:
		text := string(o.Error.Reason)
		if o.Error.ConflictsWith != "" {
			text += " with " + o.Error.ConflictsWith
		}
		if o.Error.Code != "" {
			text += " " + o.Error.Code
		}
		return fmt.Sprintf("%s: %s (dead letter %d)", text, o.Error.Message, o.DeadLetter)
	case o.Refund != nil && o.Refund.RefundID != "":
		return "refund_id " + o.Refund.RefundID
	}
	return ""
}

func (p printer) object(v any) {
	_ = p.encode(v) // what is printed here can be encoded, and the page remembers what could not be written
}

// encode is object for what must not be lost: the error is that of the writer.
func (p printer) encode(v any) error {
	e := json.NewEncoder(p.w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// isJSON reports whether a body can stand in a line of JSON as it is. (encoding/json takes any bytes for the text of a string.)
func isJSON(data []byte) bool { return json.Valid(data) && utf8.Valid(data) }

// jsonOrText lets a body that is no JSON be printed all the same.
func jsonOrText(data []byte) json.RawMessage {
	if isJSON(data) {
		return data
	}
	text, _ := json.Marshal(string(data)) // a string: what is not UTF-8 becomes U+FFFD
	return text
}
