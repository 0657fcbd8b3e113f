package consumer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/messages"
)

// Orphans counts the waiting commands of all merchants but the known ones, by merchant.
func Orphans(ctx context.Context, js jetstream.JetStream, subjects messages.Subjects, known []string) (map[string]uint64, error) {
	stream, err := js.Stream(ctx, subjects.CommandsStream())
	if err != nil {
		return nil, fmt.Errorf("count orphaned commands: %w", err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(">"))
	if err != nil {
		return nil, fmt.Errorf("count orphaned commands: %w", err)
	}
	orphans := map[string]uint64{}
	for subject, n := range info.State.Subjects {
		// <prefix>.command.<mchid>.…: whatever stands there, also what could never be a merchant number.
		if tokens := strings.Split(subject, "."); len(tokens) > 3 && !slices.Contains(known, tokens[2]) {
			orphans[tokens[2]] += n
		}
	}
	return orphans, nil
}
