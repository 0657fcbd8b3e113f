package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A worker waits for a NATS that is starting or electing leaders, and ends, so that somebody looks, with what will not pass by itself.
func TestWhatPassesIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err     error
		lasting bool
	}{
		{&jetstream.APIError{Code: 503, ErrorCode: 10008, Description: "JetStream system temporarily unavailable"}, false},
		{&jetstream.APIError{Code: 400, ErrorCode: 10005, Description: "no suitable peers for placement"}, false},
		{&jetstream.APIError{Code: 500, ErrorCode: 10009, Description: "JetStream cluster can not handle request"}, false},
		{&jetstream.APIError{Code: 500, ErrorCode: 10048, Description: "stream assignment failed"}, false},
		{context.DeadlineExceeded, false},
		{nats.ErrNoResponders, false},
		{nats.ErrConnectionReconnecting, false},
		{&jetstream.APIError{Code: 500, ErrorCode: 10074, Description: "replicas > 1 not supported in non-clustered mode"}, true},
		{&jetstream.APIError{Code: 400, ErrorCode: 10058, Description: "stream name already in use with a different configuration"}, true},
		{nats.ErrPermissionViolation, true},
		{errors.New("stream WXPAY_COMMANDS: retention is limits, expected workqueue"), true},
	} {
		if got := isLasting(fmt.Errorf("make stream: %w", c.err)); got != c.lasting {
			t.Errorf("%v: lasting %v", c.err, got)
		}
	}
}
