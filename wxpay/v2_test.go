package wxpay

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	testV2MchID = "1900000109" // of the seed
	testV2Key   = "192006250b4c09247ec02edce69f6a2d"
)

// merchantPair is a merchant API certificate with its key, issued by nobody in particular.
var merchantPair = sync.OnceValue(func() tls.Certificate {
	key := merchantKey()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: testV2MchID},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	return tls.Certificate{Certificate: [][]byte{must(x509.CreateCertificate(nil, template, template, key.Public(), key))}, PrivateKey: key}
})

// newTestV2Client is the merchant of the seed, talking to s as if it were WeChat Pay.
func newTestV2Client(t testing.TB, s *server, change ...func(*V2Config)) *V2Client {
	t.Helper()
	config := V2Config{
		MchID: testV2MchID, AppID: "wx8888888888888888", APIKey: []byte(testV2Key), Certificate: merchantPair(),
		Hosts: []string{testHost}, Now: func() time.Time { return testNow },
	}
	if s != nil {
		config.Transport = newTestTransport(t, map[string]string{"api.mch.weixin.qq.com:443": s.addr})
	}
	for _, f := range change {
		f(&config)
	}
	c, err := NewV2(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.mutual.transport.(*http.Transport).CloseIdleConnections)
	c.plain.nonce = func() string { return testNonce }
	c.mutual.nonce = c.plain.nonce
	return c
}

// v2Params is a message before it is signed; a value of "-" in with removes.
type v2Params map[string]string

func (p v2Params) with(pairs ...string) v2Params {
	p = maps.Clone(p)
	for i := 0; i < len(pairs); i += 2 {
		p[pairs[i]] = pairs[i+1]
		if pairs[i+1] == "-" {
			delete(p, pairs[i])
		}
	}
	return p
}

// sign signs like WeChat Pay. Spelled out rather than with the package's own functions: a misreading must not pass on both
// sides.
func (p v2Params) sign(key, by string) v2Params {
	text := ""
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if p[name] != "" && name != "sign" {
			text += name + "=" + p[name] + "&"
		}
	}
	text += "key=" + key
	var sum []byte
	if by == "MD5" {
		digest := md5.Sum([]byte(text))
		sum = digest[:]
	} else {
		mac := hmac.New(sha256.New, []byte(key))
		io.WriteString(mac, text)
		sum = mac.Sum(nil)
	}
	return p.with("sign", fmt.Sprintf("%X", sum))
}

// xml writes values as CDATA, as WeChat Pay does, one element a line.
func (p v2Params) xml() string {
	var b strings.Builder
	b.WriteString("<xml>\n")
	for _, name := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&b, "  <%s><![CDATA[%s]]></%s>\n", name, p[name], name)
	}
	return b.String() + "</xml>\n"
}

// answer is the signed message as WeChat Pay sends it.
func (p v2Params) answer() reply { return v2Reply(p.sign(testV2Key, "HMAC-SHA256").xml()) }

func v2Reply(body string) reply {
	return reply{status: 200, body: body}.with("Content-Type", "text/xml").with("Request-ID", "08E7A8CDB80610F10218-268447840")
}

const seedNumber = "1217752501201407033233368018"

// v2Accepted and v2Found are genuine answers about the refund that seedRefund asks for, with the fields of the documents.
var (
	v2Accepted = v2Params{
		"return_code": "SUCCESS", "return_msg": "OK", "result_code": "SUCCESS", "appid": "wx8888888888888888", "mch_id": testV2MchID,
		"nonce_str": "NfsMFbUFpdbEhPXP", "transaction_id": seedNumber, "out_trade_no": seedNumber, "out_refund_no": seedNumber,
		"refund_id": "2008450740201411110000174436", "refund_channel": "", "refund_fee": "100", "total_fee": "100", "cash_fee": "90",
		"cash_refund_fee": "90", "coupon_refund_fee": "10", "coupon_type_0": "CASH", "a_field_of_tomorrow": "x",
	}
	v2Found = v2Params{
		"return_code": "SUCCESS", "return_msg": "OK", "result_code": "SUCCESS", "appid": "wx8888888888888888", "mch_id": testV2MchID,
		"nonce_str": "TeqClE3i0mvn3DrK", "transaction_id": seedNumber, "out_trade_no": seedNumber, "total_fee": "100", "cash_fee": "90",
		"refund_count": "2", "refund_fee": "100",
		"out_refund_no_0": "another", "refund_id_0": "1", "refund_fee_0": "60", "refund_status_0": "REFUNDCLOSE",
		"out_refund_no_1": seedNumber, "refund_id_1": "2008450740201411110000174436", "refund_channel_1": "ORIGINAL", "refund_fee_1": "40",
		"cash_refund_fee_1": "36", "refund_status_1": "SUCCESS", "refund_account_1": "REFUND_SOURCE_RECHARGE_FUNDS",
		"refund_recv_accout_1": "招商银行信用卡0403", "refund_success_time_1": "2016-07-25 15:26:26",
		"coupon_refund_id_1_0": "BE2F2D9E4D9848E2963BF39A8DE0A2CD", "coupon_refund_fee_1_0": "4",
	}
)

// seedRefund is seeds/004 in the words of version 3.
func seedRefund() *RefundRequest {
	return &RefundRequest{
		SubMchID: "1900000109", TransactionID: seedNumber, OutTradeNo: seedNumber, OutRefundNo: seedNumber, Reason: "商品已售完",
		NotifyURL: "https://weixin.qq.com/notify/", FundsAccount: "AVAILABLE",
		Amount: RefundAmount{Refund: 100, Total: 100, Currency: "CNY"},
	}
}

// v2Calls are the endpoints of version 2.
var v2Calls = []struct {
	name   string // of the golden file
	change func(*V2Config)
	answer v2Params
	call   func(context.Context, *V2Client) (*Refund, error)
	want   *Refund
	mutual bool
}{
	{
		name: "v2_refund_seed", answer: v2Accepted, mutual: true,
		change: func(c *V2Config) { c.SubAppID = "wx8888888888888888" },
		call:   func(ctx context.Context, c *V2Client) (*Refund, error) { return c.CreateRefund(ctx, seedRefund()) },
		want: &Refund{
			RefundID: "2008450740201411110000174436", OutRefundNo: seedNumber, TransactionID: seedNumber, OutTradeNo: seedNumber,
			Status: RefundProcessing, Amount: RefundAmountAnswer{Total: 100, Refund: 100, PayerTotal: 90, PayerRefund: 90, Currency: "CNY"},
		},
	},
	{
		name: "v2_refund_md5", mutual: true,
		answer: v2Accepted.with("out_refund_no", "A*1|b@c_-", "total_fee", "-", "refund_fee", "-", "out_trade_no", "ORDER1"),
		change: func(c *V2Config) { c.SignType, c.SubAppID = V2MD5, "wxsub" }, // a sub_appid without a sub-merchant is not sent
		call: func(ctx context.Context, c *V2Client) (*Refund, error) {
			return c.CreateRefund(ctx, &RefundRequest{
				OutTradeNo: "ORDER1", OutRefundNo: "A*1|b@c_-", Reason: "<五> & \"六\"\r\n]]>", FundsAccount: "UNSETTLED",
				Amount: RefundAmount{Refund: 1, Total: 9007199254740993},
			})
		},
		want: &Refund{
			RefundID: "2008450740201411110000174436", OutRefundNo: "A*1|b@c_-", TransactionID: seedNumber, OutTradeNo: "ORDER1",
			Status: RefundProcessing, Amount: RefundAmountAnswer{Total: 9007199254740993, Refund: 1, PayerTotal: 90, PayerRefund: 90, Currency: "CNY"},
		},
	},
	{
		name: "v2_query", answer: v2Found,
		call: func(ctx context.Context, c *V2Client) (*Refund, error) { return c.QueryRefund(ctx, seedNumber, "") },
		want: &Refund{
			RefundID: "2008450740201411110000174436", OutRefundNo: seedNumber, TransactionID: seedNumber, OutTradeNo: seedNumber,
			Channel: "ORIGINAL", UserReceivedAccount: "招商银行信用卡0403", SuccessTime: "2016-07-25T15:26:26+08:00", Status: RefundSuccess,
			FundsAccount: "AVAILABLE", Amount: RefundAmountAnswer{Total: 100, Refund: 40, PayerTotal: 90, PayerRefund: 36, Currency: "CNY"},
		},
	},
	{
		name: "v2_query_partner", change: func(c *V2Config) { c.SubAppID = "wx9999999999999999" },
		answer: v2Found.with("refund_status_1", "CHANGE", "refund_recv_accout_1", "-", "refund_success_time_1", "soon", "fee_type", "HKD", "refund_account_1", "?"),
		call: func(ctx context.Context, c *V2Client) (*Refund, error) {
			return c.QueryRefund(ctx, seedNumber, "1900000110")
		},
		want: &Refund{
			RefundID: "2008450740201411110000174436", OutRefundNo: seedNumber, TransactionID: seedNumber, OutTradeNo: seedNumber,
			Channel: "ORIGINAL", Status: RefundAbnormal, Amount: RefundAmountAnswer{Total: 100, Refund: 40, PayerTotal: 90, PayerRefund: 36, Currency: "HKD"},
		},
	},
}

// TestV2Requests compares every byte of each request, verifies its sign, and shows that a genuine answer is read and that
// only refunds go with the certificate.
func TestV2Requests(t *testing.T) {
	t.Parallel()
	for _, tc := range v2Calls {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			by := "HMAC-SHA256"
			if strings.HasSuffix(tc.name, "md5") {
				by = "MD5"
			}
			s := serve(t, always(v2Reply(tc.answer.sign(testV2Key, by).xml())))
			if tc.change == nil {
				tc.change = func(*V2Config) {}
			}
			got, err := tc.call(t.Context(), newTestV2Client(t, s, tc.change))
			if err != nil || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%v\n%+v, want\n%+v", err, got, tc.want)
			}
			received := s.received()
			if len(received) != 1 {
				t.Fatalf("%d requests", len(received))
			}
			golden := filepath.Join("testdata", "requests", tc.name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(received[0].raw), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || received[0].raw != string(want) {
				t.Errorf("%v: the request is\n%s\nwant\n%s", err, received[0].raw, want)
			}
			params := v2Params(elements(t, received[0].body))
			if sign := params.sign(testV2Key, by)["sign"]; params["sign"] != sign || params["sign_type"] != by {
				t.Errorf("signed %s by %s, want %s", params["sign"], params["sign_type"], sign)
			}
			if shown := received[0].certificate; bytes.Equal(shown, merchantPair().Certificate[0]) != tc.mutual || !tc.mutual && shown != nil {
				t.Errorf("shown a certificate of %d bytes, want the merchant's: %v", len(shown), tc.mutual)
			}
		})
	}
}

var elementPattern = regexp.MustCompile(`<([a-z_0-9]+)>([^<]*)</([a-z_0-9]+)>`)

// elements reads a request without the package's own decoder.
func elements(t *testing.T, body string) map[string]string {
	t.Helper()
	inner, ok1 := strings.CutPrefix(body, "<xml>")
	inner, ok2 := strings.CutSuffix(inner, "</xml>")
	params := map[string]string{}
	rest := elementPattern.ReplaceAllStringFunc(inner, func(e string) string {
		m := elementPattern.FindStringSubmatch(e)
		if _, twice := params[m[1]]; twice || m[1] != m[3] || m[2] == "" {
			t.Errorf("element %s", e)
		}
		params[m[1]] = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&#13;", "\r", "&amp;", "&").Replace(m[2])
		return ""
	})
	if !ok1 || !ok2 || rest != "" {
		t.Errorf("not a flat <xml>: %s (left: %q)", body, rest)
	}
	return params
}

// TestV2Resent: the same request sent again is the same in every field but nonce_str and sign, and signed anew.
func TestV2Resent(t *testing.T) {
	t.Parallel()
	s := serve(t, always(v2Accepted.answer()))
	c := newTestV2Client(t, s)
	c.mutual.nonce = newNonce
	for range 2 {
		if _, err := c.CreateRefund(t.Context(), seedRefund()); err != nil {
			t.Fatal(err)
		}
	}
	first, second := elements(t, s.received()[0].body), elements(t, s.received()[1].body)
	if first["nonce_str"] == second["nonce_str"] || first["sign"] == second["sign"] || len(first["nonce_str"]) != 32 {
		t.Error("nonce_str or sign came again")
	}
	changing := regexp.MustCompile(`<(nonce_str|sign)>[^<]*`)
	if a, b := changing.ReplaceAllString(s.received()[0].body, ""), changing.ReplaceAllString(s.received()[1].body, ""); a != b {
		t.Errorf("%s\nand then\n%s", a, b)
	}
}

// TestV2Answers: what each kind of answer becomes. Every row is one way an answer can be.
func TestV2Answers(t *testing.T) {
	t.Parallel()
	good := v2Accepted.with("out_refund_no_0", seedNumber, "refund_id_0", "5", "refund_fee_0", "100", "refund_status_0", "PROCESSING") // serves both
	refused := v2Params{
		"return_code": "SUCCESS", "return_msg": "OK", "result_code": "FAIL", "err_code": "NOTENOUGH", "err_code_des": "基本账户余额不足",
		"appid": "wx8888888888888888", "mch_id": testV2MchID, "nonce_str": "x",
	}
	signedXML := good.answer().body
	unusable := &NoAnswerError{Sent: true, HTTPStatus: 200, Err: ErrUnusable}
	forged := func(p v2Params) reply { return v2Reply(p.sign(strings.Repeat("k", 32), "HMAC-SHA256").xml()) }
	tests := []struct {
		name   string
		answer []byte
		want   error // compared by facts, see sameError; nil = a refund
	}{
		{"right", good.answer().bytes(), nil},
		{"right, as plain text", v2Reply(strings.NewReplacer("<![CDATA[", "", "]]>", "").Replace(signedXML)).bytes(), nil},
		{"right, with a declaration", v2Reply(`<?xml version="1.0" encoding="UTF-8"?>` + signedXML).bytes(), nil},
		{"right, an empty element more", v2Reply(strings.Replace(signedXML, "</xml>", "<x></x><y/></xml>", 1)).bytes(), nil},

		// A success that is not proven.
		{"unsigned", v2Reply(good.xml()).bytes(), &SignatureError{HTTPStatus: 200, Err: ErrNoSignature}},
		{"sign empty", v2Reply(good.with("sign", "").xml()).bytes(), &SignatureError{HTTPStatus: 200, Err: ErrNoSignature}},
		{"forged", forged(good).bytes(), &SignatureError{HTTPStatus: 200, Err: ErrBadSignature}},
		{"signed by MD5", v2Reply(good.sign(testV2Key, "MD5").xml()).bytes(), &SignatureError{HTTPStatus: 200, Err: ErrBadSignature}},
		{"altered", v2Reply(strings.Replace(signedXML, "2008450740201411110000174436", "2008450740201411110000174437", 1)).bytes(), &SignatureError{HTTPStatus: 200, Err: ErrBadSignature}},
		{"an unknown element more", v2Reply(strings.Replace(signedXML, "</xml>", "<x>1</x></xml>", 1)).bytes(), &SignatureError{HTTPStatus: 200, Err: ErrBadSignature}},
		{"sign in lower case", v2Reply(strings.Replace(signedXML, good.sign(testV2Key, "")["sign"], strings.ToLower(good.sign(testV2Key, "")["sign"]), 1)).bytes(), &SignatureError{HTTPStatus: 200, Err: ErrBadSignature}},

		// Proven, and not about what was asked.
		{"another merchant's", good.with("mch_id", "1900000110").answer().bytes(), unusable},
		{"of no merchant", good.with("mch_id", "-").answer().bytes(), unusable},
		{"another refund's", good.with("out_refund_no", "R", "out_refund_no_0", "R").answer().bytes(), unusable},
		{"of no refund", good.with("out_refund_no", "-", "out_refund_no_0", "-").answer().bytes(), unusable},
		{"without refund_id", good.with("refund_id", "-", "refund_id_0", "-").answer().bytes(), unusable},
		{"a refund_id that is none", good.with("refund_id", "1&x=2", "refund_id_0", "1&x=2").answer().bytes(), unusable},
		{"without result_code", good.with("result_code", "-").answer().bytes(), unusable},
		{"an odd result_code", good.with("result_code", "OK").answer().bytes(), unusable},
		{"without return_code", good.with("return_code", "-").answer().bytes(), unusable},
		{"an odd return_code", good.with("return_code", "success").answer().bytes(), unusable},
		{"an odd total", good.with("total_fee", "1e2").answer().bytes(), unusable},
		{"a negative total", good.with("total_fee", "-100").answer().bytes(), unusable},

		// Refusals, proven and not.
		{"refused", refused.answer().bytes(), &Error{HTTPStatus: 200, Code: "NOTENOUGH", Message: "基本账户余额不足", Proven: true}},
		{"refused, unsigned", v2Reply(refused.xml()).bytes(), &Error{HTTPStatus: 200, Code: "NOTENOUGH", Message: "基本账户余额不足", Cause: ErrNoSignature}},
		{"refused, forged", forged(refused).bytes(), &Error{HTTPStatus: 200, Code: "NOTENOUGH", Message: "基本账户余额不足", Cause: ErrBadSignature}},
		{"another merchant refused", refused.with("mch_id", "1900000110").answer().bytes(), unusable},
		{"refused without a code", refused.with("err_code", "-").answer().bytes(), unusable},
		{"refused with a code that is none", refused.with("err_code", "not enough").answer().bytes(), unusable},
		{"refused without a code, unsigned", v2Reply(refused.with("err_code", "-").xml()).bytes(), &Error{HTTPStatus: 200, Message: "基本账户余额不足", Cause: ErrNoSignature}},
		{"return_code FAIL", v2Reply("<xml><return_code>FAIL</return_code><return_msg>签名错误</return_msg></xml>").bytes(), &Error{HTTPStatus: 200, Code: "FAIL", Message: "签名错误", Cause: ErrNoSignature}},
		{"return_code FAIL with a code", v2Reply("<xml><return_code>FAIL</return_code><err_code>SYSTEMERROR</err_code><err_code_des>d</err_code_des></xml>").bytes(), &Error{HTTPStatus: 200, Code: "SYSTEMERROR", Message: "d", Cause: ErrNoSignature}},
		{"return_code FAIL, signed", v2Params{"return_code": "FAIL", "return_msg": "m", "mch_id": testV2MchID}.answer().bytes(), &Error{HTTPStatus: 200, Code: "FAIL", Message: "m", Cause: ErrV2ReturnCode}},
		{"return_code FAIL with all of a success", good.with("return_code", "FAIL").answer().bytes(), &Error{HTTPStatus: 200, Code: "FAIL", Message: "OK", Cause: ErrV2ReturnCode}},

		// Not its voice.
		{"500 with a right answer", reply{status: 500, body: signedXML}.bytes(), &Error{HTTPStatus: 500, Cause: ErrV2Status}},
		{"201 with a right answer", reply{status: 201, body: signedXML}.bytes(), &Error{HTTPStatus: 201, Cause: ErrV2Status}},
		{"202", reply{status: 202}.bytes(), &Error{HTTPStatus: 202, Cause: ErrV2Status}},
		{"302", reply{status: 302}.with("Location", testHost+"/elsewhere").bytes(), &Error{HTTPStatus: 302, Cause: ErrV2Status}},
		{"400, no certificate", reply{status: 400, body: "<html>400 No required SSL certificate was sent"}.bytes(), &Error{HTTPStatus: 400, Cause: ErrV2Status}},
		{"502 HTML", reply{status: 502, body: "<html><title>502 Bad Gateway</title>"}.bytes(), &Error{HTTPStatus: 502, Cause: ErrV2Status}},

		// No whole answer, or none that can be read.
		{"empty", v2Reply("").bytes(), unusable},
		{"HTML", v2Reply("<html><title>hello</title></html>").bytes(), unusable},
		{"JSON", v2Reply(`{"return_code":"SUCCESS"}`).bytes(), unusable},
		{"with a DTD", v2Reply(`<!DOCTYPE xml [<!ENTITY x SYSTEM "file:///etc/passwd">]>` + signedXML).bytes(), unusable},
		{"an element twice", v2Reply(strings.Replace(signedXML, "</xml>", "<result_code>SUCCESS</result_code></xml>", 1)).bytes(), unusable},
		{"closed after reading", nil, &NoAnswerError{Sent: true, Err: io.EOF}},
		{"cut short", cut(good.answer().bytes(), 10), &NoAnswerError{Sent: true, HTTPStatus: 200, Err: io.ErrUnexpectedEOF}},
		{"too large", v2Reply(signedXML + strings.Repeat(" ", maxBody)).bytes(), &NoAnswerError{Sent: true, HTTPStatus: 200, Err: ErrTooLarge}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(request) []byte { return tc.answer })
			c := newTestV2Client(t, s)
			_, err := c.CreateRefund(t.Context(), seedRefund())
			if diff := sameV2Error(err, tc.want); diff != "" {
				t.Errorf("create: %s", diff)
			}
			if n := len(s.received()); n != 1 {
				t.Errorf("one call made %d requests", n)
			}
			_, err = c.QueryRefund(t.Context(), seedNumber, "")
			if diff := sameV2Error(err, tc.want); diff != "" {
				t.Errorf("query: %s", diff)
			}
		})
	}
	// What only one of the two looks at.
	for name, tc := range map[string]struct {
		create bool
		answer v2Params
	}{
		"created, another total":       {true, good.with("total_fee", "101")},
		"created, another amount":      {true, good.with("refund_fee", "99")},
		"found twice":                  {false, v2Found.with("out_refund_no_0", seedNumber)},
		"found, without a total":       {false, v2Found.with("total_fee", "-")},
		"found, without an amount":     {false, v2Found.with("refund_fee_1", "-")},
		"found, without a status":      {false, v2Found.with("refund_status_1", "-")},
		"found, a status that is none": {false, v2Found.with("refund_status_1", "all well")},
		"found, but not in the list":   {false, v2Found.with("out_refund_no_1", "-", "out_refund_no_x", seedNumber, "refund_id_x", "1", "refund_fee_x", "40", "refund_status_x", "SUCCESS", "out_refund_no", seedNumber)},
	} {
		c := newTestV2Client(t, serve(t, always(tc.answer.answer())))
		_, err := c.QueryRefund(t.Context(), seedNumber, "")
		if tc.create {
			_, err = c.CreateRefund(t.Context(), seedRefund())
		}
		if diff := sameError(err, unusable); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// sameV2Error is sameError; proven errors of version 2 have no time.
func sameV2Error(got, want error) string {
	if e, ok := errors.AsType[*Error](got); ok && e.Proven {
		if !e.At.IsZero() {
			return fmt.Sprintf("a time, %v", e.At)
		}
		timed := *e
		timed.At = testNow
		got = &timed
	}
	return sameError(got, want)
}

// TestV2Codes: every err_code of the documents is found by its sentinel, with the status told apart from version 3.
func TestV2Codes(t *testing.T) {
	t.Parallel()
	for code, sentinel := range map[string]error{
		"SYSTEMERROR": ErrV2SystemError, "BIZERR_NEED_RETRY": ErrV2NeedRetry, "INVALID_REQ_TOO_MUCH": ErrV2TooManyInvalid,
		"NOTENOUGH": ErrV2NotEnough, "ERROR": ErrV2BusinessError, "ORDERNOTEXIST": ErrV2OrderNotExist, "REFUNDNOTEXIST": ErrV2RefundNotExist,
		"INVALID_TRANSACTIONID": ErrV2InvalidTransactionID, "ORDER_NOT_READY": ErrV2OrderNotReady, "APPID_NOT_EXIST": ErrV2AppIDNotExist,
		"MCHID_NOT_EXIST": ErrV2MchIDNotExist, "REQUIRE_POST_METHOD": ErrV2RequirePost, "SIGNERROR": ErrV2SignError,
		"XML_FORMAT_ERROR": ErrV2XMLFormat, "CERT_ERROR": ErrV2CertError, "NOAUTH": ErrV2NoAuth, "TRADE_OVERDUE": ErrTradeOverdue,
		"USER_ACCOUNT_ABNORMAL": ErrUserAccountAbnormal, "REFUND_FEE_MISMATCH": ErrRefundFeeMismatch,
		"FREQUENCY_LIMITED": ErrFrequencyLimited, "PARAM_ERROR": ErrParam, "INVALID_REQUEST": ErrInvalidRequest,
	} {
		refused := v2Params{"return_code": "SUCCESS", "result_code": "FAIL", "err_code": code, "mch_id": testV2MchID}
		_, err := newTestV2Client(t, serve(t, always(refused.answer()))).CreateRefund(t.Context(), seedRefund())
		if !errors.Is(err, sentinel) || !errors.Is(err, &Error{Code: code, HTTPStatus: 200}) || errors.Is(err, &Error{Code: code, HTTPStatus: 400}) {
			t.Errorf("%s: %v", code, err)
		}
		if want := "POST /secapi/pay/refund: 200 " + code + " (request id 08E7A8CDB80610F10218-268447840)"; err.Error() != want {
			t.Errorf("%s, want %s", err, want)
		}
	}
}

func TestV2Status(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]string{
		"SUCCESS": RefundSuccess, "REFUNDCLOSE": RefundClosed, "PROCESSING": RefundProcessing, "CHANGE": RefundAbnormal, "TOMORROW": "TOMORROW",
	} {
		c := newTestV2Client(t, serve(t, always(v2Found.with("refund_status_1", status).answer())))
		if r, err := c.QueryRefund(t.Context(), seedNumber, ""); err != nil || r.Status != want {
			t.Errorf("%s: %+v, %v", status, r, err)
		}
	}
}

// TestV2Carries: what version 2 has no words for is refused before anything is sent, and by Carries before that.
func TestV2Carries(t *testing.T) {
	t.Parallel()
	s := serve(t, always(v2Accepted.answer()))
	c := newTestV2Client(t, s)
	for name, change := range map[string]func(*RefundRequest){
		"out_refund_no none":   func(r *RefundRequest) { r.OutRefundNo = "" },
		"out_refund_no":        func(r *RefundRequest) { r.OutRefundNo = "<R>" },
		"sub_mchid":            func(r *RefundRequest) { r.SubMchID = "x" },
		"funds_account":        func(r *RefundRequest) { r.FundsAccount = "UNAVAILABLE" },
		"funds_account v2":     func(r *RefundRequest) { r.FundsAccount = "REFUND_SOURCE_RECHARGE_FUNDS" },
		"amount.currency":      func(r *RefundRequest) { r.Amount.Currency = "USD" },
		"reason emoji":         func(r *RefundRequest) { r.Reason = "\U0001F600" },
		"reason control":       func(r *RefundRequest) { r.Reason = "a\x01" },
		"reason no UTF-8":      func(r *RefundRequest) { r.Reason = "a\xff" },
		"reason no character":  func(r *RefundRequest) { r.Reason = "\uFFFE" },
		"notify_url control":   func(r *RefundRequest) { r.NotifyURL = "https://x\x00" },
		"transaction_id rare":  func(r *RefundRequest) { r.TransactionID = "\U00020000" },
		"out_trade_no no UTF8": func(r *RefundRequest) { r.OutTradeNo = "\xc3" },
	} {
		r := seedRefund()
		if err := c.Carries(r); err != nil {
			t.Fatal(err)
		}
		change(r)
		_, err := c.CreateRefund(t.Context(), r)
		for _, err := range []error{c.Carries(r), err} {
			field, _, _ := strings.Cut(name, " ")
			if e, ok := errors.AsType[*ArgumentError](err); !ok || e.Name != field || e.Op != "POST /secapi/pay/refund" {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for _, bad := range []string{"", "a/b", strings.Repeat("a", 65)} {
		if _, err := c.QueryRefund(t.Context(), bad, ""); !isArgument(err) {
			t.Errorf("query %q: %v", bad, err)
		}
	}
	if _, err := c.QueryRefund(t.Context(), "R", "a"); !isArgument(err) {
		t.Error(err)
	}
	if n := len(s.received()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
	if err := c.Carries(&RefundRequest{OutRefundNo: "R", Reason: "\uFFFD 替\t\r\n"}); err != nil {
		t.Error(err)
	}
}

func isArgument(err error) bool {
	_, ok := errors.AsType[*ArgumentError](err)
	return ok
}

// TestV2CertificateIsAlwaysShown: also after a query has opened a session without it, and also to a server that names other
// issuers.
func TestV2CertificateIsAlwaysShown(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		_, others := tlsIdentity()
		s := serveTLS(t, func(c *tls.Config) {
			c.MaxVersion, c.ClientAuth, c.ClientCAs = version, tls.RequestClientCert, others
		}, func(r request) []byte {
			if strings.HasPrefix(r.uri, "/pay/") {
				return v2Found.answer().bytes()
			}
			return v2Accepted.answer().bytes()
		})
		c := newTestV2Client(t, s)
		for range 2 {
			if _, err := c.QueryRefund(t.Context(), seedNumber, ""); err != nil {
				t.Fatal(err)
			}
			if _, err := c.CreateRefund(t.Context(), seedRefund()); err != nil {
				t.Fatal(err)
			}
			c.plain.transport.(*http.Transport).CloseIdleConnections()
			c.mutual.transport.(*http.Transport).CloseIdleConnections()
		}
		for _, r := range s.received() {
			if shown := r.certificate != nil; shown != (r.uri == "/secapi/pay/refund") {
				t.Errorf("TLS %x, %s: certificate shown: %v", version, r.uri, shown)
			}
		}
	}
}

// TestV2CertificateRefused: TLS 1.2 tells before anything is sent, TLS 1.3 after. In either case what is claimed is true.
func TestV2CertificateRefused(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		_, others := tlsIdentity()
		s := serveTLS(t, func(c *tls.Config) {
			c.MaxVersion, c.ClientAuth, c.ClientCAs = version, tls.RequireAndVerifyClientCert, others
		}, always(v2Accepted.answer()))
		_, err := newTestV2Client(t, s).CreateRefund(t.Context(), seedRefund())
		if n, ok := errors.AsType[*NoAnswerError](err); !ok || n.Sent && version == tls.VersionTLS12 || len(s.received()) != 0 {
			t.Errorf("TLS %x: %#v", version, err)
		} else if errno := syscall.Errno(0); n.Sent && !errors.As(err, &errno) && !strings.Contains(err.Error(), "TLS refused: tls: unknown certificate authority") {
			t.Error(err) // by an errno if the connection was closed while the request was still being written
			// (by version 1.3 the handshake is over for us before we are refused: if we hear of it before we write, nothing was sent.)
		}
	}
}

// TestV2Failover: another host within one call only when nothing was sent, and what is learned of a host by a query serves
// refunds.
func TestV2Failover(t *testing.T) {
	t.Parallel()
	answering := func(r request) []byte {
		if strings.HasPrefix(r.uri, "/pay/") {
			return v2Found.answer().bytes()
		}
		return v2Accepted.answer().bytes()
	}
	setup := func(t *testing.T, first func(request) []byte, reachable bool) (s1, s2 *server, c *V2Client, dials *int) {
		s1, s2 = serve(t, first), serve(t, answering)
		tr := newTestTransport(t, map[string]string{"api.mch.weixin.qq.com:443": s1.addr, "api2.mch.weixin.qq.com:443": s2.addr})
		dial, dials := tr.DialContext, new(int)
		tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == "api.mch.weixin.qq.com:443" {
				*dials++
				if !reachable {
					return nil, syscall.ECONNREFUSED
				}
			}
			return dial(ctx, network, addr)
		}
		return s1, s2, newTestV2Client(t, nil, func(c *V2Config) { c.Hosts, c.Transport = []string{testHost, testHost2}, tr }), dials
	}
	t.Run("not to be reached", func(t *testing.T) {
		t.Parallel()
		_, s2, c, dials := setup(t, nil, false)
		for range failedInARow {
			if _, err := c.QueryRefund(t.Context(), seedNumber, ""); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			if _, err := c.CreateRefund(t.Context(), seedRefund()); err != nil {
				t.Fatal(err)
			}
		}
		if *dials != failedInARow || len(s2.received()) != failedInARow+3 {
			t.Errorf("%d attempts at the first host, %d requests to the second", *dials, len(s2.received()))
		}
	})
	for name, first := range map[string]func(request) []byte{
		"no answer":   func(request) []byte { return nil },
		"a page":      func(request) []byte { return reply{status: 502}.bytes() },
		"SYSTEMERROR": always(v2Params{"return_code": "SUCCESS", "result_code": "FAIL", "err_code": "SYSTEMERROR", "mch_id": testV2MchID}.answer()),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s1, s2, c, _ := setup(t, first, true)
			if _, err := c.CreateRefund(t.Context(), seedRefund()); err == nil {
				t.Error("no error")
			}
			if len(s1.received()) != 1 || len(s2.received()) != 0 {
				t.Errorf("%d and %d requests", len(s1.received()), len(s2.received()))
			}
		})
	}
}

func TestNewV2Refuses(t *testing.T) {
	t.Parallel()
	other := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	cases := map[string]func(*V2Config){
		"MchID":                func(c *V2Config) { c.MchID = "19000x" },
		"AppID":                func(c *V2Config) { c.AppID = "" },
		"AppID odd":            func(c *V2Config) { c.AppID = "wx<" },
		"SubAppID":             func(c *V2Config) { c.SubAppID = "wx 1" },
		"APIKey":               func(c *V2Config) { c.APIKey = c.APIKey[1:] },
		"APIKey with line end": func(c *V2Config) { c.APIKey = append(c.APIKey, '\n') },
		"SignType":             func(c *V2Config) { c.SignType = "SHA1" },
		"Certificate":          func(c *V2Config) { c.Certificate = tls.Certificate{} },
		"Certificate keyless":  func(c *V2Config) { c.Certificate.PrivateKey = nil },
		"Certificate other":    func(c *V2Config) { c.Certificate.PrivateKey = other },
		"Certificate forger":   func(c *V2Config) { c.Certificate.PrivateKey = forgerKey() },
		"Certificate damaged":  func(c *V2Config) { c.Certificate.Certificate = [][]byte{{1}} },
		"Hosts":                func(c *V2Config) { c.Hosts = nil },
		"Timeout":              func(c *V2Config) { c.Timeout = -1 },
		"UserAgent":            func(c *V2Config) { c.UserAgent = "a\r\nb" },
	}
	for name, change := range cases {
		config := V2Config{MchID: "1", AppID: "wx1", APIKey: []byte(testV2Key), Certificate: merchantPair(), Hosts: []string{testHost}}
		if _, err := NewV2(config); err != nil {
			t.Fatal(err)
		}
		change(&config)
		field, _, _ := strings.Cut(name, " ")
		if c, err := NewV2(config); err == nil || c != nil || !strings.Contains(err.Error(), field+":") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
