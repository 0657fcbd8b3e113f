package wxpaytest_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"wxpay-worker/wxpay/wxpaytest"
)

func TestCredentials(t *testing.T) {
	b := setup(t)
	c := b.creds
	block, _ := pem.Decode(c.CertificatePEM)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if certificate.Subject.CommonName != mchid || fmt.Sprintf("%X", certificate.SerialNumber) != c.SerialNo || len(c.SerialNo) != 40 {
		t.Errorf("certificate %v %X, serial %s", certificate.Subject, certificate.SerialNumber, c.SerialNo)
	}
	if _, err := certificate.Verify(x509.VerifyOptions{Roots: b.CertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	block, _ = pem.Decode(c.PrivateKeyPEM())
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil || !c.PrivateKey.Equal(private) || !c.PrivateKey.PublicKey.Equal(certificate.PublicKey) || c.PrivateKey.N.BitLen() != 2048 {
		t.Errorf("private key: %v", err)
	}
	block, _ = pem.Decode(c.PublicKeyPEM())
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil || !c.PublicKey.Equal(public) {
		t.Errorf("public key: %v", err)
	}
	if !strings.HasPrefix(c.PublicKeyID, "PUB_KEY_ID_") || len(c.APIv3Key) != 32 {
		t.Errorf("%s, %d", c.PublicKeyID, len(c.APIv3Key))
	}
	if !strings.HasPrefix(c.AppID, "wx") || len(c.AppID) != 18 || len(c.APIv2Key) != 32 || c.APIv2Key == c.APIv3Key || c.PlatformSerial() != "" {
		t.Errorf("%s, %d", c.AppID, len(c.APIv2Key))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b.CAPEM()) || !pool.Equal(b.CertPool()) {
		t.Error("CAPEM is not CertPool")
	}
}

func TestMerchantsHaveTheirOwnKeys(t *testing.T) {
	b := setup(t)
	second := b.AddMerchant(wxpaytest.Merchant{MchID: "1900000002", Balance: 5})
	if b.creds.PrivateKey.Equal(second.PrivateKey) || b.creds.SerialNo == second.SerialNo || b.creds.PublicKeyID == second.PublicKeyID {
		t.Error("two merchants share")
	}
	third := b.AddMerchant(wxpaytest.Merchant{MchID: "1900000003", PrivateKey: second.PrivateKey})
	if third.PrivateKey != second.PrivateKey {
		t.Error("the given key is not used")
	}
	// New credentials void the old ones, the books stay.
	b.want(refund("R1", 10), 200, "")
	renewed := b.AddMerchant(wxpaytest.Merchant{MchID: mchid})
	b.want(get(refunds+"/R1"), 401, "SIGN_ERROR")
	b.creds = renewed
	b.want(get(refunds+"/R1"), 200, "")
}

// Nothing that is printed holds a signature or a key.
func TestNothingSecretIsPrinted(t *testing.T) {
	b := setup(t)
	b.want(refund("R1", 10), 200, "")
	r := b.Requests()[0]
	_, signature, _ := strings.Cut(r.Header.Get("Authorization"), `signature="`)
	signature = signature[:40]
	d := b.creds.PrivateKey.D.String()
	v2 := b.v2()
	v2.want(v2.query("out_refund_no", "R1"), "")
	old := b.Requests()[1]
	sign := parse(old.Body)["sign"]
	for _, text := range []string{
		fmt.Sprint(r), fmt.Sprintf("%+v %#v %s %q", r, r, r, []wxpaytest.Request{r}), fmt.Sprint(&r),
		fmt.Sprintf("%v %+v %#v", old, old, old),
		fmt.Sprintf("%v %+v %#v %s", b.creds, b.creds, *b.creds, *b.creds),
	} {
		if strings.Contains(text, signature) || strings.Contains(text, d) || strings.Contains(text, b.creds.APIv3Key) ||
			strings.Contains(text, b.creds.APIv2Key) || strings.Contains(text, sign) || strings.Contains(text, "Authorization") {
			t.Errorf("printed: %s", text)
		}
	}
	if !strings.Contains(fmt.Sprint(r), "POST "+refunds) {
		t.Error(r)
	}
}

func TestKeepRequests(t *testing.T) {
	b := setup(t, wxpaytest.Options{KeepRequests: 3})
	for i := range 5 {
		b.want(get(fmt.Sprintf("%s/R%d", refunds, i)), 404, "RESOURCE_NOT_EXISTS")
	}
	list := b.RequestsTo(wxpaytest.EndpointRefundQuery)
	if len(list) != 3 || list[0].ID != "R2" || list[2].ID != "R4" {
		t.Errorf("%v", list)
	}
	none := setup(t, wxpaytest.Options{KeepRequests: -1})
	none.want(get("/v3/x"), 404, "NOT_FOUND")
	if len(none.Requests()) != 0 {
		t.Error(none.Requests())
	}
	none.wantViolations(1) // violations are kept all the same
}

func TestRecord(t *testing.T) {
	b := setup(t)
	b.want(refund("R1", 10), 200, "")
	b.want(respond("C1", "您好"), 204, "")
	b.want(get("/v3/unknown"), 404, "NOT_FOUND")
	list := b.Requests()
	if r := list[0]; r.Endpoint != wxpaytest.EndpointRefundCreate || r.ID != "R1" || r.MchID != mchid || r.Method != "POST" ||
		r.URL != refunds || !bytes.Contains(r.Body, []byte("4200000001")) || r.Header.Get("Accept") == "" || !r.At.Equal(b.clock.now()) {
		t.Errorf("%v", r)
	}
	if r := list[1]; r.Endpoint != wxpaytest.EndpointComplaintResponse || r.ID != "C1" {
		t.Errorf("%v", r)
	}
	if r := list[2]; r.Endpoint != "" || r.Refusal == "" {
		t.Errorf("%v", r)
	}
}

// A client that dies while it sends broke no rule and executed nothing.
func TestClientDiesWhileSending(t *testing.T) {
	b := setup(t)
	conn, err := tls.Dial("tcp", strings.TrimPrefix(b.URL(), "https://"), &tls.Config{RootCAs: b.CertPool()})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"out_refund_no\":", refunds)
	conn.Close()
	for len(b.Requests()) == 0 { // the record is the event
		time.Sleep(time.Millisecond)
	}
	if r := b.Requests()[0]; r.Applied || r.Refusal == "" {
		t.Errorf("%v", r)
	}
	b.wantViolations(0)
}

func TestBodyOverAMegabyte(t *testing.T) {
	b := setup(t)
	if r, err := b.try(post(refunds, strings.Repeat(" ", 1<<20+1))); err == nil && r.status != 400 {
		t.Errorf("%v", r)
	}
}

// As a bare handler it still wants TLS.
func TestHandlerWithoutTLS(t *testing.T) {
	b := setup(t)
	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, refunds+"/R1", nil))
	if w.Code != 400 {
		t.Error(w.Code)
	}
	b.wantViolations(1)
}

func TestStartForPrograms(t *testing.T) {
	s, err := wxpaytest.Start(wxpaytest.Options{OpenBooks: true, Hostnames: []string{"simulator", "10.0.0.7"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.URL() == s.BackupURL() || !strings.HasPrefix(s.URL(), "https://127.0.0.1:") {
		t.Error(s.URL(), s.BackupURL())
	}
	if _, err := wxpaytest.Start(wxpaytest.Options{Listen: "256.0.0.1:1"}); err == nil {
		t.Error("listens nowhere")
	}
}

// BenchmarkRefundOverTheWire is a whole signed exchange, client and server in one process.
func BenchmarkRefundOverTheWire(b *testing.B) {
	s := setup(b, wxpaytest.Options{OpenBooks: true, KeepRequests: -1})
	i := 0
	for b.Loop() {
		i++
		r, err := s.try(post(refunds, fmt.Sprintf(`{"out_trade_no":"B%d","out_refund_no":"B%d","amount":{"refund":1,"total":1,"currency":"CNY"}}`, i, i)))
		if err != nil || r.status != 200 {
			b.Fatal(r, err)
		}
	}
}
