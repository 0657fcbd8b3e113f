package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/messages"
)

// command is one command on its way to its end.
type command struct {
	line   int // of the input it came from, 0 if from flags
	mchid  string
	kind   messages.Kind
	key    string // "" if it is malformed
	id     string
	digest string
	body   []byte
	header nats.Header

	sequence uint64 // in the commands stream, once it is there; 0 of one that a worker puts there
}

// window is how many publishes may be unconfirmed at once: enough to hide the latency of a synced store, and few enough that
// what is left unclear by a lost connection can be looked through.
const window = 512

// errUnsent says that a command was not published, because of what happened to another.
var errUnsent = errors.New("not sent")

// publish puts commands on their subjects and calls done for each, in order, when the stream has confirmed or refused it.
// A failure that is not about the one command, or the end of ctx, stops it: what was not published by then is errUnsent. What
// was published is waited for in any case: whether it is stored must be known.
func (c *client) publish(ctx context.Context, batch []*command, done func(*command, error)) {
	type sent struct {
		*command
		future jetstream.PubAckFuture
		err    error
	}
	var unconfirmed []sent
	stopped := false
	settle := func() {
		s := unconfirmed[0]
		unconfirmed = unconfirmed[1:]
		if s.err == nil {
			s.sequence, s.err = confirmation(s.future)
		}
		_, refused := errors.AsType[*jetstream.APIError](s.err)
		stopped = stopped || s.err != nil && !refused
		done(s.command, c.explain(s.command, s.err))
	}
	for _, cmd := range batch {
		if len(unconfirmed) == window {
			settle()
		}
		s := sent{command: cmd, err: errUnsent}
		if !stopped && ctx.Err() == nil {
			subject := c.config.subjects().Command(cmd.mchid, cmd.kind)
			s.future, s.err = c.js.PublishMsgAsync(&nats.Msg{Subject: subject, Data: cmd.body, Header: cmd.header})
		}
		unconfirmed = append(unconfirmed, s)
	}
	for len(unconfirmed) > 0 {
		settle()
	}
}

// confirmation waits for the stream's answer, for publishTimeout at most.
func confirmation(f jetstream.PubAckFuture) (sequence uint64, err error) {
	select {
	case ack := <-f.Ok():
		return ack.Sequence, nil
	case err := <-f.Err():
		return 0, err
	}
}

// errorCodeStoreFailed is the server's code for a message it could not store; it has none of its own for a subject that is full.
// Source: nats-server 2.15 server/errors.json, JSStreamStoreFailedF.
const errorCodeStoreFailed jetstream.ErrorCode = 10077

// explain says what a refused publish means.
func (c *client) explain(cmd *command, err error) error {
	api, refused := errors.AsType[*jetstream.APIError](err)
	switch {
	case err == nil, errors.Is(err, errUnsent):
		return err
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return c.unanswered("no stream takes " + c.config.subjects().Command(cmd.mchid, cmd.kind))
	case refused && api.ErrorCode == errorCodeStoreFailed:
		return fmt.Errorf("the stream does not store it: %s (nats.max_waiting bounds the %s commands of merchant %s)", api.Description, cmd.kind, cmd.mchid)
	case refused:
		return fmt.Errorf("refused by the stream: %w", err)
	}
	return fmt.Errorf("not confirmed, it may be stored: %w (sent again with the same id or refund number, it is still one command)", err)
}
