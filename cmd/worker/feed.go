package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"wxpay-worker/messages"
)

// examples are the requests printed in the vendor's own documents, as commands.
// Source: wechatpay-php's documents of 更新退款审批结果, 提交回复 and 申请退款 (https://wechatpay.js.org) and
// https://pay.weixin.qq.com/doc/v3/merchant/4012467256.
//
//go:embed examples.jsonl
var examples []byte

// defaultMchID is the merchant of the examples, and the simulator's if it is told of no other.
const defaultMchID = "1900000001"

// feedLine is one line of a feed.
type feedLine struct {
	Kind    messages.Kind   `json:"kind"`
	MchID   string          `json:"mchid"`
	Command json.RawMessage `json:"command"`
	// Expect is "failed" for a command that is meant to fail, and empty otherwise.
	Expect messages.Status `json:"expect"`
}

// feed is what `worker dev` publishes.
type feed struct {
	commands    []*command
	meantToFail map[*command]bool
}

// readFeed reads a feed; "" stands for the examples. The commands in it need not be valid: it may be about what fails.
func readFeed(file string) (*feed, error) {
	data := examples
	if file != "" {
		var err error
		if data, err = os.ReadFile(file); err != nil {
			return nil, usageError("--feed: %w", err)
		}
	}
	f, line := &feed{meantToFail: map[*command]bool{}}, 0
	var problems []error
	for text := range bytes.Lines(data) {
		line++
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		if err := f.add(line, text); err != nil {
			problems = append(problems, fmt.Errorf("--feed: line %d: %w", line, err))
		}
	}
	if len(problems) > 0 {
		return nil, &exitError{exitUsage, errors.Join(problems...)}
	}
	return f, nil
}

func (f *feed) add(line int, text []byte) error {
	var l feedLine
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(&l)
	if _, more := d.Token(); err != nil || !errors.Is(more, io.EOF) {
		return errors.New(`expected {"kind":…,"mchid":…,"command":{…}} and nothing else but "expect"`)
	}
	switch {
	case !slices.Contains(messages.Kinds, l.Kind):
		return errors.New("kind: expected refund, decision, reply or complete")
	case !messages.ValidMchID(l.MchID):
		return errors.New("mchid: expected 1 to 32 digits in quotes")
	case len(l.Command) == 0:
		return errors.New("command: expected the command")
	case l.Expect != "" && l.Expect != messages.StatusFailed:
		return errors.New("expect: expected failed, or nothing")
	}
	c := &command{line: line, mchid: l.MchID, kind: l.Kind, body: l.Command}
	if decoded, err := messages.DecodeCommand(l.Kind, l.MchID, nil, l.Command); err == nil {
		c.key, c.id, c.digest = decoded.Key(), decoded.Base().ID, decoded.Digest()
	}
	f.commands = append(f.commands, c)
	f.meantToFail[c] = l.Expect == messages.StatusFailed
	return nil
}

// mchids lists the merchants of the feed, and the one of the examples: there is always one to try.
func (f *feed) mchids() []string {
	all := []string{defaultMchID}
	for _, c := range f.commands {
		if !slices.Contains(all, c.mchid) {
			all = append(all, c.mchid)
		}
	}
	return all
}

// refundOf is the refund that a decision will put on its subject, nil if there is none.
func (c *command) refundOf() *command {
	decoded, err := messages.DecodeCommand(c.kind, c.mchid, nil, c.body)
	decision, ok := decoded.(*messages.DecisionCommand)
	if err != nil || !ok || decision.Refund == nil {
		return nil
	}
	refund := decision.RefundStep()
	return &command{line: c.line, mchid: c.mchid, kind: messages.KindRefund, key: refund.Key(), digest: refund.Digest()}
}
