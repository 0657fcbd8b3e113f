package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/consumer"
)

type setupCmd struct {
	DryRun bool `help:"Print the difference and change nothing."`
	output
}

// Run makes streams and lanes what they should be, or says what that would mean. Nothing that holds messages is shrunk or
// deleted. It reads no key of any merchant, so it may run where there are none.
func (s *setupCmd) Run(a *app) error {
	denied := &denials{}
	c, err := a.connect(denied.option())
	if err != nil {
		return err
	}
	defer c.Close()
	if err := errors.Join(consumer.CheckServer(c.ConnectedServerVersion()), tryInbox(c.Conn)); err != nil {
		return err
	}
	p, left, all := printer{a.out, s.json()}, 0, c.config.installation().Parts()
	missing := map[string]bool{} // streams that are not there, and so can have no lanes
	for _, part := range all {
		done := s.part(a.ctx, c, denied, part, missing[part.Stream()])
		if part.Kind == consumer.PartStream && done.err != nil {
			missing[part.Name] = true
		}
		if done.left() {
			left++
		}
		p.setUp(done)
		if done.err != nil && !goesOn(done.err) {
			return fmt.Errorf("given up: %w", done.err)
		}
	}
	return verdict(left, len(all), "%d of %d streams and lanes are not as they should be", left, len(all))
}

// setUp is what became of one part.
type setUp struct {
	consumer.Part
	action      consumer.Action
	done        bool // false in a dry run, and after an error
	differences []consumer.Difference
	err         error
}

// errNoStream says that a lane's stream could not be made.
var errNoStream = errors.New("its stream is not there")

func (s *setupCmd) part(ctx context.Context, c *client, denied *denials, part consumer.Part, streamMissing bool) setUp {
	out := setUp{Part: part, action: consumer.ActionNone}
	if part.Kind == consumer.PartLane && streamMissing {
		out.err = errNoStream
		return out
	}
	var change *consumer.Change
	out.err = denied.ask(ctx, func(ctx context.Context) (err error) {
		change, err = part.Plan(ctx, c.js)
		return err
	})
	if out.err != nil {
		out.err = jetStreamError(out.err)
		return out
	}
	out.action, out.differences = change.Action, change.Differences
	if s.DryRun {
		return out
	}
	if change.Misfit() == nil { // the server would refuse the rest of it as well
		out.err = denied.ask(ctx, func(ctx context.Context) error { return change.Apply(ctx, c.js) })
	}
	out.done = out.err == nil
	return out
}

// left reports whether somebody has to look at the part.
func (u *setUp) left() bool {
	for _, d := range u.differences {
		if d.Step == consumer.StepMend || d.Step == consumer.StepMisfit {
			return true
		}
	}
	return u.err != nil
}

// goesOn reports whether the next part may fare better.
func goesOn(err error) bool {
	if errors.Is(err, errNoJetStream) {
		return false
	}
	_, refused := errors.AsType[*jetstream.APIError](err)
	_, denied := errors.AsType[*deniedError](err)
	return refused || denied || errors.Is(err, errNoStream)
}

// setUp prints one part.
func (p printer) setUp(u setUp) {
	if p.json {
		text := ""
		if u.err != nil {
			text = u.err.Error()
		}
		p.object(struct {
			Kind        consumer.PartKind     `json:"kind"`
			Name        string                `json:"name"`
			Action      consumer.Action       `json:"action"`
			Done        bool                  `json:"done"`
			Differences []consumer.Difference `json:"differences,omitempty"`
			Error       string                `json:"error,omitempty"`
		}{u.Kind, u.Name, u.action, u.done, u.differences, text})
		return
	}
	word := map[consumer.Action]string{consumer.ActionNone: "fits", consumer.ActionCreate: "create", consumer.ActionUpdate: "update"}[u.action]
	if u.done && u.action != consumer.ActionNone {
		word += "d"
	}
	if u.err != nil {
		fmt.Fprintf(p.w, "%-8s %-6s %-24s %v\n", "failed", u.Kind, u.Name, u.err)
		return
	}
	if u.left() && u.action == consumer.ActionNone {
		word = "left"
	}
	fmt.Fprintln(p.w, strings.TrimRight(fmt.Sprintf("%-8s %-6s %-24s %s", word, u.Kind, u.Name, strings.Join(phrases(u.differences), "; ")), " "))
}

// phrases are differences for people: what changes, what stays, and what a person has to mend.
func phrases(all []consumer.Difference) (out []string) {
	for _, d := range all {
		text := d.String()
		switch d.Step {
		case consumer.StepKeep:
			text = "stays: " + text
		case consumer.StepMend, consumer.StepMisfit:
			text = "left for you: " + text
		}
		out = append(out, text)
	}
	return out
}
