package wxpaytest

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// official are signatures that WeChat Pay itself published; each carries its address.
type official struct {
	Requests struct {
		PublicKey string `json:"public_key_pem"`
		MchID     string `json:"mchid"`
		SerialNo  string `json:"serial_no"`
		Cases     []struct{ Name, Source, Method, URL, Body, Authorization string }
	}
	Response struct {
		Headers   map[string]string
		Body      string
		PublicKey string `json:"public_key_pem"`
	}
}

func readOfficial(t *testing.T) (o official) {
	t.Helper()
	b, err := os.ReadFile("testdata/official_signatures.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

func publicKey(t *testing.T, text string) *rsa.PublicKey {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*rsa.PublicKey)
}

// The judge accepts what the documents call right.
func TestOfficialRequestSignatures(t *testing.T) {
	o := readOfficial(t)
	key := publicKey(t, o.Requests.PublicKey)
	if len(o.Requests.Cases) != 4 {
		t.Fatalf("%d cases", len(o.Requests.Cases))
	}
	for _, c := range o.Requests.Cases {
		a, rule := parseAuthorization(http.Header{"Authorization": {c.Authorization}})
		if rule != "" {
			t.Errorf("%s (%s): %s", c.Name, c.Source, rule)
		}
		if a.mchID != o.Requests.MchID || a.serialNo != o.Requests.SerialNo {
			t.Errorf("%s: %+v", c.Name, a)
		}
		if !a.verify(key, c.Method, c.URL, []byte(c.Body)) {
			t.Errorf("%s (%s): refused", c.Name, c.Source)
		}
		if c.Name == "multipart_upload_meta_only" {
			form := "--b\r\nContent-Disposition: form-data; name=\"meta\"\r\n\r\n" + c.Body + "\r\n--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--b--"
			if f := takeApart(http.Header{"Content-Type": {"multipart/form-data; boundary=b"}}, []byte(form)); f == nil || f.flaw != "" || !a.verify(key, c.Method, c.URL, f.signed()) {
				t.Errorf("%s (%s): as a form: refused: %+v", c.Name, c.Source, f)
			}
		}
		if a.verify(key, c.Method, c.URL+"?", []byte(c.Body)) || a.verify(key, c.Method, c.URL, []byte(c.Body+"\n")) {
			t.Errorf("%s: accepts another message", c.Name)
		}
	}
}

// What the simulator signs is the message of the documents.
func TestOfficialAnswerSignature(t *testing.T) {
	r := readOfficial(t).Response
	signature, err := base64.StdEncoding.DecodeString(r.Headers["Wechatpay-Signature"])
	if err != nil {
		t.Fatal(err)
	}
	digest := digestAnswer(r.Headers["Wechatpay-Timestamp"], r.Headers["Wechatpay-Nonce"], []byte(r.Body))
	if err := rsa.VerifyPKCS1v15(publicKey(t, r.PublicKey), crypto.SHA256, digest[:], signature); err != nil {
		t.Error(err)
	}
}

func TestNoncesAreForgottenInGenerations(t *testing.T) {
	var n nonceSet
	first := authorization{mchID: "1", nonce: "first"}
	if _, fresh := n.use(first, http.MethodPost); !fresh {
		t.Fatal("not fresh")
	}
	for i := range nonceGeneration {
		n.use(authorization{mchID: "1", nonce: fmt.Sprint(i)}, http.MethodPost)
	}
	if _, fresh := n.use(first, http.MethodPost); fresh {
		t.Error("forgotten after one generation")
	}
	if len(n.now)+len(n.old) > 2*nonceGeneration {
		t.Errorf("%d and %d nonces", len(n.now), len(n.old))
	}
}

// TestBooksCannotHideADefect breaks the books by hand: the checker must not trust the rules.
func TestCheckBooksFinds(t *testing.T) {
	r1 := &refund{refundParameters: refundParameters{outRefundNo: "R1", amount: 60, total: 100}, mchID: "1", refundID: "a", status: statusProcessing}
	r2 := &refund{refundParameters: refundParameters{outRefundNo: "R1", amount: 60, total: 100}, mchID: "1", refundID: "b", status: statusSuccess}
	o := &order{mchID: "1", transactionID: "T", total: 100, refunds: []*refund{r1, r2}}
	r1.order, r2.order = o, o
	complained := func(types ...string) func(b *books) {
		c := &complaint{}
		for i, o := range types {
			e := HistoryEntry{OperateType: o, OperateDetails: "x"}
			if len(types) > 20 {
				e.OperateDetails = fmt.Sprint(i)
			}
			c.history = append(c.history, e)
		}
		return func(b *books) { b.filed = []*complaint{c} }
	}
	for want, spoil := range map[string]func(b *books){
		"refunded 120 of 100": func(b *books) { b.orders = []*order{o} },
		"51 refunds": func(b *books) {
			b.orders = []*order{{total: 1, refunds: make([]*refund, 0, 51)}}
			for range 51 {
				b.orders[0].refunds = append(b.orders[0].refunds, &refund{status: statusClosed})
			}
		},
		"exists twice":     func(b *books) { b.refunds = []*refund{r1, r2} },
		"not in its order": func(b *books) { b.refunds = []*refund{{order: o, refundParameters: refundParameters{amount: 1}}} },
		"-1 fen":           func(b *books) { b.purses["1"] = -1 },
		"same reply twice": complained(operateResponse, operateResponse),
		"20 messages":      complained(slices.Repeat([]string{operateResponse}, 21)...),
		"decided twice":    complained(operateApproved, operateRefused),
		"completed twice":  complained(operateResponse, operateCompleted, operateCompleted),
		"without a reply":  complained(operateResponse, operateCompleted, operateContinued, operateCompleted),
		"":                 complained(operateResponse, operateApproved, operateCompleted, operateContinued, operateResponse, operateUserResponse, operateResponse, operateRefused, operateContinued, operateResponse, operateCompleted),
	} {
		s := &Server{books: newBooks(Options{})}
		spoil(s.books)
		err := s.CheckBooks()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

func TestForgedDecodesAndDiffers(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(make([]byte, 256))
	raw, err := base64.StdEncoding.DecodeString(forge(good))
	if err != nil || len(raw) != 256 || forge(good) == good {
		t.Errorf("%d %v", len(raw), err)
	}
}

// BenchmarkBooks is what a refund costs besides RSA, TLS and HTTP: reading the body, the rules, the answer.
func BenchmarkBooks(b *testing.B) {
	books := newBooks(Options{OpenBooks: true})
	m := &merchant{Merchant: Merchant{MchID: "1900000001"}}
	for i := 0; b.Loop(); i++ {
		body := fmt.Appendf(nil, `{"out_trade_no":"B%d","out_refund_no":"B%d","amount":{"refund":1,"total":1,"currency":"CNY"}}`, i, i)
		op, no := readRefundCreate(query{}, body, "")
		if no != nil {
			b.Fatal(no)
		}
		x := &exchange{seen: &Request{At: time.Now()}, merchant: m}
		books.mu.Lock()
		a, effect := op.plan(books, x)
		effect()
		books.mu.Unlock()
		encode(a.body)
	}
}
