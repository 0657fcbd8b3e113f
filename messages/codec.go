package messages

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// MaxCommandBytes is the size of the largest command.
const MaxCommandBytes = 64 << 10

// MalformedError says which rule of the contract a message breaks. It never holds a field's value, so it can be logged and stored
// anywhere. The message can never be understood: trying again is useless.
type MalformedError struct {
	// Field is the path of the field ("amount.refund", "response_images[2]"), the name of a header, or "command" for the message as
	// a whole. The name of a field that the contract does not have is the publisher's, cut to 64 bytes and made printable.
	Field string
	// Expected is what should have been there.
	Expected string
}

// Error returns "<field>: expected <what>".
func (e *MalformedError) Error() string { return e.Field + ": expected " + e.Expected }

// DecodeCommand decodes the body of a command strictly, applies what the contract leaves to defaults (currency CNY; an empty
// string or list is an absent field; a missing id comes from the headers), checks mchid against the subject's, and validates.
// An empty mchid stands for a subject that is not known yet, and is not compared.
//
// The error is a *MalformedError. Beside an error the command is not nil if the message is a JSON object. It is then good for
// reporting only: whatever else it holds, its id, mchid, metadata and complaint_id are valid or empty.
func DecodeCommand(kind Kind, mchid string, h Header, data []byte) (Command, error) {
	c := newCommand(kind)
	if c == nil {
		return nil, &MalformedError{Field: "kind", Expected: "refund, decision, reply or complete"}
	}
	if err := checkForm(data); err != nil {
		return nil, err
	}
	if err := decodeStrict(data, c); err != nil {
		return salvage(kind, h, data), err
	}
	applyDefaults(c)
	if err := identify(c, mchid, h); err != nil {
		makeReportable(c)
		return c, err
	}
	if err := c.Validate(); err != nil {
		makeReportable(c)
		return c, err
	}
	return c, nil
}

// EncodeCommand writes a command as DecodeCommand reads it: fields in declared order, keys of metadata sorted, absent fields left
// out, no HTML escaping, no null. Equal commands have equal bytes. It does not validate: that is what Validate is for.
func EncodeCommand(c Command) ([]byte, error) {
	if c == nil {
		return nil, errors.New("encode command: no command")
	}
	return encodeJSON(c)
}

// encodeJSON is json.Marshal without needless escapes: "&" in a URL stays readable, and no text becomes longer than it came, so
// that the refund of the largest decision is still a command.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return unescapeSeparators(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// unescapeSeparators undoes, in place, the escapes of U+2028 and U+2029 that encoding/json always writes, for JavaScript's sake.
func unescapeSeparators(b []byte) []byte {
	if !bytes.Contains(b, []byte(`\u202`)) {
		return b
	}
	out := b[:0]
	for i := 0; i < len(b); i++ {
		switch rest := b[i:]; {
		case bytes.HasPrefix(rest, []byte(`\u2028`)), bytes.HasPrefix(rest, []byte(`\u2029`)):
			out = append(out, 0xe2, 0x80, 0xa8+rest[5]-'8')
			i += 5
		case rest[0] == '\\': // any other escape: what follows the backslash is no beginning of one
			out = append(out, rest[0], rest[1])
			i++
		default:
			out = append(out, rest[0])
		}
	}
	return out
}

// checkForm checks everything about a message that does not depend on its kind.
func checkForm(data []byte) error {
	switch {
	case len(data) > MaxCommandBytes:
		return &MalformedError{Field: "command", Expected: "at most 65536 bytes"}
	case !utf8.Valid(data):
		return &MalformedError{Field: "command", Expected: "UTF-8"}
	case bytes.HasPrefix(data, []byte("\ufeff")): // which some editors and shells write and none shows
		return &MalformedError{Field: "command", Expected: "JSON without a byte order mark before it"}
	case !json.Valid(data):
		return &MalformedError{Field: "command", Expected: "one complete JSON object and nothing after it"}
	case bytes.TrimLeft(data, " \t\r\n")[0] != '{':
		return &MalformedError{Field: "command", Expected: "a JSON object"}
	}
	return nil
}

func applyDefaults(c Command) {
	switch c := c.(type) {
	case *RefundCommand:
		c.Amount.Currency = currencyOrDefault(c.Amount.Currency)
	case *DecisionCommand:
		if c.Refund != nil {
			c.Refund.Amount.Currency = currencyOrDefault(c.Refund.Amount.Currency)
		}
	}
}

// identify settles whose command it is and what it is called.
func identify(c Command, mchid string, h Header) error {
	base := c.Base()
	if base.ID == "" {
		id, ok := commandID(h)
		if !ok {
			return &MalformedError{Field: HeaderCommandID, Expected: "1 to 64 printable ASCII characters"}
		}
		base.ID = id
	}
	if mchid != "" && base.MchID != "" && base.MchID != mchid {
		return &MalformedError{Field: "mchid", Expected: "the merchant of the subject"}
	}
	return nil
}

// salvage reads, from a command that the strict decoder refused, what an outcome repeats of it, so that its publisher recognises
// it by more than a number.
func salvage(kind Kind, h Header, data []byte) Command {
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(data, &fields) // cannot fail: data is a JSON object
	read := func(name string, target any) bool { return json.Unmarshal(fields[name], target) == nil }
	c := newCommand(kind)
	base := c.Base()
	if read("id", &base.ID); base.ID == "" {
		base.ID = CommandID(h)
	}
	read("mchid", &base.MchID)
	read("complaint_id", complaintOf(c))
	if !read("metadata", &base.Metadata) {
		base.Metadata = nil // not the half that could be read
	}
	makeReportable(c)
	return c
}

// makeReportable empties those fields of a refused command that an outcome would repeat and that break a rule themselves.
func makeReportable(c Command) {
	base := c.Base()
	if !validID(base.ID) {
		base.ID = ""
	}
	if !ValidMchID(base.MchID) {
		base.MchID = ""
	}
	if metadataFault(base.Metadata) != "" {
		base.Metadata = nil
	}
	if !validComplaintID(c.Complaint()) {
		*complaintOf(c) = ""
	}
}

// complaintOf returns the command's complaint_id, to be changed.
func complaintOf(c Command) *string {
	switch c := c.(type) {
	case *RefundCommand:
		return &c.ComplaintID
	case *DecisionCommand:
		return &c.ComplaintID
	case *ReplyCommand:
		return &c.ComplaintID
	case *CompleteCommand:
		return &c.ComplaintID
	}
	return new(string)
}
