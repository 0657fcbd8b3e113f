package messages

import (
	"reflect"
	"strconv"
	"strings"
	"unicode"
)

// decoder decodes one JSON object into a struct, guided by the struct's json tags, and refuses what encoding/json lets pass: names
// in another case, fields given twice, nulls, numbers such as 1.0 or 1e2 and lone surrogates. Only the target's own depth is ever
// entered, since a field that it does not have ends the decoding.
//
// Errors are built from the inside out: a method names a place relative to the value that it decodes ("" is the value itself), and its
// caller puts the field's name before that. So paths cost nothing as long as there is no error.
type decoder struct{ tokens }

// decodeStrict decodes data, which must be valid JSON in valid UTF-8, into the struct that target points to.
func decodeStrict(data []byte, target any) *MalformedError {
	d := decoder{tokens{data: data}}
	return d.value(reflect.ValueOf(target).Elem())
}

// value decodes the next value into v, whose kind is one of those that fieldsOf accepts.
func (d *decoder) value(v reflect.Value) *MalformedError {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	token := d.next()
	if token.broken() {
		return expected("complete surrogate pairs")
	}
	switch v.Kind() {
	case reflect.Struct:
		if token.kind != '{' {
			return expected("an object")
		}
		return d.object(v)
	case reflect.Map:
		if token.kind != '{' {
			return expected("an object with strings as values")
		}
		return d.texts(v)
	case reflect.Slice:
		if token.kind != '[' {
			return expected("a list of strings")
		}
		return d.list(v)
	case reflect.Int64:
		if token.kind != tokenNumber {
			return expected("an integer")
		}
		// ParseInt takes no fraction and no exponent. JSON's grammar has already refused a plus sign and leading zeros.
		i, err := strconv.ParseInt(string(token.text), 10, 64)
		if err != nil {
			return expected("an integer of 64 bits, without fraction or exponent")
		}
		v.SetInt(i)
	case reflect.String:
		if token.kind != tokenText {
			return expected("a string")
		}
		v.SetString(token.string())
	}
	return nil
}

// object decodes the rest of an object into a struct.
func (d *decoder) object(v reflect.Value) *MalformedError {
	fields := structs[v.Type()]
	var seen uint64 // by position in fields; fieldsOf allows no more than 64
	for d.more() {
		token := d.next()
		name := token.string()
		f, known := fields[name]
		switch {
		case token.broken() || !known:
			return unknown(name, fields)
		case seen&(1<<f.bit) != 0:
			return &MalformedError{Field: name, Expected: "it only once"}
		}
		seen |= 1 << f.bit
		if err := d.value(v.FieldByIndex(f.index)); err != nil {
			return err.at(name)
		}
	}
	d.next() // the closing brace
	return nil
}

// texts decodes the rest of an object into a map of strings. Its keys are the user's, so errors do not name them.
func (d *decoder) texts(v reflect.Value) *MalformedError {
	m := make(map[string]string)
	for d.more() {
		key, value := d.next(), d.next()
		k := key.string()
		_, twice := m[k]
		switch {
		case key.broken() || value.broken():
			return expected("complete surrogate pairs")
		case value.kind != tokenText:
			return expected("an object with strings as values")
		case twice:
			return expected("each key only once")
		}
		m[k] = value.string()
	}
	d.next() // the closing brace
	if len(m) > 0 {
		v.Set(reflect.ValueOf(m))
	}
	return nil
}

// list decodes the rest of a list of strings. An empty list stays nil: an absent one.
func (d *decoder) list(v reflect.Value) *MalformedError {
	var list []string
	for d.more() {
		token := d.next()
		switch {
		case token.broken():
			return expected("complete surrogate pairs").in(len(list))
		case token.kind != tokenText:
			return expected("a string").in(len(list))
		}
		list = append(list, token.string())
	}
	d.next() // the closing bracket
	v.Set(reflect.ValueOf(list))
	return nil
}

// expected is an error about the value being decoded.
func expected(what string) *MalformedError { return &MalformedError{Expected: what} }

// in returns the error as it is seen from the list that holds the entry.
func (e *MalformedError) in(entry int) *MalformedError {
	e.Field = "[" + strconv.Itoa(entry) + "]" + e.Field
	return e
}

// at returns the error as it is seen from the object that holds the field called name.
func (e *MalformedError) at(name string) *MalformedError {
	switch {
	case e.Field == "" || e.Field[0] == '[':
		e.Field = name + e.Field
	default:
		e.Field = name + "." + e.Field
	}
	return e
}

// unknown names a field that the contract does not have: the one thing of a command's content that errors show, because a typing
// error cannot be found without it. The name is cut and made printable.
func unknown(name string, fields map[string]field) *MalformedError {
	what := "no field of this name"
	for known := range fields {
		if strings.EqualFold(known, name) {
			what = "the spelling " + known
		}
	}
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, cut(name, 64))
	if name == "" {
		name = `""`
	}
	return &MalformedError{Field: name, Expected: what}
}

// field is where a decoded field goes.
type field struct {
	index []int // for reflect.Value.FieldByIndex
	bit   int   // position among the struct's fields
}

// structs holds the fields of every struct in a command, by their names on the wire. Written at start only.
var structs = make(map[reflect.Type]map[string]field)

func init() {
	for _, k := range Kinds {
		learn(reflect.TypeOf(newCommand(k)).Elem())
	}
}

// learn adds t and the structs in it to structs. A type of field that value cannot decode is a mistake in this package.
func learn(t reflect.Type) {
	if _, known := structs[t]; known {
		return
	}
	fields := make(map[string]field)
	structs[t] = fields
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous {
			continue // its fields follow, promoted
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		_, twice := fields[name]
		if name == "" || twice || len(fields) == 64 {
			panic("messages: cannot decode field " + t.Name() + "." + f.Name)
		}
		fields[name] = field{index: f.Index, bit: len(fields)}
		ft := f.Type
		if ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		switch {
		case ft.Kind() == reflect.Struct:
			learn(ft)
		case ft.Kind() == reflect.String, ft.Kind() == reflect.Int64:
		case ft == reflect.TypeFor[[]string](), ft == reflect.TypeFor[map[string]string]():
		default:
			panic("messages: cannot decode type " + ft.String())
		}
	}
}
