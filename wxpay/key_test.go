package wxpay

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
)

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	key := platformKey()
	pkcs8 := must(x509.MarshalPKCS8PrivateKey(key))
	for kind, der := range map[string][]byte{"PRIVATE KEY": pkcs8, "RSA PRIVATE KEY": x509.MarshalPKCS1PrivateKey(key)} {
		if got, err := ParsePrivateKey(encodePEM(kind, der)); err != nil || !got.Equal(key) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	public := encodePEM("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(key.Public())))
	if got, err := ParsePublicKey(public); err != nil || !got.Equal(key.Public()) {
		t.Error(err)
	}

	ec := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	cert, _ := tlsIdentity()
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	for name, data := range map[string][]byte{
		"nothing":   nil,
		"no PEM":    []byte("MIIEvAIBADANBgkq"),
		"damaged":   encodePEM("PRIVATE KEY", pkcs8[:100]),
		"public":    public,
		"encrypted": encodePEM("ENCRYPTED PRIVATE KEY", pkcs8),
		"ECDSA":     encodePEM("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(ec))),
		"1024 bits": encodePEM("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(small))),
	} {
		got, err := ParsePrivateKey(data)
		if err == nil || got != nil || !strings.HasPrefix(err.Error(), "wxpay: private key: ") {
			t.Errorf("private, %s: %v, %v", name, got != nil, err)
		}
	}
	for name, data := range map[string][]byte{
		"nothing":   nil,
		"damaged":   encodePEM("PUBLIC KEY", []byte("x")),
		"private":   encodePEM("PRIVATE KEY", pkcs8),
		"ECDSA":     encodePEM("CERTIFICATE", cert.Certificate[0]),
		"1024 bits": encodePEM("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(small.Public()))),
	} {
		if _, err := ParsePublicKey(data); err == nil || !strings.HasPrefix(err.Error(), "wxpay: public key: ") {
			t.Errorf("public, %s: %v", name, err)
		}
	}
	if _, err := ParseCertificate(public); err == nil {
		t.Error("a key is taken for a certificate")
	}
	if _, err := ParseCertificate(encodePEM("CERTIFICATE", []byte("x"))); err == nil {
		t.Error("damage is taken for a certificate")
	}
}

func TestSerialNoKeepsLeadingZero(t *testing.T) {
	t.Parallel()
	if got := SerialNo(&x509.Certificate{SerialNumber: big.NewInt(0x0a0bcd)}); got != "0A0BCD" {
		t.Error(got)
	}
}

func TestNewKeySet(t *testing.T) {
	t.Parallel()
	key, small := &platformKey().PublicKey, &must(rsa.GenerateKey(rand.Reader, 1024)).PublicKey
	for name, keys := range map[string]map[string]*rsa.PublicKey{
		"no keys":       nil,
		"first missing": {"B": key},
		"nil key":       {"A": key, "B": nil},
		"1024 bits":     {"A": key, "B": small},
		"no serial":     {"A": key, "b c": key},
	} {
		if set, err := NewKeySet("A", keys); err == nil || set != nil {
			t.Errorf("%s is accepted", name)
		}
	}
	keys := map[string]*rsa.PublicKey{"A": key, "B": &forgerKey().PublicKey}
	set, err := NewKeySet("A", keys)
	if err != nil || set.Serial() != "A" {
		t.Fatal(err)
	}
	delete(keys, "B") // the set keeps its own
	if got, err := set.Key(t.Context(), "B"); err != nil || !got.Equal(forgerKey().Public()) {
		t.Error(err)
	}
	if got, err := set.Key(t.Context(), "C"); got != nil || !errors.Is(err, ErrUnknownSerial) {
		t.Error(err)
	}
}

func TestDecryptResourceRefuses(t *testing.T) {
	t.Parallel()
	key := []byte(strings.Repeat("k", 32))
	for name, err := range map[string]error{
		"no key":      second(DecryptResource(nil, "123456789012", "", "")),
		"short nonce": second(DecryptResource(key, "12345678901", "", "AAAA")),
		"not Base64":  second(DecryptResource(key, "123456789012", "", "*")),
		"too short":   second(DecryptResource(key, "123456789012", "", "AAAA")),
	} {
		if err == nil || strings.Contains(err.Error(), "kkk") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// onlyKey is a key set's map of one.
func onlyKey(serial string) map[string]*rsa.PublicKey {
	return map[string]*rsa.PublicKey{serial: &platformKey().PublicKey}
}
