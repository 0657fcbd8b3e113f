package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/consumer"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// streams makes the installation's streams without a worker that empties them.
func (i *installation) streams(t *testing.T, maxWaiting int64) {
	t.Helper()
	want := consumer.Streams{Subjects: subjects, Replicas: 1, MaxWaiting: maxWaiting, OutcomesMaxAge: 2160 * 3600e9}
	if err := consumer.EnsureStreams(t.Context(), i.nc, want); err != nil {
		t.Fatal(err)
	}
}

func (i *installation) waiting(t *testing.T) uint64 {
	t.Helper()
	js, err := jetstream.New(i.nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), subjects.CommandsStream())
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}

// TestSendValidates: whatever is wrong, exit 2, and nothing is sent. It is found out before a connection is made: there is no
// NATS server here.
func TestSendValidates(t *testing.T) {
	good := aRefund("R1")
	bad := `{"out_refund_no":"R1","out_trade_no":"T","amount":{"refund":2,"total":1}}`
	dir := t.TempDir()
	file := writeFile(t, filepath.Join(dir, "commands.jsonl"), good+"\n\n"+bad+"\n"+good[:20]+"\n")
	png := writeFile(t, filepath.Join(dir, "bill.png"), aPNG)
	gif := writeFile(t, filepath.Join(dir, "gif.png"), "GIF89a")
	big := writeFile(t, filepath.Join(dir, "big.jpg"), "\xff\xd8\xff"+strings.Repeat("x", 2<<20-2))
	reply := []string{"reply", "--mchid", "1", "--complaint", "c", "--complainted-mchid", "1", "--text", "x"}
	with := func(args []string, more ...string) []string { return append(args[:len(args):len(args)], more...) }
	for _, tt := range []struct {
		name, stdin string
		args        []string
		want        []string
	}{
		{"no input", "", []string{"refund"}, []string{"expected the flags of a refund, or commands in the input, which is empty"}},
		{"no merchant", good, []string{"refund"}, []string{"line 1: mchid: expected it here, or --mchid"}},
		{"merchant", good, []string{"refund", "--mchid", "x"}, []string{"--mchid: expected 1 to 32 digits"}},
		{"another merchant", `{"mchid":"2",` + good[1:], []string{"refund", "--mchid", "1"}, []string{"line 1: mchid: expected the merchant of the subject"}},
		{"all problems", "", []string{"refund", "--mchid", "1", "-f", file}, []string{"line 3: amount.refund: expected at most amount.total", "line 4: command: expected one complete JSON object"}},
		{"over several lines", "\n{\n\"out_refund_no\":1}\n", []string{"refund", "--mchid", "1"}, []string{"line 2: out_refund_no: expected a string"}},
		{"a list", "[" + good + "]", []string{"refund", "--mchid", "1"}, []string{"line 1: command: expected a JSON object"}},
		{"no such file", "", []string{"refund", "--mchid", "1", "-f", file + "x"}, []string{"read commands: open "}},
		{"file and flags", "", []string{"refund", "--mchid", "1", "-f", file, "--total", "1"}, []string{"--file: expected either a file or the flags of a refund, not both"}},
		{"id and file", "", []string{"refund", "--mchid", "1", "-f", file, "--id", "1"}, []string{"--id, --metadata: expected with the flags"}},
		{"timeout alone", good, []string{"refund", "--mchid", "1", "--timeout", "1s"}, []string{"--timeout: expected a positive duration, together with --wait"}},
		{"flags of a refund", "", []string{"refund", "--mchid", "1", "--out-refund-no", "R", "--out-trade-no", "T", "--refund", "1"}, []string{"amount.total: expected a positive integer"}},
		{"flags of another kind", "", []string{"reply", "--mchid", "1", "--approve"}, []string{"unknown flag --approve"}},
		{"no action", "", []string{"decision", "--mchid", "1", "--complaint-id", "c"}, []string{"action: expected APPROVE or REJECT"}},
		{"two actions", "", []string{"decision", "--mchid", "1", "--complaint-id", "c", "--approve", "--reject", "no"}, []string{"--approve and --reject can't be used together"}},
		{"reply", "", []string{"reply", "--mchid", "1", "--complaint-id", "c", "--complainted-mchid", "1"}, []string{"response_content: expected 1 to 500 characters"}},
		{"complete", "", []string{"complete", "--mchid", "1", "--complaint-id", "c"}, []string{"complainted_mchid: expected 1 to 64 digits"}},
		{"a picture of another kind", "", with(reply, "--picture", png, "--picture", gif), []string{"--picture " + gif + ": expected a JPG, BMP or PNG"}},
		{"a picture too large", "", with(reply, "--picture", big), []string{"--picture " + big + ": expected at most 2097152 bytes (2 MiB)"}},
		{"no such picture", "", with(reply, "--picture", png+"x"), []string{"--picture " + png + "x: expected a file, or obj://BUCKET/NAME", "no such file"}},
		{"a folder", "", with(reply, "--picture", dir), []string{"--picture " + dir + ": expected a readable file: is a directory"}},
		{"all pictures", "", with(reply, "--picture", gif, "--picture", big), []string{gif + ": expected a JPG", big + ": expected at most"}},
		{"a good reference after a bad file", "", with(reply, "--picture", gif, "--picture", "obj://b/n", "--picture", png), []string{gif + ": expected a JPG"}},
		{"a media id as a picture", "", with(reply, "--picture", "file752398_7983424"), []string{"(a media id goes by its own flag)"}},
		{"no bucket", "", with(reply, "--picture", "obj:///a.png"), []string{"--picture obj:///a.png: expected obj://BUCKET/NAME"}},
		{"no name", "", with(reply, "--picture", "obj://b/"), []string{"expected obj://BUCKET/NAME"}},
		{"neither", "", with(reply, "--picture", "obj://b"), []string{"expected obj://BUCKET/NAME"}},
		{"a bucket of other characters", "", with(reply, "--picture", "obj://b.c/a.png"), []string{"expected obj://BUCKET/NAME"}},
		{"a long bucket", "", with(reply, "--picture", "obj://"+strings.Repeat("b", 65)+"/a.png"), []string{"expected obj://BUCKET/NAME"}},
		{"a long name", "", with(reply, "--picture", "obj://b/"+strings.Repeat("n", 257)), []string{"expected obj://BUCKET/NAME"}},
		{"a control character", "", with(reply, "--picture", "obj://b/a\x1b[2J"), []string{"--picture obj://b/a\ufffd[2J: expected obj://BUCKET/NAME"}},
		{"five pictures", "", with(reply, "--picture", png, "--picture", png, "--picture", "obj://b/n", "--media-id", "1", "--image", "2"), []string{"response_images: expected at most 4 entries"}},
		{"a picture and a file", "", []string{"reply", "--mchid", "1", "--picture", png, "-f", file}, []string{"--file: expected either a file or the flags of a reply, not both"}},
		{"a picture that nobody would see", "", []string{"decision", "--mchid", "1", "--complaint-id", "c", "--approve", "--picture", png}, []string{"--picture, --media-id: expected with --reject"}},
		{"a media id that nobody would see", "", []string{"decision", "--mchid", "1", "--complaint-id", "c", "--approve", "--reject-media", "1"}, []string{"--picture, --media-id: expected with --reject"}},
		{"a reply inside", "", []string{"decision", "--mchid", "1", "--complaint-id", "c", "--approve", "--reply-picture", png}, []string{"reply.complainted_mchid: expected 1 to 64 digits"}},
		{"a picture of the reply inside", "", []string{"decision", "--mchid", "1", "--complaint-id", "c", "--approve", "--reply-picture", gif}, []string{"--reply-picture " + gif + ": expected a JPG"}},
		{"a refund inside", "", []string{"decision", "--mchid", "1", "--complaint-id", "c", "--approve", "--out-refund-no", "R", "--refund", "1", "--total", "1"}, []string{"refund.transaction_id: expected it or out_trade_no"}},
		{"a refund inside a rejection", "", []string{"decision", "--mchid", "1", "--complaint-id", "c", "--reject", "no", "--refund", "1"}, []string{"refund: expected no refund unless action is APPROVE"}},
		{"id", "", []string{"complete", "--mchid", "1", "--complaint-id", "c", "--complainted-mchid", "1", "--id", "ä"}, []string{"id: expected 1 to 64 printable ASCII characters"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := run(t, exitUsage, tt.stdin, append([]string{"send"}, tt.args...)...)
			if n := strings.Count(r.err.String(), ": expected "); n > len(tt.want) {
				t.Errorf("%d problems are told of, want %d: %s", n, len(tt.want), r.err)
			}
			for _, want := range tt.want {
				if !strings.Contains(r.err.String(), want) {
					t.Errorf("got %swant %s", r.err, want)
				}
			}
		})
	}
}

func TestSendUnreachable(t *testing.T) {
	r := run(t, exitFailed, aRefund("R1"), "send", "refund", "--mchid", mchid, "--nats", unreachable(t))
	if !strings.Contains(r.err.String(), "cannot reach NATS at nats://127.0.0.1:") {
		t.Errorf("got %s", r.err)
	}
}

// TestSendWithoutStream: before any worker has run there is nothing to send to.
func TestSendWithoutStream(t *testing.T) {
	i := install(t, "")
	r := run(t, exitFailed, aRefund("R1")+"\n"+aRefund("R2"), "send", "refund", "--mchid", mchid, "-c", i.config)
	if !strings.Contains(r.err.String(), "no stream takes wxpay.command."+mchid+".refund: start a worker first") {
		t.Errorf("got %s", r.err)
	}
	r = run(t, exitFailed, aRefund("R1"), "send", "refund", "--mchid", mchid, "-c", i.config, "--wait")
	if !strings.Contains(r.err.String(), "no stream WXPAY_OUTCOMES: start a worker first") {
		t.Errorf("--wait: got %s", r.err)
	}
	r = run(t, exitFailed, "", "watch", "-c", i.config)
	if !strings.Contains(r.err.String(), "no stream WXPAY_OUTCOMES: start a worker first") {
		t.Errorf("watch: got %s", r.err)
	}
}

// TestSendFull: a full merchant is refused and said to be; another one is not.
func TestSendFull(t *testing.T) {
	i := install(t, "")
	i.streams(t, 2)
	three := aRefund("R1") + "\n" + aRefund("R2") + "\n" + aRefund("R3") + "\n"
	r := run(t, exitPartly, three, "send", "refund", "--mchid", mchid, "-c", i.config)
	if !strings.Contains(r.err.String(), "line 3: refund R3: the stream does not store it: maximum messages per subject exceeded") || len(lines(r.out.String())) != 2 {
		t.Errorf("got %s%s", r.out, r.err)
	}
	run(t, exitFailed, three, "send", "refund", "--mchid", mchid, "-c", i.config)
	run(t, exitDone, aRefund("R1"), "send", "refund", "--mchid", "2", "-c", i.config)
	if n := i.waiting(t); n != 3 {
		t.Errorf("%d commands wait, want 3", n)
	}
}

// TestSendBulk: more than may be unconfirmed at once, each printed in its place.
func TestSendBulk(t *testing.T) {
	i := install(t, "")
	i.streams(t, 1_000_000)
	const all = 3 * window
	var in strings.Builder
	for n := range all {
		in.WriteString(aRefund(fmt.Sprint("R", n)) + "\n")
	}
	r := run(t, exitDone, in.String(), "send", "refund", "--mchid", mchid, "-c", i.config, "-o", "json")
	for n, line := range lines(r.out.String()) {
		want := fmt.Sprintf(`{"subject":"wxpay.command.%s.refund","sequence":%d,"mchid":"%[1]s","kind":"refund","key":"R%[3]d"}`, mchid, n+1, n)
		if line != want {
			t.Fatalf("got  %s\nwant %s", line, want)
		}
	}
	if n := i.waiting(t); n != all {
		t.Errorf("%d commands wait, want %d", n, all)
	}
}

// TestSendMakesID: a complaint command without an id gets one, which is printed, in a header: its bytes stay as they came.
func TestSendMakesID(t *testing.T) {
	i := install(t, "")
	i.streams(t, 10)
	body := `{ "complaint_id" : "c1", "complainted_mchid":"1" }`
	r := run(t, exitDone, body, "send", "complete", "--mchid", mchid, "-c", i.config)
	fields := strings.Fields(r.out.String())
	js, err := jetstream.New(i.nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), subjects.CommandsStream())
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if id := m.Header.Get(messages.HeaderCommandID); len(fields) != 4 || id == "" || fields[2] != id || fields[3] != id || string(m.Data) != body {
		t.Errorf("printed %q, stored %v %s", fields, m.Header, m.Data)
	}
}

// TestSendWaits holds the ends that a command can have, and the exit codes.
func TestSendWaits(t *testing.T) {
	i := install(t, "")
	i.work(t)
	send := func(t *testing.T, code int, stdin string, more ...string) string {
		t.Helper()
		r := run(t, code, stdin, append([]string{"send", "refund", "--mchid", mchid, "-c", i.config, "--wait"}, more...)...)
		return r.out.String() + r.err.String()
	}
	refuse := wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Answer: wxpaytest.AnswerRefusal, Status: 403, Code: "USER_ACCOUNT_ABNORMAL", Message: "no"}
	is := func(t *testing.T, got string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("got %swant %s", got, w)
			}
		}
	}

	is(t, send(t, exitDone, aRefund("R1")), "R1", "succeeded")
	t.Run("at once if there is an end already", func(t *testing.T) {
		is(t, send(t, exitDone, aRefund("R1")), "R1", "succeeded")
	})
	t.Run("other parameters", func(t *testing.T) {
		is(t, send(t, exitFailed, strings.Replace(aRefund("R1"), `"refund":1,"total":1`, `"refund":1,"total":2`, 1)),
			"seq-3", "failed", "conflict with R1", "1 of 1 commands did not succeed")
	})
	t.Run("some of several", func(t *testing.T) {
		refuse.ID = "R2"
		i.sim.Fault(refuse)
		is(t, send(t, exitPartly, aRefund("R2")+"\n"+aRefund("R3")), "R2", "failed", "USER_ACCOUNT_ABNORMAL", "R3", "succeeded")
	})
	t.Run("sent again after a failure", func(t *testing.T) {
		// The old `failed` is not this command's end.
		is(t, send(t, exitDone, aRefund("R2"), "-o", "json"), `"status":"succeeded"`)
	})
	t.Run("no end in time", func(t *testing.T) {
		hold := make(chan struct{})
		defer close(hold)
		i.sim.Fault(wxpaytest.Fault{ID: "R4", Apply: true, Hold: hold})
		is(t, send(t, exitFailed, aRefund("R4"), "--timeout", "1ms"), "line 1: refund R4: no outcome yet")
	})
}

// TestSendKeepsSecrets: nothing that a command says of people is on the screen, wherever it fails.
func TestSendKeepsSecrets(t *testing.T) {
	i := install(t, "")
	r := run(t, exitUsage, `{"id":"1","complaint_id":"c","complainted_mchid":"x","response_content":"CANARY"}`, "send", "reply", "--mchid", mchid, "-c", i.config)
	if strings.Contains(r.err.String(), canary) {
		t.Errorf("got %s", r.err)
	}
	key, err := os.ReadFile(filepath.Join(i.dir, mchid+"_key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	worker := i.work(t)
	run(t, exitDone, `{"id":"1","complaint_id":"c","complainted_mchid":"1","response_content":"CANARY"}`, "send", "reply", "--mchid", mchid, "-c", i.config, "--wait")
	worker.stop()
	<-worker.ended
	if log := worker.err.String(); strings.Contains(log, canary) || strings.Contains(log, strings.Split(string(key), "\n")[1]) {
		t.Errorf("log shows a secret: %s", log)
	}
}
