package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// denials hears which subjects the server does not let us use. The server says so on the connection, not in answer to the request, which
// stays without one.
type denials struct {
	mu   sync.Mutex
	stop context.CancelCauseFunc // of the request under way, nil if there is none; guarded by mu
}

// deniedError says which subject it was, in the server's words.
type deniedError struct{ text string }

func (e *deniedError) Error() string { return "not permitted: " + e.text }

// option makes d hear of the connection's troubles instead of the log.
func (d *denials) option() nats.Option {
	return nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.stop != nil && errors.Is(err, nats.ErrPermissionViolation) {
			d.stop(newDenied(err))
		}
	})
}

func newDenied(err error) *deniedError {
	text := strings.TrimPrefix(err.Error(), nats.ErrPermissionViolation.Error()+": ")
	return &deniedError{strings.TrimPrefix(text, "Permissions Violation for ")}
}

// tryInbox fails if answers to requests could not reach us. The connection must be new.
func tryInbox(nc *nats.Conn) error {
	sub, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		return fmt.Errorf("subscribe to inbox: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // one that was denied is none
	if err := nc.FlushTimeout(connectTimeout); err != nil {
		return fmt.Errorf("subscribe to inbox: %w", err)
	}
	// The server has said no, if at all, before it answered the flush.
	if err := nc.LastError(); errors.Is(err, nats.ErrPermissionViolation) {
		return newDenied(err)
	}
	return nil
}

// askTimeout bounds one request to JetStream: long enough for a cluster to elect a leader.
const askTimeout = 10 * time.Second

// ask makes one request; only one may be under way at a time. If the server denies a subject that the request uses, the error is a
// *deniedError, and comes at once.
func (d *denials) ask(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout, fmt.Errorf("no answer within %s: %w", askTimeout, context.DeadlineExceeded))
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	d.hear(stop)
	defer d.hear(nil)
	err := do(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

func (d *denials) hear(stop context.CancelCauseFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stop = stop
}
