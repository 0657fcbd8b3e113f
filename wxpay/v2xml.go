package wxpay

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Bounds of a v2 answer, beside maxBody. The largest that a refund can have (10 refunds with 20 coupons each) stays well
// below; names are those of a flat list.
const (
	maxV2Elements = 2000
	maxV2Name     = 64 // bytes
)

// decodeV2 reads a v2 message: <xml> around a flat list of elements that hold nothing but text. Values come out as they are
// signed: CDATA and entities resolved, blanks kept.
//
// It is strict, since what it does not understand could not be covered by the signature either. Refused are: anything that
// begins with "<!" but CDATA (so no DTD, no entity, no external anything, and no comment that would split a value),
// processing instructions but a leading <?xml … ?>, another charset than UTF-8, attributes, namespaces, nested and repeated
// elements, more than maxV2Elements of them, and text outside. The size is bounded where the body is read.
//
// Source: 接口规则, https://pay.weixin.qq.com/doc/v2/merchant/4011986592; XXE: https://pay.weixin.qq.com/wiki/doc/api/jsapi.php?chapter=23_5
func decodeV2(body []byte) (map[string]string, error) {
	if params, ok := plainV2(body); ok {
		return params, nil
	}
	return parseV2(body)
}

// parseV2 is decodeV2 for whatever comes.
func parseV2(body []byte) (map[string]string, error) {
	d := xml.NewDecoder(bytes.NewReader(body)) // Strict: no entities but XML's own five, tags must match
	params := map[string]string{}
	var (
		depth int
		ended bool            // </xml> was read
		name  string          // of the element being read
		value strings.Builder // its text so far
	)
	for first := true; ; first = false {
		token, err := d.Token()
		if err == io.EOF && ended {
			return params, nil
		}
		if err != nil { // not wrapped: the parser quotes what it reads
			return nil, errors.New("not well-formed XML in UTF-8")
		}
		switch token := token.(type) {
		case xml.ProcInst:
			if !first || token.Target != "xml" {
				return nil, errors.New("processing instruction")
			}
		case xml.CharData:
			switch {
			case depth == 2:
				value.Write(token)
			case len(bytes.Trim(token, " \t\r\n")) > 0:
				return nil, errors.New("text between elements")
			}
		case xml.StartElement:
			depth++
			if token.Name.Space != "" || len(token.Attr) > 0 || !isV2Name(token.Name.Local) {
				return nil, errors.New("an attribute, or a name that is none")
			}
			name = token.Name.Local
			switch _, repeated := params[name]; {
			case ended, depth == 1 && name != "xml":
				return nil, errors.New("want one root element, xml")
			case depth == 1:
			case depth > 2:
				return nil, errors.New("nested elements")
			case repeated:
				return nil, errors.New("an element twice")
			case len(params) == maxV2Elements:
				return nil, fmt.Errorf("more than %d elements", maxV2Elements)
			}
			value.Reset()
		case xml.EndElement:
			if depth == 2 {
				params[name] = value.String()
			}
			depth--
			ended = depth == 0
		default: // xml.Directive, xml.Comment
			return nil, errors.New("directive or comment")
		}
	}
}

// encodeV2 writes a v2 message: the parameters that are not empty, in the order of their names, so that the same
// parameters are always the same bytes. Values must be isV2Text, or others than those signed would be sent.
func encodeV2(params map[string]string) []byte {
	var room [32]string
	names := room[:0]
	size := len("<xml></xml>")
	for name, value := range params {
		if value != "" {
			names = append(names, name)
			size += 2*len(name) + len(value) + len("<></>")
		}
	}
	slices.Sort(names)
	text := append(make([]byte, 0, size), "<xml>"...)
	for _, name := range names {
		text = append(append(append(text, '<'), name...), '>')
		text = append(text, v2Escaper.Replace(params[name])...)
		text = append(append(append(text, "</"...), name...), '>')
	}
	return append(text, "</xml>"...)
}

// v2Escaper escapes what must be: markup, and the carriage return, which every parser would turn into a line feed.
var v2Escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\r", "&#13;")

// isV2Text says whether v2 can carry s: valid UTF-8 of characters that XML knows, none of them of four bytes.
//
// Source: 接口规则, https://pay.weixin.qq.com/doc/v2/merchant/4011986592
func isV2Text(s string) bool {
	for i, r := range s {
		switch {
		case r == '\uFFFD' && !strings.HasPrefix(s[i:], "\uFFFD"): // not UTF-8
			return false
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r == '\uFFFE', r == '\uFFFF', r > '\uFFFF':
			return false
		}
	}
	return true
}

func isV2Name(s string) bool {
	return all(s, maxV2Name, func(c byte) bool { return isAlnum(c) || c == '_' || c == '-' || c == '.' })
}
