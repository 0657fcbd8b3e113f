package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
)

func (i *installation) js(t *testing.T) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(i.nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// TestSetup: a dry run tells and makes nothing; setup makes all that a worker needs, tells the same, and has nothing to do then.
func TestSetup(t *testing.T) {
	t.Parallel()
	i := install(t, "")
	dry := run(t, exitDone, "", "setup", "-c", i.config, "--dry-run")
	if text := dry.out.String(); strings.Count(text, "create ") != 8 || !strings.Contains(text, "max_age 2160h0m0s") {
		t.Errorf("dry run: %s", text)
	}
	if info, err := i.js(t).AccountInfo(t.Context()); err != nil || info.Streams != 0 {
		t.Fatalf("the dry run made %d streams, %v", info.Streams, err)
	}
	if got := run(t, exitDone, "", "setup", "-c", i.config).out.String(); strings.ReplaceAll(got, "created", "create ") != dry.out.String() {
		t.Errorf("setup:\n%sdry run:\n%s", got, dry.out)
	}
	if again := run(t, exitDone, "", "setup", "-c", i.config).out.String(); strings.Count(again, "fits ") != 8 {
		t.Errorf("again: %s", again)
	}
	worker := i.work(t)
	run(t, exitDone, aRefund("R1"), "send", "refund", "-c", i.config, "--mchid", mchid, "--wait")
	worker.stop()
	if served := run(t, exitDone, "", "setup", "-c", i.config).out.String(); strings.Count(served, "fits ") != 8 {
		t.Errorf("after a worker: %s", served)
	}
}

// TestSetupChangesAndKeeps: what falls short is raised, what is more stays and is told, in words and as JSON; what nobody can
// mend while it is there is told with exit code 3, and the rest is done.
func TestSetupChangesAndKeeps(t *testing.T) {
	t.Parallel()
	i := install(t, "")
	run(t, exitDone, "", "setup", "-c", i.config)
	js := i.js(t)
	edit := func(name string, change func(*jetstream.StreamConfig)) {
		t.Helper()
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		config := s.CachedInfo().Config
		change(&config)
		if _, err := js.UpdateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
	edit(subjects.OutcomesStream(), func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour })
	edit(subjects.CommandsStream(), func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 3_000_000 })
	text := run(t, exitDone, "", "setup", "-c", i.config, "--dry-run").out.String()
	for _, want := range []string{
		"update   stream WXPAY_OUTCOMES           max_age 1h0m0s → 2160h0m0s\n",
		"fits     stream WXPAY_COMMANDS           stays: max_msgs_per_subject 3000000, not 2000000: lowering it could delete messages\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	edit(subjects.SettlementsStream(), func(c *jetstream.StreamConfig) { c.MaxMsgs = 10 })
	r := run(t, exitPartly, "", "setup", "-c", i.config, "-o", "json")
	var lines []string
	for _, line := range strings.Split(strings.TrimSpace(r.out.String()), "\n") {
		var l struct {
			Kind, Name, Action string
			Done               bool
			Differences        []struct{ Setting, Have, Want, Step, Why string }
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		for _, d := range l.Differences {
			lines = append(lines, strings.Join([]string{l.Name, l.Action, d.Setting, d.Have, d.Want, d.Step}, " "))
		}
		if !l.Done {
			t.Errorf("not done: %s", line)
		}
	}
	want := "WXPAY_COMMANDS none max_msgs_per_subject 3000000 2000000 keep\nWXPAY_OUTCOMES update max_age 1h0m0s 2160h0m0s change\n" +
		"WXPAY_SETTLEMENTS none max_msgs 10 unlimited mend"
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if s, err := js.Stream(t.Context(), subjects.OutcomesStream()); err != nil || s.CachedInfo().Config.MaxAge != 2160*time.Hour {
		t.Errorf("outcomes: %v, %v", s.CachedInfo().Config.MaxAge, err)
	}
}

// TestSetupSaysWhatIsInTheWay: more copies than servers, no server, a subject that is not permitted.
func TestSetupSaysWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	i := install(t, ", replicas: 3")
	if r := run(t, exitFailed, "", "setup", "-c", i.config); !strings.Contains(r.out.String(), "set nats.replicas to 1") || !strings.Contains(r.err.String(), "8 of 8") {
		t.Errorf("replicas: %s%s", r.out, r.err)
	}
	if r := run(t, exitFailed, "", "setup", "-c", i.config, "--nats", unreachable(t)); !strings.Contains(r.err.String(), "cannot reach NATS at") {
		t.Errorf("unreachable: %s", r.err)
	}
	limited := natstest.StartFile(t, writeFile(t, filepath.Join(t.TempDir(), "nats.conf"), `
		jetstream {}
		authorization { users: [{user: a, password: a, permissions: {publish: {deny: ["$JS.API.STREAM.CREATE.WXPAY_DEADLETTERS", "$JS.API.CONSUMER.CREATE.>"]}}}] }`))
	password := filepath.Base(writeFile(t, filepath.Join(i.dir, "password"), "a\n"))
	file := writeFile(t, filepath.Join(i.dir, "limited.yaml"), aMerchant+"nats: {url: \""+limited+"\", user: a, password_file: "+password+"}\n")
	r := run(t, exitPartly, "", "setup", "-c", file)
	for _, want := range []string{
		`failed   stream WXPAY_DEADLETTERS        not permitted: Publish to "$JS.API.STREAM.CREATE.WXPAY_DEADLETTERS"`,
		`failed   lane   refund-1900000001        not permitted: Publish to "$JS.API.CONSUMER.CREATE.WXPAY_COMMANDS.refund-1900000001.wxpay.command.1900000001.refund"`,
		"created  stream WXPAY_SETTLEMENTS",
	} {
		if !strings.Contains(r.out.String(), want) {
			t.Errorf("lacks %q:\n%s", want, r.out)
		}
	}
}

// TestSetupKeepsMessages: whatever setup does, what waits is there afterwards.
func TestSetupKeepsMessages(t *testing.T) {
	t.Parallel()
	i := install(t, ", max_waiting: 10")
	run(t, exitDone, "", "setup", "-c", i.config)
	js := i.js(t)
	for range 10 {
		if _, err := js.Publish(t.Context(), subjects.Command(mchid, messages.KindRefund), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	text := strings.Replace(readFile(t, i.config), "max_waiting: 10", "max_waiting: 1", 1)
	run(t, exitDone, "", "setup", "-c", writeFile(t, i.config, text))
	if s, err := js.Stream(t.Context(), subjects.CommandsStream()); err != nil || s.CachedInfo().State.Msgs != 10 {
		t.Errorf("%d messages, %v", s.CachedInfo().State.Msgs, err)
	}
}
