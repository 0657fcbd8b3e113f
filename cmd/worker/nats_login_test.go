package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"wxpay-worker/internal/natstest"
)

// login runs setup, which connects, asks JetStream and gets answers, against a server with this configuration.
func login(t *testing.T, dir string, code int, url, nats string) *running {
	t.Helper()
	file := writeFile(t, filepath.Join(dir, "worker.yaml"), fmt.Sprintf("nats: {url: %q, %s}\n", url, nats))
	return run(t, code, "", "setup", "-c", file)
}

// TestLoginByPassword: user and password_file; the wrong one is told as such, and not shown.
func TestLoginByPassword(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	url := natstest.StartFile(t, writeFile(t, filepath.Join(dir, "nats.conf"),
		`jetstream {}, authorization { users: [{user: "a.b", password: CANARY1, permissions: {subscribe: "_INBOX_a=2Eb.>"}}] }`))
	writeFile(t, filepath.Join(dir, "right"), "CANARY1\r\n")
	writeFile(t, filepath.Join(dir, "wrong"), "CANARY2")
	login(t, dir, exitDone, url, "user: a.b, password_file: right")
	if r := login(t, dir, exitFailed, url, "user: a.b, password_file: wrong"); !strings.Contains(r.err.String(), "Authorization Violation") || strings.Contains(r.err.String(), canary) {
		t.Errorf("got %s", r.err)
	}
	// Another inbox than the server permits: said at once, with the subject.
	if r := login(t, dir, exitFailed, url, "user: a.b, password_file: right, inbox_prefix: _INBOX"); !strings.Contains(r.err.String(), `not permitted: Subscription to "_INBOX.`) {
		t.Errorf("got %s", r.err)
	}
}

// TestLoginByNkey: a seed that never leaves the machine, and an inbox that the configuration names.
func TestLoginByNkey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	user, name := nkeyPair(t, nkeys.CreateUser)
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "seed"), string(seed)+"\n")
	url := natstest.StartFile(t, writeFile(t, filepath.Join(dir, "nats.conf"),
		`jetstream {}, authorization { users: [{nkey: `+name+`, permissions: {subscribe: "_INBOX.worker.>"}}] }`))
	login(t, dir, exitDone, url, "nkey_seed_file: seed, inbox_prefix: _INBOX.worker")
	if r := login(t, dir, exitFailed, url, "prefix: other"); !strings.Contains(r.err.String(), "Authorization Violation") {
		t.Errorf("got %s", r.err)
	}
}

func nkeyPair(t *testing.T, create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
	t.Helper()
	pair, err := create()
	if err != nil {
		t.Fatal(err)
	}
	name, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return pair, name
}

// TestLoginByCreds: a server in operator mode, and a user with a JWT and a seed in one file.
func TestLoginByCreds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	operator, operatorName := nkeyPair(t, nkeys.CreateOperator)
	account, accountName := nkeyPair(t, nkeys.CreateAccount)
	system, systemName := nkeyPair(t, nkeys.CreateAccount)
	user, userName := nkeyPair(t, nkeys.CreateUser)
	_ = system
	encode := func(c jwt.Claims, by nkeys.KeyPair) string {
		t.Helper()
		text, err := c.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	operatorClaims := jwt.NewOperatorClaims(operatorName)
	operatorClaims.SystemAccount = systemName
	accountClaims := jwt.NewAccountClaims(accountName)
	accountClaims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	userClaims := jwt.NewUserClaims(userName)
	userClaims.Sub.Allow.Add("_INBOX_worker.>")
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	creds, err := jwt.FormatUserConfig(encode(userClaims, account), seed)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "worker.creds"), string(creds))
	url := natstest.StartFile(t, writeFile(t, filepath.Join(dir, "nats.conf"), fmt.Sprintf(
		"jetstream {}\noperator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: {%s: %s, %s: %s}\n",
		encode(operatorClaims, operator), systemName, accountName, encode(accountClaims, operator), systemName, encode(jwt.NewAccountClaims(systemName), operator))))
	login(t, dir, exitDone, url, "creds_file: worker.creds, inbox_prefix: _INBOX_worker")
	if r := login(t, dir, exitFailed, url, "prefix: other"); !strings.Contains(r.err.String(), "Authorization Violation") {
		t.Errorf("got %s", r.err)
	}
}

// TestLoginOverTLS: the server proves itself by the configured CA, the worker by its client certificate.
func TestLoginOverTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := authority(t, dir, "ca")
	ca.issue(t, dir, "server")
	ca.issue(t, dir, "client")
	other := authority(t, dir, "other_ca")
	other.issue(t, dir, "other_client")
	url := natstest.StartFile(t, writeFile(t, filepath.Join(dir, "nats.conf"), fmt.Sprintf(
		"jetstream {}\ntls {cert_file: %q, key_file: %q, ca_file: %q, verify: true}\n",
		filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"), filepath.Join(dir, "ca.pem"))))
	url = strings.Replace(url, "nats://", "tls://", 1)
	login(t, dir, exitDone, url, "tls: {ca_file: ca.pem, cert_file: client.pem, key_file: client.key}")
	for name, c := range map[string]struct{ tls, want string }{
		"another CA":                   {"tls: {ca_file: other_ca.pem, cert_file: client.pem, key_file: client.key}", "certificate signed by unknown authority"},
		"the system's roots":           {"tls: {cert_file: client.pem, key_file: client.key}", "certificate signed by unknown authority"},
		"no client certificate":        {"tls: {ca_file: ca.pem}", "remote"},
		"another's client certificate": {"tls: {ca_file: ca.pem, cert_file: other_client.pem, key_file: other_client.key}", "remote"},
	} {
		if r := login(t, dir, exitFailed, url, c.tls); !strings.Contains(r.err.String(), c.want) {
			t.Errorf("%s: %s", name, r.err)
		}
	}
}

// ca is a certificate authority of a test.
type ca struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func authority(t *testing.T, dir, name string) *ca {
	t.Helper()
	c := &ca{}
	template := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	c.certificate, c.key = c.sign(t, dir, name, template)
	return c
}

func (c *ca) issue(t *testing.T, dir, name string) {
	t.Helper()
	c.sign(t, dir, name, &x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
}

// sign writes a certificate and its key; without an authority yet, a certificate signs itself.
func (c *ca) sign(t *testing.T, dir, name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, by := c.certificate, c.key
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, name+".pem"), certificatePEM(signed))
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, name+".key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	return signed, key
}
