package wxpay

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

func TestV2XML(t *testing.T) {
	t.Parallel()
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "<a%d/>", i)
		}
		return "<xml>" + b.String() + "</xml>"
	}
	for body, want := range map[string]map[string]string{
		"<xml></xml>": {},
		"<?xml version='1.0' encoding='utf-8'?>\n<xml/>\n":            {},
		"<xml>\n <a>1</a>\t<b></b>\r\n<c/></xml>":                     {"a": "1", "b": "", "c": ""},
		"<xml><a><![CDATA[<b>&amp;]]></a></xml>":                      {"a": "<b>&amp;"},
		"<xml><a>&lt;b&gt;&amp;amp;&#34;&apos;&#x9000;</a></xml>":     {"a": `<b>&amp;"'退`},
		"<xml><a> x<![CDATA[ y ]]>z\n</a></xml>":                      {"a": " x y z\n"},
		"<xml><A>1</A><a>2</a><_-.0>3</_-.0></xml>":                   {"A": "1", "a": "2", "_-.0": "3"},
		"<xml><a>\U0001F600]]&gt;</a></xml>":                          {"a": "\U0001F600]]>"},
		"<xml><" + strings.Repeat("a", 64) + "/></xml>":               {strings.Repeat("a", 64): ""},
		strings.Replace(many(1), "<a0/>", "<a0><![CDATA[]]></a0>", 1): {"a0": ""},
		"<xml><a>1</a></xml>" + strings.Repeat(" ", 1000):             {"a": "1"},
	} {
		if got, err := decodeV2([]byte(body)); err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: %q, %v", short(body), got, err)
		}
	}
	if got, err := decodeV2([]byte(many(maxV2Elements))); err != nil || len(got) != maxV2Elements {
		t.Errorf("%d elements, %v", len(got), err)
	}
	for name, body := range map[string]string{
		"nothing":              "",
		"text":                 "SUCCESS",
		"cut":                  "<xml><a>1</a>",
		"cut in an element":    "<xml><a>1",
		"cut in CDATA":         "<xml><a><![CDATA[1",
		"another root":         "<html><a>1</a></html>",
		"root in capitals":     "<XML><a>1</a></XML>",
		"two roots":            "<xml><a>1</a></xml><xml></xml>",
		"text before":          "x<xml></xml>",
		"a byte order mark":    "\uFEFF<xml></xml>",
		"text after":           "<xml></xml>x",
		"text between":         "<xml>x<a>1</a></xml>",
		"CDATA between":        "<xml><![CDATA[x]]><a>1</a></xml>",
		"DOCTYPE":              "<!DOCTYPE xml><xml></xml>",
		"DOCTYPE with entity":  `<!DOCTYPE xml [<!ENTITY x "y">]><xml><a>&x;</a></xml>`,
		"DOCTYPE inside":       "<xml><!DOCTYPE xml></xml>",
		"an entity":            "<xml><a>&nbsp;</a></xml>",
		"a comment":            "<xml><!-- --><a>1</a></xml>",
		"a comment in a value": "<xml><a>1<!-- -->2</a></xml>",
		"an instruction":       "<?php x?><xml></xml>",
		"an instruction later": "<xml><?x y?></xml>",
		"a late declaration":   "<xml></xml><?xml version='1.0'?>",
		"blank, declaration":   " <?xml version='1.0'?><xml></xml>",
		"GBK":                  "<?xml version='1.0' encoding='GBK'?><xml></xml>",
		"XML 1.1":              "<?xml version='1.1'?><xml></xml>",
		"no UTF-8":             "<xml><a>\xff</a></xml>",
		"a control character":  "<xml><a>\x01</a></xml>",
		"the same, as a code":  "<xml><a>&#1;</a></xml>",
		"an attribute":         "<xml><a b='c'>1</a></xml>",
		"an attribute above":   "<xml b='c'><a>1</a></xml>",
		"a namespace":          "<xml xmlns='x'></xml>",
		"a prefix":             "<xml><x:a>1</x:a></xml>",
		"half a prefix":        "<xml><:a>1</:a></xml>",
		"nested":               "<xml><a><b>1</b></a></xml>",
		"nested, empty":        "<xml><a><b/></a></xml>",
		"twice":                "<xml><a>1</a><a>1</a></xml>",
		"twice, once empty":    "<xml><a></a><a>1</a></xml>",
		"a name too long":      "<xml><" + strings.Repeat("a", 65) + "/></xml>",
		"a name not ASCII":     "<xml><退>1</退></xml>",
		"tags that cross":      "<xml><a>1</b></xml>",
		"]]> in text":          "<xml><a>]]></a></xml>",
		"too many":             many(maxV2Elements + 1),
	} {
		got, err := decodeV2([]byte(body))
		if err == nil || got != nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// FuzzV2XML: whatever comes, decoding ends, keeps its bounds, and what is read can be written and read again unchanged.
func FuzzV2XML(f *testing.F) {
	f.Add([]byte(v2Found.sign(testV2Key, "MD5").xml()))
	f.Add([]byte(`<?xml version="1.0"?><xml><a> <![CDATA[x]]>&#13;&lt;</a><b/></xml>`))
	f.Add([]byte(`<!DOCTYPE xml [<!ENTITY x "y">]><xml><a>&x;</a></xml>`))
	f.Add([]byte(`<xml><a b="c"><d>1</d></a></xml>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		params, err := decodeV2(body)
		if err != nil {
			if params != nil {
				t.Fatal("an error, and something read")
			}
			return
		}
		if len(params) > maxV2Elements {
			t.Fatalf("%d elements", len(params))
		}
		if strings.Contains(string(body), "<!--") && !strings.Contains(string(body), "<![CDATA[") || strings.HasPrefix(string(body), "<!") {
			t.Fatalf("a directive or comment is accepted: %q", body)
		}
		full := maps.Clone(params)
		maps.DeleteFunc(full, func(name, value string) bool {
			if !isV2Name(name) {
				t.Fatalf("name %q", name)
			}
			return value == ""
		})
		again, err := decodeV2(encodeV2(params))
		if err != nil || !maps.Equal(again, full) {
			t.Fatalf("%q, written and read again: %q, %v", full, again, err)
		}
		if SignV2(params, "k", V2HMACSHA256) != SignV2(again, "k", V2HMACSHA256) {
			t.Fatal("signed otherwise")
		}
	})
}

// FuzzV2Text: a value that isV2Text arrives as it was signed.
func FuzzV2Text(f *testing.F) {
	for _, s := range []string{"商品已售完", "<a>&\"'\r\n\t]]>", "\x00", "\xff", "\uFFFD", "\uFFFE", "\U0001F600"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !isV2Text(s) {
			return
		}
		got, err := decodeV2(encodeV2(map[string]string{"a": s}))
		if err != nil || got["a"] != s {
			t.Fatalf("%q became %q, %v", s, got["a"], err)
		}
	})
}
