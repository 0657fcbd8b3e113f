package main

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"wxpay-worker/messages"
)

// Lines are those of logrus, to the byte: whoever reads them by machine sees no difference.
func TestJSONLines(t *testing.T) {
	t.Parallel()
	ours, theirs := &jsonLines{any: logrus.JSONFormatter{TimestampFormat: time.RFC3339Nano}}, &logrus.JSONFormatter{TimestampFormat: time.RFC3339Nano}
	for _, fields := range []logrus.Fields{
		{},
		{"mchid": "1900000001", "kind": messages.KindRefund, "stream_seq": uint64(17), "delivery": uint64(1), "took": "3.1ms", "lane": "refund-1900000001"},
		{"n": -3, "b": true, "f": 1.5, "nil": nil, "list": []string{"a", "b"}, "error": errors.New(`no "such" <thing> & more`)},
		{"quote\"d": "a\nb\\c\td", "chinese": "退款", "html": "<b>&amp;", "lt": "a<b", "gt": "a>b", "amp": "a&b", "quote": `a"b`, "backslash": `a\\b`, "not utf-8": "\xff\xfe", "del": "\x7f", "u2028": "\u2028"},
		{"time": "field", "msg": "field", "level": "field"},
		{"unmarshallable": make(chan int)},
		{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 7, "h": 8, "i": 9, "j": 10, "k": 11, "l": 12, "m": 13, "n": 14, "o": 15, "p": 16},
	} {
		for _, message := range []string{"command done", "退款 \"x\" <y>\n"} {
			format := func(f logrus.Formatter) (string, bool) {
				line, err := f.Format(&logrus.Entry{Data: fields, Time: time.Now().Truncate(time.Hour), Level: logrus.InfoLevel, Message: message, Buffer: &bytes.Buffer{}})
				return string(line), err == nil
			}
			want, wantOK := format(theirs)
			if got, ok := format(ours); got != want || ok != wantOK {
				t.Errorf("%v: %s, %t; want %s, %t", fields, got, ok, want, wantOK)
			}
		}
	}
}

func BenchmarkJSONLines(b *testing.B) {
	for name, f := range map[string]logrus.Formatter{"ours": &jsonLines{}, "logrus": &logrus.JSONFormatter{TimestampFormat: time.RFC3339Nano}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			e := &logrus.Entry{Time: time.Now(), Level: logrus.InfoLevel, Message: "command done", Buffer: &bytes.Buffer{}, Data: logrus.Fields{
				"lane": "refund-1900000001", "mchid": "1900000001", "kind": "refund", "stream_seq": uint64(17), "delivery": uint64(1),
				"verdict": "done", "took": "3.1ms", "key": "R20261121-0001", "status": "accepted",
			}}
			for b.Loop() {
				e.Buffer.Reset()
				if _, err := f.Format(e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
