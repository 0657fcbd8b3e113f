package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
func EnsureStreams(ctx context.Context, nc *nats.Conn, want Streams) error {
	if err := checkServer(nc.ConnectedServerVersion()); err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	for _, cfg := range want.configs() {
		if err := ensureStream(ctx, js, cfg); err != nil {
			return err
		}
	}
	return nil
}

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

func ensureStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) error {
	stream, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return nil // another worker of the fleet was first, with the same wishes
		}
		if err != nil {
			return fmt.Errorf("create stream %s: %w", want.Name, err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("read stream %s: %w", want.Name, err)
	}
	extended, changed, err := extend(stream.CachedInfo().Config, want)
	if err != nil || !changed {
		return err
	}
	if _, err := js.UpdateStream(ctx, extended); err != nil {
		return fmt.Errorf("update stream %s: %w", want.Name, err)
	}
	return nil
}

// extend returns what the stream is now, with every limit raised to what is wanted. A limit that is higher already stays:
// lowering MaxMsgsPerSubject or MaxAge makes the server delete messages. What cannot be changed and does not fit is an error.
func extend(have, want jetstream.StreamConfig) (jetstream.StreamConfig, bool, error) {
	out, changed := have, false
	switch {
	case have.Retention != want.Retention:
		return out, false, misfit(have.Name, "retention", have.Retention, want.Retention)
	case have.Storage != want.Storage:
		return out, false, misfit(have.Name, "storage", have.Storage, want.Storage)
	case want.DiscardNewPerSubject && (have.Discard != want.Discard || !have.DiscardNewPerSubject):
		return out, false, misfit(have.Name, "discard policy", have.Discard, "new, per subject")
	}
	for _, s := range want.Subjects {
		if !slices.Contains(have.Subjects, s) {
			out.Subjects, changed = append(out.Subjects, s), true
		}
	}
	if have.Replicas < want.Replicas {
		out.Replicas, changed = want.Replicas, true
	}
	if have.MaxMsgsPerSubject > 0 && have.MaxMsgsPerSubject < want.MaxMsgsPerSubject {
		out.MaxMsgsPerSubject, changed = want.MaxMsgsPerSubject, true
	}
	if have.MaxAge > 0 && have.MaxAge < want.MaxAge {
		out.MaxAge, changed = want.MaxAge, true
	}
	if want.AllowDirect && !have.AllowDirect {
		out.AllowDirect, changed = true, true
	}
	if want.AllowMsgSchedules && !have.AllowMsgSchedules {
		out.AllowMsgSchedules, changed = true, true
	}
	return out, changed, nil
}

func misfit(stream, what string, have, want any) error {
	return fmt.Errorf("stream %s: %s is %v, expected %v: mend it, or choose another nats.prefix", stream, what, have, want)
}

// checkServer refuses servers older than those whose pinned consumers and message schedules this program was measured on.
func checkServer(version string) error {
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
