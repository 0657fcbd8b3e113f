package stored

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
)

// Count returns how many messages the stream holds whose subjects match the pattern. The server counts; one message travels.
func Count(ctx context.Context, nc *nats.Conn, stream, pattern string) (uint64, error) {
	fail := func(err error) (uint64, error) { return 0, fmt.Errorf("count messages of stream %s: %w", stream, err) }
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	body, err := json.Marshal(request{NextFor: pattern, Seq: 1, Batch: 1})
	if err != nil {
		return fail(err)
	}
	// The first answer to a batch is its first message, which says how many follow it; or that there is none.
	answer, err := nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+stream, body)
	if err != nil {
		return fail(err)
	}
	switch status := statusOf(answer); status {
	case "":
		more, err := strconv.ParseUint(answer.Header.Get("Nats-Num-Pending"), 10, 64)
		if err != nil {
			return fail(errors.New("answer without a number"))
		}
		return more + 1, nil
	case "404":
		return 0, nil
	default:
		return fail(fmt.Errorf("server answered %s %s", status, answer.Header.Get("Description")))
	}
}
