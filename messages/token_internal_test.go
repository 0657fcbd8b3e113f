package messages

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"
	"unicode/utf8"
)

// A valid text is read as encoding/json reads it, piece by piece.
func FuzzTokens(f *testing.F) {
	for _, text := range []string{
		`{"a":"b","c":[1,-2.5e+3,true,false,null],"d":{}}`, `[]`, ` "\u00e9\"\\\/" `, `"\ud83d\ude00\ud83d"`, `-0`, "[ 1 ,\n2\t]\r", `"\\"`, `{"":[[{}]]}`, `"é:,]}"`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !json.Valid(data) || !utf8.Valid(data) {
			return
		}
		ours, theirs := tokens{data: data}, json.NewDecoder(bytes.NewReader(data))
		theirs.UseNumber()
		for {
			more := theirs.More()
			if ours.more() != more {
				t.Fatalf("%q: more is %v at %d", data, !more, ours.at)
			}
			got := ours.next()
			want, err := theirs.Token()
			if err == io.EOF {
				if got.text != nil {
					t.Errorf("%q: %q after the end", data, got.text)
				}
				return
			}
			var same bool
			switch want := want.(type) {
			case json.Delim:
				same = got.kind == byte(want)
			case string:
				same = got.kind == tokenText && got.string() == want
			case json.Number:
				same = got.kind == tokenNumber && string(got.text) == string(want)
			case bool:
				same = got.kind == map[bool]byte{true: 't', false: 'f'}[want]
			default:
				same = got.kind == 'n'
			}
			if !same || err != nil {
				t.Fatalf("%q: %c %q is %v, %v", data, got.kind, got.text, want, err)
			}
		}
	})
}
