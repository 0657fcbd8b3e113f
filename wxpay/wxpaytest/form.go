package wxpaytest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A form reads the fields of a JSON object one by one and keeps the first thing that is wrong.
// Fields that nobody read are unknown.
type form struct {
	at     string // JSON pointer of this object, "" for the body
	values map[string]any
	first  **refusal
}

// readForm decodes a body strictly.
func readForm(body []byte) (*form, *refusal) {
	if len(body) == 0 {
		return nil, badField("", "", "the call needs a JSON body")
	}
	values, no := decodeObject(body)
	if no != nil {
		return nil, no
	}
	return &form{values: values, first: new(*refusal)}, nil
}

// end returns the first refusal, fields that are not known included.
func (f *form) end() *refusal {
	if *f.first == nil {
		for name := range f.values {
			f.bad(name, "", "unknown field (stricter than production)")
			break
		}
	}
	return *f.first
}

func (f *form) bad(name, value, issue string) {
	if *f.first == nil {
		*f.first = badField(f.at+"/"+name, value, issue)
	}
}

// badField is a PARAM_ERROR that no correct client provokes. Source: M:4012081709 (form of detail).
func badField(field, value, issue string) *refusal {
	if len(value) > 64 {
		value = ""
	}
	return refuse(http.StatusBadRequest, "PARAM_ERROR", "参数错误").in("body", field, value, issue).
		because("body" + field + ": " + issue).asViolation()
}

func (f *form) take(name string) (any, bool) {
	v, ok := f.values[name]
	delete(f.values, name)
	return v, ok
}

// textRule is what a text must be. Zero limits do not apply. An empty string is refused everywhere: a field
// without a value is left out (stricter than production).
type textRule struct {
	required bool
	least    int // shortest, in bytes
	bytes    int // longest, in bytes
	chars    int // longest, in characters
	charset  func(c byte) bool
	oneOf    []string
	source   string
}

func (f *form) text(name string, rule textRule) string {
	v, ok := f.take(name)
	if !ok {
		if rule.required {
			f.bad(name, "", "required ("+rule.source+")")
		}
		return ""
	}
	s, ok := v.(string)
	if !ok {
		f.bad(name, "", "must be a string ("+rule.source+")")
		return ""
	}
	if issue := rule.check(s); issue != "" {
		f.bad(name, s, issue+" ("+rule.source+")")
		return ""
	}
	return s
}

// check says what is wrong with s; "" = nothing.
func (rule textRule) check(s string) string {
	switch {
	case s == "":
		return "empty: leave the field out"
	case len(s) < rule.least:
		return fmt.Sprintf("shorter than %d bytes", rule.least)
	case rule.bytes > 0 && len(s) > rule.bytes:
		return fmt.Sprintf("longer than %d bytes", rule.bytes)
	case rule.chars > 0 && utf8.RuneCountInString(s) > rule.chars:
		return fmt.Sprintf("longer than %d characters", rule.chars)
	}
	if rule.charset != nil {
		for i := range len(s) {
			if !rule.charset(s[i]) {
				return "holds a character that is not allowed"
			}
		}
	}
	if len(rule.oneOf) > 0 && !slices.Contains(rule.oneOf, s) {
		return "must be one of " + strings.Join(rule.oneOf, ", ")
	}
	return ""
}

// integer reads an integer literal of at least least.
func (f *form) integer(name string, required bool, least int64, source string) (n int64, given bool) {
	v, ok := f.take(name)
	if !ok {
		if required {
			f.bad(name, "", "required ("+source+")")
		}
		return 0, false
	}
	literal, ok := v.(json.Number)
	if !ok {
		f.bad(name, "", "must be an integer ("+source+")")
		return 0, false
	}
	n, err := strconv.ParseInt(literal.String(), 10, 64)
	if err != nil {
		f.bad(name, literal.String(), "must be an integer literal ("+source+")")
		return 0, false
	}
	if n < least {
		f.bad(name, literal.String(), fmt.Sprintf("less than %d (%s)", least, source))
		return 0, false
	}
	return n, true
}

// object opens a nested object; nil if it is not there. Its own end must be asked.
func (f *form) object(name string, required bool, source string) *form {
	v, ok := f.take(name)
	if !ok {
		if required {
			f.bad(name, "", "required ("+source+")")
		}
		return nil
	}
	values, ok := v.(map[string]any)
	if !ok {
		f.bad(name, "", "must be an object ("+source+")")
		return nil
	}
	return &form{at: f.at + "/" + name, values: values, first: f.first}
}

// list reads strings, at most most of them, each by rule.
func (f *form) list(name string, most int, rule textRule) (list []string, given bool) {
	v, ok := f.take(name)
	if !ok {
		return nil, false
	}
	items, ok := v.([]any)
	if !ok {
		f.bad(name, "", "must be an array ("+rule.source+")")
		return nil, true
	}
	if len(items) > most {
		f.bad(name, "", fmt.Sprintf("more than %d (%s)", most, rule.source))
		return nil, true
	}
	for i, item := range items {
		s, ok := item.(string)
		if !ok {
			f.bad(name+"/"+strconv.Itoa(i), "", "must be a string ("+rule.source+")")
			return nil, true
		}
		if issue := rule.check(s); issue != "" {
			f.bad(name+"/"+strconv.Itoa(i), "", issue+" ("+rule.source+")")
			return nil, true
		}
		list = append(list, s)
	}
	return list, true
}

// maxDepth of nested JSON; the deepest call that exists has 2.
const maxDepth = 8

// decodeObject decodes exactly one JSON object without nulls, duplicate keys, bad UTF-8 or characters
// that need 4 bytes. Source: M:4012081709 (null, charset); the rest is stricter than production.
func decodeObject(body []byte) (map[string]any, *refusal) {
	if !utf8.Valid(body) {
		return nil, badField("", "", "not valid UTF-8 (M:4012081709)")
	}
	if escapesSurrogate(body) {
		return nil, badField("", "", `a \u escape of a surrogate: a 4-byte character, or half of one (M:4012081709)`)
	}
	for i := range body {
		if body[i] >= 0xf0 {
			return nil, badField("", "", "a character that needs 4 bytes in UTF-8 (M:4012081709)")
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	v, err := decodeValue(decoder, "", 0)
	if err != nil {
		return nil, badField("", "", err.Error())
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, badField("", "", "data after the JSON object")
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, badField("", "", "not a JSON object")
	}
	return object, nil
}

func decodeValue(d *json.Decoder, at string, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errors.New("nested too deeply")
	}
	token, err := d.Token()
	if err != nil {
		return nil, errors.New("not valid JSON")
	}
	switch token {
	case nil:
		return nil, fmt.Errorf("null at %s: leave the key out (M:4012081709)", at)
	case json.Delim('{'):
		return decodeMembers(d, at, depth)
	case json.Delim('['):
		items := []any{}
		for d.More() {
			item, err := decodeValue(d, at+"/"+strconv.Itoa(len(items)), depth+1)
			if err != nil {
				return nil, err
			}
			items = append(items, item)
		}
		if _, err := d.Token(); err != nil {
			return nil, errors.New("not valid JSON")
		}
		return items, nil
	}
	return token, nil
}

func decodeMembers(d *json.Decoder, at string, depth int) (any, error) {
	object := map[string]any{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, errors.New("not valid JSON")
		}
		name, ok := token.(string)
		if !ok {
			return nil, errors.New("not valid JSON")
		}
		if _, twice := object[name]; twice {
			return nil, fmt.Errorf("duplicate key at %s/%s (stricter than production)", at, name)
		}
		if object[name], err = decodeValue(d, at+"/"+name, depth+1); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("not valid JSON")
	}
	return object, nil
}

// escapesSurrogate finds \ud800 to \udfff.
func escapesSurrogate(body []byte) bool {
	for i := 0; i+5 < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		i++ // what is escaped is not itself an escape
		if body[i] == 'u' && i+2 < len(body) && body[i+1]|0x20 == 'd' && strings.IndexByte("89abcdefABCDEF", body[i+2]) >= 0 {
			return true
		}
	}
	return false
}
