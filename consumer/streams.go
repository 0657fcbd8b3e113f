package consumer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/messages"
)

// Streams is what the installation's streams should look like.
type Streams struct {
	Subjects       messages.Subjects
	Replicas       int           // 1 or 3
	MaxWaiting     int64         // commands that may wait per subject before its publisher is refused
	OutcomesMaxAge time.Duration // how long outcomes, and with them the memory of what was done, are kept
}

const (
	maxCommandMsgSize = 256 << 10 // room for a command of messages.MaxCommandBytes, for one that is too large, and for headers
	commandsDuplicate = 100 * time.Millisecond
	outcomesDuplicate = 2 * time.Minute
	minServer         = "2.15"
)

// EnsureStreams creates the streams that are missing and extends those that fall short. It never shrinks or deletes anything
// that holds messages, and it needs no permission to create what is there already and fits.
//
// The error names the stream: one that cannot serve and cannot be changed (Change.Misfit), or the server's refusal, with what can be done about
// it where that is known. It may be called again. A server that is too old is refused first (CheckServer).
func EnsureStreams(ctx context.Context, nc *nats.Conn, want Streams) error {
	if err := CheckServer(nc.ConnectedServerVersion()); err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	for _, part := range want.streamParts() {
		change, err := part.Plan(ctx, js)
		if err == nil {
			err = change.Misfit()
		}
		if err == nil {
			err = change.Apply(ctx, js)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// configs lists the streams as they should be. One more store is one more entry; a key-value bucket is a stream, too.
func (w Streams) configs() []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		{
			Name:        w.Subjects.CommandsStream(),
			Description: "commands waiting to be carried out at WeChat Pay",
			// Exactly the four patterns: a mistyped subject is refused when it is published.
			Subjects:  w.Subjects.CommandPatterns(),
			Retention: jetstream.WorkQueuePolicy,
			Storage:   jetstream.FileStorage, Replicas: w.Replicas,
			MaxMsgSize: maxCommandMsgSize,
			// A full merchant is refused at publish; nothing old is dropped, and nobody else is refused.
			Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, MaxMsgsPerSubject: w.MaxWaiting,
			// Read by whoever takes a lane over: what its commands are, and which of them are for the same order or complaint.
			AllowDirect: true,
			// The smallest window there is: the ledger deduplicates. A window is shared by all subjects, so that a publisher
			// could swallow another merchant's command by guessing its message id.
			Duplicates: commandsDuplicate,
		},
		{
			Name:        w.Subjects.OutcomesStream(),
			Description: "what became of commands, and the worker's ledger",
			Subjects:    []string{w.Subjects.AllOutcomes()},
			Retention:   jetstream.LimitsPolicy,
			Storage:     jetstream.FileStorage, Replicas: w.Replicas,
			MaxAge: w.OutcomesMaxAge, AllowDirect: true,
			Duplicates: min(outcomesDuplicate, w.OutcomesMaxAge),
		},
		{
			Name:        w.Subjects.DeadLettersStream(),
			Description: "commands that failed, whole, until somebody replays or drops them",
			Subjects:    []string{w.Subjects.AllDeadLetters()},
			Retention:   jetstream.LimitsPolicy,
			Storage:     jetstream.FileStorage, Replicas: w.Replicas,
			AllowDirect: true,
		},
		{
			Name:        w.Subjects.SettlementsStream(),
			Description: "internal: accepted refunds that are followed to their end; only the worker may publish here",
			Subjects:    []string{w.Subjects.AllSettlements()},
			Retention:   jetstream.WorkQueuePolicy,
			Storage:     jetstream.FileStorage, Replicas: w.Replicas,
			AllowMsgSchedules: true, // no limit of any kind: the server would drop schedules silently
			AllowDirect:       true, // overdue ones are looked for
		},
		{
			Name:        w.Subjects.MediaStream(),
			Description: "internal: media_ids of pictures that were uploaded to WeChat Pay",
			Subjects:    []string{w.Subjects.AllMedia()},
			Retention:   jetstream.LimitsPolicy,
			Storage:     jetstream.FileStorage, Replicas: w.Replicas,
			MaxMsgsPerSubject: 1, AllowDirect: true,
		},
	}
}

// CheckServer refuses servers older than those whose pinned consumers and message schedules this program was measured on. It takes the version
// as nats.Conn.ConnectedServerVersion tells it: none while the connection is lost, which is nats.ErrDisconnected, to be tried again.
func CheckServer(version string) error {
	if version == "" {
		return fmt.Errorf("ask for the NATS server's version: %w", nats.ErrDisconnected)
	}
	have, err1 := parseVersion(version)
	want, err2 := parseVersion(minServer)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("NATS server version %q: %w", version, err)
	}
	if have < want {
		return fmt.Errorf("NATS server is version %s, expected %s or newer", version, minServer)
	}
	return nil
}

// parseVersion makes major and minor comparable; what follows them does not matter here.
func parseVersion(v string) (int, error) {
	parts := strings.SplitN(strings.TrimPrefix(v, "v"), ".", 3)
	if len(parts) < 2 {
		return 0, errors.New("expected MAJOR.MINOR")
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return major*1000 + minor, errors.Join(err1, err2)
}
