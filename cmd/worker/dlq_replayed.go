package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/dlq"
	"wxpay-worker/messages"
)

// replaying is one run of replay.
type replaying struct {
	*deadLetters
	printer
	app     *app
	options dlq.ReplayOptions

	all     int // letters that were asked for, skipped ones not among them
	done    int // put back
	gone    int // put back or dropped by somebody else
	skipped int // unresolved
	failed  int // not put back, or not for sure
	left    int // not come to
	follows bool
	back    []*command // with --follow: what is in the stream now
	wrong   int        // of those, how many ended badly or not at all
}

// What has become of one letter.
const (
	resultReplayed    = "replayed"
	resultGone        = "gone" // put back, or dropped, by somebody else
	resultFailed      = "failed"
	resultWouldReplay = "would replay"
)

// replayJSON is a line of replay.
type replayJSON struct {
	Seq      uint64          `json:"seq"`
	Result   string          `json:"result"`
	MchID    string          `json:"mchid,omitempty"`
	Kind     messages.Kind   `json:"kind,omitempty"`
	Key      string          `json:"key,omitempty"`
	Reason   messages.Reason `json:"reason,omitempty"`
	Subject  string          `json:"subject,omitempty"`  // where the command is put back
	Sequence uint64          `json:"sequence,omitempty"` // of the command there
	Headers  nats.Header     `json:"headers,omitempty"`  // with --dry-run
	Command  json.RawMessage `json:"command,omitempty"`  // with --dry-run
	Error    string          `json:"error,omitempty"`
}

func newReplayJSON(l *dlq.Letter, result string) replayJSON {
	return replayJSON{Seq: l.Sequence, Result: result, MchID: l.MchID, Kind: l.Kind, Key: l.Key, Reason: l.Reason, Subject: l.Subject}
}

// replayed counts and prints what has become of one letter.
func (r *replaying) replayed(seq uint64, back *dlq.Replayed, err error) {
	switch {
	case errors.Is(err, dlq.ErrNotFound):
		r.gone++
		if r.printer.json {
			r.object(replayJSON{Seq: seq, Result: resultGone})
		} else {
			fmt.Fprintf(r.w, "%8d  put back or dropped by somebody else\n", seq)
		}
	case err != nil:
		r.failed++
		err = r.explainReplay(err)
		if r.printer.json {
			r.object(replayJSON{Seq: seq, Result: resultFailed, Error: err.Error()})
		}
		fmt.Fprintf(r.app.err, "worker: %s\n", visible(err.Error()))
	default:
		if r.follows {
			r.back = append(r.back, newBack(back))
		}
		result, note := resultReplayed, ""
		if back.Gone {
			result, note = resultGone, "; so did somebody else, which is one command all the same"
			r.gone++
		} else {
			r.done++
		}
		if line := newReplayJSON(back.Letter, result); r.printer.json {
			line.Sequence = back.Sequence
			r.object(line)
		} else {
			l := back.Letter
			fmt.Fprintf(r.w, "%8d  %-10s  %-8s  %-28s  %-10s  put back as command %d%s\n", seq, l.MchID, l.Kind, visible(l.Key), l.Reason, back.Sequence, note)
		}
	}
}

// explainReplay says what an error means, where its own text does not.
func (r *replaying) explainReplay(err error) error {
	api, refused := errors.AsType[*jetstream.APIError](err)
	switch {
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return fmt.Errorf("%w: no stream takes commands: "+noTaker, err)
	case refused && api.ErrorCode == errorCodeStoreFailed:
		return fmt.Errorf("%w (nats.max_waiting bounds how many may wait)", err)
	}
	return r.explain(err)
}

// newBack is a command that was put back, for those who wait for its end.
func newBack(r *dlq.Replayed) *command {
	l := r.Letter
	c := &command{mchid: l.MchID, kind: l.Kind, id: l.CommandID, sequence: r.Sequence}
	if decoded, err := messages.DecodeCommand(l.Kind, l.MchID, messages.Header(r.Message.Header), r.Message.Data); err == nil {
		c.key, c.id, c.digest = decoded.Key(), decoded.Base().ID, decoded.Digest()
	}
	return c
}

// summary is the last line: how many came to what.
func (r *replaying) summary() {
	w := r.w
	if r.printer.json {
		w = r.app.err
	}
	parts := []string{fmt.Sprintf("%d put back", r.done)}
	for _, part := range []struct {
		n    int
		text string
	}{
		{r.gone, "put back or dropped by somebody else"}, {r.failed, "failed"}, {r.left, "not come to"},
		{r.skipped, "unresolved and skipped: look whether they happened (worker dlq show SEQ --live), then use --unresolved"},
	} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.text))
		}
	}
	fmt.Fprintln(w, strings.Join(parts, ", "))
}

// result is the error that makes the exit code.
func (r *replaying) result() error {
	if r.all == 0 && r.skipped > 0 {
		return errors.New("nothing was put back: all that fit are unresolved, which needs --unresolved")
	}
	if bad := r.failed + r.left; bad > 0 || r.wrong == 0 {
		return verdict(bad+r.wrong, r.all, "%d of %s not put back", bad, count(r.all, "dead letter was", "dead letters were"))
	}
	return verdict(r.wrong, r.all, "%d of %s did not succeed", r.wrong, count(len(r.back), "command", "commands"))
}
