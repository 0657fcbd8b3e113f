package messages

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestDigestGolden pins the digests of all samples. They are stored beside outcomes for 90 days and compared after every upgrade: a
// digest that changes turns every retried command into a conflict. So -update adds lines and never changes one.
func TestDigestGolden(t *testing.T) {
	const path = "testdata/commands/digests.golden"
	pinned := make(map[string]string)
	data, err := os.ReadFile(path)
	if err != nil && !*update {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		name, digest, _ := strings.Cut(strings.TrimSpace(line), " ")
		pinned[name] = digest
	}
	for _, s := range samples(t) {
		got := mustDecode(t, s.kind, string(s.data)).Digest()
		if _, known := pinned[s.name]; !known && *update {
			pinned[s.name] = got
		}
		if got != pinned[s.name] {
			t.Errorf("%s: digest %s, pinned %q", s.name, got, pinned[s.name])
		}
	}
	if *update {
		var b strings.Builder
		for _, name := range slices.Sorted(maps.Keys(pinned)) {
			b.WriteString(name + " " + pinned[name] + "\n")
		}
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	digestRefund   = `{"out_refund_no":"R","transaction_id":"1","out_trade_no":"T","amount":{"refund":1,"total":2},"reason":"r","notify_url":"http://a","funds_account":"AVAILABLE","sub_mchid":"1"}`
	digestReply    = `{"id":"P","complaint_id":"1","complainted_mchid":"1","response_content":"r","response_images":["a","b"],"jump_url":"https://a","jump_url_text":"t","mini_program_jump_info":{"appid":"a","path":"p","text":"t"}}`
	digestComplete = `{"id":"C","complaint_id":"1","complainted_mchid":"1"}`
	digestApprove  = `{"id":"D","complaint_id":"1","action":"APPROVE","remark":"m","reply":{"complainted_mchid":"1","response_content":"r"},"refund":{"out_refund_no":"R","out_trade_no":"T","amount":{"refund":1,"total":2}}}`
	digestReject   = `{"id":"D","complaint_id":"1","action":"REJECT","reject_reason":"r","reject_media_list":["a","b"],"remark":"m"}`
)

// TestDigestCovers: changing what is sent changes the digest.
func TestDigestCovers(t *testing.T) {
	for _, tt := range []struct {
		kind      Kind
		data      string
		old, news string // pairs of old → new, the new ones separated by spaces
	}{
		{KindRefund, digestRefund, `"out_refund_no":"R"`, `"out_refund_no":"S"`},
		{KindRefund, digestRefund, `"transaction_id":"1"`, `"transaction_id":"2" "transaction_id":""`},
		{KindRefund, digestRefund, `"out_trade_no":"T"`, `"out_trade_no":"U" "out_trade_no":""`},
		{KindRefund, digestRefund, `"refund":1`, `"refund":2`},
		{KindRefund, digestRefund, `"total":2`, `"total":3`},
		{KindRefund, digestRefund, `"reason":"r"`, `"reason":"s" "reason":""`},
		{KindRefund, digestRefund, `"notify_url":"http://a"`, `"notify_url":"http://b" "notify_url":""`},
		{KindRefund, digestRefund, `"funds_account":"AVAILABLE"`, `"funds_account":"UNSETTLED" "funds_account":""`},
		{KindRefund, digestRefund, `"sub_mchid":"1"`, `"sub_mchid":"2" "sub_mchid":""`},
		{KindReply, digestReply, `"complaint_id":"1"`, `"complaint_id":"2"`},
		{KindReply, digestReply, `"complainted_mchid":"1"`, `"complainted_mchid":"2"`},
		{KindReply, digestReply, `"response_content":"r"`, `"response_content":"s"`},
		{KindReply, digestReply, `["a","b"]`, `["b","a"] ["a"] ["ab"] []`},
		{KindReply, digestReply, `"jump_url":"https://a"`, `"jump_url":"https://b"`},
		{KindReply, digestReply, `"jump_url_text":"t"`, `"jump_url_text":"u"`},
		{KindReply, digestReply, `"appid":"a"`, `"appid":"b"`},
		{KindReply, digestReply, `"path":"p"`, `"path":"q"`},
		{KindReply, digestReply, `"text":"t"`, `"text":"u"`},
		{KindReply, digestReply, `,"mini_program_jump_info":{"appid":"a","path":"p","text":"t"}`, `,"metadata":{}`},
		{KindComplete, digestComplete, `"complaint_id":"1"`, `"complaint_id":"2"`},
		{KindComplete, digestComplete, `"complainted_mchid":"1"`, `"complainted_mchid":"2"`},
		{KindDecision, digestApprove, `"complaint_id":"1"`, `"complaint_id":"2"`},
		{KindDecision, digestReject, `"action":"REJECT"`, `"action":"APPROVE"`},
		{KindDecision, digestApprove, `"action":"APPROVE"`, `"action":"APPROVE","launch_refund_day":0 "action":"APPROVE","launch_refund_day":1`},
		{KindDecision, digestApprove, `"remark":"m"`, `"remark":"n" "remark":""`},
		{KindDecision, digestApprove, `"response_content":"r"`, `"response_content":"s"`},
		{KindDecision, digestApprove, `"reply":{"complainted_mchid":"1","response_content":"r"},`, `"metadata":{},`},
		{KindDecision, digestApprove, `"total":2`, `"total":3`},
		{KindDecision, digestApprove, `,"refund":{"out_refund_no":"R","out_trade_no":"T","amount":{"refund":1,"total":2}}`, `,"metadata":{}`},
		{KindDecision, digestReject, `"reject_reason":"r"`, `"reject_reason":"s" "reject_reason":""`},
		{KindDecision, digestReject, `["a","b"]`, `["b","a"] ["ab"] []`},
	} {
		want := mustDecode(t, tt.kind, tt.data).Digest()
		for edit := range strings.FieldsSeq(tt.news) {
			changed := strings.Replace(tt.data, tt.old, edit, 1)
			if changed == tt.data {
				t.Fatalf("%s: %s is not in %s", tt.kind, tt.old, tt.data)
			}
			if mustDecode(t, tt.kind, changed).Digest() == want {
				t.Errorf("%s: %s → %s keeps the digest", tt.kind, tt.old, edit)
			}
		}
	}
}

// TestDigestLeavesOut: what is not sent, or only written another way, does not change the digest.
func TestDigestLeavesOut(t *testing.T) {
	for _, tt := range []struct {
		name      string
		kind      Kind
		data, add string
	}{
		{"id of a refund", KindRefund, digestRefund, `"id":"X"`},
		{"mchid", KindRefund, digestRefund, `"mchid":"1900000001"`},
		{"metadata", KindRefund, digestRefund, `"metadata":{"a":"b"}`},
		{"complaint of a refund", KindRefund, digestRefund, `"complaint_id":"1"`},
		{"REJECT fields of an approval", KindDecision, digestApprove, `"reject_reason":"r","reject_media_list":["a"]`},
		{"APPROVE fields of a rejection", KindDecision, digestReject, `"launch_refund_day":3`},
		{"empty list", KindDecision, digestApprove, `"reject_media_list":[]`},
		{"metadata of a reply", KindReply, digestReply, `"metadata":{"a":"b"}`},
		{"metadata of a complete", KindComplete, digestComplete, `"metadata":{"a":"b"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			with := strings.Replace(tt.data, "{", "{"+tt.add+",", 1)
			if mustDecode(t, tt.kind, with).Digest() != mustDecode(t, tt.kind, tt.data).Digest() {
				t.Errorf("%s changes the digest", tt.add)
			}
		})
	}
	t.Run("id of a complete", func(t *testing.T) {
		other := strings.Replace(digestComplete, `"id":"C"`, `"id":"X"`, 1)
		if mustDecode(t, KindComplete, other).Digest() != mustDecode(t, KindComplete, digestComplete).Digest() {
			t.Error("the id changes the digest")
		}
	})
	t.Run("currency by default", func(t *testing.T) {
		written := strings.Replace(digestRefund, `"total":2`, `"total":2,"currency":"CNY"`, 1)
		c := mustDecode(t, KindRefund, digestRefund).(*RefundCommand)
		if mustDecode(t, KindRefund, written).Digest() != c.Digest() {
			t.Error("writing the default changes the digest")
		}
		built := *c
		built.Amount.Currency = ""
		if built.Digest() != c.Digest() {
			t.Error("a command built in Go without currency has another digest")
		}
	})
}

// TestDigestFormat pins the text that is hashed, so that a broken golden file can be understood.
func TestDigestFormat(t *testing.T) {
	d := newDigest(KindReply)
	d.text("a", "x\ny")
	d.text("absent", "")
	d.number("zero", 0)
	d.list("list", []string{"1", "22"})
	const want = "kind:5:reply\na:3:x\ny\nzero:1:0\nlist[0]:1:1\nlist[1]:2:22\n"
	if string(d) != want {
		t.Errorf("digest text is %q, want %q", d, want)
	}
}

func TestDigestOfKindsDiffers(t *testing.T) {
	seen := make(map[string]Kind)
	for _, k := range Kinds {
		d := newCommand(k).Digest()
		if other, ok := seen[d]; ok {
			t.Errorf("an empty %s has the digest of an empty %s", k, other)
		}
		seen[d] = k
	}
}
