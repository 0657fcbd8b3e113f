package dlq

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"wxpay-worker/messages"
)

// PatchError says why a patch is refused. It never holds a field's value.
type PatchError struct {
	Field string // what the patch would change and must not, such as "refund.amount.total"; "" if it is about something else
	Why   string
}

func (e *PatchError) Error() string {
	if e.Field == "" {
		return "patch: " + e.Why
	}
	return "patch: " + e.Field + ": " + e.Why
}

// patchable are the reasons whose commands may be corrected. Of the others the command was right, or may have been carried out
// as it is.
var patchable = []messages.Reason{messages.ReasonMalformed, messages.ReasonRejected, messages.ReasonPoison}

// fixed are the fields that no patch may change, add or take away, in a command or in the refund inside a decision: they say
// what the command is about and how much money moves. Who wants others wants another command.
var fixed = []string{
	"id", "mchid", "out_refund_no", "transaction_id", "out_trade_no", "amount", "sub_mchid", "funds_account", "complaint_id",
}

const whatInstead = "a patch cannot change it; send a corrected command (worker send), then drop this letter"

// Patched returns the letter's command with the corrections of a JSON merge patch: members of the patch replace those of the
// command, null takes one away, objects are merged. Everything else stays, in its order and with its literals. The result is a
// valid command of the same identity, amounts and orders, or the error is a *PatchError; nothing is sent.
//
// Source: RFC 7396, JSON Merge Patch, https://www.rfc-editor.org/rfc/rfc7396, 2014-10.
func (l *Letter) Patched(patch []byte) ([]byte, error) {
	if !slices.Contains(patchable, l.Reason) {
		return nil, &PatchError{Why: fmt.Sprintf("only malformed, rejected and poison letters can be patched, and %d is %s", l.Sequence, l.Reason)}
	}
	command, err := parseTree(l.Command)
	if err != nil {
		return nil, &PatchError{Why: "the command cannot be patched: " + err.Error()}
	}
	corrections, err := parseTree(patch)
	if err != nil {
		return nil, &PatchError{Why: "the patch is of no use: " + err.Error()}
	}
	merged := merge(command, corrections)
	if field := firstFixed(command, merged); field != "" {
		return nil, &PatchError{Field: field, Why: whatInstead}
	}
	body := merged.append(nil)
	decoded, err := messages.DecodeCommand(l.Kind, l.MchID, messages.Header(l.header()), body)
	if err != nil {
		return nil, &PatchError{Why: "the patched command is not valid: " + err.Error()}
	}
	if l.CommandID != "" && decoded.Base().ID != l.CommandID { // impossible: "id" is fixed, and so is the header
		return nil, &PatchError{Field: "id", Why: whatInstead}
	}
	return body, nil
}

// firstFixed names the first field that is fixed and differs, "" if there is none.
func firstFixed(before, after *tree) string {
	for _, name := range fixed {
		if path := differs(name, before.get(name), after.get(name)); path != "" {
			return path
		}
		nested := "refund." + name
		if path := differs(nested, before.get("refund").get(name), after.get("refund").get(name)); path != "" {
			return path
		}
	}
	return ""
}

// differs names what is not the same in two values, "" if nothing is. An empty string and a null are absent fields.
func differs(path string, a, b *tree) string {
	if a.absent() && b.absent() {
		return ""
	}
	if a != nil && b != nil && a.object && b.object {
		for _, m := range slices.Concat(a.members, b.members) {
			if inner := differs(path+"."+m.name, a.get(m.name), b.get(m.name)); inner != "" {
				return inner
			}
		}
		return ""
	}
	if a == nil || b == nil || a.object || b.object || !bytes.Equal(a.literal, b.literal) {
		return path
	}
	return ""
}

// tree is a JSON value whose members keep their order and whose literals keep their bytes: a number that went through a float
// could come back as another one. The nil tree is an absent value.
type tree struct {
	object  bool
	members []treeMember
	literal json.RawMessage // of whatever is not an object
}

type treeMember struct {
	name  string
	value *tree
}

// maxDepth is far more than any command needs.
const maxDepth = 32

// parseTree reads a JSON object. A field that is there twice is refused: which of them was meant, nobody can tell.
func parseTree(data []byte) (*tree, error) {
	if !json.Valid(data) {
		return nil, errors.New("it is not JSON")
	}
	t, err := newTree(data, maxDepth)
	if err == nil && !t.object {
		return nil, errors.New("it is not a JSON object")
	}
	return t, err
}

func newTree(data json.RawMessage, depth int) (*tree, error) {
	data = bytes.TrimSpace(data)
	if data[0] != '{' {
		return &tree{literal: data}, nil
	}
	if depth == 0 {
		return nil, errors.New("it is nested too deeply")
	}
	t := &tree{object: true}
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil { // the opening brace
		return nil, err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, err
		}
		if t.get(name.(string)) != nil {
			return nil, errors.New("it holds a field twice")
		}
		value, err := newTree(raw, depth-1)
		if err != nil {
			return nil, err
		}
		t.members = append(t.members, treeMember{name.(string), value})
	}
	return t, nil
}

// get returns a member, nil if there is none.
func (t *tree) get(name string) *tree {
	if t == nil {
		return nil
	}
	for _, m := range t.members {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

func (t *tree) absent() bool {
	return t == nil || !t.object && (string(t.literal) == `""` || t.null())
}

func (t *tree) null() bool { return string(t.literal) == "null" }

// merge is MergePatch of RFC 7396, section 2. The target is not changed.
func merge(target, patch *tree) *tree {
	if !patch.object {
		return patch
	}
	out := &tree{object: true}
	if target != nil && target.object {
		out.members = slices.Clone(target.members)
	}
	for _, m := range patch.members {
		at := slices.IndexFunc(out.members, func(have treeMember) bool { return have.name == m.name })
		switch {
		case m.value.null() && at >= 0:
			out.members = slices.Delete(out.members, at, at+1)
		case m.value.null():
		case at >= 0:
			out.members[at].value = merge(out.members[at].value, m.value)
		default:
			out.members = append(out.members, treeMember{m.name, merge(nil, m.value)})
		}
	}
	return out
}

// append writes the value.
func (t *tree) append(b []byte) []byte {
	if !t.object {
		return append(b, t.literal...)
	}
	b = append(b, '{')
	for i, m := range t.members {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendName(b, m.name)
		b = append(b, ':')
		b = m.value.append(b)
	}
	return append(b, '}')
}

// appendName writes the name of a member. "&" in it stays as it is.
func appendName(b []byte, name string) []byte {
	var w bytes.Buffer
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	_ = e.Encode(name) // a string, into memory
	return append(b, bytes.TrimSuffix(w.Bytes(), []byte("\n"))...)
}
