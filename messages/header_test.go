package messages

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestGet(t *testing.T) {
	h := Header{"A": {"1", "2"}, "B": {}}
	for name, want := range map[string]string{"A": "1", "a": "", "B": "", "C": ""} {
		if got := Get(h, name); got != want {
			t.Errorf("Get(%s) = %q, want %q", name, got, want)
		}
	}
	if Get(nil, "A") != "" {
		t.Error("a nil header holds something")
	}
}

func TestCommandID(t *testing.T) {
	for _, tt := range []struct {
		name string
		h    Header
		want string
	}{
		{"none", nil, ""},
		{"ours first", Header{HeaderCommandID: {"a"}, HeaderMsgID: {"b"}}, "a"},
		{"message id second", Header{HeaderMsgID: {"b"}}, "b"},
		{"bad ours is not replaced", Header{HeaderCommandID: {"é"}, HeaderMsgID: {"b"}}, ""},
		{"bad message id", Header{HeaderMsgID: {"\t"}}, ""},
		{"spaces around ours", Header{HeaderCommandID: {" a b "}}, "a b"}, // as a client that does not trim sends them
		{"nothing but spaces in ours", Header{HeaderCommandID: {" "}, HeaderMsgID: {"b "}}, "b"},
	} {
		if got := CommandID(tt.h); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestKeepHeaders(t *testing.T) {
	in := Header{
		"traceparent": {"00-1-2-01"}, "X-Many": {"a", "b"}, "Natsy": {"kept"}, "!#$%&'*+-.^_`|~09": {"odd but a token"},
		"Nats-Msg-Id": {"1"}, "nats-expected-stream": {"x"}, "NATS-TTL": {"1s"}, "Nats-": {""},
		"Wxpay-Command-Id": {"1"}, "wxpay-reason": {"poison"}, "WXPAY-X": {""},
		"": {"x"}, "a b": {"x"}, "a:b": {"x"}, "a\r\nb": {"x"}, "é": {"x"}, "Empty": {},
		"Lines": {"a\r\nWxpay-Reason: poison", "b\x00c", "\xff"},
	}
	kept, dropped := KeepHeaders(in)
	want := Header{
		"traceparent": {"00-1-2-01"}, "X-Many": {"a", "b"}, "Natsy": {"kept"}, "!#$%&'*+-.^_`|~09": {"odd but a token"},
		"Lines": {"a  Wxpay-Reason: poison", "b c", "\xff"},
	}
	if !reflect.DeepEqual(kept, want) {
		t.Errorf("kept %q, want %q", kept, want)
	}
	if dropped != 6 {
		t.Errorf("dropped %d, want 6: five names that are no tokens, one without a value", dropped)
	}
	if in["Lines"][0] != "a\r\nWxpay-Reason: poison" {
		t.Error("the original was changed")
	}
	if kept, dropped := KeepHeaders(Header{"Nats-A": {"1"}}); kept != nil || dropped != 0 {
		t.Errorf("only theirs: kept %v, dropped %d", kept, dropped)
	}
}

// TestKeepHeadersBound: at most 32 KiB stay, the same ones every time, first names first, each whole.
func TestKeepHeadersBound(t *testing.T) {
	in := make(Header)
	for i := range 50 {
		in[fmt.Sprintf("X-%02d", i)] = []string{strings.Repeat("v", 500), strings.Repeat("w", 500)} // 1016 bytes on the wire
	}
	in["X-00"] = []string{strings.Repeat("v", MaxKeptHeaderBytes)} // never fits, and must not push out the others
	kept, dropped := KeepHeaders(in)
	names := slices.Sorted(maps.Keys(kept))
	if len(names) != 32 || names[0] != "X-01" || names[31] != "X-32" || dropped != 18 {
		t.Errorf("kept %v, dropped %d", names, dropped)
	}
	exact := Header{"A": {strings.Repeat("v", MaxKeptHeaderBytes-5)}}
	if kept, dropped := KeepHeaders(exact); len(kept) != 1 || dropped != 0 {
		t.Errorf("exactly 32 KiB: kept %d, dropped %d", len(kept), dropped)
	}
	exact["A"][0] += "v"
	if kept, dropped := KeepHeaders(exact); len(kept) != 0 || dropped != 1 {
		t.Errorf("one byte more: kept %d, dropped %d", len(kept), dropped)
	}
}

func TestBoundMessage(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"plain", "订单已全额退款 — ok", "订单已全额退款 — ok"},
		{"one line", " a\r\nb\tc\u2028d\u0085e\x00f\x1b[0m ", "a  b c d e f [0m"},
		{"no hidden text", "a\u202eb\u200bc", "a b c"},
		{"not UTF-8", "a\xffb", "a\ufffdb"},
		{"long ASCII", strings.Repeat("x", 600), strings.Repeat("x", 512)},
		{"long, cut between characters", "x" + strings.Repeat("退", 300), "x" + strings.Repeat("退", 170)},
		{"very long and not UTF-8", strings.Repeat("\x80", 1<<20), strings.Repeat("\ufffd", 170)},
		{"space at the cut", strings.Repeat("x", 511) + " y", strings.Repeat("x", 511)},
		{"empty", "", ""},
	} {
		got := BoundMessage(tt.in)
		if got != tt.want || !utf8.ValidString(got) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		if BoundMessage(got) != got {
			t.Errorf("%s: applying it twice changes %q", tt.name, got)
		}
	}
}
