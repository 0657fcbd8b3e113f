package messages

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestEncodeCommandGolden(t *testing.T) {
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			c := mustDecode(t, s.kind, string(s.data))
			if c.Kind() != s.kind {
				t.Errorf("Kind() = %s", c.Kind())
			}
			data, err := EncodeCommand(c)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "commands/"+s.name+".golden", string(data)+"\n")

			again := mustDecode(t, s.kind, string(data))
			if !reflect.DeepEqual(again, c) {
				t.Errorf("decode(encode(c)) = %+v, want %+v", again, c)
			}
			if c.Validate() != nil {
				t.Errorf("Validate: %v", c.Validate())
			}
		})
	}
}

// TestEncodeKeepsLength: what is decoded fits into a command again, so the refund of the largest decision can be published.
func TestEncodeKeepsLength(t *testing.T) {
	const all = "\u2028\u2029 <>& \" \\ \b\f\n\r\t \x7f é 😀 \\u2028 \\\u2028"
	data, err := EncodeCommand(&CompleteCommand{Common: Common{Metadata: map[string]string{"a": all}}})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"metadata":{"a":"` + "\u2028\u2029" + ` <>& \" \\ \b\f\n\r\t ` + "\x7f" + ` é 😀 \\u2028 \\` + "\u2028" + `"}}`; string(data) != want {
		t.Errorf("encoded  %s\nwant     %s", data, want)
	}
	c := new(CompleteCommand)
	if err := decodeStrict(data, c); err != nil || c.Metadata["a"] != all {
		t.Errorf("decoded %q, %v", c.Metadata["a"], err)
	}
}

func TestEncodeCommandNil(t *testing.T) {
	if _, err := EncodeCommand(nil); err == nil {
		t.Error("no error")
	}
}

// TestDecodeAgreesWithEncodingJSON: whatever the strict decoder accepts, encoding/json reads the same way.
func TestDecodeAgreesWithEncodingJSON(t *testing.T) {
	all := samples(t)
	for _, odd := range []string{
		` {"id" : "a" } `,
		`{"id":"\u0061\n\"\\\/\ud83d\ude00\ufffd"}`,
		`{"i\u0064":"escaped name"}`,
		`{"metadata":{"":"", "\u0061":"b"}}`,
		`{"amount":{"refund":-0,"total":-9223372036854775808}}`,
		`{}`,
	} {
		all = append(all, sample{odd, KindRefund, []byte(odd)})
	}
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) {
			c := newCommand(s.kind)
			if err := decodeStrict(s.data, c); err != nil {
				t.Fatal(err)
			}
			agree(t, s.kind, s.data, c)
		})
	}
}

// agree compares a strictly decoded command with what encoding/json makes of the same data.
func agree(t *testing.T, k Kind, data []byte, strict Command) {
	t.Helper()
	lenient := newCommand(k)
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(lenient); err != nil {
		t.Fatalf("accepted, but encoding/json says %v", err)
	}
	emptyToNil(reflect.ValueOf(lenient).Elem())
	if !reflect.DeepEqual(strict, lenient) {
		t.Errorf("strict %+v\nlenient %+v", strict, lenient)
	}
}

// emptyToNil makes empty lists and maps absent ones, the one intended difference.
func emptyToNil(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			emptyToNil(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			emptyToNil(v.Field(i))
		}
	case reflect.Slice, reflect.Map:
		if v.Len() == 0 {
			v.SetZero()
		}
	}
}

// TestDecodeRefuses has one row for each rule of form. secret is a value that the error must not show.
func TestDecodeRefuses(t *testing.T) {
	const s = "secret-value"
	for _, tt := range []struct {
		rule            string
		kind            Kind
		data            string
		field, expected string
	}{
		{"empty message", KindRefund, ``, "command", "one complete JSON object and nothing after it"},
		{"not JSON", KindRefund, `secret-value`, "command", "one complete JSON object and nothing after it"},
		{"cut short", KindRefund, `{"reason":"secret-value"`, "command", "one complete JSON object and nothing after it"},
		{"trailing comma", KindRefund, `{"reason":"secret-value",}`, "command", "one complete JSON object and nothing after it"},
		{"trailing data", KindRefund, `{"reason":"secret-value"} x`, "command", "one complete JSON object and nothing after it"},
		{"two objects", KindRefund, `{"reason":"secret-value"}{}`, "command", "one complete JSON object and nothing after it"},
		{"byte order mark", KindRefund, "\ufeff{}", "command", "JSON without a byte order mark before it"},
		{"leading zero", KindRefund, `{"amount":{"refund":0100}}`, "command", "one complete JSON object and nothing after it"},
		{"not an object: list", KindRefund, ` ["secret-value"]`, "command", "a JSON object"},
		{"not an object: string", KindRefund, "\n\"secret-value\"", "command", "a JSON object"},
		{"not an object: null", KindRefund, `null`, "command", "a JSON object"},
		{"not UTF-8", KindRefund, "{\"reason\":\"secret-value\xff\"}", "command", "UTF-8"},
		{"too large", KindRefund, `{"reason":"` + strings.Repeat(s, MaxCommandBytes/len(s)) + `"}`, "command", "at most 65536 bytes"},

		{"unknown field", KindRefund, `{"amuont":"secret-value"}`, "amuont", "no field of this name"},
		{"unknown field in an object", KindRefund, `{"amount":{"sum":"secret-value"}}`, "amount.sum", "no field of this name"},
		{"unknown field two objects deep", KindDecision, `{"reply":{"mini_program_jump_info":{"x":"secret-value"}}}`, "reply.mini_program_jump_info.x", "no field of this name"},
		{"unknown field with an object", KindRefund, `{"x":{"y":[["secret-value"]]}}`, "x", "no field of this name"},
		{"unknown field without a name", KindRefund, `{"":"secret-value"}`, `""`, "no field of this name"},
		{"unknown field with a long name", KindRefund, `{"` + strings.Repeat("é", 33) + `":1}`, strings.Repeat("é", 32), "no field of this name"},
		{"unknown field with a long ASCII name", KindRefund, `{"` + strings.Repeat("x", 65) + `":1}`, strings.Repeat("x", 64), "no field of this name"},
		{"unknown field with an unprintable name", KindRefund, `{"a\n\u202eb\u0000":1}`, "a??b?", "no field of this name"},
		{"field of another kind", KindComplete, `{"out_refund_no":"secret-value"}`, "out_refund_no", "no field of this name"},
		{"embedded struct is no field", KindRefund, `{"Common":{"id":"secret-value"}}`, "Common", "no field of this name"},
		{"other letter case", KindRefund, `{"Amount":{"refund":1}}`, "Amount", "the spelling amount"},
		{"other letter case in an object", KindRefund, `{"amount":{"REFUND":1}}`, "amount.REFUND", "the spelling refund"},
		{"duplicate field", KindRefund, `{"reason":"secret-value","reason":"secret-value"}`, "reason", "it only once"},
		{"duplicate field, escaped", KindRefund, `{"reason":"a","r\u0065ason":"secret-value"}`, "reason", "it only once"},
		{"duplicate field, empty first", KindRefund, `{"id":"","id":"secret-value"}`, "id", "it only once"},
		{"duplicate field in an object", KindRefund, `{"amount":{"refund":1,"total":1,"refund":2}}`, "amount.refund", "it only once"},
		{"duplicate object", KindRefund, `{"amount":{"refund":1},"amount":{"total":1}}`, "amount", "it only once"},
		{"duplicate metadata", KindRefund, `{"metadata":{"a":"secret-value","a":"b"}}`, "metadata", "each key only once"},

		{"null string", KindRefund, `{"reason":null}`, "reason", "a string"},
		{"null integer", KindRefund, `{"amount":{"refund":null}}`, "amount.refund", "an integer"},
		{"null optional integer", KindDecision, `{"launch_refund_day":null}`, "launch_refund_day", "an integer"},
		{"null object", KindRefund, `{"amount":null}`, "amount", "an object"},
		{"null optional object", KindDecision, `{"reply":null}`, "reply", "an object"},
		{"null list", KindReply, `{"response_images":null}`, "response_images", "a list of strings"},
		{"null in a list", KindReply, `{"response_images":["a",null]}`, "response_images[1]", "a string"},
		{"null metadata", KindRefund, `{"metadata":null}`, "metadata", "an object with strings as values"},
		{"null in metadata", KindRefund, `{"metadata":{"secret-value":null}}`, "metadata", "an object with strings as values"},

		{"integer with a fraction", KindRefund, `{"amount":{"refund":1.0}}`, "amount.refund", "an integer of 64 bits, without fraction or exponent"},
		{"integer with an exponent", KindRefund, `{"amount":{"refund":1e2}}`, "amount.refund", "an integer of 64 bits, without fraction or exponent"},
		{"integer too large", KindRefund, `{"amount":{"refund":9223372036854775808}}`, "amount.refund", "an integer of 64 bits, without fraction or exponent"},
		{"integer too small", KindRefund, `{"amount":{"refund":-9223372036854775809}}`, "amount.refund", "an integer of 64 bits, without fraction or exponent"},
		{"integer as a string", KindRefund, `{"amount":{"refund":"100"}}`, "amount.refund", "an integer"},
		{"integer as a boolean", KindRefund, `{"amount":{"refund":true}}`, "amount.refund", "an integer"},
		{"integer as an object", KindRefund, `{"amount":{"refund":{"secret-value":1}}}`, "amount.refund", "an integer"},
		{"string as a number", KindRefund, `{"out_refund_no":20261121}`, "out_refund_no", "a string"},
		{"string as a list", KindRefund, `{"out_refund_no":["secret-value"]}`, "out_refund_no", "a string"},
		{"object as a string", KindRefund, `{"amount":"secret-value"}`, "amount", "an object"},
		{"object as a list", KindRefund, `{"amount":["secret-value"]}`, "amount", "an object"},
		{"list as a string", KindReply, `{"response_images":"secret-value"}`, "response_images", "a list of strings"},
		{"list with a number", KindReply, `{"response_images":["a","b",20261121]}`, "response_images[2]", "a string"},
		{"list with a list", KindReply, `{"response_images":[["secret-value"]]}`, "response_images[0]", "a string"},
		{"list in an object", KindDecision, `{"reply":{"response_images":[{}]}}`, "reply.response_images[0]", "a string"},
		{"metadata as a list", KindRefund, `{"metadata":["secret-value"]}`, "metadata", "an object with strings as values"},
		{"metadata with a number", KindRefund, `{"metadata":{"secret-value":20261121}}`, "metadata", "an object with strings as values"},
		{"metadata with an object", KindRefund, `{"metadata":{"a":{"secret-value":"b"}}}`, "metadata", "an object with strings as values"},

		{"lone high surrogate", KindRefund, `{"reason":"secret-value \ud800"}`, "reason", "complete surrogate pairs"},
		{"lone low surrogate", KindRefund, `{"reason":"secret-value \uDC00 "}`, "reason", "complete surrogate pairs"},
		{"high surrogate before a letter", KindRefund, `{"reason":"\ud800\u0061"}`, "reason", "complete surrogate pairs"},
		{"high surrogate before an escape", KindRefund, `{"reason":"\ud800\ndc00"}`, "reason", "complete surrogate pairs"},
		{"high surrogate before text", KindRefund, `{"reason":"\ud800_udc00"}`, "reason", "complete surrogate pairs"},
		{"two high surrogates", KindRefund, `{"reason":"\ud800\ud800\udc00"}`, "reason", "complete surrogate pairs"},
		{"lone surrogate after a pair", KindRefund, `{"reason":"\\ \\ud800 \ud83d\ude00\udc00"}`, "reason", "complete surrogate pairs"},
		{"lone surrogate in a list", KindReply, `{"response_images":["a","\ud800"]}`, "response_images[1]", "complete surrogate pairs"},
		{"lone surrogate in metadata", KindRefund, `{"metadata":{"a":"\ud800"}}`, "metadata", "complete surrogate pairs"},
		{"lone surrogate in a metadata key", KindRefund, `{"metadata":{"\ud800":"a"}}`, "metadata", "complete surrogate pairs"},
		{"lone surrogate in a name", KindRefund, `{"reaso\ud800":"secret-value"}`, "reaso\ufffd", "no field of this name"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			_, err := DecodeCommand(tt.kind, "1900000001", nil, []byte(tt.data))
			checkMalformed(t, err, tt.field, tt.expected)
			for _, secret := range []string{s, "20261121", "100"} {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("%q shows a value", err)
				}
			}
		})
	}
}

// checkMalformed checks that err is a *MalformedError about this field.
func checkMalformed(t *testing.T, err error, field, expected string) {
	t.Helper()
	malformed, ok := errors.AsType[*MalformedError](err)
	if !ok {
		t.Fatalf("error is %v, want a *MalformedError", err)
	}
	if malformed.Field != field || malformed.Expected != expected {
		t.Errorf("error is about %q: %q, want %q: %q", malformed.Field, malformed.Expected, field, expected)
	}
	if want := field + ": expected " + expected; err.Error() != want {
		t.Errorf("Error() = %q, want %q", err, want)
	}
}

func TestDecodeAcceptsLargest(t *testing.T) {
	head, tail := `{"out_refund_no":"1","out_trade_no":"T1","amount":{"refund":1,"total":1},"metadata":{"a":"`, `"}}`
	data := head + strings.Repeat("x", MaxCommandBytes-len(head)-len(tail)) + tail
	if len(data) != 65536 {
		t.Fatalf("the largest command has %d bytes", len(data))
	}
	mustDecode(t, KindRefund, data)
}

func TestDecodeUnknownKind(t *testing.T) {
	c, err := DecodeCommand("refunds", "1900000001", nil, []byte(`{}`))
	if c != nil {
		t.Errorf("command is %v", c)
	}
	checkMalformed(t, err, "kind", "refund, decision, reply or complete")
}

func TestDecodeIdentity(t *testing.T) {
	const (
		complete = `{"complaint_id":"1","complainted_mchid":"1"}`
		refund   = `{"out_refund_no":"1","out_trade_no":"T1","amount":{"refund":1,"total":1}}`
		idRule   = "1 to 64 printable ASCII characters, in the body or in the header Wxpay-Command-Id"
	)
	withID := strings.Replace(complete, "{", `{"id":"body",`, 1)
	long := strings.Repeat("x", 65)
	for _, tt := range []struct {
		rule            string
		kind            Kind
		data            string
		header          Header
		id              string
		field, expected string // "" = accepted
	}{
		{"body first", KindComplete, withID, Header{HeaderCommandID: {"header"}, HeaderMsgID: {"msg"}}, "body", "", ""},
		{"body before a bad header", KindComplete, withID, Header{HeaderCommandID: {long}}, "body", "", ""},
		{"empty id is absent", KindComplete, strings.Replace(complete, "{", `{"id":"",`, 1), Header{HeaderCommandID: {"header"}}, "header", "", ""},
		{"header second", KindComplete, complete, Header{HeaderCommandID: {"header"}, HeaderMsgID: {"msg"}}, "header", "", ""},
		{"message id third", KindComplete, complete, Header{HeaderMsgID: {"msg"}}, "msg", "", ""},
		{"empty header is absent", KindComplete, complete, Header{HeaderCommandID: {""}, HeaderMsgID: {"msg"}}, "msg", "", ""},
		{"spaces in the body belong to it", KindComplete, strings.Replace(complete, "{", `{"id":" body ",`, 1), Header{HeaderCommandID: {"header"}}, " body ", "", ""},
		{"spaces in a header do not", KindComplete, complete, Header{HeaderCommandID: {"header "}}, "header", "", ""},
		{"header names are case-sensitive", KindComplete, complete, Header{"wxpay-command-id": {"header"}}, "", "id", idRule},
		{"bad header is malformed", KindComplete, complete, Header{HeaderCommandID: {long}, HeaderMsgID: {"msg"}}, "", HeaderCommandID, "1 to 64 printable ASCII characters"},
		{"bad header is malformed for a refund too", KindRefund, refund, Header{HeaderCommandID: {"é"}}, "", HeaderCommandID, "1 to 64 printable ASCII characters"},
		{"bad message id is absent", KindComplete, complete, Header{HeaderMsgID: {long}}, "", "id", idRule},
		{"bad message id of a refund is absent", KindRefund, refund, Header{HeaderMsgID: {long}}, "", "", ""},
		{"complete needs one", KindComplete, complete, nil, "", "id", idRule},
		{"decision needs one", KindDecision, `{"complaint_id":"1","action":"REJECT"}`, nil, "", "id", idRule},
		{"reply needs one", KindReply, `{"complaint_id":"1","complainted_mchid":"1","response_content":"1"}`, nil, "", "id", idRule},
		{"refund needs none", KindRefund, refund, nil, "", "", ""},
		{"refund takes one", KindRefund, refund, Header{HeaderMsgID: {"msg"}}, "msg", "", ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			c, err := DecodeCommand(tt.kind, "1900000001", tt.header, []byte(tt.data))
			if c == nil || c.Base().ID != tt.id {
				t.Errorf("command is %+v, want id %q", c, tt.id)
			}
			if tt.field != "" {
				checkMalformed(t, err, tt.field, tt.expected)
			} else if err != nil {
				t.Error(err)
			}
			if tt.field == "" && tt.kind != KindRefund && c.Key() != tt.id {
				t.Errorf("Key() = %q, want the id", c.Key())
			}
			if tt.field != HeaderCommandID && strings.TrimSpace(tt.id) != "body" && CommandID(tt.header) != tt.id {
				t.Errorf("CommandID = %q, want %q", CommandID(tt.header), tt.id)
			}
		})
	}
}

func TestDecodeMerchant(t *testing.T) {
	const data = `{"mchid":"1900000001","out_refund_no":"1","out_trade_no":"T1","amount":{"refund":1,"total":1}}`
	if _, err := DecodeCommand(KindRefund, "1900000001", nil, []byte(data)); err != nil {
		t.Errorf("the subject's own: %v", err)
	}
	if _, err := DecodeCommand(KindRefund, "", nil, []byte(data)); err != nil {
		t.Errorf("no subject yet: %v", err)
	}
	c, err := DecodeCommand(KindRefund, "1900000002", nil, []byte(data))
	checkMalformed(t, err, "mchid", "the merchant of the subject")
	if c == nil || c.Key() != "1" {
		t.Errorf("command is %+v", c)
	}
}

func TestDecodeDefaults(t *testing.T) {
	amount := Amount{Refund: 1, Total: 1, Currency: "CNY"}
	refund := mustDecode(t, KindRefund, `{"out_refund_no":"1","out_trade_no":"T1","amount":{"refund":1,"total":1,"currency":""}}`)
	if got := refund.(*RefundCommand).Amount; got != amount {
		t.Errorf("refund: %+v", got)
	}
	decision := mustDecode(t, KindDecision, `{"id":"1","complaint_id":"1","action":"APPROVE","refund":{"out_refund_no":"1","out_trade_no":"T1","amount":{"refund":1,"total":1}}}`)
	if got := decision.(*DecisionCommand).Refund.Amount; got != amount {
		t.Errorf("refund of a decision: %+v", got)
	}
}

// TestDecodeReportable: what comes beside an error is good for an outcome.
func TestDecodeReportable(t *testing.T) {
	for _, tt := range []struct {
		name, data string
		header     Header
		want       Common
		complaint  string
	}{
		{"unknown field", `{"id":"R-1","complaint_id":"1","mchid":"19","metadata":{"a":"b"},"amuont":1}`, nil,
			Common{ID: "R-1", MchID: "19", Metadata: map[string]string{"a": "b"}}, "1"},
		{"unknown field, id in the header", `{"amuont":1}`, Header{HeaderCommandID: {"H-1"}}, Common{ID: "H-1"}, ""},
		{"wrong type", `{"amount":"1","id":"R-1","metadata":{"a":1}}`, nil, Common{ID: "R-1"}, ""},
		{"id not a string", `{"id":1}`, Header{HeaderMsgID: {"M-1"}}, Common{ID: "M-1"}, ""},
		{"all bad, strict", `{"id":"é","complaint_id":"../..","mchid":"x","metadata":{"":"b"}}`, nil, Common{}, ""},
		{"all bad, lenient", `{"x":1,"id":"\n","complaint_id":"../..","mchid":"x","metadata":{"":"b"}}`, nil, Common{}, ""},
		{"all bad but the merchant", `{"id":"é","complaint_id":"../..","metadata":{"":"b"}}`, nil, Common{}, ""},
		{"a limit", `{"id":"R-1","metadata":{"a":"b"},"out_refund_no":"?"}`, nil, Common{ID: "R-1", Metadata: map[string]string{"a": "b"}}, ""},
		{"another merchant", `{"id":"R-1","mchid":"19","complaint_id":"?"}`, nil, Common{ID: "R-1", MchID: "19"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, k := range Kinds {
				data := tt.data
				if k != KindRefund { // a field the others do not have is malformed as well
					data = strings.Replace(data, "out_refund_no", "complainted_mchid", 1)
				}
				c, err := DecodeCommand(k, "1900000001", tt.header, []byte(data))
				if err == nil || c == nil {
					t.Fatalf("%s: command %v, error %v", k, c, err)
				}
				if got := *c.Base(); !reflect.DeepEqual(got, tt.want) || c.Complaint() != tt.complaint {
					t.Errorf("%s: %+v and complaint %q, want %+v and %q", k, got, c.Complaint(), tt.want, tt.complaint)
				}
			}
		})
	}
	for _, data := range []string{``, `[]`, `{"id":"R-1"`, "{\"id\":\"\xff\"}"} {
		if c, err := DecodeCommand(KindRefund, "1900000001", nil, []byte(data)); c != nil || err == nil {
			t.Errorf("%q: command %v, error %v", data, c, err)
		}
	}
}

func FuzzDecodeCommand(f *testing.F) {
	for _, s := range samples(f) {
		for i, k := range Kinds {
			if k == s.kind {
				f.Add(byte(i), s.data)
			}
		}
	}
	f.Add(byte(0), []byte(`{"metadata":{"\ud83d\ude00":"\\\ud800"},"id":"\u0061"}`))
	f.Fuzz(func(t *testing.T, kind byte, data []byte) {
		k := Kinds[int(kind)%len(Kinds)]
		if checkForm(data) == nil {
			strict := newCommand(k)
			if err := decodeStrict(data, strict); err == nil {
				agree(t, k, data, strict)
			}
		}
		c, err := DecodeCommand(k, "1900000001", Header{HeaderMsgID: {"fuzz"}}, data)
		if err != nil {
			if malformed, ok := errors.AsType[*MalformedError](err); !ok || malformed.Field == "" || malformed.Expected == "" {
				t.Fatalf("error is %#v", err)
			}
			return
		}
		encoded, err := EncodeCommand(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeCommand(k, "1900000001", nil, encoded)
		if err != nil {
			if len(data)+128 > MaxCommandBytes { // what defaults may add: an id of 64 bytes and a currency
				return
			}
			t.Fatalf("decode %s: %v", encoded, err)
		}
		if !reflect.DeepEqual(again, c) || again.Digest() != c.Digest() {
			t.Fatalf("decode(encode(c)) = %+v, want %+v", again, c)
		}
		if bytes.Contains(encoded, []byte("null")) && !bytes.Contains(data, []byte("null")) && !bytes.Contains(data, []byte(`\u`)) {
			t.Fatalf("null in %s", encoded)
		}
	})
}

func BenchmarkDecodeCommand(b *testing.B) {
	for _, s := range samples(b) {
		if !strings.Contains(s.name, "contract") {
			continue
		}
		b.Run(s.name, func(b *testing.B) {
			b.SetBytes(int64(len(s.data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeCommand(s.kind, "1900000001", nil, s.data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
