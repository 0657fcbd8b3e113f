package wxpay

import (
	"bytes"
	"maps"
	"testing"
)

// The short way must never read what the strict parser refuses, or read it otherwise: a signature is verified over what was read.
func FuzzPlainV2(f *testing.F) {
	f.Add([]byte(v2Found.sign(testV2Key, "MD5").xml()))
	for _, s := range []string{
		"<xml></xml>", " \n<xml>\t<a>1</a>\r\n<b><![CDATA[<b>&amp;]]></b> </xml> ", "<xml><a></a></xml>",
		"<xml><a>1</a><a>1</a></xml>", "<xml><a>1&amp;</a></xml>", "<xml><a>]]></a></xml>", "<xml><a>\r</a></xml>", "<xml><a><![CDATA[\r\n]]></a></xml>",
		"<xml><1>1</1></xml>", "<xml><a>\xff</a></xml>", "<xml><a>\uFFFE</a></xml>", "<xml><a>\uFFFD退</a></xml>", "<xml><a>\x01</a></xml>",
		"<xml><a>1</b></xml>", "<xml><a>1</ab></xml>", "<xml><a><![CDATA[1]]>2</a></xml>", "<xml><a>1</a></xml>x", "<xml><a b='c'>1</a></xml>",
		"<xml><a><b>1</b></a></xml>", "<xml><a/></xml>", "<xml><a>1</a>", "<xml><a", "<xml>x<a>1</a></xml>", "<xml><xml>1</xml></xml>", "<xml><:a>1</:a></xml>",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, ok := plainV2(body)
		if !ok {
			return
		}
		if want, err := parseV2(body); err != nil || !maps.Equal(got, want) {
			t.Fatalf("%q: read %q, the parser %q, %v", body, got, want, err)
		}
	})
}

// Without this the test above would also pass if nothing ever went the short way.
func TestPlainV2ReadsWhatWeChatPayWrites(t *testing.T) {
	t.Parallel()
	for _, body := range []string{v2Found.sign(testV2Key, "MD5").xml(), "<xml>\n<return_code><![CDATA[SUCCESS]]></return_code>\n<total_fee>100</total_fee>\n</xml>"} {
		if got, ok := plainV2([]byte(body)); !ok || len(got) == 0 {
			t.Errorf("not plain: %s", body)
		}
	}
}

func BenchmarkDecodeV2(b *testing.B) {
	plain := []byte(v2Found.sign(testV2Key, "MD5").xml())
	parsed := bytes.Replace(plain, []byte("<xml>"), []byte("<?xml version='1.0'?><xml>"), 1)
	for name, body := range map[string][]byte{"plain": plain, "parsed": parsed} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decodeV2(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
