package wxpaytest_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"testing"

	"wxpay-worker/wxpay/wxpaytest"
)

// A merchant changes its key: old and new are both good until the old one is revoked. Source: M:4024350132.
func TestCertificatesChangeOver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	old := b.creds
	creds, err := b.AddCertificate(mchid, key)
	if err != nil {
		t.Fatal(err)
	}
	if creds.SerialNo == old.SerialNo || creds.PrivateKey != key || creds.PublicKeyID != old.PublicKeyID || creds.APIv3Key != old.APIv3Key {
		t.Errorf("%v after %v", creds, old)
	}
	renewed := newCaller(t, b.Server, creds, b.clock.now)
	b.want(refund("R1", 1), 200, "")
	renewed.want(get(refunds+"/R1"), 200, "")
	renewed.want(call{method: "GET", target: refunds + "/R1", serial: old.SerialNo}, 401, "SIGN_ERROR") // the one's serial, the other's key

	if err := b.RevokeCertificate(mchid, old.SerialNo); err != nil {
		t.Fatal(err)
	}
	b.want(get(refunds+"/R1"), 401, "SIGN_ERROR")
	renewed.want(get(refunds+"/R1"), 200, "")
	b.wantBooks()
}

// The client certificate of v2 changes over with it.
func TestClientCertificatesChangeOver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	old := b.v2()
	creds, err := b.AddCertificate(mchid, b.creds.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	renewed := newV2Caller(t, b.Server, creds)
	if bytes.Equal(creds.CertificatePEM, b.creds.CertificatePEM) || creds.APIv2Key != b.creds.APIv2Key {
		t.Error("nothing new, or another APIv2 key")
	}
	for i, c := range []*v2caller{old, renewed} {
		c.want(c.refund([]string{"R-0001", "R-0002"}[i], 1), "")
	}
}

func TestCertificateMisuse(t *testing.T) {
	t.Parallel()
	s, err := wxpaytest.Start(wxpaytest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	creds := s.AddMerchant(wxpaytest.Merchant{MchID: mchid})
	if _, err := s.AddCertificate("2", creds.PrivateKey); err == nil {
		t.Error("a certificate for nobody")
	}
	if s.RevokeCertificate("2", "A") == nil || s.RevokeCertificate(mchid, creds.SerialNo) == nil {
		t.Error("the newest, or nobody's, was revoked")
	}
	for range 2 {
		if _, err := s.AddCertificate(mchid, creds.PrivateKey); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.AddCertificate(mchid, creds.PrivateKey); err == nil {
		t.Error("a fourth valid certificate")
	}
}
