package wxpaytest

import (
	"fmt"
	"net/http"
	"strconv"
)

// A v2form reads the elements of a v2 request one by one and keeps the first thing that is wrong.
// Elements that nobody read are unknown. An empty element is one that is not there: signatures leave it
// out too.
type v2form struct {
	values map[string]string
	first  *refusal
}

func readV2Form(elements map[string]string) *v2form {
	f := &v2form{values: map[string]string{}}
	for name, value := range elements {
		f.values[name] = value
	}
	return f
}

// bad keeps a PARAM_ERROR that no correct client provokes.
func (f *v2form) bad(name, issue string) {
	if f.first == nil {
		f.first = refuseV2("PARAM_ERROR", "参数错误:"+name).because("xml/" + name + ": " + issue).asViolation()
	}
}

// end returns the first refusal, elements that are not known included.
func (f *v2form) end() *refusal {
	for name := range f.values {
		f.bad(name, "unknown element (stricter than production)")
		break
	}
	return f.first
}

func (f *v2form) text(name string, rule textRule) string {
	value := f.values[name]
	delete(f.values, name)
	if value == "" {
		if rule.required {
			f.bad(name, "required ("+rule.source+")")
		}
		return ""
	}
	if issue := rule.check(value); issue != "" {
		f.bad(name, issue+" ("+rule.source+")")
		return ""
	}
	return value
}

// integer reads an integer literal of at least least; absent is 0.
func (f *v2form) integer(name string, required bool, least int64, source string) int64 {
	text := f.text(name, textRule{required: required, bytes: 32, source: source})
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil || strconv.FormatInt(n, 10) != text:
		f.bad(name, "must be an integer literal ("+source+")")
	case n < least:
		f.bad(name, fmt.Sprintf("less than %d (%s)", least, source))
	}
	return n
}

// refuseV2 is a refusal by err_code; the HTTP status is 200 whatever happens (not documented; V2M:4011986592 has all errors in the XML).
func refuseV2(errCode, text string) *refusal { return refuse(http.StatusOK, errCode, text) }

// failV2 is a refusal before a signature was accepted: return_code FAIL, unsigned, not executed.
func failV2(returnMsg string) *refusal { return refuse(http.StatusOK, "", returnMsg).asViolation() }

// inV2 says a refusal of the books in the words of v2; missing is what RESOURCE_NOT_EXISTS means there.
// Source: V2M:4011937624.
func (r *refusal) inV2(missing string) *refusal {
	code := r.code
	switch code {
	case "NOT_ENOUGH":
		code = "NOTENOUGH"
	case "NO_AUTH":
		code = "NOAUTH"
	case "RESOURCE_NOT_EXISTS":
		code = missing
	}
	return refuseV2(code, r.message).because(r.rule)
}
