package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nkeys"
	"github.com/sirupsen/logrus"

	"wxpay-worker/wxpay/wxpaytest"
)

// canary stands in every file that must not be shown.
const canary = "CANARY"

var weakKey = sync.OnceValue(func() []byte {
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		panic(err)
	}
	return pkcs8(key)
})

var ecKey = sync.OnceValue(func() []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return pkcs8(key)
})

func pkcs8(key any) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// keyFolder holds a good file of each kind.
func keyFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	c := wxpaytest.New(t).AddMerchant(wxpaytest.Merchant{MchID: mchid})
	for name, data := range map[string][]byte{
		"key.pem": c.PrivateKeyPEM(), "pub.pem": c.PublicKeyPEM(), "cert.pem": c.CertificatePEM,
		"v3.key": []byte(strings.Repeat("k", 32) + "\n"), "text": []byte(canary), "weak.pem": weakKey(), "ec.pem": ecKey(),
		"large": bytes.Repeat([]byte(canary), maxFile),
	} {
		writeFile(t, filepath.Join(dir, name), string(data))
	}
	return dir
}

// TestMerchantFiles: each file must be there and be what it is for; the error names line and key and shows nothing of it.
func TestMerchantFiles(t *testing.T) {
	dir := keyFolder(t)
	const v2 = "    v2: {appid: wx1, api_key_file: v3.key, client_cert_file: cert.pem, client_key_file: key.pem}\n"
	for _, tt := range []struct{ rule, from, to, want string }{
		{"good", "", "", ""},
		{"no such file", "key.pem", "nothing.pem", ":4: merchants[0].private_key_file: expected a readable file, by its path from the folder " + dir + ": no such file or directory"},
		{"no such public file", "pub.pem", "nothing.pem", ":5: merchants[0].public_keys[0].file: expected a readable file: open " + filepath.Join(dir, "nothing.pem")},
		{"the secret in the place of its file", "{api_v3_key_file: v3.key}", "{api_v3_key_file: " + canary + "}",
			"merchants[0].platform_certificates.api_v3_key_file: expected a readable file, by its path from the folder "},
		{"the secret, after a slash", " api_key_file: v3.key", " api_key_file: /" + canary, "merchants[0].v2.api_key_file: expected a readable file: no such file or directory"},
		{"the secret, of many lines", "private_key_file: key.pem", "private_key_file: \"-----BEGIN PRIVATE KEY-----\\n" + strings.Repeat(canary+"\\n", 50) + "\"",
			"merchants[0].private_key_file: expected a readable file, by its path from the folder " + dir + ": file name too long"},
		{"a folder", "key.pem", ".", "merchants[0].private_key_file: expected a readable file"},
		{"too large", "key.pem", "large", "merchants[0].private_key_file: expected a readable file of at most 1 MiB"},
		{"no key", "key.pem", "text", "merchants[0].private_key_file: expected another content: wxpay: private key: not PEM"},
		{"public key for private", "key.pem", "pub.pem", "merchants[0].private_key_file: expected another content"},
		{"weak", "key.pem", "weak.pem", "merchants[0].private_key_file: expected another content: wxpay: private key: 1024 bits, want at least 2048"},
		{"not RSA", "key.pem", "ec.pem", "merchants[0].private_key_file: expected another content: wxpay: private key: not an RSA key"},
		{"public key", "pub.pem", "text", ":5: merchants[0].public_keys[0].file: expected another content"},
		{"certificate", "certificate_file: cert.pem", "certificate_file: text", "merchants[0].certificate_file: expected another content"},
		{"APIv3 key", "{api_v3_key_file: v3.key}", "{api_v3_key_file: text}", "merchants[0].platform_certificates.api_v3_key_file: expected another content: want 32"},
		{"v2 key", " api_key_file: v3.key", " api_key_file: text", "merchants[0].v2.api_key_file: expected another content"},
		{"v2 certificate", "client_cert_file: cert.pem", "client_cert_file: text", "merchants[0].v2.client_cert_file: expected another content"},
		{"v2 private key", "client_key_file: key.pem", "client_key_file: text", "merchants[0].v2.client_key_file: expected another content"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			text := aMerchant + "    certificate_file: cert.pem\n    platform_certificates: {api_v3_key_file: v3.key}\n" + v2
			file := filepath.Join(dir, "worker.yaml")
			writeFile(t, file, strings.Replace(text, tt.from, tt.to, 1))
			c, err := loadConfig(file, "")
			if err != nil {
				t.Fatal(err)
			}
			keys, err := c.readMerchants()
			if tt.want == "" {
				if err != nil || keys[0].signer == nil || keys[0].publicKeyID != "PUB_KEY_ID_01" || keys[0].publicKeys["PUB_KEY_ID_01"] == nil {
					t.Errorf("got %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got  %v\nwant %s", err, tt.want)
			}
			if strings.Contains(err.Error(), canary) {
				t.Errorf("shows a secret: %v", err)
			}
		})
	}
}

// TestOthersCanRead: a secret that others can read is told; one that may be public is not.
func TestOthersCanRead(t *testing.T) {
	dir := keyFolder(t)
	for _, name := range []string{"key.pem", "pub.pem"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, err := loadConfig(writeFile(t, filepath.Join(dir, "worker.yaml"), aMerchant), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.readMerchants(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	log := logrus.New()
	log.SetOutput(&out)
	c.warn(log)
	if text := out.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "merchants[0].private_key_file: others can read") {
		t.Errorf("got %s", text)
	}
}

// TestSecretFromPipe: a secret may come through a file descriptor, which can be read once.
func TestSecretFromPipe(t *testing.T) {
	dir := keyFolder(t)
	key, err := os.ReadFile(filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.Write(key); err != nil { // fits into the pipe's buffer
		t.Fatal(err)
	}
	w.Close()
	text := strings.Replace(aMerchant, "key.pem", fmt.Sprintf("/dev/fd/%d", r.Fd()), 1)
	c, err := loadConfig(writeFile(t, filepath.Join(dir, "worker.yaml"), text), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.readMerchants(); err != nil {
		t.Error(err)
	}
}

// TestNATSFiles: what a connection needs is read and checked, and never shown.
func TestNATSFiles(t *testing.T) {
	dir := keyFolder(t)
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "seed"), string(seed)+"\n")
	for _, tt := range []struct{ nats, want string }{
		{"nkey_seed_file: seed", ""},
		{"user: a, password_file: text", ""},
		{"creds_file: text", ""}, // looked into when the server asks
		{"tls: {ca_file: cert.pem, cert_file: cert.pem, key_file: key.pem}", ""},
		{"nkey_seed_file: text", "nats.nkey_seed_file: expected the seed of a user nkey"},
		{"nkey_seed_file: nothing", "nats.nkey_seed_file: expected a readable file"},
		{"user: a, password_file: nothing", "nats.password_file: expected a readable file"},
		{"creds_file: nothing", "nats.creds_file: expected a readable file"},
		{"tls: {ca_file: text}", "nats.tls.ca_file: expected a PEM file"},
		{"tls: {cert_file: cert.pem, key_file: nothing}", "nats.tls.key_file: expected a readable file"},
		{"tls: {cert_file: cert.pem, key_file: weak.pem}", "nats.tls.cert_file: expected a PEM certificate that belongs to key_file"},
	} {
		t.Run(tt.nats, func(t *testing.T) {
			c, err := loadConfig(writeFile(t, filepath.Join(dir, "worker.yaml"), "nats: {"+tt.nats+"}\n"), "")
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.natsOptions()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("got  %v\nwant %s", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), canary) {
				t.Errorf("shows a secret: %v", err)
			}
		})
	}
}
