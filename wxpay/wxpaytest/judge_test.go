package wxpaytest_test

import (
	"crypto/rand"
	"crypto/rsa"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wxpay-worker/wxpay/wxpaytest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares case and rule, so that each case is known to be refused for its own reason.
func golden(t *testing.T, file string, rules map[string]string) {
	t.Helper()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		fmt.Fprintf(&b, "%s: %s\n", name, rules[name])
	}
	file = filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) { // fewer than all with -run
		if !strings.Contains("\n"+string(want), "\n"+line) {
			t.Errorf("%s has no line %q; -update writes it anew", file, line)
		}
	}
}

func lastRefusal(b *bench) string {
	list := b.Requests()
	return list[len(list)-1].Refusal
}

// One case per rule before the signature is accepted: 401, unsigned, not executed, a violation.
func TestRefusedUnsigned(t *testing.T) {
	b := setup(t)
	rules := map[string]string{}
	defer func() { golden(t, "refused_unsigned.txt", rules) }()
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	used := nonce()
	b.want(call{method: "GET", target: refunds + "/R0", nonce: used}, 404, "RESOURCE_NOT_EXISTS")

	replace := func(old, new string) func(string) string {
		return func(s string) string { return strings.Replace(s, old, new, 1) }
	}
	for name, spoil := range map[string]func(q *call){
		"no authorization":         func(q *call) { q.header = map[string]string{"Authorization": ""} },
		"two authorizations":       func(q *call) { q.double = "Authorization" },
		"other scheme":             func(q *call) { q.spoilAuthorization = replace("RSA2048", "SM3") },
		"two blanks after scheme":  func(q *call) { q.spoilAuthorization = replace("2048 ", "2048  ") },
		"blank after comma":        func(q *call) { q.spoilAuthorization = replace(",", ", ") },
		"unquoted item":            func(q *call) { q.spoilAuthorization = replace(`mchid="`+mchid+`"`, `mchid=`+mchid) },
		"item missing":             func(q *call) { q.spoilAuthorization = replace(`mchid="`+mchid+`",`, "") },
		"item twice":               func(q *call) { q.spoilAuthorization = replace(`mchid=`, `mchid="1",mchid=`) },
		"unknown item":             func(q *call) { q.spoilAuthorization = replace(`mchid=`, `extra="1",mchid=`) },
		"unknown mchid":            func(q *call) { q.mchid = "1999999999" },
		"serial not the merchants": func(q *call) { q.serial = strings.Repeat("A", 40) },
		"serial in lower case":     func(q *call) { q.serial = strings.ToLower(b.creds.SerialNo) },
		"timestamp too old":        func(q *call) { q.at = b.clock.now().Add(-301 * time.Second) },
		"timestamp too new":        func(q *call) { q.at = b.clock.now().Add(301 * time.Second) },
		"timestamp not seconds":    func(q *call) { q.timestampText = "1800000000.5" },
		"timestamp with a plus":    func(q *call) { q.timestampText = "+1800000000" },
		"nonce too short":          func(q *call) { q.nonce = "abc" },
		"nonce too long":           func(q *call) { q.nonce = strings.Repeat("a", 65) },
		"nonce with odd bytes":     func(q *call) { q.nonce = "aaaaaaaaaaaaaaaa;" },
		"nonce used before":        func(q *call) { q.nonce = used },
		"wrong key":                func(q *call) { q.key = other },
		"signature not base64":     func(q *call) { q.spoil = func(string) string { return "%%%" } },
		"signature forged":         func(q *call) { q.spoil = func(s string) string { return s[1:100] + s[:1] + s[100:] } },
		"other URL signed":         func(q *call) { q.signedTarget = "https://api.mch.weixin.qq.com" + q.target },
		"other body signed":        func(q *call) { q.signedBody = q.body + "\n" },
	} {
		t.Run(name, func(t *testing.T) {
			before := len(b.Violations())
			defer func() { rules[name] = lastRefusal(b) }()
			q := refund("R1", 10)
			spoil(&q)
			r := b.want(q, 401, "SIGN_ERROR")
			if r.header.Get("Wechatpay-Signature") != "" {
				t.Error("a 401 is not signed")
			}
			if len(b.Violations()) != before+1 {
				t.Errorf("violations: %q", b.Violations()[before:])
			}
			if _, exists := b.Refund(mchid, "R1"); exists {
				t.Error("a 401 was executed")
			}
		})
	}
}

func TestTimestampAtTheEdge(t *testing.T) {
	b := setup(t)
	for _, d := range []time.Duration{-300 * time.Second, 300 * time.Second} {
		q := get(refunds + "/R1")
		q.at = b.clock.now().Add(d)
		b.want(q, 404, "RESOURCE_NOT_EXISTS")
	}
	b.wantViolations(0)
}

func TestOrderOfAuthorizationItemsIsFree(t *testing.T) {
	b := setup(t)
	q := get(refunds + "/R1")
	q.spoilAuthorization = func(s string) string {
		scheme, items, _ := strings.Cut(s, " ")
		parts := strings.Split(items, ",")
		parts[0], parts[4] = parts[4], parts[0]
		return scheme + " " + strings.Join(parts, ",")
	}
	b.want(q, 404, "RESOURCE_NOT_EXISTS")
	b.wantViolations(0)
}

// A nonce may come again with another timestamp, and from a GET whose connection died without a byte.
func TestNonceMayReturn(t *testing.T) {
	b := setup(t)
	n := nonce()
	first := get(refunds + "/R1")
	first.nonce = n
	b.want(first, 404, "RESOURCE_NOT_EXISTS")
	second := first
	second.at = b.clock.now().Add(time.Second)
	b.want(second, 404, "RESOURCE_NOT_EXISTS")

	b.Fault(wxpaytest.Fault{Answer: wxpaytest.AnswerLost})
	lost := get(refunds + "/R1")
	b.want(lost, 404, "RESOURCE_NOT_EXISTS") // net/http sends it again by itself: the connection was used before
	if n := len(b.RequestsTo(wxpaytest.EndpointRefundQuery)); n != 4 {
		t.Fatalf("%d requests, want 4", n)
	}
	b.wantViolations(0)
}

// One case per rule of headers, paths and query: signed, a violation.
func TestRefusedSigned(t *testing.T) {
	b := setup(t)
	rules := map[string]string{}
	defer func() { golden(t, "refused_signed.txt", rules) }()
	header := func(name, value string) func(q *call) {
		return func(q *call) { q.header = map[string]string{name: value} }
	}
	for name, c := range map[string]struct {
		q      call
		spoil  func(*call)
		status int
		code   string
	}{
		"no accept":               {refund("R1", 10), header("Accept", ""), 400, "INVALID_REQUEST"},
		"no user agent":           {refund("R1", 10), header("User-Agent", ""), 400, "INVALID_REQUEST"},
		"accept anything":         {refund("R1", 10), header("Accept", "*/*"), 400, "INVALID_REQUEST"},
		"no content type":         {refund("R1", 10), header("Content-Type", ""), 400, "INVALID_REQUEST"},
		"other content type":      {refund("R1", 10), header("Content-Type", "text/json"), 400, "INVALID_REQUEST"},
		"other charset":           {refund("R1", 10), header("Content-Type", "application/json; charset=gbk"), 400, "INVALID_REQUEST"},
		"no wechatpay serial":     {refund("R1", 10), header("Wechatpay-Serial", ""), 400, "PARAM_ERROR"},
		"other wechatpay serial":  {refund("R1", 10), header("Wechatpay-Serial", "PUB_KEY_ID_1"), 400, "PARAM_ERROR"},
		"unknown path":            {get("/v3/unknown"), nil, 404, "NOT_FOUND"},
		"unknown v2 path":         {post("/secapi/pay/reverse", "{}"), nil, 404, "NOT_FOUND"},
		"double slash":            {get("/v3//refund/domestic/refunds/R1"), nil, 404, "NOT_FOUND"},
		"trailing slash":          {post(refunds+"/", "{}"), nil, 404, "NOT_FOUND"},
		"wrong method":            {call{method: "PUT", target: refunds, body: "{}"}, nil, 404, "NOT_FOUND"},
		"path not escaped":        {get(refunds + "/R|1"), nil, 400, "PARAM_ERROR"},
		"number over 64 bytes":    {get(refunds + "/" + strings.Repeat("R", 65)), nil, 400, "PARAM_ERROR"},
		"number of odd bytes":     {get(refunds + "/R%201"), nil, 400, "PARAM_ERROR"},
		"complaint id over 64":    {get(complaintPath(strings.Repeat("1", 65), "")), nil, 400, "PARAM_ERROR"},
		"unknown query":           {get(refunds + "/R1?x=1"), nil, 400, "PARAM_ERROR"},
		"query on a create":       {post(refunds+"?x=1", refund("R1", 1).body), nil, 400, "PARAM_ERROR"},
		"query twice":             {get(refunds + "/R1?sub_mchid=1&sub_mchid=1"), nil, 400, "PARAM_ERROR"},
		"query not escaped":       {get(refunds + "/R1?sub_mchid=1+1"), nil, 400, "PARAM_ERROR"},
		"sub_mchid no digits":     {get(refunds + "/R1?sub_mchid=abc"), nil, 400, "PARAM_ERROR"},
		"body on a GET":           {call{method: "GET", target: refunds + "/R1", body: "{}"}, nil, 400, "PARAM_ERROR"},
		"history limit 0":         {get(complaintPath("C1", "/negotiation-historys?limit=0")), nil, 400, "PARAM_ERROR"},
		"history limit 301":       {get(complaintPath("C1", "/negotiation-historys?limit=301")), nil, 400, "PARAM_ERROR"},
		"history limit a word":    {get(complaintPath("C1", "/negotiation-historys?limit=ten")), nil, 400, "PARAM_ERROR"},
		"history offset below 0":  {get(complaintPath("C1", "/negotiation-historys?offset=-1")), nil, 400, "PARAM_ERROR"},
		"POST without a body":     {post(refunds, ""), nil, 400, "PARAM_ERROR"},
		"certificates with query": {get("/v3/certificates?a=1"), nil, 400, "PARAM_ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(b.Violations())
			defer func() { rules[name] = lastRefusal(b) }()
			if c.spoil != nil {
				c.spoil(&c.q)
			}
			b.want(c.q, c.status, c.code)
			if len(b.Violations()) != before+1 {
				t.Errorf("violations: %q", b.Violations()[before:])
			}
		})
	}
	if list := b.Refunds(); len(list) != 0 {
		t.Errorf("executed: %v", list)
	}
	for _, r := range b.Requests() {
		if r.Refusal == "" {
			t.Errorf("%v: no rule is given", r)
		}
	}
}

func TestNoCertificatesInPublicKeyMode(t *testing.T) {
	b := setup(t)
	b.want(get("/v3/certificates"), 404, "RESOURCE_NOT_EXISTS")
	b.wantViolations(0)
}

// One case per rule of JSON and of fields: PARAM_ERROR, signed, a violation.
func TestRefusedBody(t *testing.T) {
	b := setup(t)
	rules := map[string]string{}
	defer func() { golden(t, "refused_body.txt", rules) }()
	create := func(old, new string) call {
		body := `{"transaction_id":"4200000001","out_trade_no":"T1","out_refund_no":"R1","reason":"商品已售完","notify_url":"https://example.com/n","funds_account":"AVAILABLE","amount":{"refund":10,"total":100,"currency":"CNY"}}`
		if !strings.Contains(body, old) {
			t.Fatalf("nothing to replace: %s", old)
		}
		return post(refunds, strings.Replace(body, old, new, 1))
	}
	decide := func(body string) call { return post(complaintPath("C1", "/update-refund-progress"), body) }
	reply := func(rest string) call {
		return post(complaintPath("C1", "/response"), `{"complainted_mchid":"1900000001"`+rest+`}`)
	}
	media := func(n int) string { return `["m"` + strings.Repeat(`,"m"`, n-1) + `]` }
	han := func(n int) string { return strings.Repeat("汉", n) }

	for name, q := range map[string]call{
		"not JSON":                       post(refunds, "hello"),
		"not an object":                  post(refunds, "[]"),
		"cut JSON":                       post(refunds, `{"a":1`),
		"trailing data":                  create(`"CNY"}}`, `"CNY"}} {}`),
		"nested too deeply":              post(refunds, strings.Repeat(`{"a":`, 20)+"1"+strings.Repeat("}", 20)),
		"null":                           create(`"商品已售完"`, `null`),
		"null inside":                    create(`"CNY"`, `null`),
		"duplicate key":                  create(`"reason"`, `"reason":"a","reason"`),
		"duplicate key inside":           create(`"refund":10`, `"refund":10,"refund":10`),
		"unknown field":                  create(`"reason"`, `"extra":1,"reason"`),
		"unknown field inside":           create(`"refund":10`, `"refund":10,"extra":1`),
		"field in another case":          create(`"reason"`, `"Reason"`),
		"not UTF-8":                      create(`商品已售完`, "\xff"),
		"4-byte UTF-8":                   create(`商品已售完`, "好😀"),
		"4-byte UTF-8 escaped":           create(`商品已售完`, `\ud83d\ude00`),
		"lone surrogate":                 create(`商品已售完`, `\uDC00`),
		"no out_refund_no":               create(`"out_refund_no":"R1",`, ``),
		"empty out_refund_no":            create(`"R1"`, `""`),
		"out_refund_no over 64 bytes":    create(`"R1"`, `"`+strings.Repeat("R", 65)+`"`),
		"out_refund_no odd character":    create(`"R1"`, `"R#1"`),
		"out_refund_no Han":              create(`"R1"`, `"退1"`),
		"no order":                       create(`"transaction_id":"4200000001","out_trade_no":"T1",`, ``),
		"empty order number":             create(`"T1"`, `""`),
		"transaction_id over 32":         create(`4200000001`, strings.Repeat("4", 33)),
		"out_trade_no over 32":           create(`T1`, strings.Repeat("T", 33)),
		"out_trade_no with blank":        create(`T1`, `T 1`),
		"reason over 80 bytes":           create(`商品已售完`, han(27)),
		"reason a number":                create(`"商品已售完"`, `5`),
		"notify_url with query":          create(`example.com/n`, `example.com/n?a=1`),
		"notify_url over 256":            create(`example.com/n`, `example.com/`+strings.Repeat("n", 256)),
		"notify_url no URL":              create(`https://example.com/n`, `example`),
		"funds_account unknown":          create(`AVAILABLE`, `POCKET`),
		"sub_mchid no digits":            create(`"reason"`, `"sub_mchid":"x","reason"`),
		"no amount":                      create(`,"amount":{"refund":10,"total":100,"currency":"CNY"}`, ``),
		"amount no object":               create(`{"refund":10,"total":100,"currency":"CNY"}`, `10`),
		"no refund amount":               create(`"refund":10,`, ``),
		"no total":                       create(`"total":100,`, ``),
		"no currency":                    create(`,"currency":"CNY"`, ``),
		"other currency":                 create(`CNY`, `USD`),
		"refund 0":                       create(`"refund":10`, `"refund":0`),
		"refund negative":                create(`"refund":10`, `"refund":-1`),
		"refund fractional":              create(`"refund":10`, `"refund":10.0`),
		"refund exponent":                create(`"refund":10`, `"refund":1e1`),
		"refund text":                    create(`"refund":10`, `"refund":"10"`),
		"refund over int64":              create(`"refund":10`, `"refund":99999999999999999999`),
		"refund over total":              create(`"refund":10`, `"refund":101`),
		"amount.from":                    create(`"refund":10`, `"refund":10,"from":[]`),
		"no action":                      decide(`{"remark":"x"}`),
		"action unknown":                 decide(`{"action":"approve"}`),
		"launch_refund_day negative":     decide(`{"action":"APPROVE","launch_refund_day":-1}`),
		"launch_refund_day text":         decide(`{"action":"APPROVE","launch_refund_day":"3"}`),
		"launch_refund_day with REJECT":  decide(`{"action":"REJECT","launch_refund_day":0,"reject_reason":"不"}`),
		"reject_reason with APPROVE":     decide(`{"action":"APPROVE","reject_reason":"不"}`),
		"reject_media_list with APPROVE": decide(`{"action":"APPROVE","reject_media_list":["m"]}`),
		"reject_reason over 200":         decide(`{"action":"REJECT","reject_reason":"` + han(201) + `"}`),
		"remark over 200":                decide(`{"action":"APPROVE","remark":"` + han(201) + `"}`),
		"reject_media_list over 4":       decide(`{"action":"REJECT","reject_reason":"不","reject_media_list":` + media(5) + `}`),
		"reject_media_list no array":     decide(`{"action":"REJECT","reject_reason":"不","reject_media_list":"m"}`),
		"reject_media_list numbers":      decide(`{"action":"REJECT","reject_reason":"不","reject_media_list":[1]}`),
		"media_id over 512":              decide(`{"action":"REJECT","reject_media_list":["` + strings.Repeat("m", 513) + `"]}`),
		"complainted_mchid in decision":  decide(`{"action":"APPROVE","complainted_mchid":"1900000001"}`),
		"no response_content":            reply(``),
		"response_content over 500":      reply(`,"response_content":"` + han(501) + `"`),
		"response_images over 4":         reply(`,"response_content":"好","response_images":` + media(5)),
		"jump_url alone":                 reply(`,"response_content":"好","jump_url":"https://a.b/c"`),
		"jump_url_text alone":            reply(`,"response_content":"好","jump_url_text":"看"`),
		"jump_url not HTTPS":             reply(`,"response_content":"好","jump_url":"http://a.b/c","jump_url_text":"看"`),
		"jump_url over 512":              reply(`,"response_content":"好","jump_url":"https://a.b/` + strings.Repeat("c", 512) + `","jump_url_text":"看"`),
		"jump_url_text over 10":          reply(`,"response_content":"好","jump_url":"https://a.b/c","jump_url_text":"` + han(11) + `"`),
		"mini program without path":      reply(`,"response_content":"好","mini_program_jump_info":{"appid":"a","text":"t"}`),
		"mini program unknown field":     reply(`,"response_content":"好","mini_program_jump_info":{"appid":"a","path":"p","text":"t","x":1}`),
		"no complainted_mchid":           post(complaintPath("C1", "/complete"), `{}`),
		"complainted_mchid over 64":      post(complaintPath("C1", "/complete"), `{"complainted_mchid":"`+strings.Repeat("1", 65)+`"}`),
		"unknown field in complete":      post(complaintPath("C1", "/complete"), `{"complainted_mchid":"1900000001","x":1}`),
	} {
		t.Run(name, func(t *testing.T) {
			before := len(b.Violations())
			defer func() { rules[name] = lastRefusal(b) }()
			r := b.want(q, 400, "PARAM_ERROR")
			if !strings.Contains(string(r.body), `"location":"body"`) {
				t.Errorf("no detail: %v", r)
			}
			if len(b.Violations()) != before+1 {
				t.Errorf("violations: %q", b.Violations()[before:])
			}
		})
	}
	book, _ := b.ComplaintBook("C1")
	if len(b.Refunds()) != 0 || len(book.History) != 1 {
		t.Errorf("executed: %v %v", b.Refunds(), book.History)
	}
}

// The limits themselves are allowed: bytes where bytes count, characters where characters count.
func TestAcceptedAtTheLimit(t *testing.T) {
	b := setup(t, wxpaytest.Options{OpenBooks: true})
	no := "Az09_-|*@" + strings.Repeat("R", 55)
	b.want(post(refunds, fmt.Sprintf(`{"out_trade_no":%q,"out_refund_no":%q,"reason":%q,"notify_url":%q,"amount":{"refund":10,"total":10,"currency":"CNY"}}`,
		strings.Repeat("T", 32), no, strings.Repeat("汉", 26)+"ab", "https://example.com/"+strings.Repeat("n", 236))), 200, "")
	b.want(get(refunds+"/Az09_-%7C*@"+strings.Repeat("R", 55)), 200, "")
	b.want(get(refunds+"/Az09_-%7C%2A%40"+strings.Repeat("R", 55)), 200, "")
	b.want(post(complaintPath("C2", "/response"), fmt.Sprintf(`{"complainted_mchid":"1900000001","response_content":%q,"response_images":["1","2","3","4"]}`,
		strings.Repeat("汉", 500))), 204, "")
	b.want(post(complaintPath("C2", "/response"), fmt.Sprintf(`{"complainted_mchid":"1900000001","response_content":"好","mini_program_jump_info":{"appid":"a","path":%q,"text":"t"}}`,
		strings.Repeat("p", 1024))), 204, "") // of which no limit is documented; package messages takes so many
	b.want(post(complaintPath("C2", "/update-refund-progress"), fmt.Sprintf(`{"action":"REJECT","reject_reason":%q,"remark":%q,"reject_media_list":["1","2","3","4"]}`,
		strings.Repeat("汉", 200), strings.Repeat("汉", 200))), 204, "")
	b.want(get(complaintPath("C2", "/negotiation-historys?limit=300&offset=0")), 200, "")
	b.wantViolations(0)
}

// JSON may be spelled in any way that means the same.
func TestSpellingOfJSONIsFree(t *testing.T) {
	b := setup(t)
	b.want(post(refunds, " {\n\"out_refund_no\" : \"R\\u0031\", \"out_trade_no\":\"T1\",\"reason\":\"\\u5546\\\\ud83d\",\n \"amount\":{\"currency\":\"CNY\",\"total\":100,\"refund\":1}}\n"), 200, "")
	if _, ok := b.Refund(mchid, "R1"); !ok {
		t.Error("R1 is not in the books")
	}
	b.wantViolations(0)
}
