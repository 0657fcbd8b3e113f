package main

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"wxpay-worker/messages"
)

// expectations are commands that have not ended yet.
type expectations struct {
	open map[*command]bool
	by   map[expected][]*command // a command stands under its key, and under the one it gets if it is refused
}

// expected is what an outcome and the command it ends have in common.
type expected struct {
	mchid string
	kind  messages.Kind
	key   string
}

func newExpectations() *expectations {
	return &expectations{open: map[*command]bool{}, by: map[expected][]*command{}}
}

// left is how many there are.
func (x *expectations) left() int { return len(x.open) }

func (x *expectations) add(c *command) {
	x.open[c] = true
	for _, key := range c.keys() {
		x.by[key] = append(x.by[key], c)
	}
}

func (c *command) keys() (keys []expected) {
	if c.key != "" {
		keys = append(keys, expected{c.mchid, c.kind, c.key})
	}
	if c.sequence != 0 {
		keys = append(keys, expected{c.mchid, c.kind, messages.SeqKey(c.sequence)})
	}
	return keys
}

// meet takes out, and returns, the commands that the event ends.
func (x *expectations) meet(e *event) (ended []*command) {
	o := e.outcome
	if o == nil {
		return nil
	}
	for _, c := range x.by[expected{o.MchID, o.Kind, o.Key}] {
		if c.endedBy(e) {
			ended = append(ended, c)
		}
	}
	// A command that a worker put on its subject (the refund inside a decision) has no sequence here, so it is not known under the key that its
	// conflict is told by.
	if o.Error != nil && o.Error.ConflictsWith != "" {
		for _, c := range x.by[expected{o.MchID, o.Kind, o.Error.ConflictsWith}] {
			if c.sequence == 0 {
				ended = append(ended, c)
			}
		}
	}
	for _, c := range ended {
		x.remove(c)
	}
	return ended
}

// endedBy reports whether an outcome under one of the command's keys is its end, and not that of an earlier or another command.
func (c *command) endedBy(e *event) bool {
	o := e.outcome
	switch {
	case !o.Status.Final():
		return false
	case c.sequence != 0 && o.Key == messages.SeqKey(c.sequence):
		return true
	case e.header.Get(messages.HeaderDigest) != c.digest:
		return false
	case o.Status == messages.StatusFailed:
		// A `failed` ends only what was stored before it; ours may be a new try.
		upTo, err := strconv.ParseUint(e.header.Get(messages.HeaderCommandsSeq), 10, 64)
		return err == nil && c.sequence <= upTo
	}
	return true
}

// remove forgets a command; one that is not there is no error.
func (x *expectations) remove(c *command) {
	delete(x.open, c)
	for _, key := range c.keys() {
		x.by[key] = slices.DeleteFunc(x.by[key], func(other *command) bool { return other == c })
		if len(x.by[key]) == 0 {
			delete(x.by, key)
		}
	}
}

// missing lists the commands that are still expected to end, in the order of their input.
func (x *expectations) missing() []*command {
	return slices.SortedFunc(maps.Keys(x.open), func(a, b *command) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.sequence, b.sequence))
	})
}
