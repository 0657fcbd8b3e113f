package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"wxpay-worker/dlq"
	"wxpay-worker/messages"
)

// dlqCmd is the dead-letter tool. What it does to letters is package dlq's; here are flags and output.
type dlqCmd struct {
	List   dlqListCmd   `cmd:"" help:"What failed, one line each, newest last."`
	Stats  dlqStatsCmd  `cmd:"" help:"How many failed, by merchant, kind, reason and code."`
	Show   dlqShowCmd   `cmd:"" help:"All there is to one dead letter, what it means and what to do."`
	Replay dlqReplayCmd `cmd:"" help:"Put commands back on their subjects; executes nothing twice."`
	Drop   dlqDropCmd   `cmd:"" help:"Remove dead letters for good, and print them."`
}

// letterFilter chooses dead letters.
type letterFilter struct {
	MchID  []string `nonempty:"" name:"mchid" sep:"," placeholder:"MCHID" help:"Only these merchants."`
	Kind   []string `nonempty:"" sep:"," enum:"refund,decision,reply,complete" placeholder:"KIND" help:"Only these kinds: refund, decision, reply, complete."`
	Reason []string `nonempty:"" sep:"," enum:"malformed,conflict,rejected,exhausted,unresolved,poison" placeholder:"REASON" help:"Only these reasons: malformed, conflict, rejected, exhausted, unresolved, poison."`
	Code   []string `nonempty:"" sep:"," placeholder:"CODE" help:"Only these codes of WeChat Pay, such as PARAM_ERROR."`
	Key    []string `nonempty:"" sep:"none" placeholder:"KEY" help:"Only these keys: refund numbers, or command ids."`
	Since  string   `nonempty:"" placeholder:"TIME" help:"Only since then: RFC 3339, or an age such as 2h."`
	Until  string   `nonempty:"" placeholder:"TIME" help:"Only before then."`
	Limit  int      `placeholder:"N" help:"Only the newest so many."`
}

// given reports whether anything was asked for.
func (f *letterFilter) given() bool {
	return len(f.MchID)+len(f.Kind)+len(f.Reason)+len(f.Code)+len(f.Key) > 0 || f.Since != "" || f.Until != "" || f.Limit != 0
}

// read checks the flags.
func (f *letterFilter) read(now time.Time) (out dlq.Filter, err error) {
	for _, mchid := range f.MchID {
		if !messages.ValidMchID(mchid) {
			return out, usageError("--mchid: expected 1 to 32 digits")
		}
	}
	if f.Limit < 0 {
		return out, usageError("--limit: expected a positive number")
	}
	out = dlq.Filter{MchID: f.MchID, Code: f.Code, Key: f.Key, Newest: f.Limit}
	for _, kind := range f.Kind {
		out.Kind = append(out.Kind, messages.Kind(kind))
	}
	for _, reason := range f.Reason {
		out.Reason = append(out.Reason, messages.Reason(reason))
	}
	if f.Since != "" {
		if out.Since, err = parseTime("--since", f.Since, now); err != nil {
			return out, err
		}
	}
	if f.Until != "" {
		out.Until, err = parseTime("--until", f.Until, now)
	}
	return out, err
}

// deadLetters is a connection to a queue of them.
type deadLetters struct {
	*client
	*dlq.Queue
}

func (a *app) deadLetters() (*deadLetters, error) {
	c, err := a.connect()
	if err != nil {
		return nil, err
	}
	q, err := dlq.New(c.Conn, c.config.subjects())
	if err != nil {
		c.Close()
		return nil, err
	}
	return &deadLetters{c, q}, nil
}

// explain says what an error of the queue means here.
func (d *deadLetters) explain(err error) error {
	if errors.Is(err, dlq.ErrNoStream) {
		return d.unanswered("no stream " + d.config.subjects().DeadLettersStream())
	}
	return err
}

// unreadable prints what one letter is to blame for and reports whether err is of that sort.
func (a *app) unreadable(err error) bool {
	if _, ok := errors.AsType[*dlq.UnreadableError](err); !ok {
		return false
	}
	fmt.Fprintf(a.err, "worker: %s\n", visible(err.Error()))
	return true
}

// letterJSON is a letter in one line.
type letterJSON struct {
	Seq       uint64          `json:"seq"`
	At        time.Time       `json:"at"`
	MchID     string          `json:"mchid"`
	Kind      messages.Kind   `json:"kind"`
	Key       string          `json:"key"`
	Reason    messages.Reason `json:"reason"`
	Code      string          `json:"code"`
	Message   string          `json:"message"`
	Attempts  int             `json:"attempts"`
	Replays   int             `json:"replays"`
	Subject   string          `json:"subject"` // where the command stood
	CommandID string          `json:"command_id"`
}

func newLetterJSON(l *dlq.Letter) letterJSON {
	return letterJSON{l.Sequence, l.At().UTC(), l.MchID, l.Kind, l.Key, l.Reason, l.Code, l.Message, l.Attempts, l.Replays, l.Subject, l.CommandID}
}

// wholeLetterJSON is all of a letter. A command that is not JSON in UTF-8 is a string; what it says byte for byte is in CommandBytes.
type wholeLetterJSON struct {
	letterJSON
	Headers      messages.Header `json:"headers"`
	Command      json.RawMessage `json:"command"`
	CommandBytes []byte          `json:"command_base64,omitempty"`
}

func newWholeLetterJSON(l *dlq.Letter) wholeLetterJSON {
	w := wholeLetterJSON{letterJSON: newLetterJSON(l), Headers: l.Headers(), Command: jsonOrText(l.Command)}
	if !isJSON(l.Command) {
		w.CommandBytes = l.Command
	}
	return w
}

const letterLine = "%8v  %-20s  %-10s  %-8s  %-28s  %-10s  %-22s  %8v  %7v\n"

// letterHeading is the line above lines.
func (p printer) letterHeading() {
	fmt.Fprintf(p.w, letterLine, "SEQ", "WHEN", "MERCHANT", "KIND", "KEY", "REASON", "CODE", "ATTEMPTS", "REPLAYS")
}

// letter prints one line about a letter. The error is that of the writer.
func (p printer) letter(l *dlq.Letter) error {
	_, err := fmt.Fprintf(p.w, letterLine, l.Sequence, l.At().UTC().Format(time.RFC3339), l.MchID, l.Kind, visible(edged(l.Key)), l.Reason,
		visible(cmp.Or(l.Code, "-")), l.Attempts, l.Replays)
	return err
}

// edged lets it be seen that an id begins or ends with spaces: without them it is another one.
func edged(id string) string {
	if strings.Trim(id, " ") != id {
		return strconv.Quote(id)
	}
	return id
}

// visible makes a text that others wrote fit for a terminal, which would obey some of its characters.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) || r == '\n' || r == '\t' {
			return r
		}
		return '\ufffd'
	}, text)
}
