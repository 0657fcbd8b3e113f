package messages

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Outcomes may be anybody's: what is read is the same after it was written again.
func FuzzDecodeOutcome(f *testing.F) {
	f.Add([]byte(`{"kind":"refund","mchid":"1900000001","key":"R-1","status":"accepted","final":false,"at":"2026-11-21T08:00:00Z","attempts":1,"metadata":{"a":""},"refund":{"out_refund_no":"R-1","amount":{"refund":1,"total":1}}}`))
	f.Add([]byte(`{"kind":"reply","status":"failed","error":{"reason":"rejected","http_status":400},"dead_letter":17}`))
	f.Add([]byte(`{"at":"0000-01-01T00:00:00Z","attempts":1e3}`))
	f.Add([]byte(` null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := DecodeOutcome(data)
		if err != nil {
			return
		}
		written, err := o.Encode()
		if err != nil {
			return // a year that RFC 3339 has no room for
		}
		again, err := DecodeOutcome(written)
		if err != nil {
			t.Fatalf("decode %s: %v", written, err)
		}
		if twice, err := again.Encode(); err != nil || string(twice) != string(written) {
			t.Errorf("encoded %s, then %s, %v", written, twice, err)
		}
	})
}

// What a dead letter keeps of a publisher's headers is bounded, harmless, and kept again as it is.
func FuzzKeepHeaders(f *testing.F) {
	f.Add("traceparent", "00-1-1-01", "Nats-Rollup", "all", uint16(1))
	f.Add("", "x", "a b", "\r\nNats-Schedule: @at now", uint16(0))
	f.Add("wXPAY-reason", "poison", "X", "v", uint16(MaxKeptHeaderBytes))
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string, times uint16) {
		value2 = strings.Repeat(value2, int(times)) // long values need not be found letter by letter
		h := Header{name1: {value1, value2}, name2: {value2}}
		kept, dropped := KeepHeaders(h)
		size := 0
		for name, values := range kept {
			size += headerSize(name, values)
			if ours(name) || !validHeaderName(name) || slices.ContainsFunc(values, func(v string) bool { return strings.ContainsAny(v, "\r\n\x00") }) {
				t.Errorf("kept %q: %q", name, values)
			}
		}
		if size > MaxKeptHeaderBytes || len(kept)+dropped > len(h) {
			t.Errorf("kept %d bytes in %d headers, dropped %d of %d", size, len(kept), dropped, len(h))
		}
		if again, lost := KeepHeaders(kept); lost != 0 || !reflect.DeepEqual(again, kept) {
			t.Errorf("kept of %v is %v", kept, again)
		}
		if id := CommandID(h); id != "" && !validID(id) {
			t.Errorf("identity %q", id)
		}
		if m := BoundMessage(value1); len(m) > MaxMessageBytes || strings.ContainsAny(m, "\r\n\x00") {
			t.Errorf("message %q", m)
		}
	})
}

// A subject that can be read is the one that would be written.
func FuzzParseSubject(f *testing.F) {
	s := Subjects{Prefix: "wxpay"}
	f.Add(s.Command("1900000001", KindReply))
	f.Add(s.Outcome("1900000001", KindRefund, "A*1", StatusSucceeded))
	f.Add(s.DeadLetter("1900000001", KindDecision, ReasonRejected, "D-1"))
	f.Add(s.SettlementDue("1900000001"))
	f.Add("wxpay.outcome.1.refund.=2a.succeeded")
	f.Fuzz(func(t *testing.T, subject string) {
		if mchid, kind, ok := s.ParseCommand(subject); ok && s.Command(mchid, kind) != subject {
			t.Errorf("command %q", subject)
		}
		if mchid, kind, key, status, ok := s.ParseOutcome(subject); ok && s.Outcome(mchid, kind, key, status) != subject {
			t.Errorf("outcome %q", subject)
		}
		if mchid, kind, reason, key, ok := s.ParseDeadLetter(subject); ok && s.DeadLetter(mchid, kind, reason, key) != subject {
			t.Errorf("dead letter %q", subject)
		}
		if mchid, ok := s.ParseSettlementDue(subject); ok && s.SettlementDue(mchid) != subject {
			t.Errorf("settlement %q", subject)
		}
		if bucket, name, isRef := ParsePictureRef(subject); isRef && len(bucket)+len(name) > len(subject) {
			t.Errorf("picture %q", subject)
		}
	})
}
