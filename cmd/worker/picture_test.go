package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/messages"
)

const aPNG = "\x89PNG\r\n\x1a\nof a receipt"

// aReference is what a command says of aPNG.
var aReference = fmt.Sprintf("obj://wxpay-pictures/%x.png", sha256.Sum256([]byte(aPNG)))

func (i *installation) jetStream(t *testing.T) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(i.nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// command reads the stored command, as a worker would.
func (i *installation) command(t *testing.T, sequence uint64) messages.Command {
	t.Helper()
	stream, err := i.jetStream(t).Stream(t.Context(), subjects.CommandsStream())
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.GetMsg(t.Context(), sequence)
	if err != nil {
		t.Fatal(err)
	}
	merchant, kind, _ := subjects.ParseCommand(m.Subject)
	c, err := messages.DecodeCommand(kind, merchant, messages.Header(m.Header), m.Data)
	if err != nil {
		t.Fatalf("%v: %s", err, m.Data)
	}
	return c
}

// TestSendPictures: a picture is in the store, once and whole, before a command refers to it.
func TestSendPictures(t *testing.T) {
	i := install(t, "")
	i.streams(t, 10)
	dir := t.TempDir()
	png := writeFile(t, filepath.Join(dir, "bill.jpg"), aPNG) // the content counts, not the name
	same := writeFile(t, filepath.Join(dir, "same"), aPNG)
	jpg := writeFile(t, filepath.Join(dir, "big.jpg"), "\xff\xd8\xff"+strings.Repeat("x", 2<<20-3))

	send := func(args ...string) {
		t.Helper()
		run(t, exitDone, "", append([]string{"send", "reply", "-c", i.config, "--mchid", mchid, "--complaint-id", "c", "--complainted-mchid", "1", "--content", "您好"}, args...)...)
	}
	send("--picture", png, "--picture", "obj://mine/a b/ü", "--media-id", "M1", "--picture", same)
	want := []string{aReference, "obj://mine/a b/ü", aReference, "M1"}
	if got := i.command(t, 1).(*messages.ReplyCommand).ResponseImages; !reflect.DeepEqual(got, want) {
		t.Errorf("the command refers to %q, want %q", got, want)
	}
	store, err := i.jetStream(t).ObjectStore(t.Context(), "wxpay-pictures")
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(aReference, "obj://wxpay-pictures/")
	first, err := store.GetInfo(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := store.GetBytes(t.Context(), name); err != nil || string(data) != aPNG {
		t.Errorf("stored: %q, %v", data, err)
	}
	status, err := store.Status(t.Context())
	if err != nil || status.TTL() != 90*24*time.Hour || status.Replicas() != 1 || status.Storage() != jetstream.FileStorage {
		t.Errorf("the bucket is %+v, %v", status, err)
	}

	send("--picture", jpg, "--picture", png)
	again, err := store.GetInfo(t.Context(), name)
	if err != nil || again.NUID != first.NUID {
		t.Errorf("the same picture was stored again: %v", err)
	}
	all, err := store.List(t.Context())
	if err != nil || len(all) != 2 {
		t.Errorf("%d pictures, %v", len(all), err)
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(i.command(t, 2).(*messages.ReplyCommand).ResponseImages[0], "obj://"), "/")
	if data, err := store.GetBytes(t.Context(), key); err != nil || bucket != "wxpay-pictures" || len(data) != 2<<20 || !strings.HasSuffix(key, ".jpg") {
		t.Errorf("%s/%s: %d bytes, %v", bucket, key, len(data), err)
	}
}

// TestSendPicturesOrNothing: one picture that is unfit, and nothing is put or sent.
func TestSendPicturesOrNothing(t *testing.T) {
	i := install(t, "")
	i.streams(t, 10)
	dir := t.TempDir()
	png, gif := writeFile(t, filepath.Join(dir, "a.png"), aPNG), writeFile(t, filepath.Join(dir, "b.png"), "GIF89a")
	for _, args := range [][]string{
		{"--content", "x", "--picture", png, "--picture", gif},
		{"--content", "", "--picture", png}, // the command is invalid, its picture is not
	} {
		run(t, exitUsage, "", append([]string{"send", "reply", "-c", i.config, "--mchid", mchid, "--complaint-id", "c", "--complainted-mchid", "1"}, args...)...)
		if _, err := i.jetStream(t).ObjectStore(t.Context(), "wxpay-pictures"); !errors.Is(err, jetstream.ErrBucketNotFound) || i.waiting(t) != 0 {
			t.Errorf("%q: bucket: %v; %d commands", args, err, i.waiting(t))
		}
	}
}

// TestSendPicturesBucket: a bucket that somebody made is used as it is; one that cannot be made stops the command.
func TestSendPicturesBucket(t *testing.T) {
	i := install(t, ", prefix: shop-1")
	png := writeFile(t, filepath.Join(t.TempDir(), "a.png"), aPNG)
	send := func(code int) string {
		t.Helper()
		r := run(t, code, "", "send", "reply", "-c", i.config, "--mchid", mchid, "--complaint-id", "c", "--complainted-mchid", "1", "--content", "x", "--picture", png)
		return r.err.String()
	}
	js := i.jetStream(t)
	taken, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "TAKEN", Subjects: []string{"$O.shop-1-pictures.C.>", "shop-1.command.>"}})
	if err != nil {
		t.Fatal(err)
	}
	if text := send(exitFailed); !strings.Contains(text, "nothing was sent: there is no bucket shop-1-pictures for pictures, and it cannot be made: ") {
		t.Errorf("got %s", text)
	}
	if info, err := taken.Info(t.Context()); err != nil || info.State.Msgs != 0 {
		t.Errorf("something was sent: %+v, %v", info, err)
	}
	if _, err := js.UpdateStream(t.Context(), jetstream.StreamConfig{Name: "TAKEN", Subjects: []string{"shop-1.command.>"}}); err != nil {
		t.Fatal(err)
	}
	mine := jetstream.ObjectStoreConfig{Bucket: "shop-1-pictures", TTL: time.Hour, Storage: jetstream.MemoryStorage}
	store, err := js.CreateObjectStore(t.Context(), mine)
	if err != nil {
		t.Fatal(err)
	}
	send(exitDone)
	if status, err := store.Status(t.Context()); err != nil || status.TTL() != time.Hour || status.Storage() != jetstream.MemoryStorage {
		t.Errorf("%+v, %v", status, err)
	}
	if _, err := store.GetInfo(t.Context(), filepath.Base(aReference)); err != nil {
		t.Error(err)
	}
}

// TestPictureStays: a picture that will soon be gone is put again; so is one of that name which is not it.
func TestPictureStays(t *testing.T) {
	i := install(t, "")
	store, err := i.jetStream(t).CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	p := &pictures{}
	if _, err := p.add(writeFile(t, filepath.Join(t.TempDir(), "a"), aPNG)); err != nil {
		t.Fatal(err)
	}
	f := p.files[0]
	last := ""
	for _, step := range []struct {
		name  string
		age   time.Duration
		again bool
		first func() error
	}{
		{"the first time", time.Hour, true, nil},
		{"young", time.Hour, false, nil},
		{"for ever", 0, false, nil},
		{"half its time is over", time.Nanosecond, true, nil},
		{"another content", time.Hour, true, func() error { _, err := store.PutString(t.Context(), f.name, "forged"); return err }},
		{"deleted", time.Hour, true, func() error { return store.Delete(t.Context(), f.name) }},
	} {
		if step.first != nil {
			if err := step.first(); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.put(t.Context(), store, step.age); err != nil {
			t.Fatal(err)
		}
		info, err := store.GetInfo(t.Context(), f.name)
		if err != nil {
			t.Fatal(err)
		}
		if again := info.NUID != last; again != step.again {
			t.Errorf("%s: put again: %v, want %v", step.name, again, step.again)
		}
		last = info.NUID
		if data, err := store.GetString(t.Context(), f.name); err != nil || data != aPNG {
			t.Errorf("%s: %q, %v", step.name, data, err)
		}
	}
}

// TestSendFlags: what the flags of each kind come to, old names of flags included.
func TestSendFlags(t *testing.T) {
	i := install(t, "")
	i.streams(t, 100)
	png := writeFile(t, filepath.Join(t.TempDir(), "a.png"), aPNG)
	sequence := uint64(0)
	for _, tt := range []struct{ args, want string }{
		{"decision --complaint c --approve --launch-refund-day 0 --remark r --reply hello --complainted-mchid 2 --reply-picture PNG --reply-media-id M1 --reply-jump-url https://a.b --reply-jump-url-text t " +
			"--out-refund-no R1 --transaction-id T1 --out-trade-no O1 --refund 1 --total 2 --reason why --notify-url https://a.b/c --funds-account AVAILABLE --sub-mchid 3",
			`{"id":"I","complaint_id":"c","action":"APPROVE","launch_refund_day":0,"remark":"r",` +
				`"reply":{"complainted_mchid":"2","response_content":"hello","response_images":["REF","M1"],"jump_url":"https://a.b","jump_url_text":"t"},` +
				`"refund":{"out_refund_no":"R1","transaction_id":"T1","out_trade_no":"O1","amount":{"refund":1,"total":2},"reason":"why","notify_url":"https://a.b/c","funds_account":"AVAILABLE","sub_mchid":"3"}}`},
		{"decision --complaint-id c --reject no --picture PNG --media-id M1 --reject-media M2 --remark r",
			`{"id":"I","complaint_id":"c","action":"REJECT","reject_reason":"no","reject_media_list":["REF","M1","M2"],"remark":"r"}`},
		{"reply --complaint c --complainted-mchid 2 --text hello --image M1 --media-id M2", `{"id":"I","complaint_id":"c","complainted_mchid":"2","response_content":"hello","response_images":["M1","M2"]}`},
		{"reply --complaint-id c --complainted-mchid 2 --content hello --jump-url https://a.b --jump-url-text t", `{"id":"I","complaint_id":"c","complainted_mchid":"2","response_content":"hello","jump_url":"https://a.b","jump_url_text":"t"}`},
		{"complete --complaint c --complainted-mchid 2", `{"id":"I","complaint_id":"c","complainted_mchid":"2"}`},
		{"refund --complaint c --out-refund-no R1 --out-trade-no O1 --refund 1 --total 2", `{"id":"I","out_refund_no":"R1","out_trade_no":"O1","amount":{"refund":1,"total":2},"complaint_id":"c"}`},
	} {
		args := strings.Fields(strings.ReplaceAll(tt.args, "PNG", png))
		run(t, exitDone, "", append(append([]string{"send"}, args...), "-c", i.config, "--mchid", mchid, "--id", "I")...)
		sequence++
		stream, err := i.jetStream(t).Stream(t.Context(), subjects.CommandsStream())
		if err != nil {
			t.Fatal(err)
		}
		m, err := stream.GetMsg(t.Context(), sequence)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.ReplaceAll(tt.want, "REF", aReference)
		if !json.Valid([]byte(want)) || string(m.Data) != want {
			t.Errorf("%s\ngot  %s\nwant %s", tt.args, m.Data, want)
		}
	}
}
