package stored

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// The size of a batch: enough to make the round trip cheap. The first is small, since many who walk need only the beginning: a
// worker with hundreds of lanes looks at the beginning of each of their queues when it starts.
const (
	firstBatch    = 64
	batchMessages = 500
	batchBytes    = 4 << 20
)

// From yields the messages whose subjects match the pattern, oldest first, beginning with the sequence seq and up to the newest one that
// there is when it gets there. A message whose headers cannot be decoded is left out. An error ends the iteration.
func From(ctx context.Context, nc *nats.Conn, stream, pattern string, seq uint64) iter.Seq2[*Msg, error] {
	return walk(ctx, nc, stream, request{NextFor: pattern, Seq: max(seq, 1)})
}

// Since is From, beginning with the first message that the server stored at that time, by its clock, or later.
func Since(ctx context.Context, nc *nats.Conn, stream, pattern string, at time.Time) iter.Seq2[*Msg, error] {
	at = at.UTC()
	return walk(ctx, nc, stream, request{NextFor: pattern, StartTime: &at})
}

func walk(ctx context.Context, nc *nats.Conn, stream string, r request) iter.Seq2[*Msg, error] {
	r.Batch, r.MaxBytes = firstBatch, batchBytes
	return func(yield func(*Msg, error) bool) {
		for {
			got, last, more, err := batch(ctx, nc, stream, r)
			for _, m := range got {
				if !yield(m, nil) {
					return
				}
			}
			if err != nil {
				yield(nil, fmt.Errorf("read stream %s: %w", stream, err))
			}
			if err != nil || !more {
				return
			}
			r.Seq, r.StartTime, r.Batch = last+1, nil, batchMessages
		}
	}
}

// batch makes one request and collects its answers, which end with the server's own word: that there is nothing (more), or
// that the batch is complete, and with which message. What has come when an answer stays away is returned with the error.
func batch(ctx context.Context, nc *nats.Conn, stream string, r request) (got []*Msg, last uint64, more bool, err error) {
	err = exchange(ctx, nc, stream, r, r.Batch+1, func(answer *nats.Msg) (bool, error) {
		if len(answer.Header) == 0 {
			// Its publisher sent headers that nobody can decode, and the server's own stand among them. Passed over: one such
			// message must not keep the others from being read.
			return true, nil
		}
		switch status := statusOf(answer); status {
		case "":
			m, err := parse(stream, answer)
			if err == nil {
				got = append(got, m)
			}
			return true, err
		case "404":
			return false, nil
		case "204": // end of batch
			if last, err = strconv.ParseUint(answer.Header.Get("Nats-Last-Sequence"), 10, 64); err != nil {
				return false, errors.New("end of batch without a sequence")
			}
			more = answer.Header.Get("Nats-Num-Pending") != "0"
			return false, nil
		default:
			return false, fmt.Errorf("server answered %s %s", status, answer.Header.Get("Description"))
		}
	})
	return got, last, more && err == nil, err
}

// exchange makes one request that has several answers, and hands each to take until that wants no more. room is the most answers that can
// come.
func exchange(ctx context.Context, nc *nats.Conn, stream string, r request, room int, take func(*nats.Msg) (more bool, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	// Room for all that can come. (SubscribeSync makes room for 65,536 messages, half a megabyte each time.)
	answers := make(chan *nats.Msg, room)
	sub, err := nc.ChanSubscribe(nc.NewInbox(), answers)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only with a connection that is closed
	if err := nc.PublishRequest("$JS.API.DIRECT.GET."+stream, sub.Subject, body); err != nil {
		return err
	}
	for {
		select {
		case answer := <-answers:
			if more, err := take(answer); err != nil || !more {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
