package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/dlq"
	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// roles is an installation whose NATS server runs the shipped deploy/nats/secure.conf: one configuration for each user of it.
type roles struct {
	*installation
	config map[string]string // by user
}

const publisher = "publisher-" + mchid

// users are those of the file.
var users = []string{"worker", "operator", "watcher", publisher}

// passwordVariable is the environment variable of the NATS server that has a user's password.
func passwordVariable(user string) string {
	return "NATS_PASSWORD_" + strings.ReplaceAll(strings.ToUpper(user), "-", "_")
}

func installRoles(t *testing.T) *roles {
	t.Helper()
	url := natstest.StartFile(t, "../../deploy/nats/secure.conf")
	i := install(t, "")
	r := &roles{i, map[string]string{}}
	text := readFile(t, i.config)
	for _, user := range users {
		writeFile(t, filepath.Join(i.dir, user+".password"), "of-"+user+"\n")
		of := strings.Replace(text, fmt.Sprintf("nats: {url: %q", i.url), fmt.Sprintf("nats: {url: %q, user: %s, password_file: %[2]s.password", url, user), 1)
		r.config[user] = writeFile(t, filepath.Join(i.dir, user+".yaml"), of)
	}
	i.url, i.config = url, r.config["worker"]
	return r
}

// connect is a plain client of a user, with what the server denied it so far.
func (r *roles) connect(t *testing.T, user string, options ...nats.Option) (nc *nats.Conn, denied *screen) {
	t.Helper()
	denied = newScreen()
	options = append(options, nats.UserInfo(user, "of-"+user), nats.CustomInboxPrefix("_INBOX_"+user), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		fmt.Fprintln(denied, err)
	}))
	nc, err := nats.Connect(r.url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc, denied
}

// TestRoles takes every role of the shipped permissions through what it is for: set up, check, send and carry out all four kinds
// to their end, hold and resume, dead letters, watch, drain.
func TestRoles(t *testing.T) {
	t.Parallel()
	r := installRoles(t)
	operator, config := r.config["operator"], r.config["worker"]

	run(t, exitDone, "", "setup", "-c", operator)
	again := run(t, exitDone, "", "setup", "-c", config) // a worker may look, and finds that it fits
	if strings.Count(again.out.String(), "fits ") != 8 {
		t.Errorf("setup as the worker: %s", again.out)
	}
	worker := r.work(t)

	// A publisher sends, and the settlement is followed to its end.
	send := func(user string, args ...string) string {
		t.Helper()
		return run(t, exitDone, "", append([]string{"send", "-c", r.config[user], "--mchid", mchid}, args...)...).out.String()
	}
	kinds := [][]string{
		{"refund", "--out-refund-no", "R1", "--out-trade-no", "T-1", "--refund", "1", "--total", "1"},
		{"decision", "--id", "D1", "--complaint-id", "c1", "--approve", "--launch-refund-day", "0"},
		{"reply", "--id", "P1", "--complaint-id", "c2", "--complainted-mchid", "1", "--content", "您好"},
		{"complete", "--id", "C1", "--complaint-id", "c2", "--complainted-mchid", "1"},
	}
	watch := start(t, "", "watch", "-c", r.config["watcher"], "--since", "1h")
	for _, kind := range kinds {
		send(publisher, kind...)
	}
	for _, key := range []string{"R1", "D1", "P1", "C1"} {
		watch.saw(watch.out, key)
	}
	// The operator waits for them to end: each is known by now, or comes.
	for _, kind := range kinds {
		if out := send("operator", append(kind, "--wait")...); !strings.Contains(out, "succeeded") {
			t.Errorf("%s: %s", kind[0], out)
		}
	}
	withRefund := `{"id":"D2","complaint_id":"c3","action":"APPROVE","launch_refund_day":0,"refund":{"out_refund_no":"R2","out_trade_no":"T-2","amount":{"refund":1,"total":1}}}`
	run(t, exitDone, withRefund, "send", "decision", "-c", r.config[publisher], "--mchid", mchid)
	watch.saw(watch.out, "R2")

	// The operator stores a picture, and the worker uploads it.
	if out := send("operator", "reply", "--id", "P2", "--complaint-id", "c2", "--complainted-mchid", "1", "--content", "见图",
		"--picture", writeFile(t, filepath.Join(t.TempDir(), "bill.png"), "\x89PNG\r\n\x1a\n"), "--wait"); !strings.Contains(out, "succeeded") {
		t.Errorf("reply with a picture: %s", out)
	}

	// Both may check: the worker all of it, the operator all but what only a worker needs.
	c := checkConfig(t, exitDone, config, "--online")
	c.only()
	c.says("permissions", "worker", checkOK, "may publish to all")
	c.says("sync", "wxpay", checkOK, "syncs every write")
	c = checkConfig(t, exitDone, operator)
	c.only("permissions")
	c.says("permissions", "operator", checkWarn, "right for an operator")

	// A lane is held, and a person resumes it.
	r.sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 401, Code: "SIGN_ERROR"})
	run(t, exitDone, aRefund("R3"), "send", "refund", "-c", r.config[publisher], "--mchid", mchid)
	people, denied := r.connect(t, "operator")
	js, err := jetstream.New(people)
	if err != nil {
		t.Fatal(err)
	}
	r.nc, _ = r.connect(t, "operator") // to wait for lanes
	r.awaitLane(t, "refund-"+mchid, func(info *jetstream.ConsumerInfo) bool {
		return info.Paused && info.Config.Metadata["wxpay_hold"] == "HTTP 401 SIGN_ERROR"
	})
	r.sim.ClearFaults()
	if _, err := js.ResumeConsumer(t.Context(), subjects.CommandsStream(), "refund-"+mchid); err != nil {
		t.Error(err)
	}
	watch.saw(watch.out, "R3")
	r.awaitLane(t, "refund-"+mchid, func(info *jetstream.ConsumerInfo) bool { return info.Config.Metadata["wxpay_hold"] == "" })

	// A command fails; the operator finds its letter, puts it back on its subject, and takes the letter out.
	merchant, refused := r.connect(t, publisher)
	if _, err := merchant.Request(subjects.Command(mchid, messages.KindRefund), []byte(`{"out_refund_no":"R4"}`), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	letters, err := dlq.New(people, subjects)
	if err != nil {
		t.Fatal(err)
	}
	watch.saw(watch.out, "malformed")
	found := 0
	for letter, err := range letters.All(t.Context(), mchid, messages.KindRefund) {
		if err != nil {
			t.Fatal(err)
		}
		found++
		if _, err := js.Publish(t.Context(), letter.Subject, []byte(aRefund("R5"))); err != nil {
			t.Error(err)
		}
		if err := letters.Remove(t.Context(), letter.Sequence); err != nil {
			t.Error(err)
		}
	}
	if found != 1 {
		t.Errorf("%d letters", found)
	}
	ordered, err := js.OrderedConsumer(t.Context(), subjects.DeadLettersStream(), jetstream.OrderedConsumerConfig{})
	if err == nil {
		_, err = ordered.FetchNoWait(1)
	}
	if err != nil {
		t.Errorf("read letters: %v", err)
	}
	watch.saw(watch.out, "R5")

	watch.stop()
	watch.exits(exitDone)
	worker.stop()
	worker.exits(exitDone)
	for _, noise := range []string{"ermission", "not handed over", "hold not shown", "out of reach"} {
		if strings.Contains(worker.err.String(), noise) || strings.Contains(watch.err.String(), noise) {
			t.Errorf("somebody complains of %q:\n%s%s", noise, worker.err, watch.err)
		}
	}
	if all := denied.String() + refused.String(); all != "" {
		t.Errorf("denied: %s", all)
	}
	if err := r.sim.CheckBooks(); err != nil {
		t.Error(err)
	}
}

// TestRolesMayNoMore: a publisher reaches nothing but its merchant's command subjects, not even by what the server says for it; a
// watcher publishes nothing; a worker and an operator remove no stream and no lane.
func TestRolesMayNoMore(t *testing.T) {
	t.Parallel()
	r := installRoles(t)
	run(t, exitDone, "", "setup", "-c", r.config["operator"])
	people, _ := r.connect(t, "operator")
	js, err := jetstream.New(people)
	if err != nil {
		t.Fatal(err)
	}
	stored := func() (n uint64) {
		t.Helper()
		for _, name := range []string{subjects.CommandsStream(), subjects.OutcomesStream(), subjects.DeadLettersStream(), subjects.SettlementsStream()} {
			s, err := js.Stream(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			n += s.CachedInfo().State.Msgs + s.CachedInfo().State.LastSeq
		}
		return n
	}
	lanes := func() (n int) {
		t.Helper()
		for _, name := range []string{subjects.CommandsStream(), subjects.SettlementsStream()} {
			s, err := js.Stream(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			n += s.CachedInfo().State.Consumers
		}
		return n
	}
	own := subjects.Command(mchid, messages.KindRefund)
	if _, err := js.Publish(t.Context(), own, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	// Subjects by which somebody could harm another, or learn of him.
	targets := []string{
		subjects.Command("1900000002", messages.KindRefund),
		subjects.Outcome(mchid, messages.KindRefund, "R1", messages.StatusSucceeded),
		subjects.DeadLetter(mchid, messages.KindRefund, messages.ReasonRejected, "R1"),
		subjects.SettlementAt(mchid, "R1"), subjects.SettlementDue(mchid),
		"$JS.API.STREAM.PURGE." + subjects.CommandsStream(), "$JS.API.STREAM.DELETE." + subjects.CommandsStream(),
		"$JS.API.STREAM.MSG.DELETE." + subjects.CommandsStream(), "$JS.API.STREAM.MSG.GET." + subjects.CommandsStream(),
		"$JS.API.CONSUMER.DELETE." + subjects.CommandsStream() + ".refund-" + mchid,
		"$JS.API.CONSUMER.MSG.NEXT." + subjects.CommandsStream() + ".refund-" + mchid,
		"$JS.API.STREAM.CREATE.OTHER", "$JS.API.STREAM.DELETE." + subjects.OutcomesStream(),
		"$JS.API.DIRECT.GET." + subjects.OutcomesStream(), "$JS.API.DIRECT.GET." + subjects.CommandsStream(),
		"$JS.ACK." + subjects.CommandsStream() + ".refund-" + mchid + ".1.1.1.1.1",
	}
	may := map[string][]string{ // of these, what the role is for
		"worker": {targets[1], targets[2], targets[3], targets[0], targets[10], targets[13], targets[14], targets[15]},
	}
	may["operator"] = []string{targets[0], targets[13]}
	for _, user := range users {
		t.Run(user, func(t *testing.T) {
			nc, _ := r.connect(t, user)
			before, beforeLanes := stored(), lanes()
			for _, subject := range targets {
				if strings.Contains(strings.Join(may[user], " ")+" ", subject+" ") {
					continue
				}
				if m, err := nc.Request(subject, []byte(`{"seq":1}`), 100*time.Millisecond); err == nil {
					t.Errorf("%s is answered: %s", subject, m.Data)
				}
			}
			if now := stored(); now != before {
				t.Errorf("something was stored or removed: %d, before %d", now, before)
			}
			if now := lanes(); now != beforeLanes {
				t.Errorf("%d lanes, before %d", now, beforeLanes)
			}
		})
	}
	t.Run("answers are not published for a publisher", func(t *testing.T) {
		nc, _ := r.connect(t, publisher)
		before, replies := stored(), targets[:len(targets)-1] // the last, $JS.ACK, the server refuses as a reply
		for _, reply := range replies {
			if err := nc.PublishRequest(own, reply, []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := nc.Request(own, []byte("{}"), 5*time.Second); err != nil { // by then, all of them are stored
			t.Fatal(err)
		}
		if err := people.Flush(); err != nil {
			t.Fatal(err)
		}
		if now, want := stored(), before+2*uint64(len(replies)+1); now != want {
			t.Errorf("%d, want %d: the commands and nothing else", now, want)
		}
	})
	t.Run("inboxes are private", func(t *testing.T) {
		for _, user := range []string{publisher, "watcher", "operator"} {
			nc, _ := r.connect(t, user, nats.PermissionErrOnSubscribe(true))
			for _, subject := range []string{"_INBOX_worker.>", "_INBOX.>", ">", "wxpay.>", "$JS.>"} {
				sub, err := nc.SubscribeSync(subject)
				if err != nil {
					t.Fatal(err)
				}
				if err := nc.Flush(); err != nil {
					t.Fatal(err)
				}
				if err := people.Publish("_INBOX_operator.x", nil); err != nil {
					t.Fatal(err)
				}
				_, err = sub.NextMsg(50 * time.Millisecond)
				if user != publisher && !errors.Is(err, nats.ErrPermissionViolation) {
					t.Errorf("%s may subscribe to %s: %v", user, subject, err)
				}
			}
		}
		// A publisher may subscribe to what it likes: in its account nobody speaks but itself.
		nc, _ := r.connect(t, publisher)
		all, err := nc.SubscribeSync(">")
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), own, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		if m, err := all.NextMsg(200 * time.Millisecond); err == nil {
			t.Errorf("hears %s", m.Subject)
		}
	})
}

// TestShippedPasswords: the file holds none, and takes hashes from the environment.
func TestShippedPasswords(t *testing.T) {
	text := readFile(t, "../../deploy/nats/secure.conf")
	for _, part := range strings.Split(text, "password: ")[1:] {
		if !strings.HasPrefix(part, "$NATS_PASSWORD_") {
			t.Errorf("password: %.20s", part)
		}
	}
	const hash = "$2a$04$hUiOFnQYXgMnTCuA1ZGZiePCkYBxYFpAYmKz2sSV2CTeYGYVbEsPe" // of nothing that anybody knows
	for _, user := range users {
		t.Setenv(passwordVariable(user), hash)
	}
	url := natstest.StartFile(t, "../../deploy/nats/secure.conf")
	if _, err := nats.Connect(url, nats.UserInfo("worker", hash)); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("the hash is taken for the password: %v", err)
	}
}
