package wxpaytest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"wxpay-worker/wxpay/wxpaytest"
)

// selfSigned is a client certificate that no authority issued.
func selfSigned(t *testing.T) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: mchid},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Every way to come without the right client certificate: refused, a violation, nothing executed.
func TestV2ClientCertificate(t *testing.T) {
	b := setup(t)
	v2 := b.v2()
	rules := map[string]string{}
	defer func() { golden(t, "refused_v2_certificate.txt", rules) }()
	other := newV2Caller(t, b.Server, b.AddMerchant(wxpaytest.Merchant{MchID: "1900000002"}))
	void := v2.with
	*b.creds = *b.AddMerchant(wxpaytest.Merchant{MchID: mchid})
	v2 = newV2Caller(t, b.Server, b.creds)
	with := func(client *http.Client) v2call {
		q := v2.refund("R1", 10)
		q.client = client
		return q
	}
	for name, c := range map[string]struct {
		q    v2call
		page string // "" = return_code FAIL
	}{
		"none":                    {with(v2.plain), "400 No required SSL certificate was sent"},
		"none, and a bad sign":    {v2call{path: v2Refund, client: v2.plain, fields: v2.refund("R1", 1).fields, key: "x"}, "400 No required SSL certificate was sent"},
		"self-signed":             {with(newV2Client(t, b.Server, selfSigned(t))), "400 The SSL certificate error"},
		"another merchant's":      {with(other.with), ""},
		"of void credentials":     {with(void), ""},
		"its own in another name": {v2call{path: v2Refund, client: v2.with, fields: v2fields(other.refund("R1", 10).fields), key: other.creds.APIv2Key}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(b.Violations())
			defer func() { rules[name] = lastRefusal(b) }()
			if c.page != "" {
				v2.wantPage(c.q, 400, c.page)
			} else if text := v2.wantFail(c.q); text != "certificate not match" {
				t.Error(text)
			}
			if len(b.Violations()) != before+1 {
				t.Errorf("violations: %q", b.Violations()[before:])
			}
		})
	}
	if list := b.Refunds(); len(list) != 0 {
		t.Errorf("executed: %v", list)
	}
	v2.want(with(v2.with), "")
	// All other calls do not ask for it, and do not mind it.
	for _, client := range []*http.Client{v2.plain, v2.with, other.with} {
		q := v2.query("out_refund_no", "R1")
		q.client = client
		v2.want(q, "")
		b.http = client
		b.want(get(refunds+"/R1"), 200, "")
	}
}

// One case per rule of the protocol: return_code FAIL, unsigned, not executed, a violation.
func TestV2RefusedUnsigned(t *testing.T) {
	b := setup(t)
	v2 := b.v2()
	rules := map[string]string{}
	defer func() { golden(t, "refused_v2_unsigned.txt", rules) }()
	replace := func(old, new string) func(q *v2call) {
		return func(q *v2call) {
			q.write = func(s string) string {
				if !strings.Contains(s, old) {
					t.Fatalf("nothing to replace: %s", old)
				}
				return strings.Replace(s, old, new, 1)
			}
		}
	}
	whole := func(document string) func(q *v2call) {
		return func(q *v2call) { q.write = func(string) string { return document } }
	}
	for name, spoil := range map[string]func(q *v2call){
		"GET":                         func(q *v2call) { q.method = "GET" },
		"PUT":                         func(q *v2call) { q.method = "PUT" },
		"no body":                     whole(""),
		"JSON":                        whole(`{"a":1}`),
		"root in another case":        replace("<xml>", "<XML>"),
		"root of another name":        func(q *v2call) { q.write = func(s string) string { return strings.ReplaceAll(s, "xml>", "root>") } },
		"root with an attribute":      replace("<xml>", `<xml a="1">`),
		"root with a namespace":       replace("<xml>", `<xml xmlns="urn:a">`),
		"cut":                         func(q *v2call) { q.write = func(s string) string { return s[:len(s)-8] } },
		"elements crossed":            replace("</appid>", "</mch_id>"),
		"DTD":                         func(q *v2call) { q.write = func(s string) string { return `<!DOCTYPE xml>` + s } },
		"entity":                      func(q *v2call) { q.write = func(s string) string { return `<!DOCTYPE xml [<!ENTITY e "x">]>` + s } },
		"directive inside":            replace("<appid>", "<!ELEMENT a ANY><appid>"),
		"directive inside an element": replace("<appid>", "<appid><!ELEMENT a ANY>"),
		"unknown entity":              replace("<out_refund_no>", "<out_refund_no>&e;"),
		"comment":                     replace("<appid>", "<!-- c --><appid>"),
		"comment before":              func(q *v2call) { q.write = func(s string) string { return "<!-- c -->" + s } },
		"instruction":                 replace("<appid>", "<?php ?><appid>"),
		"instruction before":          func(q *v2call) { q.write = func(s string) string { return "<?php ?>" + s } },
		"declaration second":          func(q *v2call) { q.write = func(s string) string { return "\n<?xml version=\"1.0\"?>" + s } },
		"other encoding":              func(q *v2call) { q.write = func(s string) string { return `<?xml version="1.0" encoding="GBK"?>` + s } },
		"byte order mark":             func(q *v2call) { q.write = func(s string) string { return "\ufeff" + s } },
		"attribute":                   replace("<appid>", `<appid a="1">`),
		"namespace": func(q *v2call) {
			q.write = func(s string) string { return strings.ReplaceAll(s, "appid>", "a:appid>") }
		},
		"element inside":       replace("<appid>", "<appid><b></b>"),
		"text beside":          replace("<appid>", "x<appid>"),
		"element twice":        replace("<xml>", "<xml><appid></appid>"),
		"second document":      func(q *v2call) { q.write = func(s string) string { return s + "<xml></xml>" } },
		"text after":           func(q *v2call) { q.write = func(s string) string { return s + "x" } },
		"not UTF-8":            func(q *v2call) { q.fields["refund_desc"] = "x"; replace(">x<", ">\xff<")(q) },
		"4-byte UTF-8":         func(q *v2call) { q.fields["refund_desc"] = "好😀" },
		"4-byte UTF-8 escaped": func(q *v2call) { q.fields["refund_desc"] = "好😀"; replace("😀", "&#x1F600;")(q) },
		"over 32 KiB":          replace("<xml>", "<xml>"+strings.Repeat(" ", 32<<10)),
		"no mch_id":            func(q *v2call) { delete(q.fields, "mch_id") },
		"unknown mch_id":       func(q *v2call) { q.fields["mch_id"] = "1999999999" },
		"no sign":              func(q *v2call) { q.unsigned = map[string]string{"sign": ""} },
		"sign of another key":  func(q *v2call) { q.key = strings.Repeat("0", 32) },
		"sign with the v3 key": func(q *v2call) { q.key = b.creds.APIv3Key },
		"sign in lower case": func(q *v2call) {
			q.unsigned = map[string]string{"sign": strings.ToLower(signAs("HMAC-SHA256", b.creds.APIv2Key, q.fields))}
		},
		"sign of the other digest": func(q *v2call) {
			q.unsigned = map[string]string{"sign": signAs("MD5", b.creds.APIv2Key, q.fields)}
		},
		"sign_type not signed": func(q *v2call) {
			delete(q.fields, "sign_type")
			q.unsigned = map[string]string{"sign_type": "HMAC-SHA256", "sign": signAs("HMAC-SHA256", b.creds.APIv2Key, q.fields)}
		},
		"element not signed":     func(q *v2call) { q.unsigned = map[string]string{"refund_desc": "x"} },
		"element changed":        func(q *v2call) { q.unsigned = map[string]string{"refund_fee": "11"} },
		"unknown sign_type":      func(q *v2call) { q.fields["sign_type"] = "SHA1" },
		"sign_type in lowercase": func(q *v2call) { q.fields["sign_type"] = "md5" },
	} {
		t.Run(name, func(t *testing.T) {
			before := len(b.Violations())
			defer func() { rules[name] = lastRefusal(b) }()
			q := v2.refund("R1", 10)
			spoil(&q)
			v2.wantFail(q)
			if len(b.Violations()) != before+1 {
				t.Errorf("violations: %q", b.Violations()[before:])
			}
			if _, exists := b.Refund(mchid, "R1"); exists {
				t.Error("executed")
			}
		})
	}
}

// One case per rule of fields: PARAM_ERROR, signed, a violation.
func TestV2RefusedSigned(t *testing.T) {
	b := setup(t)
	v2 := b.v2()
	rules := map[string]string{}
	defer func() { golden(t, "refused_v2_signed.txt", rules) }()
	create := func(pairs ...string) v2call { return v2.refund("R1", 10, pairs...) }
	at := func(q v2call, path, contentType string) v2call {
		q.path, q.contentType = path, contentType
		return q
	}
	for name, q := range map[string]v2call{
		"with a query":                at(create(), v2Refund+"?a=1", ""),
		"content type JSON":           at(create(), v2Refund, "application/json"),
		"content type in GBK":         at(create(), v2Refund, "text/xml; charset=GBK"),
		"no appid":                    create("appid", ""),
		"appid over 32":               create("appid", strings.Repeat("w", 33)),
		"no nonce_str":                create("nonce_str", ""),
		"nonce_str over 32":           create("nonce_str", strings.Repeat("n", 33)),
		"sub_mch_id no digits":        create("sub_mch_id", "x"),
		"sub_mch_id over 32":          create("sub_mch_id", strings.Repeat("1", 33)),
		"sub_appid over 32":           create("sub_appid", strings.Repeat("w", 33)),
		"unknown element":             create("op_user_id", mchid),
		"element in another case":     create("Refund_desc", "x"),
		"no out_refund_no":            create("out_refund_no", ""),
		"out_refund_no over 64":       create("out_refund_no", strings.Repeat("R", 65)),
		"out_refund_no odd character": create("out_refund_no", "R#1"),
		"no order":                    create("transaction_id", ""),
		"transaction_id over 32":      create("transaction_id", strings.Repeat("4", 33)),
		"out_trade_no over 32":        create("out_trade_no", strings.Repeat("T", 33)),
		"out_trade_no under 6":        create("out_trade_no", "T-001"),
		"out_trade_no with blank":     create("out_trade_no", "T 0001"),
		"refund_desc over 80 bytes":   create("refund_desc", strings.Repeat("汉", 27)),
		"notify_url with query":       create("notify_url", "https://example.com/n?a=1"),
		"notify_url over 256":         create("notify_url", "https://example.com/"+strings.Repeat("n", 256)),
		"notify_url no URL":           create("notify_url", "example"),
		"refund_account unknown":      create("refund_account", "AVAILABLE"),
		"refund_fee_type unknown":     create("refund_fee_type", "USD"),
		"no refund_fee":               create("refund_fee", ""),
		"no total_fee":                create("total_fee", ""),
		"refund_fee 0":                create("refund_fee", "0"),
		"refund_fee negative":         create("refund_fee", "-1"),
		"refund_fee fractional":       create("refund_fee", "10.0"),
		"refund_fee with zero":        create("refund_fee", "010"),
		"refund_fee with plus":        create("refund_fee", "+10"),
		"refund_fee with blank":       create("refund_fee", " 10"),
		"refund_fee over int64":       create("refund_fee", "99999999999999999999"),
		"refund_fee over total_fee":   create("refund_fee", "101"),
		"query for nothing":           v2.query(),
		"query for refund_fee":        v2.query("out_refund_no", "R1", "refund_fee", "1"),
		"query offset negative":       v2.query("out_trade_no", "T-0010", "offset", "-1"),
		"query offset a word":         v2.query("out_trade_no", "T-0010", "offset", "ten"),
		"query refund_id over 32":     v2.query("refund_id", strings.Repeat("5", 33)),
		"query number over 64":        v2.query("out_refund_no", strings.Repeat("R", 65)),
		"query number odd character":  v2.query("out_refund_no", "R#1"),
		"query transaction over 32":   v2.query("transaction_id", strings.Repeat("4", 33)),
		"query out_trade_no under 6":  v2.query("out_trade_no", "T-001"),
	} {
		t.Run(name, func(t *testing.T) {
			before := len(b.Violations())
			defer func() { rules[name] = lastRefusal(b) }()
			v2.want(q, "PARAM_ERROR")
			if len(b.Violations()) != before+1 {
				t.Errorf("violations: %q", b.Violations()[before:])
			}
		})
	}
	if list := b.Refunds(); len(list) != 0 {
		t.Errorf("executed: %v", list)
	}
}

// The limits themselves are allowed.
func TestV2AcceptedAtTheLimit(t *testing.T) {
	b := setup(t, wxpaytest.Options{OpenBooks: true})
	v2 := b.v2()
	no := "Az09_-|*@" + strings.Repeat("R", 55)
	v2.want(v2.refund(no, 10, "transaction_id", "", "out_trade_no", strings.Repeat("T", 32), "nonce_str", strings.Repeat("n", 32),
		"refund_desc", strings.Repeat("汉", 26)+"ab", "notify_url", "https://example.com/"+strings.Repeat("n", 236)), "")
	b.clock.forward(time.Minute)
	v2.want(v2.refund("R2", 10, "transaction_id", "", "out_trade_no", "T-1234"), "")
	v2.want(v2.query("out_refund_no", no), "")
	b.wantViolations(0)
}

// XML may be spelled in any way that means the same; empty elements are not there.
func TestV2SpellingIsFree(t *testing.T) {
	b := setup(t)
	v2 := b.v2()
	q := v2.refund("R1", 10, "refund_desc", "a<b")
	q.unsigned = map[string]string{"sub_mch_id": "", "notify_url": ""}
	q.contentType = "application/xml"
	q.write = func(s string) string {
		s = strings.Replace(s, "<appid>"+b.creds.AppID, "\r\n\t<appid><![CDATA["+b.creds.AppID+"]]>", 1)
		s = strings.Replace(s, "a&lt;b", "<![CDATA[a<]]>&#98;", 1)
		s = strings.Replace(s, "<notify_url></notify_url>", "<notify_url/>", 1)
		return `<?xml version="1.0" encoding="utf-8"?>` + "\n" + s + "\n"
	}
	v2.want(q, "")
	if r, ok := b.Refund(mchid, "R1"); !ok || r.Amount != 10 {
		t.Errorf("%v", r)
	}
	b.wantViolations(0)
}

// What the gateway cannot read it answers with a page.
func TestV2BodyOverAMegabyte(t *testing.T) {
	b := setup(t)
	v2 := b.v2()
	q := v2.query("out_refund_no", "R1")
	q.write = func(string) string { return strings.Repeat(" ", 1<<20+1) }
	if r, err := v2.try(q); err == nil && r.status != 400 {
		t.Errorf("%v", r)
	}
	b.wantViolations(0)
}
