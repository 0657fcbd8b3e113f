package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"go.yaml.in/yaml/v3"
)

// origin remembers where each key was set, and what is wrong.
type origin struct {
	file     string            // "" if there is none
	dir      string            // its folder
	where    map[string]string // by key path: "worker.yaml:12", "WXPAY_…", "--nats"
	wrong    map[string]bool   // by key path: there is a problem with it
	problems []error
	warnings []string
	files    []namedFile // those that were read, in order
}

// problem is a key that is not what it should be.
type problem struct{ place, key, expected string }

func (p *problem) Error() string { return p.place + ": " + p.key + ": expected " + p.expected }

// namedFile is a file that a key names.
type namedFile struct {
	key, path string
	exposed   string // what others can do with it and should not, "" if nothing
}

func newOrigin() *origin { return &origin{where: map[string]string{}, wrong: map[string]bool{}} }

// fail notes that a key is not what it should be. Values are not repeated: they may be secrets in the wrong place.
func (o *origin) fail(key, format string, args ...any) {
	o.wrong[key] = true
	o.problems = append(o.problems, &problem{o.place(key), key, fmt.Sprintf(format, args...)})
}

// place is where a key, or the nearest one around it, was set.
func (o *origin) place(key string) string {
	for at := key; at != ""; at = at[:max(strings.LastIndexAny(at, ".["), 0)] {
		if place := o.where[at]; place != "" {
			return place
		}
	}
	if o.file != "" {
		return o.file
	}
	return "configuration"
}

// set reports whether a key was given a value by anybody.
func (o *origin) set(key string) bool { return o.where[key] != "" }

// err is all that is wrong, one line each, with the exit code of a wrong configuration.
func (o *origin) err() error {
	if len(o.problems) == 0 {
		return nil
	}
	return &exitError{exitUsage, errors.Join(o.problems...)}
}

// warn tells, once, what is not wrong enough to refuse.
func (o *origin) warn(log logrus.FieldLogger) {
	for _, w := range o.warnings {
		log.Warn(w)
	}
	o.warnings = nil
}

// readYAML decodes one YAML document, guided by the tags of c: an unknown key, a key given twice or a value of another type is a
// problem. (The library's own strict mode names neither the path of a key nor what was expected.)
func (o *origin) readYAML(data []byte, c *Config) {
	var doc, more yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(data))
	err := d.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return // nothing in it
	}
	if err == nil && !errors.Is(d.Decode(&more), io.EOF) {
		err = errors.New("expected one YAML document")
	}
	if err != nil {
		o.problems = append(o.problems, fmt.Errorf("%s: %w", o.file, err))
		return
	}
	o.node("", reflect.ValueOf(c).Elem(), doc.Content[0], "")
}

func (o *origin) node(key string, v reflect.Value, n *yaml.Node, tag reflect.StructTag) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if key != "" {
		o.where[key] = fmt.Sprintf("%s:%d", o.file, n.Line)
	}
	empty := n.Kind == yaml.ScalarNode && n.Tag == "!!null" // all keys below it commented out
	if v.Kind() == reflect.Pointer {
		if empty {
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		applyDefaults(v.Interface())
		v = v.Elem()
	}
	switch {
	case v.Type() != rateType && v.Kind() == reflect.Struct:
		if n.Kind != yaml.MappingNode && !empty {
			o.fail(orDocument(key), "a mapping of keys to values")
			return
		}
		o.mapping(key, v, n)
	case v.Kind() == reflect.Slice:
		if n.Kind != yaml.SequenceNode && !empty {
			o.fail(key, "a list")
			return
		}
		o.sequence(key, v, n)
	default:
		o.scalar(key, v, n, tag)
	}
}

// orDocument names the document itself, which has no key.
func orDocument(key string) string {
	if key == "" {
		return "configuration"
	}
	return key
}

func (o *origin) mapping(key string, v reflect.Value, n *yaml.Node) {
	known, seen := map[string]reflect.StructField{}, map[string]bool{}
	for _, field := range fields(v) {
		known[field.Tag.Get("yaml")] = field
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, at := n.Content[i], join(key, n.Content[i].Value)
		field, ok := known[name.Value]
		switch {
		case !ok:
			o.where[at] = fmt.Sprintf("%s:%d", o.file, name.Line)
			o.fail(at, "no key of this name")
		case seen[name.Value]:
			o.where[at] = fmt.Sprintf("%s:%d", o.file, name.Line)
			o.fail(at, "it only once")
		default:
			o.node(at, v.FieldByIndex(field.Index), n.Content[i+1], field.Tag)
		}
		seen[name.Value] = true
	}
	for _, field := range fields(v) {
		at := join(key, field.Tag.Get("yaml"))
		if what := field.Tag.Get("required"); what != "" && v.FieldByIndex(field.Index).IsZero() && !o.wrong[at] {
			o.fail(at, "%s", what)
		}
	}
}

func (o *origin) sequence(key string, v reflect.Value, n *yaml.Node) {
	v.SetZero() // a list replaces its default, it does not add to it
	for i, entry := range n.Content {
		e := reflect.New(v.Type().Elem())
		applyDefaults(e.Interface())
		o.node(fmt.Sprintf("%s[%d]", key, i), e.Elem(), entry, "")
		v.Set(reflect.Append(v, e.Elem()))
	}
}

// scalar refuses what YAML took for another type: an unquoted 1900000001 is a number, and 1E5 would be another one.
func (o *origin) scalar(key string, v reflect.Value, n *yaml.Node, tag reflect.StructTag) {
	allowed := map[reflect.Kind]string{
		reflect.String: "!!str", reflect.Bool: "!!bool", reflect.Int: "!!int", reflect.Int64: "!!int", reflect.Float64: "!!int !!float",
	}[v.Kind()]
	if v.Type() == durationType || v.Type() == rateType {
		allowed = "!!str !!int"
	}
	if n.Kind != yaml.ScalarNode || !strings.Contains(allowed, n.Tag) {
		expected := expectation(v, tag)
		if v.Kind() == reflect.String && n.Kind == yaml.ScalarNode {
			expected += ", in quotes"
		}
		o.fail(key, "%s", expected)
		return
	}
	if expected := setText(v, n.Value, tag); expected != "" {
		o.fail(key, "%s", expected)
	}
}

// readEnvironment overrides keys by environment variables.
func (o *origin) readEnvironment(c *Config) { o.environment("", reflect.ValueOf(c).Elem()) }

func (o *origin) environment(key string, v reflect.Value) {
	for _, field := range fields(v) {
		at, f := join(key, field.Tag.Get("yaml")), v.FieldByIndex(field.Index)
		switch {
		case f.Kind() == reflect.Struct && f.Type() != rateType:
			o.environment(at, f)
		case f.Kind() == reflect.Slice: // by the file only
		default:
			variable := "WXPAY_" + strings.ToUpper(strings.ReplaceAll(at, ".", "_"))
			text := os.Getenv(variable)
			if text == "" {
				continue
			}
			o.where[at] = variable
			if expected := setText(f, text, field.Tag); expected != "" {
				o.fail(at, "%s", expected)
			}
		}
	}
}

// applyDefaults fills a struct as its tags say.
func applyDefaults(pointer any) {
	v := reflect.ValueOf(pointer).Elem()
	if v.Kind() != reflect.Struct || v.Type() == rateType {
		return
	}
	for _, field := range fields(v) {
		f := v.FieldByIndex(field.Index)
		text, ok := field.Tag.Lookup("default")
		switch {
		case f.Kind() == reflect.Struct && f.Type() != rateType:
			applyDefaults(f.Addr().Interface())
		case ok && f.Kind() == reflect.Slice:
			f.Set(reflect.ValueOf(strings.Split(text, ",")))
		case ok:
			if expected := setText(f, text, field.Tag); expected != "" {
				panic(fmt.Sprintf("default of %s: expected %s", field.Name, expected)) // a mistake in the tags
			}
		}
	}
}

// fields lists the fields of a struct that are keys, in order.
func fields(v reflect.Value) (all []reflect.StructField) {
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.Tag.Get("yaml") != "" {
			all = append(all, f)
		}
	}
	return all
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	rateType     = reflect.TypeFor[Rate]()
)

// setText sets a scalar from text and returns what was expected of one that breaks a rule, or "".
func setText(v reflect.Value, text string, tag reflect.StructTag) string {
	parsed, ok := parseText(v.Type(), text)
	if !ok || !within(parsed, tag) {
		return expectation(v, tag)
	}
	v.Set(parsed)
	return ""
}

// parseText reads a scalar of the type.
func parseText(t reflect.Type, text string) (reflect.Value, bool) {
	var value any
	var err error
	switch {
	case t == durationType:
		value, err = time.ParseDuration(text)
	case t == rateType:
		value, err = parseRate(text)
	case t.Kind() == reflect.String:
		value = text
	case t.Kind() == reflect.Bool:
		value, err = strconv.ParseBool(text)
	case t.Kind() == reflect.Float64:
		value, err = strconv.ParseFloat(text, 64)
	default:
		value, err = strconv.ParseInt(text, 10, t.Bits())
	}
	return reflect.ValueOf(value).Convert(t), err == nil
}

// within applies the tags min, max and oneof. A value that compares with nothing (NaN) is not within.
func within(v reflect.Value, tag reflect.StructTag) bool {
	if choice := tag.Get("oneof"); choice != "" {
		for one := range strings.SplitSeq(choice, ",") {
			if v.String() == one {
				return true
			}
		}
		return false
	}
	low, ok := tag.Lookup("min")
	if !ok {
		return true
	}
	least, _ := parseText(v.Type(), low)
	most, _ := parseText(v.Type(), tag.Get("max"))
	if v.CanFloat() {
		return least.Float() <= v.Float() && v.Float() <= most.Float()
	}
	return least.Int() <= v.Int() && v.Int() <= most.Int()
}

// expectation says in words what a key takes.
func expectation(v reflect.Value, tag reflect.StructTag) string {
	if choice := tag.Get("oneof"); choice != "" {
		return strings.ReplaceAll(choice, ",", " or ")
	}
	what := "an integer"
	switch {
	case v.Type() == durationType:
		what = "a duration such as 90s, 5m or 2160h"
	case v.Type() == rateType:
		return "a rate such as 150/s or 60/m, or 0 for no limit"
	case v.Kind() == reflect.String:
		what = "a text"
	case v.Kind() == reflect.Bool:
		what = "true or false"
	case v.Kind() == reflect.Float64:
		what = "a number"
	}
	if low, ok := tag.Lookup("min"); ok {
		what += ", from " + low + " to " + tag.Get("max")
	}
	return what
}

// maxRate keeps typing errors out; WeChat Pay's own quotas are far below.
const maxRate = 1_000_000

func parseRate(text string) (Rate, error) {
	if text == "0" {
		return Rate{}, nil
	}
	calls, unit, _ := strings.Cut(text, "/")
	per := map[string]time.Duration{"s": time.Second, "m": time.Minute}[unit]
	n, err := strconv.Atoi(calls)
	if err != nil || per == 0 || n < 0 || n > maxRate {
		return Rate{}, errors.New("not a rate")
	}
	return Rate{Calls: n, Per: per}, nil
}
