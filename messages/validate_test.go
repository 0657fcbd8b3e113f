package messages

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// Commands that keep every rule; the tests below break one at a time.
var goodCommands = map[Kind]string{
	KindRefund:   `{"out_refund_no":"R1","transaction_id":"1","out_trade_no":"T1","amount":{"refund":50,"total":100}}`,
	KindReply:    `{"id":"P1","complaint_id":"1","complainted_mchid":"1","response_content":"r","jump_url":"https://a","jump_url_text":"t","mini_program_jump_info":{"appid":"a","path":"p","text":"t"}}`,
	KindComplete: `{"id":"C1","complaint_id":"1","complainted_mchid":"1"}`,
	KindDecision: `{"id":"D1","complaint_id":"1","action":"APPROVE",
		"reply":{"complainted_mchid":"1","response_content":"r"},"refund":{"out_refund_no":"R1","out_trade_no":"T1","amount":{"refund":50,"total":100}}}`,
}

// quoted makes JSON strings of texts.
func quoted(texts ...string) []string {
	for i, s := range texts {
		b, _ := json.Marshal(s)
		texts[i] = string(b)
	}
	return texts
}

// repeat is short for texts at and beyond limits.
func repeat(s string, n int) string { return strings.Repeat(s, n) }

// edit sets fields of a JSON object, each given as a path and a JSON value, "" to remove it.
func edit(t *testing.T, object string, edits ...[2]string) string {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal([]byte(object), &root); err != nil {
		t.Fatal(err)
	}
	for _, e := range edits {
		path := strings.Split(e[0], ".")
		m := root
		for _, name := range path[:len(path)-1] {
			m = m[name].(map[string]any)
		}
		if last := path[len(path)-1]; e[1] == "" {
			delete(m, last)
		} else {
			m[last] = json.RawMessage(e[1])
		}
	}
	data, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestRules has one row for each rule of the contract: values of one field that keep it, at its limits, and values that break it.
func TestRules(t *testing.T) {
	const (
		number64   = "1 to 64 characters of 0-9 A-Z a-z _ - | * @"
		number32   = "1 to 32 characters of 0-9 A-Z a-z _ - | * @"
		complaint  = "1 to 64 characters of 0-9 A-Z a-z _ -"
		notifyURL  = "an absolute http or https URL of at most 256 bytes, without query or fragment"
		jumpURL    = "an absolute https URL of at most 512 bytes"
		fourBytes  = "no characters of 4 bytes in UTF-8 (emoji, rare Han)"
		controls   = "no control characters other than tab, LF and CR"
		media      = "a media_id of 1 to 512 bytes, or obj://BUCKET/NAME"
		reference  = "obj://BUCKET/NAME"
		positive   = "a positive integer, in fen"
		digits32   = "1 to 32 digits"
		digits64   = "1 to 64 digits"
		commandID  = "1 to 64 printable ASCII characters, in the body or in the header Wxpay-Command-Id"
		bothOrNone = "or neither"
	)
	var seventeen strings.Builder
	seventeen.WriteByte('{')
	for i := range 17 {
		fmt.Fprintf(&seventeen, `"k%d":"secret",`, i)
	}
	entries17 := strings.TrimSuffix(seventeen.String(), ",") + "}"
	entries16 := strings.Replace(entries17, `"k0":"secret",`, "", 1)

	for _, tt := range []struct {
		rule      string
		kind      Kind
		path      string // of the field that is set
		good, bad []string
		field     string // of the error; "" = path
		expected  string
	}{
		{"id length", KindComplete, "id", quoted("x", repeat("x", 64)), quoted(repeat("x", 65)), "", commandID},
		{"id printable ASCII", KindComplete, "id", quoted(" !~"), quoted("sécret", "sec\nret", "sec\x7fret"), "", commandID},
		{"id required", KindReply, "id", nil, []string{"", `""`}, "", commandID},
		{"id of a refund is checked", KindRefund, "id", quoted("x", ""), quoted("sécret"), "", commandID},
		{"mchid digits", KindRefund, "mchid", quoted("1900000001", ""), quoted("190000000x", repeat("1", 33)), "", ""},
		{"metadata entries", KindRefund, "metadata", []string{entries16}, []string{entries17}, "", "at most 16 entries"},
		{"metadata keys", KindRefund, "metadata", []string{`{"k":""}`}, []string{`{"":"secret"}`}, "", "keys that are not empty"},
		{"metadata may hold what WeChat Pay may not see", KindRefund, "metadata", []string{`{"😀\u0001":"😀\u0001"}`}, nil, "", ""},

		{"out_refund_no required", KindRefund, "out_refund_no", nil, []string{"", `""`}, "", number64},
		{"out_refund_no length", KindRefund, "out_refund_no", quoted("R", repeat("R", 64)), quoted(repeat("R", 65)), "", number64},
		{"out_refund_no characters", KindRefund, "out_refund_no", quoted("0aZ_-|*@"), quoted("R/secret", "R secret", "Ré", "R.secret", "R\n"), "", number64},
		{"transaction_id length", KindRefund, "transaction_id", quoted(repeat("1", 32), ""), quoted(repeat("1", 33)), "", "1 to 32 digits or letters"},
		{"transaction_id characters", KindRefund, "transaction_id", quoted("0aZ"), quoted("secret-1"), "", "1 to 32 digits or letters"},
		{"out_trade_no length", KindRefund, "out_trade_no", quoted("T", repeat("T", 32), ""), quoted(repeat("T", 33)), "", number32},
		{"out_trade_no characters", KindRefund, "out_trade_no", quoted("0aZ_-|*@"), quoted("T/secret"), "", number32},
		{"one order number required", KindDecision, "refund.out_trade_no", nil, []string{"", `""`}, "refund.transaction_id", "it or out_trade_no"},
		{"amount required", KindRefund, "amount", nil, []string{"", "{}"}, "amount.refund", positive},
		{"amount.refund required", KindRefund, "amount.refund", nil, []string{""}, "", positive},
		{"amount.refund positive", KindRefund, "amount.refund", []string{"1", "100"}, []string{"0", "-100"}, "", positive},
		{"amount.total required", KindRefund, "amount.total", nil, []string{""}, "", positive},
		{"amount.total positive", KindRefund, "amount.total", nil, []string{"0", "-100"}, "", positive},
		{"amount.refund at most total", KindRefund, "amount.refund", []string{"100"}, []string{"101", "9223372036854775807"}, "", "at most amount.total"},
		{"currency CNY", KindRefund, "amount.currency", quoted("CNY", ""), quoted("USD", "cny"), "", "CNY"},
		{"reason in bytes", KindRefund, "reason", quoted(repeat("退", 26)+"ab", ""), quoted(repeat("退", 26) + "abc"), "", "at most 80 bytes"},
		{"reason without 4-byte characters", KindRefund, "reason", quoted("退\uffff"), quoted("secret😀", "\U00010000"), "", fourBytes},
		{"reason without control characters", KindRefund, "reason", quoted("a\tb\nc\rd\u00a0"), quoted("secret\x00", "\x1f", "\x7f", "\u0080", "\u009f"), "", controls},
		{"notify_url length", KindRefund, "notify_url", quoted("https://a/"+repeat("x", 246), ""), quoted("https://a/" + repeat("x", 247)), "", notifyURL},
		{"notify_url absolute", KindRefund, "notify_url", quoted("http://a", "HTTPS://a.b:8443/c"),
			quoted("/secret", "secret.example.com/x", "//secret", "https:///secret", "https:secret", "ftp://secret", "https://:80/secret", "https://a:secret/"), "", notifyURL},
		{"notify_url without query or fragment", KindRefund, "notify_url", nil, quoted("https://a/secret?", "https://a/?secret=1", "https://a/#", "https://a#secret"), "", notifyURL},
		{"notify_url without login", KindRefund, "notify_url", nil, quoted("https://user:secret@a/"), "", notifyURL},
		{"notify_url in ASCII", KindRefund, "notify_url", nil, quoted("https://a/sé", "https://a/secret b", "https://a/\n"), "", notifyURL},
		{"funds_account", KindRefund, "funds_account", quoted("AVAILABLE", "UNSETTLED", ""), quoted("UNAVAILABLE", "available", "REFUND_SOURCE_RECHARGE_FUNDS"), "", "AVAILABLE or UNSETTLED"},
		{"sub_mchid", KindRefund, "sub_mchid", quoted(repeat("1", 32), ""), quoted(repeat("1", 33), "190000010x"), "", digits32},
		{"complaint_id of a refund", KindRefund, "complaint_id", quoted("x", ""), quoted("../secret"), "", complaint},

		{"complaint_id required", KindComplete, "complaint_id", nil, []string{"", `""`}, "", complaint},
		{"complaint_id length", KindReply, "complaint_id", quoted("x", repeat("x", 64)), quoted(repeat("x", 65)), "", complaint},
		{"complaint_id characters", KindDecision, "complaint_id", quoted("0aZ_-"), quoted("sec/ret", "sec.ret", "sec%2fret", "sécret"), "", complaint},
		{"action required", KindDecision, "action", nil, []string{"", `""`}, "", "APPROVE or REJECT"},
		{"action", KindDecision, "action", quoted("APPROVE"), quoted("approve", "REFUSE"), "", "APPROVE or REJECT"},
		{"launch_refund_day", KindDecision, "launch_refund_day", []string{"0", "365"}, []string{"-1", "366", "-9223372036854775808"}, "", "an integer from 0 to 365"},
		{"reject_reason in characters", KindDecision, "reject_reason", quoted(repeat("退", 200), ""), quoted(repeat("退", 201)), "", "at most 200 characters"},
		{"reject_reason sendable", KindDecision, "reject_reason", nil, quoted("secret😀"), "", fourBytes},
		{"reject_media_list entries", KindDecision, "reject_media_list", []string{`["a","b","c","d"]`, `[]`}, []string{`["secret","b","c","d","e"]`}, "", "at most 4 entries"},
		{"reject_media_list entry", KindDecision, "reject_media_list", []string{`["` + repeat("m", 512) + `"]`}, []string{`["a","` + repeat("m", 513) + `"]`, `["a",""]`}, "reject_media_list[1]", media},
		{"remark in characters", KindDecision, "remark", quoted(repeat("备", 200), ""), quoted(repeat("备", 201)), "", "at most 200 characters"},
		{"remark sendable", KindDecision, "remark", nil, quoted("secret\x01"), "", controls},
		{"refund not with REJECT", KindDecision, "action", nil, quoted("REJECT"), "refund", "no refund unless action is APPROVE"},
		{"rules of a decision's refund", KindDecision, "refund.out_refund_no", nil, quoted("sec ret"), "", number64},
		{"amounts of a decision's refund", KindDecision, "refund.amount.refund", nil, []string{"101"}, "", "at most amount.total"},
		{"rules of a decision's reply", KindDecision, "reply.response_content", nil, []string{`""`}, "", "1 to 500 characters"},
		{"empty reply is not an absent one", KindDecision, "reply", nil, []string{`{}`}, "reply.complainted_mchid", digits64},

		{"complainted_mchid required", KindComplete, "complainted_mchid", nil, []string{"", `""`}, "", digits64},
		{"complainted_mchid length", KindReply, "complainted_mchid", quoted("1", repeat("1", 64)), quoted(repeat("1", 65)), "", digits64},
		{"complainted_mchid digits", KindReply, "complainted_mchid", nil, quoted("190000000x"), "", digits64},
		{"response_content required", KindReply, "response_content", nil, []string{"", `""`}, "", "1 to 500 characters"},
		{"response_content in characters", KindReply, "response_content", quoted(repeat("解", 500)), quoted(repeat("解", 501)), "", "at most 500 characters"},
		{"response_content without 4-byte characters", KindReply, "response_content", nil, quoted("secret 👍"), "", fourBytes},
		{"response_content without control characters", KindReply, "response_content", quoted("a\r\n\tb"), quoted("secret\x1b[31m"), "", controls},
		{"response_images entries", KindReply, "response_images", []string{`["a","b","c","d"]`}, []string{`["secret","b","c","d","e"]`}, "", "at most 4 entries"},
		{"response_images reference", KindReply, "response_images", []string{`["obj://b-u_C/a/b c 图.png"]`, `["obj://` + repeat("b", 64) + `/` + repeat("n", 256) + `"]`},
			[]string{`["obj://bucket"]`, `["obj://bucket/"]`, `["obj:///name"]`, `["obj://b.c/n"]`, `["obj://` + repeat("b", 65) + `/n"]`, `["obj://b/` + repeat("n", 257) + `"]`, `["obj://b/\u0001"]`},
			"response_images[0]", reference},
		{"response_images entry", KindReply, "response_images", nil, []string{`["a","b",""]`, `["a","b","` + repeat("m", 513) + `"]`}, "response_images[2]", media},
		{"response_images sendable", KindReply, "response_images", nil, []string{`["secret😀"]`}, "response_images[0]", fourBytes},
		{"jump_url length", KindReply, "jump_url", quoted("https://a/" + repeat("x", 502)), quoted("https://a/" + repeat("x", 503)), "", jumpURL},
		{"jump_url https", KindReply, "jump_url", quoted("https://a/?b=c#d"), quoted("http://secret", "/secret", "weixin://secret", "https://a/ secret"), "", jumpURL},
		{"jump_url without text", KindReply, "jump_url_text", nil, []string{"", `""`}, "", "it together with jump_url, " + bothOrNone},
		{"jump_url_text without URL", KindReply, "jump_url", nil, []string{"", `""`}, "", "it together with jump_url_text, " + bothOrNone},
		{"jump_url_text in characters", KindReply, "jump_url_text", quoted(repeat("查", 10)), quoted(repeat("查", 11)), "", "at most 10 characters"},
		{"jump_url_text sendable", KindReply, "jump_url_text", nil, quoted("secret😀"), "", fourBytes},
		{"mini program appid required", KindReply, "mini_program_jump_info.appid", nil, []string{"", `""`}, "", "1 to 64 characters"},
		{"mini program appid length", KindReply, "mini_program_jump_info.appid", quoted(repeat("w", 64)), quoted(repeat("w", 65)), "", "at most 64 characters"},
		{"mini program path required", KindReply, "mini_program_jump_info.path", nil, []string{"", `""`}, "", "1 to 1024 characters"},
		{"mini program path length", KindReply, "mini_program_jump_info.path", quoted(repeat("p", 1024)), quoted(repeat("p", 1025)), "", "at most 1024 characters"},
		{"mini program text required", KindReply, "mini_program_jump_info.text", nil, []string{"", `""`}, "", "1 to 64 characters"},
		{"mini program text length", KindReply, "mini_program_jump_info.text", quoted(repeat("查", 64)), quoted(repeat("查", 65)), "", "at most 64 characters"},
		{"mini program sendable", KindReply, "mini_program_jump_info.text", nil, quoted("secret\x00"), "", controls},
		{"mini program object empty", KindReply, "mini_program_jump_info", nil, []string{`{"appid":"","path":"","text":""}`}, "mini_program_jump_info.appid", "1 to 64 characters"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			field, expected := tt.field, tt.expected
			if field == "" {
				field = tt.path
			}
			if tt.path == "mchid" { // the one field that DecodeCommand compares before it is validated
				for _, bad := range tt.bad {
					c := &RefundCommand{Common: Common{MchID: strings.Trim(bad, `"`)}}
					checkMalformed(t, c.Validate(), "mchid", digits32)
				}
				expected = "the merchant of the subject"
			}
			for _, good := range tt.good {
				if _, err := DecodeCommand(tt.kind, "1900000001", nil, []byte(edit(t, goodCommands[tt.kind], [2]string{tt.path, good}))); err != nil {
					t.Errorf("%s is refused: %v", good, err)
				}
			}
			for _, bad := range tt.bad {
				_, err := DecodeCommand(tt.kind, "1900000001", nil, []byte(edit(t, goodCommands[tt.kind], [2]string{tt.path, bad})))
				if err == nil {
					t.Errorf("%s is accepted", bad)
					continue
				}
				checkMalformed(t, err, field, expected)
				if value := strings.Trim(bad, `"`); len(value) > 2 && strings.Contains(err.Error(), value) || strings.Contains(err.Error(), "secret") {
					t.Errorf("%q shows a value", err)
				}
			}
		})
	}
}

func TestGoodCommandsAreGood(t *testing.T) {
	for _, k := range Kinds {
		mustDecode(t, k, goodCommands[k])
	}
}

// TestRuleBothOrderNumbers: v2 and v3 take either, and both.
func TestRuleBothOrderNumbers(t *testing.T) {
	good := goodCommands[KindRefund]
	for _, edits := range [][][2]string{nil, {{"transaction_id", ""}}, {{"out_trade_no", ""}}} {
		mustDecode(t, KindRefund, edit(t, good, edits...))
	}
	_, err := DecodeCommand(KindRefund, "", nil, []byte(edit(t, good, [2]string{"transaction_id", ""}, [2]string{"out_trade_no", `""`})))
	checkMalformed(t, err, "transaction_id", "it or out_trade_no")
}

// TestRuleNoJump: neither of the two, and no mini program, is the usual reply.
func TestRuleNoJump(t *testing.T) {
	mustDecode(t, KindReply, edit(t, goodCommands[KindReply],
		[2]string{"jump_url", ""}, [2]string{"jump_url_text", `""`}, [2]string{"mini_program_jump_info", ""}))
}

// TestRuleOtherActionAccepted: fields of the other action are accepted, and checked.
func TestRuleOtherActionAccepted(t *testing.T) {
	reject := `{"id":"D","complaint_id":"1","action":"REJECT","launch_refund_day":3}`
	mustDecode(t, KindDecision, reject)
	_, err := DecodeCommand(KindDecision, "", nil, []byte(strings.Replace(reject, "3", "-3", 1)))
	checkMalformed(t, err, "launch_refund_day", "an integer from 0 to 365")
	mustDecode(t, KindDecision, `{"id":"D","complaint_id":"1","action":"APPROVE","reject_reason":"r","reject_media_list":["m"]}`)
	_, err = DecodeCommand(KindDecision, "", nil, []byte(`{"id":"D","complaint_id":"1","action":"APPROVE","reject_media_list":[""]}`))
	checkMalformed(t, err, "reject_media_list[0]", "a media_id of 1 to 512 bytes, or obj://BUCKET/NAME")
}

// TestRuleRejectWithoutReason: the contract requires complaint_id and action only.
func TestRuleRejectWithoutReason(t *testing.T) {
	mustDecode(t, KindDecision, `{"id":"D","complaint_id":"1","action":"REJECT"}`)
}

// TestRuleEmptyIsAbsent: a command full of empty strings is the same as one without those fields.
func TestRuleEmptyIsAbsent(t *testing.T) {
	full := `{"id":"","mchid":"","metadata":{},"out_refund_no":"R","transaction_id":"","out_trade_no":"T","amount":{"refund":1,"total":1,"currency":""},
		"reason":"","notify_url":"","funds_account":"","sub_mchid":"","complaint_id":""}`
	short := `{"out_refund_no":"R","out_trade_no":"T","amount":{"refund":1,"total":1}}`
	if got, want := mustDecode(t, KindRefund, full), mustDecode(t, KindRefund, short); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestValidateUTF8: DecodeCommand has checked it; commands built in Go have not.
func TestValidateUTF8(t *testing.T) {
	refund := mustDecode(t, KindRefund, goodCommands[KindRefund]).(*RefundCommand)
	refund.Reason = "secret\xff"
	checkMalformed(t, refund.Validate(), "reason", "UTF-8")
	refund.Reason = "\ufffd"
	if err := refund.Validate(); err != nil {
		t.Error(err)
	}
	for _, m := range []map[string]string{{"secret\xff": ""}, {"a": "secret\xff"}} {
		refund.Metadata = m
		checkMalformed(t, refund.Validate(), "metadata", "UTF-8")
	}
}

// TestValidateIsNilInterface: a nil pointer in an error would look like a failure.
func TestValidateIsNilInterface(t *testing.T) {
	for _, k := range Kinds {
		if err := mustDecode(t, k, goodCommands[k]).Validate(); err != nil {
			t.Errorf("%s: %#v", k, err)
		}
	}
}
