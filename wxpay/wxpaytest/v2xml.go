package wxpaytest

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// API v2 speaks XML: a root element `xml` that holds elements that hold text. Source: V2M:4011986592.

// maxXML bounds a v2 request; with every field at its limit it stays under 2 KiB (stricter than production).
const maxXML = 32 << 10

// decodeXML returns the elements, or the rule that the document breaks. CDATA and escaped text mean the
// same. Directives (DTD, entities) are refused, as the official notice on XXE asks; attributes,
// namespaces, comments and elements inside elements exist in no document of the API.
func decodeXML(body []byte) (elements map[string]string, rule string) {
	switch {
	case len(body) > maxXML:
		return nil, "more than 32 KiB of XML (stricter than production)"
	case !utf8.Valid(body):
		return nil, "not valid UTF-8 (V2M:4011986592)"
	}
	elements = map[string]string{}
	d := xml.NewDecoder(bytes.NewReader(body)) // strict; refuses entities that XML itself does not define
	if rule := openXML(d); rule != "" {
		return nil, rule
	}
	for {
		token, err := d.Token()
		if err != nil {
			return nil, notXML
		}
		switch token := token.(type) {
		case xml.CharData:
			if !isBlank(token) {
				return nil, "text beside the elements (V2M:4011986592)"
			}
		case xml.StartElement:
			name := token.Name.Local
			if _, twice := elements[name]; twice {
				return nil, "element " + name + " twice (stricter than production)"
			}
			if elements[name], rule = elementText(d, token); rule != "" {
				return nil, rule
			}
		case xml.EndElement: // Token has matched it with the root
			return elements, closeXML(d)
		default:
			return nil, noMarkup
		}
	}
}

const (
	notXML   = "not well-formed XML (V2M:4011986592)"
	noMarkup = "a directive, comment or instruction (official notice on XXE; comments: stricter than production)"
)

// openXML reads up to the root element. The one thing that may stand before it is <?xml …?>.
func openXML(d *xml.Decoder) (rule string) {
	for {
		begin := d.InputOffset()
		token, err := d.Token()
		if err != nil {
			return notXML // an encoding other than UTF-8 included
		}
		switch token := token.(type) {
		case xml.CharData:
			if !isBlank(token) {
				return notXML
			}
		case xml.ProcInst:
			if token.Target != "xml" || begin != 0 {
				return noMarkup
			}
		case xml.StartElement:
			if token.Name.Local != "xml" || token.Name.Space != "" || len(token.Attr) > 0 {
				return "the root element must be a plain xml (V2M:4011986592)"
			}
			return ""
		default:
			return noMarkup
		}
	}
}

// elementText reads the text of an element to its end.
func elementText(d *xml.Decoder, start xml.StartElement) (text, rule string) {
	if start.Name.Space != "" || len(start.Attr) > 0 {
		return "", "an element with a namespace or attributes (stricter than production)"
	}
	var b strings.Builder
	for {
		token, err := d.Token()
		if err != nil {
			return "", notXML
		}
		switch token := token.(type) {
		case xml.CharData:
			b.Write(token)
		case xml.EndElement:
			return b.String(), wideCharacter(b.String())
		case xml.StartElement:
			return "", "an element inside an element (V2M:4011986592)"
		default:
			return "", noMarkup
		}
	}
}

// wideCharacter finds what needs 4 bytes in UTF-8, written plainly or as a character reference.
func wideCharacter(s string) (rule string) {
	for i := range len(s) {
		if s[i] >= 0xf0 {
			return "a character that needs 4 bytes in UTF-8 (V2M:4011986592)"
		}
	}
	return ""
}

func closeXML(d *xml.Decoder) (rule string) {
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return ""
		}
		if text, ok := token.(xml.CharData); err != nil || !ok || !isBlank(text) {
			return "something after the root element (stricter than production)"
		}
	}
}

func isBlank(text []byte) bool { return len(bytes.Trim(text, " \t\r\n")) == 0 }

// An element of an answer.
type element struct{ name, value string }

// encodeXML writes text as CDATA and numbers as they are, as the documents' samples do.
func encodeXML(elements []element) []byte {
	var b bytes.Buffer
	b.WriteString("<xml>\n")
	for _, e := range elements {
		b.WriteString("<" + e.name + ">")
		if allDigits(e.value) && len(e.value) < 16 {
			b.WriteString(e.value)
		} else {
			b.WriteString("<![CDATA[" + strings.ReplaceAll(e.value, "]]>", "]]]]><![CDATA[>") + "]]>")
		}
		b.WriteString("</" + e.name + ">\n")
	}
	b.WriteString("</xml>")
	return b.Bytes()
}
