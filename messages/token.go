package messages

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode"
	"unicode/utf16"
)

// token is the next piece of a JSON text that means something.
type token struct {
	// kind is one of { } [ ] for themselves, " for a string, 0 for a number, and t, f, n for the literals; at the end of the text it is
	// none of them.
	kind byte
	text []byte // as it stands there, quotes included
}

const (
	tokenText   = '"'
	tokenNumber = '0'
)

// tokens reads a JSON text that is known to be valid, in valid UTF-8, without allocating. (json.Decoder would check the syntax once more and
// make a value of each piece, which took most of the time of decoding a command.)
type tokens struct {
	data []byte
	at   int
}

// next returns the next token.
func (t *tokens) next() token {
	if !t.skip() {
		return token{}
	}
	from := t.at
	switch c := t.data[from]; c {
	case '{', '}', '[', ']':
		t.at++
		return token{c, t.data[from:t.at]}
	case '"':
		t.at += textLength(t.data[from:])
		return token{tokenText, t.data[from:t.at]}
	default: // a number, or a literal: what ends it is no part of it
		if n := bytes.IndexAny(t.data[from:], ",]} \t\r\n"); n >= 0 {
			t.at = from + n
		} else {
			t.at = len(t.data)
		}
		if c == '-' || c >= '0' && c <= '9' {
			c = tokenNumber
		}
		return token{c, t.data[from:t.at]}
	}
}

// more reports whether the object or list that is being read has another entry.
func (t *tokens) more() bool { return t.skip() && t.data[t.at] != '}' && t.data[t.at] != ']' }

// skip passes over what only separates, and reports whether anything follows.
func (t *tokens) skip() bool {
	for t.at < len(t.data) {
		switch t.data[t.at] {
		case ' ', '\t', '\r', '\n', ',', ':':
			t.at++
		default:
			return true
		}
	}
	return false
}

// textLength is how long the string with which data begins is there, quotes included.
func textLength(data []byte) int {
	n := 1
	for {
		n += bytes.IndexAny(data[n:], `"\`)
		if data[n] == '"' {
			return n + 1
		}
		n += 2 // the escaped character is no end; of \u no digit is, either
	}
}

// string is what a string token says. Half of a surrogate pair is replaced.
func (t token) string() string {
	if inner := t.text[1 : len(t.text)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	var s string
	_ = json.Unmarshal(t.text, &s) // cannot fail: the syntax has been checked
	return s
}

// broken reports whether a string holds half of a surrogate pair, which encoding/json replaces silently: what was sent would not be
// what was meant.
func (t token) broken() bool { return t.kind == tokenText && hasLoneSurrogate(t.text) }

// hasLoneSurrogate reports whether the JSON text of a string holds a \u escape of half a surrogate pair.
func hasLoneSurrogate(text []byte) bool {
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return false
		}
		text = text[i:]
		if text[1] != 'u' {
			text = text[2:]
			continue
		}
		r := unescape(text)
		text = text[6:]
		if !utf16.IsSurrogate(r) {
			continue
		}
		if len(text) < 6 || text[0] != '\\' || text[1] != 'u' || utf16.DecodeRune(r, unescape(text)) == unicode.ReplacementChar {
			return true
		}
		text = text[6:]
	}
}

// unescape reads the \uXXXX with which text begins.
func unescape(text []byte) rune {
	n, _ := strconv.ParseUint(string(text[2:6]), 16, 16) // digits: the syntax has been checked
	return rune(n)
}
