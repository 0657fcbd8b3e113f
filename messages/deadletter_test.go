package messages

import (
	"bytes"
	"maps"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

// letter is a dead letter with every field set.
func letter() *DeadLetter {
	at := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	return &DeadLetter{
		MchID: "1900000001", Kind: KindDecision, Key: "seq-12", Reason: ReasonConflict, Code: "INVALID_REQUEST", Message: "当前单据状态不支持操作", HTTPStatus: 400,
		RequestID: "08E8-268435461", Attempts: 3, FirstAt: at, FailedAt: at.Add(90*time.Second + 250*time.Millisecond),
		Subject: "wxpay.command.1900000001.complaint.decision", StreamSeq: 12, CommandsSeq: 14, CommandsAt: at.Add(123456789), Step: "reply", CommandID: "D 1", ConflictsWith: "D*1", Replays: 2,
		Original: Header{"traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, "X-Shop": {"a", "b"}},
		Command:  []byte(`{"id":"D 1"}`),
	}
}

func TestDeadLetterGolden(t *testing.T) {
	d := letter()
	golden(t, "deadletter.golden", wire(d.Headers(), d.Command))
	smallest := &DeadLetter{MchID: "1", Kind: KindRefund, Key: "R", Reason: ReasonPoison}
	golden(t, "deadletter-smallest.golden", wire(smallest.Headers(), smallest.Command))
}

func TestParseDeadLetterIsInverse(t *testing.T) {
	beijing := letter()
	beijing.FirstAt = beijing.FirstAt.In(time.FixedZone("CST", 8*3600))
	for name, d := range map[string]*DeadLetter{
		"full":     letter(),
		"smallest": {MchID: "1", Kind: KindRefund, Key: "R", Reason: ReasonPoison},
	} {
		got, err := ParseDeadLetter(d.Headers(), d.Command)
		if err != nil || !reflect.DeepEqual(got, d) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, d)
		}
	}
	if !reflect.DeepEqual(beijing.Headers(), letter().Headers()) {
		t.Error("times are not written in UTC")
	}
}

// TestDeadLetterHeadersAreSafe: whatever the fields hold, no value can end its header early or fill the message.
func TestDeadLetterHeadersAreSafe(t *testing.T) {
	evil := "x\r\nWxpay-Reason: malformed\n\x00" + strings.Repeat("é", 40000)
	d := &DeadLetter{MchID: evil, Kind: Kind(evil), Key: evil, Reason: Reason(evil), Code: evil, Message: evil, RequestID: evil, Subject: evil, Step: evil,
		CommandID: evil, ConflictsWith: evil, Original: Header{"A": {evil[:100]}, "B": {evil}, "C\n": {"x"}, "wxpay-reason": {"x"}}}
	h := d.Headers()
	size := 0
	for name, values := range h {
		size += headerSize(name, values)
		for _, v := range values {
			if strings.ContainsAny(name+v, "\r\n\x00") || len(v) > 1024 {
				t.Errorf("%q: %q", name, v)
			}
		}
	}
	if size > 48<<10 {
		t.Errorf("headers have %d bytes", size)
	}
	if len(Get(h, HeaderMessage)) > MaxMessageBytes {
		t.Error("the message is too long")
	}
	if len(h["A"]) != 1 || len(h["B"]) != 0 || len(h["C\n"]) != 0 || len(h["wxpay-reason"]) != 0 {
		t.Error("originals are not filtered")
	}
}

func TestDeadLetterOriginalsCannotReplaceOurs(t *testing.T) {
	d := letter()
	d.Code = ""
	d.Original = Header{HeaderReason: {"poison"}, HeaderCode: {"x"}, "Nats-Msg-Id": {"x"}}
	h := d.Headers()
	if Get(h, HeaderReason) != "conflict" || h[HeaderCode] != nil || h["Nats-Msg-Id"] != nil {
		t.Errorf("headers are %v", h)
	}
}

func TestParseDeadLetterRefuses(t *testing.T) {
	for _, tt := range []struct{ header, value, expected string }{
		{HeaderMchID, "", "1 to 32 digits"},
		{HeaderMchID, "secret", "1 to 32 digits"},
		{HeaderKind, "", "a known kind"},
		{HeaderKind, "secret", "a known kind"},
		{HeaderReason, "", "a known reason"},
		{HeaderReason, "secret", "a known reason"},
		{HeaderKey, "", "a key"},
		{HeaderHTTPStatus, "secret", "an integer that is not negative"},
		{HeaderAttempts, "-1", "an integer that is not negative"},
		{HeaderReplays, "1.5", "an integer that is not negative"},
		{HeaderStreamSeq, "18446744073709551616", "an integer that is not negative"},
		{HeaderFirstAt, "secret", "a time as in RFC 3339"},
		{HeaderFailedAt, "2026-11-21", "a time as in RFC 3339"},
		{HeaderFailedAt, "9999-12-31T23:59:59-01:00", "a time as in RFC 3339"},
	} {
		h := letter().Headers()
		h[tt.header] = []string{tt.value}
		d, err := ParseDeadLetter(h, nil)
		if d != nil || err == nil {
			t.Errorf("%s %q is accepted", tt.header, tt.value)
			continue
		}
		if want := "parse dead letter: " + tt.header + ": expected " + tt.expected; err.Error() != want {
			t.Errorf("error is %q, want %q", err, want)
		}
	}
}

func TestParseDeadLetterLimits(t *testing.T) {
	h := letter().Headers()
	h[HeaderAttempts] = []string{"2147483647"}
	h[HeaderFirstAt] = []string{"0000-01-01T00:00:00Z"}
	h[HeaderFailedAt] = []string{"9999-12-31T23:59:59.999Z"}
	d, err := ParseDeadLetter(h, nil)
	if err != nil || d.Attempts != 2147483647 || d.FirstAt.Year() != 0 || d.FailedAt.Year() != 9999 {
		t.Errorf("%+v, %v", d, err)
	}
}

// What a publisher claims to have put back a command makes no letter that nobody can read.
func TestDeadLetterCountsHaveAnEnd(t *testing.T) {
	for claimed, want := range map[string]int{"2147483647": 2147483647, "2147483648": 2147483647, "99999999999999999999": 2147483647} {
		h := letter().Headers()
		h[HeaderReplays] = []string{claimed}
		d, err := ParseDeadLetter(h, nil)
		if err != nil || d.Replays != want {
			t.Errorf("%s: %+v, %v", claimed, d, err)
		}
	}
	for n, want := range map[int]int{-1: 0, math.MaxInt32 + 1: 2147483647} {
		d := letter()
		d.Replays, d.Attempts, d.HTTPStatus = n, n, n
		if again, err := ParseDeadLetter(d.Headers(), nil); err != nil || again.Replays != want || again.Attempts != want || again.HTTPStatus != want {
			t.Errorf("%d: %+v, %v", n, again, err)
		}
	}
}

func FuzzParseDeadLetter(f *testing.F) {
	add := func(h Header, body []byte) {
		var lines []string
		for name, values := range h {
			for _, v := range values {
				lines = append(lines, name+"="+v)
			}
		}
		f.Add(strings.Join(lines, "\x1e"), body)
	}
	add(letter().Headers(), letter().Command)
	h := letter().Headers()
	maps.Copy(h, Header{"X": {"\xff\r\n"}, HeaderMessage: {strings.Repeat("退", 300)}, HeaderFailedAt: {"0000-01-01T00:00:00.0009+23:59"}, HeaderCode: {strings.Repeat("\x80", 2000)}})
	add(h, nil)
	f.Fuzz(func(t *testing.T, lines string, body []byte) {
		h := make(Header)
		for line := range strings.SplitSeq(lines, "\x1e") {
			name, value, _ := strings.Cut(line, "=")
			h[name] = append(h[name], value)
		}
		d, err := ParseDeadLetter(h, body)
		if err != nil {
			return
		}
		written := d.Headers()
		for name, values := range written {
			for _, v := range values {
				if strings.ContainsAny(name+v, "\r\n\x00") {
					t.Fatalf("%q: %q", name, v)
				}
			}
		}
		again, err := ParseDeadLetter(written, d.Command)
		if err != nil || !reflect.DeepEqual(again, d) || !bytes.Equal(again.Command, body) {
			t.Fatalf("parse(write(d)) = %+v, %v, want %+v", again, err, d)
		}
	})
}
