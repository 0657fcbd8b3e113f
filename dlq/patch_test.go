package dlq

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"wxpay-worker/messages"
)

// Source of the cases: RFC 7396, appendix A, those whose target and patch are objects.
func TestMergePatch(t *testing.T) {
	for _, tt := range []struct{ target, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		// Literals and the order of fields are kept.
		{`{"z":12345678901234567890,"é&":"\u00e9","a":1.50}`, `{"b":1e2}`, `{"z":12345678901234567890,"é&":"\u00e9","a":1.50,"b":1e2}`},
		{`{"a":1,"b":2,"c":3}`, `{"b":{"x":1}}`, `{"a":1,"b":{"x":1},"c":3}`},
	} {
		target, patch := must(parseTree([]byte(tt.target))), must(parseTree([]byte(tt.patch)))
		if got := string(merge(target, patch).append(nil)); got != tt.want {
			t.Errorf("%s and %s make %s, want %s", tt.target, tt.patch, got, tt.want)
		}
		if got := string(target.append(nil)); got != tt.target {
			t.Errorf("the target has become %s", got)
		}
	}
}

// mergeReference is the RFC's pseudo code, in a few lines and with none of our care for literals.
func mergeReference(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	out, ok := target.(map[string]any)
	if !ok {
		out = map[string]any{}
	}
	for name, value := range p {
		if value == nil {
			delete(out, name)
		} else {
			out[name] = mergeReference(out[name], value)
		}
	}
	return out
}

func FuzzMergePatch(f *testing.F) {
	f.Add(`{"a":{"b":"c"},"d":[1,2]}`, `{"a":{"b":null,"e":{"f":null}},"d":null}`)
	f.Add(`{"\u0061":1}`, `{"a":2}`)
	f.Fuzz(func(t *testing.T, target, patch string) {
		a, err1 := parseTree([]byte(target))
		b, err2 := parseTree([]byte(patch))
		if err1 != nil || err2 != nil {
			return
		}
		want := mergeReference(decoded(t, []byte(target)), decoded(t, []byte(patch)))
		if got := decoded(t, merge(a, b).append(nil)); !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func decoded(t *testing.T, data []byte) (v any) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return v
}

const (
	aRefund   = `{"out_refund_no":"R1","transaction_id":"42","out_trade_no":"T1","amount":{"refund":1,"total":2},"funds_account":"AVAILABLE","reason":"a","id":"I1","mchid":"1900000001","complaint_id":"c1"}`
	aDecision = `{"id":"D1","complaint_id":"c1","action":"APPROVE","launch_refund_day":3,"remark":"a","refund":{"out_refund_no":"R1","out_trade_no":"T1","amount":{"refund":1,"total":2}}}`
)

func aLetter(kind messages.Kind, reason messages.Reason, command string) *Letter {
	return &Letter{Sequence: 7, DeadLetter: messages.DeadLetter{MchID: "1900000001", Kind: kind, Reason: reason, Key: "K", Command: []byte(command)}}
}

// What a patch may correct, and how the command looks then.
func TestPatched(t *testing.T) {
	for _, tt := range []struct {
		name, command, patch, want string
		kind                       messages.Kind
	}{
		{"a text", aRefund, `{"reason":"b"}`, strings.Replace(aRefund, `"reason":"a"`, `"reason":"b"`, 1), messages.KindRefund},
		{"a wrong name", `{"out_refund_no":"R1","out_trade_no":"T1","resaon":"x","amount":{"refund":1,"total":2}}`, `{"resaon":null,"reason":"x"}`,
			`{"out_refund_no":"R1","out_trade_no":"T1","amount":{"refund":1,"total":2},"reason":"x"}`, messages.KindRefund},
		{"the same once more", aRefund, `{"amount":{"total":2},"out_refund_no":"R1"}`, aRefund, messages.KindRefund},
		{"an empty one", aRefund, `{}`, aRefund, messages.KindRefund},
		{"a null that stands for nothing", `{"out_refund_no":"R1","out_trade_no":"T1","sub_mchid":null,"amount":{"refund":1,"total":2}}`, `{"sub_mchid":null}`,
			`{"out_refund_no":"R1","out_trade_no":"T1","amount":{"refund":1,"total":2}}`, messages.KindRefund},
		{"a decision", aDecision, `{"launch_refund_day":0,"refund":{"reason":"b"}}`,
			`{"id":"D1","complaint_id":"c1","action":"APPROVE","launch_refund_day":0,"remark":"a","refund":{"out_refund_no":"R1","out_trade_no":"T1","amount":{"refund":1,"total":2},"reason":"b"}}`, messages.KindDecision},
		{"the accused", `{"id":"P1","complaint_id":"c1","complainted_mchid":"1","response_content":"您好"}`, `{"complainted_mchid":"2"}`,
			`{"id":"P1","complaint_id":"c1","complainted_mchid":"2","response_content":"您好"}`, messages.KindReply},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, reason := range []messages.Reason{messages.ReasonMalformed, messages.ReasonRejected, messages.ReasonPoison} {
				got, err := aLetter(tt.kind, reason, tt.command).Patched([]byte(tt.patch))
				if err != nil || string(got) != tt.want {
					t.Errorf("%s: got  %s, %v\nwant %s", reason, got, err, tt.want)
				}
			}
		})
	}
}

// What says which refund this is, and how much money moves, no patch changes: not by another value, not by taking it away, not by
// adding it, not inside a decision. The error names the field and shows no value.
func TestPatchedRefusesFixedFields(t *testing.T) {
	bare := `{"out_trade_no":"T1"}`
	for _, tt := range []struct {
		command, patch, field string
		kind                  messages.Kind
	}{
		{aRefund, `{"out_refund_no":"SECRET"}`, "out_refund_no", messages.KindRefund},
		{aRefund, `{"mchid":"SECRET"}`, "mchid", messages.KindRefund},
		{aRefund, `{"id":"SECRET"}`, "id", messages.KindRefund},
		{aRefund, `{"transaction_id":"SECRET"}`, "transaction_id", messages.KindRefund},
		{aRefund, `{"out_trade_no":"SECRET"}`, "out_trade_no", messages.KindRefund},
		{aRefund, `{"sub_mchid":"SECRET"}`, "sub_mchid", messages.KindRefund},
		{aRefund, `{"funds_account":"UNSETTLED"}`, "funds_account", messages.KindRefund},
		{aRefund, `{"complaint_id":"SECRET"}`, "complaint_id", messages.KindRefund},
		{aRefund, `{"amount":{"refund":2}}`, "amount.refund", messages.KindRefund},
		{aRefund, `{"amount":{"total":3}}`, "amount.total", messages.KindRefund},
		{aRefund, `{"amount":{"currency":"CNY"}}`, "amount.currency", messages.KindRefund},
		{aRefund, `{"amount":{"total":2.0}}`, "amount.total", messages.KindRefund},
		{aRefund, `{"amount":7}`, "amount", messages.KindRefund},
		{aRefund, `{"amount":null}`, "amount", messages.KindRefund},
		{aRefund, `{"out_trade_no":null}`, "out_trade_no", messages.KindRefund},
		{aRefund, `{"id":""}`, "id", messages.KindRefund},
		{bare, `{"out_refund_no":"SECRET"}`, "out_refund_no", messages.KindRefund},
		{bare, `{"amount":{"refund":1,"total":1}}`, "amount", messages.KindRefund},
		{aDecision, `{"id":"SECRET"}`, "id", messages.KindDecision},
		{aDecision, `{"complaint_id":"SECRET"}`, "complaint_id", messages.KindDecision},
		{aDecision, `{"refund":{"out_refund_no":"SECRET"}}`, "refund.out_refund_no", messages.KindDecision},
		{aDecision, `{"refund":{"amount":{"refund":2}}}`, "refund.amount.refund", messages.KindDecision},
		{aDecision, `{"refund":{"transaction_id":"SECRET"}}`, "refund.transaction_id", messages.KindDecision},
		{aDecision, `{"refund":{"funds_account":"AVAILABLE"}}`, "refund.funds_account", messages.KindDecision},
		{aDecision, `{"refund":null}`, "refund.out_refund_no", messages.KindDecision},
		{strings.Replace(aDecision, `"refund":`, `"remark":"a","x":`, 1), `{"x":null,"refund":{"out_refund_no":"R1"}}`, "", messages.KindDecision}, // "remark" is there twice
		{`{"id":"D1","complaint_id":"c1","action":"APPROVE"}`, `{"refund":{"out_refund_no":"R1"}}`, "refund.out_refund_no", messages.KindDecision},
	} {
		_, err := aLetter(tt.kind, messages.ReasonMalformed, tt.command).Patched([]byte(tt.patch))
		refused, ok := errors.AsType[*PatchError](err)
		if !ok || refused.Field != tt.field {
			t.Errorf("%s: %v, want a refusal of %q", tt.patch, err, tt.field)
		}
		if err != nil && strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: the error shows a value: %v", tt.patch, err)
		}
	}
}

// What else keeps a patch from being applied.
func TestPatchedRefuses(t *testing.T) {
	good := aLetter(messages.KindRefund, messages.ReasonRejected, aRefund)
	for _, tt := range []struct {
		name   string
		letter *Letter
		patch  string
		want   string
	}{
		{"conflict", aLetter(messages.KindRefund, messages.ReasonConflict, aRefund), `{}`, "7 is conflict"},
		{"exhausted", aLetter(messages.KindRefund, messages.ReasonExhausted, aRefund), `{}`, "7 is exhausted"},
		{"unresolved", aLetter(messages.KindRefund, messages.ReasonUnresolved, aRefund), `{}`, "7 is unresolved"},
		{"no JSON", aLetter(messages.KindRefund, messages.ReasonMalformed, `out_refund_no: R1`), `{}`, "the command cannot be patched: it is not JSON"},
		{"no object", aLetter(messages.KindRefund, messages.ReasonMalformed, `["R1"]`), `{}`, "the command cannot be patched: it is not a JSON object"},
		{"empty", aLetter(messages.KindRefund, messages.ReasonMalformed, ``), `{}`, "the command cannot be patched: it is not JSON"},
		{"a field twice", aLetter(messages.KindRefund, messages.ReasonMalformed, `{"out_refund_no":"R1","out_refund_no":"R2"}`), `{"out_refund_no":"R1"}`, "it holds a field twice"},
		{"escaped twice", aLetter(messages.KindRefund, messages.ReasonMalformed, `{"amount":{"total":1,"tot\u0061l":2}}`), `{}`, "it holds a field twice"},
		{"deep", aLetter(messages.KindRefund, messages.ReasonMalformed, strings.Repeat(`{"a":`, 100)+"1"+strings.Repeat("}", 100)), `{}`, "nested too deeply"},
		{"patch is no JSON", good, `reason: b`, "the patch is of no use: it is not JSON"},
		{"patch is empty", good, ``, "the patch is of no use: it is not JSON"},
		{"patch is no object", good, `"b"`, "the patch is of no use: it is not a JSON object"},
		{"patch holds a field twice", good, `{"reason":"b","reason":"c"}`, "the patch is of no use: it holds a field twice"},
		{"still malformed", good, `{"notify_url":"SECRET"}`, "the patched command is not valid: notify_url: expected"},
		{"unknown field", good, `{"resaon":"SECRET"}`, "the patched command is not valid: resaon: expected"},
		{"another case", good, `{"Out_Refund_No":"SECRET"}`, "the patched command is not valid"},
		{"null", aLetter(messages.KindRefund, messages.ReasonMalformed, `{"out_refund_no":"R1","out_trade_no":"T1","amount":{"refund":1,"total":2},"reason":null}`), `{}`, "the patched command is not valid: reason: expected"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body, err := tt.letter.Patched([]byte(tt.patch))
			if _, ok := errors.AsType[*PatchError](err); !ok || body != nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "SECRET") {
				t.Errorf("got %s, %v; want %s", body, err, tt.want)
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Whatever a patch holds: no panic, and what comes out is a command of the same identity, about the same orders and amounts.
func FuzzPatched(f *testing.F) {
	for _, patch := range []string{
		`{"reason":"b"}`, `{"amount":{"refund":2}}`, `{"amount":null}`, `{"Amount":{"refund":2}}`, `{"\u0061mount":{"total":9}}`,
		`{"refund":{"amount":{"refund":2}}}`, `{"refund":null}`, `{"id":"other"}`, `{"out_refund_no":""}`, `[]`, `{"a":{"a":{"a":1}}}`,
	} {
		f.Add(true, aRefund, patch)
		f.Add(false, aDecision, patch)
	}
	f.Fuzz(func(t *testing.T, refund bool, command, patch string) {
		kind := messages.KindDecision
		if refund {
			kind = messages.KindRefund
		}
		l := aLetter(kind, messages.ReasonRejected, command)
		body, err := l.Patched([]byte(patch))
		if err != nil {
			return
		}
		before, err := messages.DecodeCommand(kind, l.MchID, nil, l.Command)
		if err != nil {
			return // it was malformed; what it meant is not known
		}
		after, err := messages.DecodeCommand(kind, l.MchID, messages.Header(l.header()), body)
		if err != nil {
			t.Fatalf("%s is not valid: %v", body, err)
		}
		if before.Base().ID != after.Base().ID || before.Key() != after.Key() || before.Complaint() != after.Complaint() {
			t.Errorf("another command: %s", body)
		}
		refundOf := func(c messages.Command) *messages.RefundCommand {
			switch c := c.(type) {
			case *messages.RefundCommand:
				return c
			case *messages.DecisionCommand:
				return c.RefundStep()
			}
			return nil
		}
		a, b := refundOf(before), refundOf(after)
		if a == nil || b == nil {
			if a != b {
				t.Errorf("a refund came or went: %s", body)
			}
			return
		}
		if a.OutRefundNo != b.OutRefundNo || a.TransactionID != b.TransactionID || a.OutTradeNo != b.OutTradeNo || a.SubMchID != b.SubMchID ||
			a.FundsAccount != b.FundsAccount || !reflect.DeepEqual(a.Amount, b.Amount) {
			t.Errorf("another refund: %s", body)
		}
	})
}
