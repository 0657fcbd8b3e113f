package wxpay

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The files in testdata come from WeChat Pay's documents and SDKs; each case names its source and what is expected.

func TestVectorsRequestSigning(t *testing.T) {
	t.Parallel()
	var v struct {
		MchID    string `json:"mchid"`
		SerialNo string `json:"merchant_cert_serial_no"`
		Public   string `json:"test_public_key_pem"`
		Cases    []struct {
			Name, Method, URL, Timestamp, Body, Message, Authorization string
			Nonce                                                      string `json:"nonce_str"`
			Signature                                                  string `json:"expected_signature"`
		}
		Primitives []struct {
			Name, Message string
			Public        string `json:"public_key_pem"`
			Signature     string `json:"expected_signature"`
		} `json:"primitive_cases"`
	}
	readJSON("testdata/v3_request_signing.json", &v)
	if len(v.Cases) != 16 || len(v.Primitives) != 3 {
		t.Fatalf("%d cases and %d primitives, want 16 and 3", len(v.Cases), len(v.Primitives))
	}
	public, err := ParsePublicKey([]byte(v.Public))
	if err != nil || !public.Equal(merchantKey().Public()) {
		t.Fatalf("the public key is not the private key's: %v", err)
	}
	for _, tc := range v.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			if got := signedText([]byte(tc.Body), tc.Method, tc.URL, tc.Timestamp, tc.Nonce); string(got) != tc.Message {
				t.Errorf("message %q, want %q", got, tc.Message)
			}
			c := newTestClient(t, nil, func(c *Config) { c.MchID, c.SerialNo = v.MchID, v.SerialNo })
			c.nonce = func() string { return tc.Nonce }
			if tc.Timestamp != "1554208460" {
				t.Fatalf("signed at %s, not at testNow", tc.Timestamp)
			}
			got, err := c.authorization(tc.Method, tc.URL, []byte(tc.Body))
			if err != nil || got != tc.Authorization || !strings.Contains(got, `signature="`+tc.Signature+`"`) {
				t.Errorf("Authorization: %v\n%s\nwant\n%s", err, got, tc.Authorization)
			}
		})
	}
	for _, tc := range v.Primitives {
		t.Run(tc.Name, func(t *testing.T) {
			if tc.Public != "" { // its private key is not ours to have
				key, err := ParsePublicKey([]byte(tc.Public))
				if err != nil {
					t.Fatal(err)
				}
				if err := verifyText(key, []byte(tc.Message), tc.Signature); err != nil {
					t.Error(err)
				}
				if verifyText(key, []byte(tc.Message+"\n"), tc.Signature) == nil {
					t.Error("verifies another message")
				}
				return
			}
			got, err := signText(merchantKey(), []byte(tc.Message))
			if err != nil || base64.StdEncoding.EncodeToString(got) != tc.Signature {
				t.Errorf("signature %x, %v", got, err)
			}
		})
	}
}

func TestVectorsVerify(t *testing.T) {
	t.Parallel()
	var v struct {
		Cases []struct {
			Name, Body, Expect string
			Headers            map[string]string
			Public             string   `json:"public_key_pem"`
			Certificate        string   `json:"platform_certificate_pem"`
			At                 int64    `json:"evaluate_at_unix"`
			Known              []string `json:"known_serials"`
		}
	}
	readJSON("testdata/v3_response_verify.json", &v)
	expected := map[string]error{
		"ok": nil, "bad_signature": ErrBadSignature, "clock_skew": ErrClockSkew, "unknown_serial": ErrUnknownSerial,
	}
	if len(v.Cases) < 11 {
		t.Fatalf("%d cases", len(v.Cases))
	}
	for _, tc := range v.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			want, ok := expected[tc.Expect]
			if !ok {
				t.Fatalf("no idea what %q means", tc.Expect)
			}
			key, err := ParsePublicKey([]byte(tc.Public))
			if err != nil {
				t.Fatal(err)
			}
			header := http.Header{}
			for k, v := range tc.Headers {
				header.Set(k, v)
			}
			serial := header.Get("Wechatpay-Serial")
			if tc.Known != nil {
				serial = tc.Known[0]
			}
			keys, err := NewKeySet(serial, map[string]*rsa.PublicKey{serial: key})
			if err != nil {
				t.Fatal(err)
			}
			at, err := Verify(context.Background(), keys, header, []byte(tc.Body), time.Unix(tc.At, 0))
			if !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("%v, want %v", err, want)
			}

			if known := err == nil || errors.Is(err, ErrClockSkew); known == at.IsZero() {
				t.Errorf("time %v beside %v", at, err)
			}
			if tc.Certificate != "" {
				cert, err := ParseCertificate([]byte(tc.Certificate))
				if err != nil || SerialNo(cert) != serial {
					t.Errorf("certificate: %v, not serial %s", err, serial)
				}
				if k, err := ParsePublicKey([]byte(tc.Certificate)); err != nil || !k.Equal(key) {
					t.Errorf("the certificate's key: %v", err)
				}
			}
		})
	}
}

func TestVectorsResource(t *testing.T) {
	t.Parallel()
	var v struct {
		Cases []struct {
			Name, Nonce, Expect, Note string
			Key                       string  `json:"key_utf8"`
			AssociatedData            string  `json:"associated_data"`
			Ciphertext                string  `json:"ciphertext_base64"`
			Plaintext                 *string `json:"plaintext"`
		}
	}
	readJSON("testdata/aes_gcm.json", &v)
	short := 0
	for _, tc := range v.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			got, err := DecryptResource([]byte(tc.Key), tc.Nonce, tc.AssociatedData, tc.Ciphertext)
			if len(tc.Key) != 32 || tc.Expect != "ok" { // the SDK's own test keys of 16 bytes are not APIv3 keys
				if err == nil || got != nil {
					t.Fatalf("opened: %q", got)
				}
				if len(tc.Key) == 16 && !strings.Contains(err.Error(), "16 bytes") {
					t.Errorf("refused for another reason: %v", err)
				}
				short++
				return
			}
			if err != nil || string(got) != *tc.Plaintext {
				t.Fatalf("%q, %v", got, err)
			}
			if cert, err := ParseCertificate(got); err == nil && !strings.Contains(tc.Note, SerialNo(cert)) {
				t.Errorf("serial %s is not the one in %q", SerialNo(cert), tc.Note)
			}
		})
	}
	if short != 3 {
		t.Errorf("%d cases were to be refused, want 3", short)
	}
}

func TestVectorsSensitiveField(t *testing.T) {
	t.Parallel()
	var v struct {
		Cases []struct {
			Ciphertext string `json:"ciphertext_base64"`
			Plaintext  string
		}
	}
	readJSON("testdata/sensitive_field_oaep.json", &v)
	if len(v.Cases) == 0 {
		t.Fatal("no cases")
	}
	for _, tc := range v.Cases {
		if got, err := DecryptSensitive(merchantKey(), tc.Ciphertext); err != nil || got != tc.Plaintext {
			t.Errorf("%q, %v", got, err)
		}
		if got, err := DecryptSensitive(forgerKey(), tc.Ciphertext); err == nil {
			t.Errorf("another key opens it: %q", got)
		}
	}
	if _, err := DecryptSensitive(merchantKey(), "*"); err == nil {
		t.Error("not Base64 is accepted")
	}
}

func TestVectorsV2Sign(t *testing.T) {
	t.Parallel()
	var v struct {
		Cases []struct {
			Name, Key, MD5 string
			Params         map[string]string
			HMAC           string `json:"hmac_sha256"`
		}
	}
	readJSON("testdata/v2_sign.json", &v)
	if len(v.Cases) != 5 {
		t.Fatalf("%d cases", len(v.Cases))
	}
	for _, tc := range v.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			for by, want := range map[V2SignType]string{V2MD5: tc.MD5, V2HMACSHA256: tc.HMAC} {
				if got := SignV2(tc.Params, tc.Key, by); got != want {
					t.Errorf("%s: %s, want %s", by, got, want)
				}
				delete(tc.Params, "sign")
				if err := VerifyV2(tc.Params, tc.Key, by); !errors.Is(err, ErrNoSignature) {
					t.Errorf("unsigned: %v", err)
				}
				tc.Params["sign"] = want
				if err := VerifyV2(tc.Params, tc.Key, by); err != nil {
					t.Errorf("signed: %v", err)
				}
				tc.Params["one_more"] = "x"
				if err := VerifyV2(tc.Params, tc.Key, by); !errors.Is(err, ErrBadSignature) {
					t.Errorf("altered: %v", err)
				}
				delete(tc.Params, "one_more")
			}
		})
	}
}

func TestVectorsV2Notify(t *testing.T) {
	t.Parallel()
	var v struct {
		Cases []struct {
			Name, Plaintext string
			APIKey          string `json:"api_key"`
			ReqInfo         string `json:"req_info"`
		}
	}
	readJSON("testdata/v2_refund_notify.json", &v)
	opened := 0
	for _, tc := range v.Cases {
		if tc.ReqInfo == "" { // a reference to a third party's file, not copied
			continue
		}
		opened++
		if got, err := DecryptReqInfo(tc.APIKey, tc.ReqInfo); err != nil || string(got) != tc.Plaintext {
			t.Errorf("%s: %q, %v", tc.Name, got, err)
		}
		if got, err := DecryptReqInfo(tc.APIKey+"x", tc.ReqInfo); err == nil {
			t.Errorf("%s: another key opens it: %q", tc.Name, got)
		}
	}
	if opened != 3 {
		t.Errorf("%d cases, want 3", opened)
	}
	for _, bad := range []string{"", "*", "AAAA"} {
		if _, err := DecryptReqInfo("k", bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
