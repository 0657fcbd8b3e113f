package consumer

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// LaneState is what the NATS server tells of a lane, to anybody. What a worker knows of its own lanes is LaneStatus.
type LaneState struct {
	Waiting  uint64        // commands that were not delivered yet
	Out      int           // commands in flight or in back-off
	OutLimit int           // with so many of them the lane stands still
	Served   bool          // a worker is pinned to it, or asks for its commands
	Paused   time.Duration // how long it is paused yet, by a hold or a person; 0 if it is not
	Hold     string        // why it is held, "" if it is not
}

func laneState(info *jetstream.ConsumerInfo) *LaneState {
	s := &LaneState{
		Waiting: info.NumPending, Out: info.NumAckPending, OutLimit: info.Config.MaxAckPending,
		Hold:   info.Config.Metadata[holdMetadata],
		Served: pinOf(info) != "" || info.NumWaiting > 0, // an idle lane is pinned to nobody
	}
	if info.Paused {
		s.Paused = max(info.PauseRemaining, 1)
	}
	return s
}
