package stored

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
)

// MaxLasts is how many messages Lasts returns at most. The server refuses to look for more.
// Source: nats-server 2.15 server/stream.go, getDirectMulti.
const MaxLasts = 1024

// Lasts returns the newest message of each subject that matches one of the patterns, in any order, all as they were at one moment; it may be
// none. It makes one request, and the answer is small where there is nothing.
//
// If there are more than MaxLasts, or one of them cannot be read, it returns an error and no message.
func Lasts(ctx context.Context, nc *nats.Conn, stream string, patterns []string) (got []*Msg, err error) {
	err = exchange(ctx, nc, stream, request{LastOf: patterns}, MaxLasts+1, func(answer *nats.Msg) (bool, error) {
		switch status := statusOf(answer); {
		case status == "" || len(answer.Header) == 0: // headers that nobody can decode: whatever it says must not be overlooked
			m, err := parse(stream, answer)
			if err == nil {
				got = append(got, m)
			}
			return true, err
		case status == "204", status == "404" && len(got) == 0: // all were sent; there are none
			return false, nil
		default: // also a 404 after some were sent: one of them could not be loaded
			return false, fmt.Errorf("server answered %s %s", status, answer.Header.Get("Description"))
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", stream, err)
	}
	return got, nil
}
