package wxpaytest_test

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"wxpay-worker/wxpay/wxpaytest"
)

// listed is one downloaded certificate, decrypted.
type listed struct {
	serial      string
	certificate *x509.Certificate
}

// platformBench is a bench whose merchant is in certificate mode.
func platformBench(t *testing.T, m wxpaytest.Merchant) *bench {
	c := newClock()
	s := wxpaytest.New(t, wxpaytest.Options{Now: c.now})
	m.MchID, m.PlatformCertificates = mchid, true
	b := &bench{Server: s, clock: c}
	b.caller = newCaller(t, s, s.AddMerchant(m), c.now)
	s.AddOrder(wxpaytest.Order{MchID: mchid, TransactionID: "4200000001", OutTradeNo: "T1", Total: 100})
	return b
}

// ask sends q naming serial ("" = nothing) and returns the answer and the serial that signed it.
func (b *bench) ask(q call, serial string) (reply, string) {
	b.t.Helper()
	q.header = map[string]string{"Wechatpay-Serial": serial}
	r, err := b.try(q)
	if err != nil {
		b.t.Fatal(err)
	}
	return r, r.header.Get("Wechatpay-Serial")
}

// download lists the certificates, and checks everything about the answer but its own signature.
func (b *bench) download(serial string) (list []listed, r reply) {
	b.t.Helper()
	r, _ = b.ask(get("/v3/certificates"), serial)
	var v struct {
		Data []struct {
			SerialNo  string    `json:"serial_no"`
			Effective time.Time `json:"effective_time"`
			Expire    time.Time `json:"expire_time"`
			Sealed    struct {
				Algorithm, Nonce, Ciphertext string
				Associated                   string `json:"associated_data"`
			} `json:"encrypt_certificate"`
		}
	}
	if err := json.Unmarshal(r.body, &v); err != nil || r.status != 200 {
		b.t.Fatalf("%v %v", r, err)
	}
	block, _ := aes.NewCipher([]byte(b.creds.APIv3Key))
	gcm, _ := cipher.NewGCM(block)
	for _, d := range v.Data {
		raw, err := base64.StdEncoding.DecodeString(d.Sealed.Ciphertext)
		if err != nil || d.Sealed.Algorithm != "AEAD_AES_256_GCM" || d.Sealed.Associated != "certificate" || len(d.Sealed.Nonce) != 12 {
			b.t.Fatalf("%+v %v", d, err)
		}
		text, err := gcm.Open(nil, []byte(d.Sealed.Nonce), raw, []byte(d.Sealed.Associated))
		if err != nil {
			b.t.Fatal(err)
		}
		p, _ := pem.Decode(text)
		c, err := x509.ParseCertificate(p.Bytes)
		if err != nil {
			b.t.Fatal(err)
		}
		if fmt.Sprintf("%X", c.SerialNumber) != d.SerialNo || !c.NotBefore.Equal(d.Effective) || !c.NotAfter.Equal(d.Expire) || len(d.SerialNo) != 40 {
			b.t.Errorf("%+v %v", d, c.Subject)
		}
		list = append(list, listed{d.SerialNo, c})
	}
	return list, r
}

func provenBy(r reply, key *rsa.PublicKey) error {
	h := r.header
	signature, err := base64.StdEncoding.DecodeString(h.Get("Wechatpay-Signature"))
	digest := sha256.Sum256([]byte(h.Get("Wechatpay-Timestamp") + "\n" + h.Get("Wechatpay-Nonce") + "\n" + string(r.body) + "\n"))
	return errors.Join(err, rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature))
}

func find(list []listed, serial string) *rsa.PublicKey {
	for _, l := range list {
		if l.serial == serial {
			return l.certificate.PublicKey.(*rsa.PublicKey)
		}
	}
	return nil
}

func TestPlatformCertificatesAreReal(t *testing.T) {
	b := platformBench(t, wxpaytest.Merchant{})
	list, r := b.download("")
	if len(list) != 1 || list[0].serial != b.creds.PlatformSerial() || b.creds.PublicKeyID != "" || b.creds.PublicKey != nil || b.creds.PublicKeyPEM() != nil {
		t.Fatalf("%v %v", list, b.creds)
	}
	// The first download proves itself with the certificate that it holds.
	if err := provenBy(r, find(list, r.header.Get("Wechatpay-Serial"))); err != nil {
		t.Error(err)
	}
	c := list[0].certificate
	if c.Issuer.CommonName != "Tenpay.com Root CA" || c.Subject.CommonName != "Tenpay.com sign" || c.IsCA {
		t.Errorf("%v issued by %v", c.Subject, c.Issuer)
	}
	if c.NotAfter.Sub(c.NotBefore) < 5*365*24*time.Hour || !c.NotBefore.Before(b.clock.now()) {
		t.Errorf("valid %s to %s", c.NotBefore, c.NotAfter)
	}
	if _, err := c.Verify(x509.VerifyOptions{Roots: b.PlatformCAPool(), CurrentTime: b.clock.now()}); err != nil {
		t.Error(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b.PlatformCA()) || !pool.Equal(b.PlatformCAPool()) || pool.Equal(b.CertPool()) {
		t.Error("PlatformCA is not PlatformCAPool, or is that of TLS")
	}
	if _, err := c.Verify(x509.VerifyOptions{Roots: b.CertPool(), CurrentTime: b.clock.now()}); err == nil {
		t.Error("issued by the CA of TLS")
	}
	b.wantViolations(0)
}

// The serial that a request names decides who signs; one case per row of platform.go's table.
func TestPlatformCertificateRotation(t *testing.T) {
	b := platformBench(t, wxpaytest.Merchant{})
	query := func() call { return get(refunds + "/R1") }
	wantSigner := func(named, by string, status int, code string) {
		t.Helper()
		list, _ := b.download("")
		r, signer := b.ask(query(), named)
		if signer != by || r.status != status || r.code() != code || provenBy(r, find(list, by)) != nil {
			t.Errorf("named %q: %v signed by %q, want %d %s by %q", named, r, signer, status, code, by)
		}
	}
	old := b.creds.PlatformSerial()
	wantSigner("", old, 404, "RESOURCE_NOT_EXISTS")
	wantSigner(old, old, 404, "RESOURCE_NOT_EXISTS")

	if err := b.RotatePlatformCertificate(mchid); err != nil {
		t.Fatal(err)
	}
	current := b.creds.PlatformSerial()
	list, r := b.download(old)
	if len(list) != 2 || current == old || find(list, current).Equal(find(list, old)) || provenBy(r, find(list, old)) != nil {
		t.Fatalf("%v", list)
	}
	if first, second := list[0].certificate, list[1].certificate; list[0].serial != old || !first.NotBefore.Before(second.NotBefore) {
		t.Errorf("the new certificate must take effect later: %s, %s", first.NotBefore, second.NotBefore)
	}
	wantSigner("", current, 404, "RESOURCE_NOT_EXISTS")
	wantSigner(current, current, 404, "RESOURCE_NOT_EXISTS")
	wantSigner(old, old, 404, "RESOURCE_NOT_EXISTS")
	b.wantViolations(0)

	if err := b.RetirePlatformCertificate(mchid); err != nil {
		t.Fatal(err)
	}
	if list, _ := b.download(""); len(list) != 1 || list[0].serial != current {
		t.Errorf("%v", list)
	}
	wantSigner(old, current, 400, "PARAM_ERROR")
	b.wantViolations(0) // a client learns it here
	wantSigner(strings.Repeat("A", 40), current, 400, "PARAM_ERROR")
	wantSigner("PUB_KEY_ID_1", current, 400, "PARAM_ERROR")
	b.wantViolations(2)
}

// Twice in one moment: the later one is the one with the later effective_time, and both can be retired.
func TestPlatformCertificateRotatesTwice(t *testing.T) {
	b := platformBench(t, wxpaytest.Merchant{})
	for range 2 {
		if err := b.RotatePlatformCertificate(mchid); err != nil {
			t.Fatal(err)
		}
	}
	list, _ := b.download("")
	if len(list) != 3 || !list[1].certificate.NotBefore.Before(list[2].certificate.NotBefore) || list[2].serial != b.creds.PlatformSerial() {
		t.Fatalf("%v", list)
	}
	if err := b.RetirePlatformCertificate(mchid); err != nil {
		t.Fatal(err)
	}
	for _, l := range list[:2] {
		if r, _ := b.ask(get(refunds+"/R1"), l.serial); r.code() != "PARAM_ERROR" {
			t.Errorf("%v", r)
		}
	}
	b.wantViolations(0)
}

// During the migration both are valid, and without the header the certificate signs. Source: M:4012154180.
func TestPublicKeyToo(t *testing.T) {
	b := platformBench(t, wxpaytest.Merchant{PublicKeyToo: true})
	list, _ := b.download("")
	for named, by := range map[string]string{"": list[0].serial, list[0].serial: list[0].serial, b.creds.PublicKeyID: b.creds.PublicKeyID} {
		r, signer := b.ask(get(refunds+"/R1"), named)
		key := find(list, by)
		if by == b.creds.PublicKeyID {
			key = b.creds.PublicKey
		}
		if signer != by || provenBy(r, key) != nil || r.status != 404 {
			t.Errorf("named %q: %v signed by %q", named, r, signer)
		}
	}
	if _, r := b.download(b.creds.PublicKeyID); provenBy(r, b.creds.PublicKey) != nil {
		t.Errorf("%v", r)
	}
	q := get(refunds + "/R1")
	q.double = "Wechatpay-Serial"
	b.want2(q, 400, "PARAM_ERROR")
	b.wantViolations(1)
}

// want2 is want for answers whose signer is not the public key.
func (b *bench) want2(q call, status int, code string) {
	b.t.Helper()
	if r, err := b.try(q); err != nil || r.status != status || r.code() != code {
		b.t.Errorf("%v %v", r, err)
	}
}

func TestFaultsInCertificateMode(t *testing.T) {
	b := platformBench(t, wxpaytest.Merchant{})
	list, _ := b.download("")
	key := find(list, b.creds.PlatformSerial())
	b.Fault(wxpaytest.Fault{Answer: wxpaytest.AnswerUnknownSerial})
	if r, serial := b.ask(get(refunds+"/R1"), ""); len(serial) != 40 || serial == b.creds.PlatformSerial() || r.status != 404 {
		t.Errorf("%v by %s", r, serial)
	}
	b.Fault(wxpaytest.Fault{Answer: wxpaytest.AnswerForged})
	if r, serial := b.ask(get("/v3/certificates"), ""); serial != b.creds.PlatformSerial() || provenBy(r, key) == nil {
		t.Errorf("%v by %s", r, serial)
	}
	b.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointCertificates, Answer: wxpaytest.Answer429})
	if r, _ := b.ask(get("/v3/certificates"), ""); r.code() != "FREQUENCY_LIMITED" || provenBy(r, key) != nil {
		t.Errorf("%v", r)
	}
	q := get(refunds + "/R1")
	q.serial = "00"
	if r, serial := b.ask(q, ""); r.status != 401 || serial != "" {
		t.Errorf("%v", r)
	}
}

func TestPlatformMisuse(t *testing.T) {
	s, err := wxpaytest.Start(wxpaytest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	public := s.AddMerchant(wxpaytest.Merchant{MchID: "1"})
	s.AddMerchant(wxpaytest.Merchant{MchID: "2", PlatformCertificates: true})
	if s.RotatePlatformCertificate("1") == nil || s.RetirePlatformCertificate("1") == nil || s.RotatePlatformCertificate("3") == nil {
		t.Error("rotated what is not there")
	}
	if s.RetirePlatformCertificate("2") == nil {
		t.Error("retired the only one")
	}
	if public.PlatformSerial() != "" {
		t.Error(public.PlatformSerial())
	}
}
