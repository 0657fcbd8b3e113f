package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"wxpay-worker/dlq"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// letters puts dead letters without a worker that makes them, and returns their queue.
func (i *installation) letters(t *testing.T, letters ...*messages.DeadLetter) *dlq.Queue {
	t.Helper()
	q, err := dlq.New(i.nc, subjects)
	if err != nil {
		t.Fatal(err)
	}
	for n, d := range letters {
		if d.StreamSeq == 0 {
			d.StreamSeq = uint64(1000 + n)
		}
		if _, err := q.Put(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	return q
}

func aLetter(kind messages.Kind, reason messages.Reason, key, command string) *messages.DeadLetter {
	return &messages.DeadLetter{
		MchID: mchid, Kind: kind, Key: key, Reason: reason, Code: "PARAM_ERROR", Message: "参数错误", HTTPStatus: 400, RequestID: "08-1",
		Attempts: 2, FailedAt: time.Now(), Subject: subjects.Command(mchid, kind), CommandID: "C-1", Command: []byte(command),
		Original: messages.Header{"traceparent": {"00-1"}},
	}
}

func aRefundLetter(reason messages.Reason, key string) *messages.DeadLetter {
	return aLetter(messages.KindRefund, reason, key, aRefund(key))
}

// left lists the keys of the letters that are there.
func left(t *testing.T, q *dlq.Queue) (keys []string) {
	t.Helper()
	for l, err := range q.Select(t.Context(), dlq.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, l.Key)
	}
	return keys
}

// objects reads JSON lines, and fails if a field is missing or one too many.
func objects(t *testing.T, text string, fields ...string) (got []map[string]any) {
	t.Helper()
	for _, line := range lines(text) {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if have := slices.Sorted(maps.Keys(o)); !slices.Equal(have, slices.Sorted(slices.Values(fields))) {
			t.Errorf("fields %v, want %v", have, fields)
		}
		got = append(got, o)
	}
	return got
}

var letterFields = []string{"seq", "at", "mchid", "kind", "key", "reason", "code", "message", "attempts", "replays", "subject", "command_id"}

// TestDLQUsage: what contradicts itself is refused before anybody is connected to; there is no NATS server here.
func TestDLQUsage(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"", "expected one of"},
		{"list --mchid x", "--mchid: expected 1 to 32 digits"},
		{"list --kind refunds", "--kind"},
		{"list --reason bad", "--reason"},
		{"list --limit=-1", "--limit: expected a positive number"},
		{"list --since yesterday", "--since: expected a time such as"},
		{"list --until tomorrow", "--until: expected a time such as"},
		{"stats -o yaml", "--output"},
		{"show", "expected \"<seq>\""},
		{"show x", "seq"},
		{"show -1", "-1"},
		{"replay", "expected dead letters by their sequence, or --all with filters"},
		{"replay --reason rejected", "expected dead letters by their sequence, or --all with filters"},
		{"replay 1 --all", "--all: expected either dead letters by their sequence, or --all, not both"},
		{"replay 1 --reason rejected", "filters: expected only with --all"},
		{"replay 1 --limit 3", "filters: expected only with --all"},
		{"replay --all --mchid x", "--mchid: expected 1 to 32 digits"},
		{"replay --all --since x", "--since: expected a time such as"},
		{"replay 1 2 --patch f", "--patch: expected exactly one dead letter"},
		{"replay --all --patch f", "--patch: expected exactly one dead letter"},
		{"replay 1 --patch /nowhere/f", "--patch: open /nowhere/f"},
		{"replay 1 --rate 10", "--rate: expected N/s or N/m, such as 10/s"},
		{"replay 1 --rate 0", "--rate: expected N/s or N/m"},
		{"replay 1 --timeout 1s", "--timeout: expected a positive duration, together with --follow"},
		{"replay 1 --follow --dry-run", "--follow: expected without --dry-run"},
		{"drop", "expected dead letters by their sequence, or --all with filters"},
		{"drop 1 --all", "not both"},
		{"drop 1 --dry-run", "unknown flag --dry-run"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			r := run(t, exitUsage, "", append([]string{"dlq"}, strings.Fields(tt.args)...)...)
			if !strings.Contains(r.err.String(), tt.want) || r.out.String() != "" {
				t.Errorf("got %q, %q", r.out, r.err)
			}
		})
	}
}

func TestDLQWithoutStream(t *testing.T) {
	i := install(t, "")
	for _, args := range []string{"list", "list --limit 3", "stats", "show 1", "replay 1", "replay --all", "drop 1", "drop --all"} {
		r := run(t, exitFailed, "", append(append([]string{"dlq"}, strings.Fields(args)...), "-c", i.config)...)
		if !strings.Contains(r.err.String(), "no stream WXPAY_DEADLETTERS: start a worker first") {
			t.Errorf("%s: got %s", args, r.err)
		}
	}
}

// TestDLQList: what failed, newest last, by every filter.
func TestDLQList(t *testing.T) {
	i := install(t, "")
	i.streams(t, 10)
	old := aRefundLetter(messages.ReasonRejected, "R*1")
	old.FailedAt = time.Now().Add(-3 * time.Hour)
	other := aLetter(messages.KindReply, messages.ReasonUnresolved, "P1", "{}")
	other.MchID, other.Code, other.Replays = "1900000002", "", 3
	i.letters(t, old, other, aRefundLetter(messages.ReasonRejected, "R2"))
	list := func(args ...string) string {
		t.Helper()
		var keys []string
		out := run(t, exitDone, "", append([]string{"dlq", "list", "-c", i.config, "-o", "json"}, args...)...).out.String()
		if out == "" {
			return ""
		}
		for _, o := range objects(t, out, letterFields...) {
			keys = append(keys, o["key"].(string))
		}
		return strings.Join(keys, " ")
	}
	for _, tt := range []struct{ args, want string }{
		{"", "R*1 P1 R2"},
		{"--mchid 1900000001", "R*1 R2"},
		{"--kind reply,refund --mchid 1900000002", "P1"},
		{"--reason rejected --reason poison", "R*1 R2"},
		{"--key R*1 --key P1", "R*1 P1"},
		{"--key R*1 --key R*1 --kind refund,refund --mchid 1900000001,1900000001 --reason rejected,rejected", "R*1"},
		{"--code PARAM_ERROR", "R*1 R2"},
		{"--since 2h", "P1 R2"},
		{"--until 2h", "R*1"},
		{"--since 4h --until " + time.Now().Add(-time.Hour).Format(time.RFC3339), "R*1"},
		{"--limit 2", "P1 R2"},
		{"--limit 5000000000000000000", "R*1 P1 R2"},
		{"--limit 1 --reason unresolved", "P1"},
		{"--reason poison", ""},
	} {
		if got := list(strings.Fields(tt.args)...); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.args, got, tt.want)
		}
	}

	line := objects(t, run(t, exitDone, "", "dlq", "list", "--limit", "1", "-c", i.config, "-o", "json").out.String(), letterFields...)[0]
	line["at"] = ""
	want := map[string]any{"seq": 3.0, "at": "", "mchid": mchid, "kind": "refund", "key": "R2", "reason": "rejected", "code": "PARAM_ERROR", "message": "参数错误",
		"attempts": 2.0, "replays": 0.0, "subject": "wxpay.command.1900000001.refund", "command_id": "C-1"}
	if fmt.Sprint(line) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", line, want)
	}
	text := run(t, exitDone, "", "dlq", "list", "-c", i.config).out.String()
	for _, want := range []string{"SEQ  WHEN", "       2  ", "1900000002  reply     P1                            unresolved  -                              2        3"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if none := run(t, exitDone, "", "dlq", "list", "--reason", "poison", "-c", i.config); none.out.String() != "" || none.err.String() != "No dead letters.\n" {
		t.Errorf("nothing: %s%s", none.out, none.err)
	}
}

func TestDLQStats(t *testing.T) {
	i := install(t, "")
	i.streams(t, 10)
	reply := aLetter(messages.KindReply, messages.ReasonExhausted, "P1", "{}")
	reply.Code = ""
	i.letters(t, reply, aRefundLetter(messages.ReasonRejected, "R1"), aRefundLetter(messages.ReasonMalformed, "R2"), aRefundLetter(messages.ReasonRejected, "R3"))
	var got []string
	for _, o := range objects(t, run(t, exitDone, "", "dlq", "stats", "-c", i.config, "-o", "json").out.String(), "mchid", "kind", "reason", "code", "count", "oldest", "newest") {
		got = append(got, fmt.Sprint(o["mchid"], o["kind"], o["reason"], o["code"], o["count"]))
	}
	want := []string{mchid + "refundmalformedPARAM_ERROR1", mchid + "refundrejectedPARAM_ERROR2", mchid + "replyexhausted1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if text := run(t, exitDone, "", "dlq", "stats", "-c", i.config).out.String(); !strings.Contains(text, "rejected    PARAM_ERROR                    2  ") || !strings.Contains(text, "\n4 dead letters\n") {
		t.Errorf("got\n%s", text)
	}
	if text := run(t, exitDone, "", "dlq", "stats", "--key", "R9", "-c", i.config).out.String(); text != "No dead letters.\n" {
		t.Errorf("nothing: %s", text)
	}
}

// TestDLQShow: everything there is, what it means, and what has become of it since.
func TestDLQShow(t *testing.T) {
	t.Parallel()
	i := install(t, "")
	i.work(t)
	i.sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Answer: wxpaytest.AnswerRefusal, Status: 403, Code: "USER_ACCOUNT_ABNORMAL", Message: "账户异常"})
	run(t, exitFailed, aRefund("R1"), "send", "refund", "-c", i.config, "--mchid", mchid, "--wait")
	show := func(seq string, want ...string) {
		t.Helper()
		text := run(t, exitDone, "", "dlq", "show", seq, "-c", i.config).out.String()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("no %q in\n%s", w, text)
			}
		}
	}
	show("1", "Dead letter 1\n", "USER_ACCOUNT_ABNORMAL", "账户异常", "HTTP 403, Request-ID 08", "since then  nothing: this letter is the last word on R1",
		"What it means\n  WeChat Pay said no, and that is proven", "What to do\n  Read code and message", "If it is replayed\n  Safe.", "  Wxpay-Reason: rejected\n", `    "out_refund_no": "R1",`)

	run(t, exitDone, aRefund("R1"), "send", "refund", "-c", i.config, "--mchid", mchid, "--wait")
	show("1", "R1 is succeeded since", "this one would be a duplicate and change nothing; drop it")

	o := objects(t, run(t, exitDone, "", "dlq", "show", "1", "-c", i.config, "-o", "json").out.String(),
		append(slices.Clone(letterFields), "headers", "command", "explanation", "outcome")...)[0]
	if o["command"].(map[string]any)["out_refund_no"] != "R1" || o["headers"].(map[string]any)["Wxpay-Code"].([]any)[0] != "USER_ACCOUNT_ABNORMAL" ||
		o["outcome"].(map[string]any)["status"] != "succeeded" || o["outcome"].(map[string]any)["same_command"] != true {
		t.Errorf("got %v", o)
	}

	run(t, exitFailed, strings.Replace(aRefund("R1"), `"total":1`, `"total":2`, 1), "send", "refund", "-c", i.config, "--mchid", mchid, "--wait")
	show("2", "conflict", "R1 is succeeded since", "that is the other command", "R1 stands for a command with other parameters already", "It cannot be patched")

	if r := run(t, exitFailed, "", "dlq", "show", "99", "-c", i.config); !strings.Contains(r.err.String(), "dead letter 99: no such dead letter (it may have been put back or dropped)") {
		t.Errorf("got %s", r.err)
	}
}

// TestDLQSince: what the newest outcome of a key means for a letter under it.
func TestDLQSince(t *testing.T) {
	for _, tt := range []struct {
		name    string
		outcome *newestOutcome
		want    string
	}{
		{"none", nil, "no outcome of this key is recorded (any more)"},
		{"this letter's", &newestOutcome{Status: messages.StatusFailed, DeadLetter: 7}, "nothing: this letter is the last word on R1"},
		{"a later failure", &newestOutcome{Status: messages.StatusFailed, DeadLetter: 9, Same: true}, ", as dead letter 9"},
		{"under way", &newestOutcome{Status: messages.StatusStarted, Same: true}, "it is being tried"},
		{"done", &newestOutcome{Status: messages.StatusSucceeded, Same: true}, "would be a duplicate and change nothing; drop it"},
		{"accepted", &newestOutcome{Status: messages.StatusAccepted, Same: true}, "would be a duplicate and change nothing; drop it"},
		{"another's", &newestOutcome{Status: messages.StatusSucceeded}, "with other parameters: replayed, this one would be a conflict"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &shown{Outcome: tt.outcome, letter: &dlq.Letter{Sequence: 7, DeadLetter: messages.DeadLetter{Key: "R1"}}}
			if tt.outcome != nil {
				tt.outcome.Key = "R1"
			}
			if got := s.since(); !strings.HasSuffix(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestDLQShowsWhatIsNoText: what a publisher sent does nothing to the terminal, and comes back byte for byte in JSON.
func TestDLQShowsWhatIsNoText(t *testing.T) {
	i := install(t, "")
	i.streams(t, 10)
	command := "\x1b[2J\xff not\a JSON"
	d := aLetter(messages.KindRefund, messages.ReasonMalformed, "seq-1", command)
	d.Code = "\x1b[31mRED"
	i.letters(t, d)
	for _, args := range [][]string{{"list"}, {"show", "1"}, {"stats"}} {
		if text := run(t, exitDone, "", append(append([]string{"dlq"}, args...), "-c", i.config)...).out.String(); strings.ContainsAny(text, "\x1b\a") || !utf8.ValidString(text) {
			t.Errorf("%s: got %q", args, text)
		}
	}
	text := run(t, exitDone, "", "dlq", "drop", "1", "-c", i.config, "-o", "json").out.String()
	var o struct {
		Command string
		Bytes   []byte `json:"command_base64"`
	}
	if err := json.Unmarshal([]byte(text), &o); err != nil || string(o.Bytes) != command || !strings.HasSuffix(o.Command, " not\a JSON") {
		t.Errorf("got %s, %v", text, err)
	}
}

// TestDLQPrintsJSONOnly: a command that is JSON but for bytes that are not UTF-8 makes no line that a strict reader refuses, and is not lost.
func TestDLQPrintsJSONOnly(t *testing.T) {
	i := install(t, "")
	i.streams(t, 10)
	command := "{\"out_refund_no\":\"R1\",\"reason\":\"\xc9\xcc\xc6\xb7\"}" // 商品 in GBK
	i.letters(t, aLetter(messages.KindRefund, messages.ReasonMalformed, "seq-1", command))
	for _, args := range []string{"show 1", "replay 1 --dry-run", "drop 1"} {
		text := run(t, exitDone, "", append(append([]string{"dlq"}, strings.Fields(args)...), "-c", i.config, "-o", "json")...).out.String()
		var o struct {
			Command string
			Bytes   []byte `json:"command_base64"`
		}
		if err := json.Unmarshal([]byte(text), &o); err != nil || !utf8.ValidString(text) || !strings.HasPrefix(o.Command, `{"out_refund_no":"R1","reason":"`) {
			t.Errorf("%s: got %q, %v", args, text, err)
		}
		if args != "replay 1 --dry-run" && string(o.Bytes) != command {
			t.Errorf("%s: the command is %q", args, o.Bytes)
		}
	}
}

// TestDLQIdsWithSpaces: what list and show say of an id can be asked for, and its command be corrected, put back and dropped.
func TestDLQIdsWithSpaces(t *testing.T) {
	t.Parallel()
	i := install(t, "")
	i.streams(t, 10)
	var letters []*messages.DeadLetter
	ids := []string{"P1", " ", " P1 "}
	for _, id := range ids {
		d := aLetter(messages.KindReply, messages.ReasonRejected, id, `{"id":"`+id+`","complaint_id":"c1","complainted_mchid":"1","response_content":"a"}`)
		d.CommandID = id
		letters = append(letters, d)
	}
	q := i.letters(t, letters...)
	for n, id := range ids {
		seq := fmt.Sprint(n + 1)
		o := objects(t, run(t, exitDone, "", "dlq", "list", "--key", id, "-c", i.config, "-o", "json").out.String(), letterFields...)
		if len(o) != 1 || fmt.Sprint(o[0]["seq"]) != seq || o[0]["key"] != id || o[0]["command_id"] != id {
			t.Errorf("list --key %q: got %v", id, o)
		}
		o = objects(t, run(t, exitDone, "", "dlq", "show", seq, "-c", i.config, "-o", "json").out.String(), append(slices.Clone(letterFields), "headers", "command", "explanation")...)
		if o[0]["key"] != id || o[0]["command_id"] != id {
			t.Errorf("show %s: got %v", seq, o)
		}
		if text := run(t, exitDone, "", "dlq", "show", seq, "-c", i.config).out.String(); n > 0 && !strings.Contains(text, fmt.Sprintf("  key         %q\n", id)) {
			t.Errorf("show %s hides the spaces:\n%s", seq, text)
		}
	}
	if text := run(t, exitDone, "", "dlq", "list", "-c", i.config).out.String(); !strings.Contains(text, `reply     " P1 "  `) || !strings.Contains(text, `reply     P1  `) {
		t.Errorf("list hides the spaces:\n%s", text)
	}
	run(t, exitDone, `{"response_content":"b"}`, "dlq", "replay", "2", "--patch", "-", "-c", i.config)
	run(t, exitDone, "", "dlq", "replay", "--all", "--key", " P1 ", "-c", i.config)
	if got := left(t, q); !slices.Equal(got, []string{"P1"}) || i.waiting(t) != 2 {
		t.Errorf("%q are left, and %d commands wait", got, i.waiting(t))
	}
	i.letters(t, letters[1])
	run(t, exitDone, "", "dlq", "drop", "--all", "--key", " ", "-c", i.config)
	if got := left(t, q); !slices.Equal(got, []string{"P1"}) {
		t.Errorf("%q are left", got)
	}
}

// TestDLQDrop: what is removed is printed, whole if asked for, and stays if it cannot be printed.
func TestDLQDrop(t *testing.T) {
	i := install(t, "")
	i.streams(t, 10)
	q := i.letters(t, aRefundLetter(messages.ReasonRejected, "R1"), aRefundLetter(messages.ReasonUnresolved, "R2"), aRefundLetter(messages.ReasonPoison, "R3"))
	a := &app{ctx: t.Context(), in: strings.NewReader(""), out: failing{}, err: newScreen(), config: i.config}
	if err := (&dlqDropCmd{picking: picking{Seq: []uint64{1}}}).Run(a); err == nil || !strings.Contains(err.Error(), "print dead letter 1, which is not removed: disk full") {
		t.Errorf("a full disk: %v", err)
	}
	if got := left(t, q); len(got) != 3 {
		t.Errorf("left: %v", got)
	}
	run(t, exitUsage, "", "dlq", "drop", "--all", "-c", i.config)
	r := run(t, exitPartly, "", "dlq", "drop", "1", "9", "-c", i.config, "-o", "json")
	o := objects(t, r.out.String(), append(slices.Clone(letterFields), "headers", "command")...)[0]
	if o["key"] != "R1" || o["command"].(map[string]any)["out_refund_no"] != "R1" || o["headers"].(map[string]any)["traceparent"].([]any)[0] != "00-1" {
		t.Errorf("got %v", o)
	}
	if !strings.Contains(r.err.String(), "1 removed, 1 failed") {
		t.Errorf("got %s", r.err)
	}
	if r := run(t, exitDone, "", "dlq", "drop", "--all", "--reason", "unresolved,poison", "--yes", "-c", i.config); !strings.Contains(r.out.String(), "R2 ") || !strings.Contains(r.out.String(), "2 removed\n") {
		t.Errorf("got %s", r.out)
	}
	if got := left(t, q); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
	run(t, exitFailed, "", "dlq", "drop", "1", "-c", i.config)
	if r := run(t, exitDone, "", "dlq", "drop", "--all", "-c", i.config); r.err.String() != "No dead letters.\n" {
		t.Errorf("got %s", r.err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk full") }

// TestDLQLeastPrivilege: an operator's account needs what the README lists, and nothing more.
func TestDLQLeastPrivilege(t *testing.T) {
	const (
		get    = "$JS.API.DIRECT.GET.WXPAY_DEADLETTERS"
		read   = "$JS.API.CONSUMER.CREATE.WXPAY_DEADLETTERS.> $JS.API.CONSUMER.MSG.NEXT.WXPAY_DEADLETTERS.>"
		remove = "$JS.API.STREAM.MSG.DELETE.WXPAY_DEADLETTERS"
		send   = "wxpay.command.>"
		ledger = "$JS.API.DIRECT.GET.WXPAY_OUTCOMES"
		follow = "$JS.API.STREAM.INFO.WXPAY_OUTCOMES $JS.API.CONSUMER.CREATE.WXPAY_OUTCOMES.> $JS.API.CONSUMER.MSG.NEXT.WXPAY_OUTCOMES.>"
	)
	for _, tt := range []struct {
		args string
		code int
		may  []string
	}{
		{"list", exitDone, []string{get, read}},
		{"list --limit 5", exitDone, []string{get, read}},
		{"stats", exitDone, []string{get, read}},
		{"show 1", exitDone, []string{get, ledger}},
		{"replay 1", exitDone, []string{get, send, remove}},
		{"replay --all -y", exitDone, []string{get, read, send, remove}},
		{"replay 1 --follow --timeout 100ms", exitFailed, []string{get, send, remove, ledger, follow}}, // nobody carries it out here
		{"drop 1", exitDone, []string{get, remove}},
		{"drop --all -y", exitDone, []string{get, read, remove}},
	} {
		t.Run(tt.args, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s, err := server.NewServer(&server.Options{
				Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true,
				Users: []*server.User{
					{Username: "all", Password: "pw"},
					{Username: "operator", Password: "pw", Permissions: &server.Permissions{
						Publish: &server.SubjectPermission{Allow: strings.Fields(strings.Join(tt.may, " "))}, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_operator.>"}},
					}},
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			s.Start()
			t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
			if !s.ReadyForConnections(10 * time.Second) {
				t.Fatal("NATS is not ready")
			}
			nc, err := nats.Connect(s.ClientURL(), nats.UserInfo("all", "pw"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(nc.Close)
			i := &installation{url: s.ClientURL(), nc: nc}
			i.streams(t, 10)
			i.letters(t, aRefundLetter(messages.ReasonRejected, "R1"), aRefundLetter(messages.ReasonRejected, "R2"))
			writeSecretFile(t, filepath.Join(dir, "pw"), "pw")
			config := writeFile(t, filepath.Join(dir, "worker.yaml"), fmt.Sprintf("nats: {url: %q, user: operator, password_file: pw}\n", s.ClientURL()))
			r := run(t, tt.code, "", append(append([]string{"dlq"}, strings.Fields(tt.args)...), "-c", config)...)
			if !strings.Contains(r.out.String(), "R1") && tt.args != "stats" || strings.Contains(r.err.String(), "ermission") {
				t.Errorf("got %s%s", r.out, r.err)
			}
		})
	}
}

func writeSecretFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
