package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"wxpay-worker/messages"
)

// commands reads and validates everything that is to be sent. If anything is invalid, nothing is: the error lists it all.
// fromFlags is nil if none of the kind's flags were given.
func (s *sendCmd) commands(a *app, kind messages.Kind, fromFlags messages.Command) ([]*command, error) {
	if s.MchID != "" && !messages.ValidMchID(s.MchID) {
		return nil, usageError("--mchid: expected 1 to 32 digits")
	}
	if fromFlags != nil {
		if s.File != "" {
			return nil, usageError("--file: expected either a file or the flags of a %s, not both", kind)
		}
		fromFlags.Base().ID, fromFlags.Base().Metadata = s.ID, s.Metadata
		body, err := messages.EncodeCommand(fromFlags)
		if err != nil {
			return nil, usageError("%w", err)
		}
		c, err := s.decode(kind, 0, body)
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		return []*command{c}, nil
	}
	if s.ID != "" || len(s.Metadata) > 0 {
		return nil, usageError("--id, --metadata: expected with the flags of a %s; objects have fields of these names", kind)
	}
	data, err := s.read(a, kind)
	if err != nil {
		return nil, err
	}
	return s.decodeAll(kind, data)
}

// read returns the input. Standard input is read unasked only if nobody types into it.
func (s *sendCmd) read(a *app, kind messages.Kind) ([]byte, error) {
	if s.File == "" && isTerminal(a.in) {
		return nil, usageError("expected the flags of a %s, --file FILE, or commands on standard input (worker send %s --help)", kind, kind)
	}
	data, err := a.read(cmp.Or(s.File, "-"))
	switch {
	case errors.Is(err, errInterrupted):
		return nil, err
	case err != nil:
		return nil, usageError("read commands: %w", err)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, usageError("expected the flags of a %s, or commands in the input, which is empty (worker send %s --help)", kind, kind)
	}
	return data, nil
}

// decodeAll takes one JSON value over many lines, or one value in each line.
func (s *sendCmd) decodeAll(kind messages.Kind, data []byte) (batch []*command, err error) {
	var problems []error
	add := func(line int, body []byte) {
		c, err := s.decode(kind, line, body)
		if err != nil {
			problems = append(problems, fmt.Errorf("line %d: %w", line, err))
			return
		}
		batch = append(batch, c)
	}
	if json.Valid(data) {
		body := bytes.TrimSpace(data)
		add(1+bytes.Count(data[:bytes.Index(data, body)], []byte("\n")), body)
	} else {
		line := 0
		for text := range bytes.Lines(data) {
			line++
			if body := bytes.TrimSpace(text); len(body) > 0 {
				add(line, body)
			}
		}
	}
	if len(problems) > 0 {
		return nil, usageError("nothing was sent:\n%w", errors.Join(problems...))
	}
	return batch, nil
}

// decode validates one command. A complaint command without an id gets one, in a header: its bytes stay as they came.
func (s *sendCmd) decode(kind messages.Kind, line int, body []byte) (*command, error) {
	made := ""
	if kind != messages.KindRefund {
		made = nuid.Next()
	}
	decoded, err := messages.DecodeCommand(kind, s.MchID, messages.Header{messages.HeaderCommandID: {made}}, body)
	if err != nil {
		return nil, err
	}
	c := &command{
		line: line, mchid: cmp.Or(s.MchID, decoded.Base().MchID), kind: kind,
		key: decoded.Key(), id: decoded.Base().ID, digest: decoded.Digest(), body: body,
	}
	if c.mchid == "" {
		return nil, errors.New("mchid: expected it here, or --mchid")
	}
	if made != "" && c.id == made {
		c.header = nats.Header{messages.HeaderCommandID: {made}}
	}
	return c, nil
}
