package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Refund lanes are spread over the workers of a fleet. An idle lane is pinned to nobody, and its next command goes to whoever asked first:
// those spread by themselves. Busy ones stay with who has them, also when another worker joins; so whoever serves more than its
// share gives some up: it drains them, ends the pin, and does not ask for their commands for a while. The pin alone says who
// serves a lane; if nobody takes it, it comes back.
//
// Complaint lanes stay where they are: 60 calls a minute are no load worth spreading, and whoever takes one over supposes that the quota
// of the last minute was used, which delays what is waiting.
//
// Nobody keeps a list of workers: every worker asks every lane for commands, so that the server's count of open pulls tells how
// many there are.

const (
	balanceInterval = 30 * time.Second // between two looks; there is no hurry, and each hand-over costs a moment
	balanceRecent   = 2 * time.Minute  // a lane that had a delivery since then is busy
	balanceRest     = 2                // pinned TTLs for which a lane that was given up is left to others
)

// balance gives lanes up, again and again, until ctx ends.
func (c *Consumer) balance(ctx context.Context) {
	tick := time.NewTicker(c.clock.Wall(balanceInterval))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		surplus, err := c.surplus(ctx)
		if err != nil && ctx.Err() == nil {
			c.log.WithError(err).Debug("lanes are not balanced") // each of them is served all the same
		}
		for _, l := range surplus {
			l.yield()
		}
	}
}

// surplus lists the lanes that we serve beyond our share of the busy ones, those with the least in flight first.
func (c *Consumer) surplus(ctx context.Context) ([]*lane, error) {
	ctx, cancel := context.WithTimeout(ctx, c.storeTimeout)
	defer cancel()
	stream, err := c.js.Stream(ctx, c.subjects.CommandsStream())
	if err != nil {
		return nil, fmt.Errorf("list lanes: %w", err)
	}
	var mine []*lane
	busy, workers := 0, 1
	list := stream.ListConsumers(ctx)
	for info := range list.Info() {
		l, pin := c.lane(info.Name), pinOf(info)
		recent := info.Delivered.Last != nil && time.Since(*info.Delivered.Last) < c.clock.Wall(balanceRecent)
		if l == nil || l.family == familyComplaint || pin == "" && !recent { // recent: between two workers, or between two commands
			continue
		}
		busy++
		if pin == "" || *l.pinned.Load() != pin || l.yielding.Load() {
			continue
		}
		if info.NumAckPending > 0 && l.flying.Load() == 0 {
			continue // all of it waits: it is no load here, and whoever took it over would make it wait longer
		}
		mine = append(mine, l)
		// One pull of each other worker waits, and one of ours if it is open just now.
		workers = max(workers, info.NumWaiting)
	}
	if err := list.Err(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return nil, fmt.Errorf("list lanes: %w", err)
	}
	share := (busy + workers - 1) / workers
	if len(mine) <= share {
		return nil, nil
	}
	slices.SortFunc(mine, func(a, b *lane) int { return cmp.Compare(a.flying.Load(), b.flying.Load()) })
	return mine[:len(mine)-share], nil
}

// pinOf is what the worker that serves a lane is known by, "" if nobody does.
func pinOf(info *jetstream.ConsumerInfo) string {
	for _, group := range info.PriorityGroups {
		if group.PinnedClientID != "" {
			return group.PinnedClientID
		}
	}
	return ""
}

// lane returns the lane with that name, nil if it is none of ours.
func (c *Consumer) lane(name string) *lane {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lanes[name]
}
