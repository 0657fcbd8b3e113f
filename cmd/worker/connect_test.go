package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/consumer"
	"wxpay-worker/internal/natstest"
)

// A worker waits for a NATS that is starting or electing leaders, and ends, so that somebody looks, with what will not pass by itself.
func TestWhatPassesIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err     error
		lasting bool
	}{
		{&jetstream.APIError{Code: 503, ErrorCode: 10008, Description: "JetStream system temporarily unavailable"}, false},
		{&jetstream.APIError{Code: 400, ErrorCode: 10005, Description: "no suitable peers for placement"}, false},
		{&jetstream.APIError{Code: 500, ErrorCode: 10009, Description: "JetStream cluster can not handle request"}, false},
		{&jetstream.APIError{Code: 500, ErrorCode: 10048, Description: "stream assignment failed"}, false},
		{context.DeadlineExceeded, false},
		{nats.ErrNoResponders, false},
		{nats.ErrConnectionReconnecting, false},
		{consumer.CheckServer(""), false}, // the connection is lost just now
		{consumer.CheckServer("2.14.9"), true},
		{&jetstream.APIError{Code: 500, ErrorCode: 10074, Description: "replicas > 1 not supported in non-clustered mode"}, true},
		{&jetstream.APIError{Code: 400, ErrorCode: 10058, Description: "stream name already in use with a different configuration"}, true},
		{nats.ErrPermissionViolation, true},
		{errors.New("stream WXPAY_COMMANDS: retention is limits, expected workqueue"), true},
	} {
		if got := isLasting(fmt.Errorf("make stream: %w", c.err)); got != c.lasting {
			t.Errorf("%v: lasting %v", c.err, got)
		}
	}
}

// A NATS without JetStream, or without it for the account that is used, is said to be that by every command that needs it; check says
// it once.
func TestNATSWithoutJetStream(t *testing.T) {
	i := install(t, ", user: worker, password_file: password")
	writeFile(t, filepath.Join(i.dir, "password"), "of-worker")
	old := i.url
	for name, url := range map[string]string{
		"server": natstest.StartWithoutJetStream(t),
		"account": natstest.StartFile(t, writeFile(t, filepath.Join(t.TempDir(), "nats.conf"), `jetstream {}
			accounts: {
				A: {jetstream: enabled, users: [{user: a, password: a}]}
				B: {users: [{user: worker, password: "of-worker"}]}
			}`)),
	} {
		t.Run(name, func(t *testing.T) {
			i.edit(t, old, url)
			old = url
			const want = "JetStream does not answer: is it enabled at this server and for this account?"
			r := start(t, "", "run", "-c", i.config)
			r.saw(r.err, want)
			r.stop()
			r.exits(exitDone)

			c := checkConfig(t, exitFailed, i.config)
			var wrong []finding
			for _, f := range c.findings {
				if f.Status == checkWrong {
					wrong = append(wrong, f)
				}
			}
			if len(wrong) != 1 || wrong[0].Check != "jetstream" || !strings.HasPrefix(wrong[0].Detail, want) {
				t.Errorf("check: %s", c.out)
			}
			for _, args := range []string{"send refund --wait --mchid " + mchid, "watch", "setup", "setup --dry-run"} {
				if r := run(t, exitFailed, aRefund("R1"), append(strings.Fields(args), "-c", i.config)...); strings.Count(r.err.String(), want) != 1 {
					t.Errorf("%s: %s", args, r.err)
				}
			}
			said := want
			if name == "account" { // who only publishes cannot ask why nobody takes it
				said = "JetStream is not enabled for this account"
			}
			if r := run(t, exitFailed, aRefund("R1"), "send", "refund", "--mchid", mchid, "-c", i.config); !strings.Contains(r.err.String(), said) {
				t.Errorf("send: %s", r.err)
			}
		})
	}
}
