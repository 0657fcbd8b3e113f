package main

import (
	"errors"
	"fmt"
	"time"

	"wxpay-worker/messages"
)

// sendCmd publishes commands of one kind: one from flags, or many from a file or standard input.
type sendCmd struct {
	Refund   refundFlags   `cmd:"" help:"Refund orders."`
	Decision decisionFlags `cmd:"" help:"Approve or reject refunds that complaints ask for."`
	Reply    replyFlags    `cmd:"" help:"Answer complaints."`
	Complete completeFlags `cmd:"" help:"Report complaints as finished."`

	MchID    string            `nonempty:"" name:"mchid" placeholder:"MCHID" help:"The merchant; needed unless each object has its mchid."`
	ID       string            `nonempty:"" name:"id" placeholder:"ID" help:"The command's id (default: a new one; refunds need none)."`
	Metadata map[string]string `mapsep:"none" placeholder:"KEY=VALUE" help:"Comes back in every outcome; may be repeated."`
	File     string            `nonempty:"" short:"f" placeholder:"FILE" help:"JSON object or JSONL; - is standard input."`
	Wait     bool              `help:"Print how the commands end; exit 1 if failed, closed or abnormal."`
	Timeout  time.Duration     `placeholder:"DURATION" help:"With --wait: how long at most."`
	output
}

// send validates everything, puts pictures where workers find them, publishes, and waits if asked to.
func (s *sendCmd) send(a *app, kind messages.Kind, flags commandFlags) error {
	if s.Timeout < 0 || s.Timeout > 0 && !s.Wait {
		return usageError("--timeout: expected a positive duration, together with --wait")
	}
	config, err := loadConfig(a.config, a.nats)
	if err != nil {
		return err
	}
	pictures := &pictures{bucket: config.picturesBucket()}
	fromFlags, err := flags.command(pictures)
	if err != nil {
		return err
	}
	batch, err := s.commands(a, kind, fromFlags)
	if err != nil {
		return err
	}
	c, err := a.connectAs(config)
	if err != nil {
		return err
	}
	defer c.Close()
	j := &sending{client: c, printer: printer{a.out, s.json()}, app: a, all: len(batch)}
	var since uint64
	if s.Wait {
		if since, err = c.lastOutcome(a.ctx); err != nil {
			return err
		}
	}
	// A picture without a command does no harm and is gone after a while; a command without its picture fails.
	if err := pictures.put(a.ctx, c); err != nil {
		return fmt.Errorf("nothing was sent: %w", jetStreamError(err))
	}
	j.publish(batch)
	if !s.Wait {
		return j.result()
	}
	return errors.Join(j.wait(since, s.Timeout), j.result())
}

// sending is one run of send.
type sending struct {
	*client
	printer
	app   *app
	all   int
	sent  []*command
	wrong int // not sent, not confirmed, ended badly, or not at all
}

func (j *sending) publish(batch []*command) {
	bar := newBar(j.app, "sending", len(batch))
	defer bar.end()
	unsent := 0
	j.client.publish(j.app.ctx, batch, func(c *command, err error) {
		switch {
		case err == nil:
			j.sent = append(j.sent, c)
			bar.print(func() { j.published(c) })
		case errors.Is(err, errUnsent):
			unsent++
		default:
			j.wrong++
			bar.print(func() { fmt.Fprintf(j.app.err, "worker: %s%s %s: %v\n", place(c.line), c.kind, c.name(), err) })
		}
		bar.add()
	})
	if unsent > 0 {
		j.wrong += unsent
		fmt.Fprintf(j.app.err, "worker: not sent: %d\n", unsent)
	}
}

// published prints that a command is in the stream.
func (j *sending) published(c *command) {
	subject := j.config.subjects().Command(c.mchid, c.kind)
	if !j.printer.json {
		id := c.id
		if id == "" {
			id = "-"
		}
		fmt.Fprintf(j.w, "%s %d %s %s\n", subject, c.sequence, c.key, id)
		return
	}
	j.object(struct {
		Subject  string        `json:"subject"`
		Sequence uint64        `json:"sequence"`
		MchID    string        `json:"mchid"`
		Kind     messages.Kind `json:"kind"`
		Key      string        `json:"key"`
		ID       string        `json:"id,omitempty"`
	}{subject, c.sequence, c.mchid, c.kind, c.key, c.id})
}

// name is what a command is called in messages.
func (c *command) name() string {
	if c.key == "" {
		return messages.SeqKey(c.sequence)
	}
	return c.key
}

func (j *sending) result() error {
	return verdict(j.wrong, j.all, "%d of %d commands did not succeed", j.wrong, j.all)
}

func place(line int) string {
	if line == 0 {
		return ""
	}
	return fmt.Sprintf("line %d: ", line)
}
