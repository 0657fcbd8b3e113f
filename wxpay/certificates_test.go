package wxpay

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const testV3Key = "a7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb"

// Two platform keys, of a certificate and its successor, and the CA that issues certificates.
var (
	oldKey     = sync.OnceValue(newKey)
	newerKey   = sync.OnceValue(newKey)
	testCAKey  = sync.OnceValue(newKey)
	testRootCA = sync.OnceValue(func() *x509.Certificate {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Tenpay.com Root CA", Organization: []string{"Tenpay.com"}},
			NotBefore: testNow.AddDate(-10, 0, 0), NotAfter: testNow.AddDate(20, 0, 0), IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign,
		}
		return must(x509.ParseCertificate(must(x509.CreateCertificate(nil, template, template, testCAKey().Public(), testCAKey()))))
	})
)

// platform is a certificate as the list shows it; its zero fields are what is usual.
type platform struct {
	serial   int64
	key      *rsa.PrivateKey
	ca       *rsa.PrivateKey // nil = the right one
	from, to time.Time       // the certificate's own dates; zero = from 30 days ago for five years
	text     string          // instead of the certificate's PEM

	serialNo, effective, expire string // of the list; empty = those of the certificate, "-" = none
	algorithm, apiV3Key         string
	names                       func(string) string // of members
}

func (p platform) number() string { return fmt.Sprintf("7F%038X", p.serial) }

func (p platform) entry() string {
	or := func(s, usual string) string {
		switch s {
		case "":
			return usual
		case "-":
			return ""
		}
		return s
	}
	if p.from.IsZero() {
		p.from = testNow.AddDate(0, 0, -30)
	}
	if p.to.IsZero() {
		p.to = p.from.AddDate(5, 0, 0)
	}
	if p.ca == nil {
		p.ca = testCAKey()
	}
	if p.text == "" {
		serial, _ := new(big.Int).SetString(p.number(), 16)
		template := &x509.Certificate{
			SerialNumber: serial, Subject: pkix.Name{CommonName: "Tenpay.com sign"}, NotBefore: p.from, NotAfter: p.to,
		}
		parent := *testRootCA()
		parent.PublicKey = p.ca.Public() // somebody else's CA bears the same name
		p.text = string(encodePEM("CERTIFICATE", must(x509.CreateCertificate(rand.Reader, template, &parent, p.key.Public(), p.ca))))
	}
	// Sealed here, not by the package: a misreading must not pass on both sides.
	aead := must(cipher.NewGCM(must(aes.NewCipher([]byte(or(p.apiV3Key, testV3Key))))))
	sealed := aead.Seal(nil, []byte("61f9c719728a"), []byte(p.text), []byte("certificate"))
	names := p.names
	if names == nil {
		names = func(s string) string { return s }
	}
	member := func(name, value string) string {
		return string(must(json.Marshal(names(name)))) + ":" + string(must(json.Marshal(value)))
	}
	return "{" + strings.Join([]string{
		member("serial_no", or(p.serialNo, p.number())),
		member("effective_time", or(p.effective, p.from.Format(time.RFC3339))),
		member("expire_time", or(p.expire, p.to.Format(time.RFC3339))),
		string(must(json.Marshal(names("encrypt_certificate")))) + ":{" + strings.Join([]string{
			member("algorithm", or(p.algorithm, "AEAD_AES_256_GCM")), member("nonce", "61f9c719728a"),
			member("associated_data", "certificate"), member("ciphertext", base64.StdEncoding.EncodeToString(sealed)),
		}, ",") + "}",
	}, ",") + "}"
}

func listOf(ps ...platform) string {
	var entries []string
	for _, p := range ps {
		entries = append(entries, p.entry())
	}
	return `{"data":[` + strings.Join(entries, ",") + `]}`
}

func oldPlatform() platform { return platform{serial: 1, key: oldKey()} }
func newPlatform() platform {
	return platform{serial: 2, key: newerKey(), from: testNow.AddDate(0, 0, -1)}
}

// signedBy is a genuine answer, signed with a platform's key.
func signedBy(p platform, body string) reply {
	return reply{status: 200, body: body}.sign(p.key, p.number(), 0)
}

// platformServer is a WeChat Pay without a network, and the clock that both sides read.
type platformServer struct {
	mu        sync.Mutex
	now       time.Time
	list      func(*http.Request) (reply, error) // of GET /v3/certificates
	refund    func(*http.Request) (reply, error) // of all else
	downloads int
	named     []string // Wechatpay-Serial of the downloads
	others    int
	told      []error // by Downloaded
}

func (s *platformServer) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	answer := s.refund
	if r.URL.Path == "/v3/certificates" {
		answer = s.list
		s.downloads++
		s.named = append(s.named, r.Header.Get("Wechatpay-Serial"))
	} else {
		s.others++
	}
	s.mu.Unlock()
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	a, err := answer(r)
	if err != nil {
		return nil, err
	}
	return http.ReadResponse(bufio.NewReader(bytes.NewReader(a.bytes())), r)
}

func (s *platformServer) pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

func (s *platformServer) answers(a reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Signatures are made anew, since the clock may move between.
	s.list = func(*http.Request) (reply, error) { return a, nil }
}

func (s *platformServer) fails(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = func(*http.Request) (reply, error) { return reply{}, err }
}

func (s *platformServer) wantDownloads(t *testing.T, want int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.downloads != want {
		t.Errorf("%d downloads, want %d", s.downloads, want)
	}
}

// newPlatformServer answers with a list, signed by one of it.
func newPlatformServer(by platform, listed ...platform) *platformServer {
	s := &platformServer{now: testNow}
	s.answers(signedBy(by, listOf(listed...)))
	s.refund = func(*http.Request) (reply, error) { return signedBy(by, refundBody), nil }
	return s
}

func (s *platformServer) config() CertificatesConfig {
	roots := x509.NewCertPool()
	roots.AddCert(testRootCA())
	return CertificatesConfig{
		Client: Config{
			MchID: "1900007291", SerialNo: "408B07E79B8269FEC3D5D3E6AB8ED163A6A380DB", Signer: fastSigner{merchantKey().Public()},
			Hosts: []string{testHost}, Transport: s,
			Now: func() time.Time {
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.now
			},
		},
		APIv3Key: []byte(testV3Key), RootCAs: roots,
		Downloaded: func(err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.told = append(s.told, err)
		},
	}
}

func newTestCertificates(t *testing.T, s *platformServer, change ...func(*CertificatesConfig)) *Certificates {
	t.Helper()
	config := s.config()
	for _, f := range change {
		f(&config)
	}
	c, err := NewCertificates(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// clientOf is a merchant who verifies by certificates.
func clientOf(t *testing.T, s *platformServer, c *Certificates) *Client {
	t.Helper()
	config := s.config().Client
	config.Keys = c
	client, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func wantKey(t *testing.T, c *Certificates, p platform, want error) {
	t.Helper()
	key, err := c.Key(t.Context(), p.number())
	if !errors.Is(err, want) || (err == nil) != (want == nil) || want == nil && !key.Equal(p.key.Public()) || want != nil && key != nil {
		t.Errorf("key of %s: %v, want %v", p.number(), err, want)
	}
}

// TestCertificatesFirstUse: nothing is downloaded before it is needed, then once, before the first call.
func TestCertificatesFirstUse(t *testing.T) {
	t.Parallel()
	s := newPlatformServer(oldPlatform(), oldPlatform())
	c := newTestCertificates(t, s)
	client := clientOf(t, s, c)
	s.wantDownloads(t, 0)
	if c.Serial() != "" || !c.Expires().IsZero() {
		t.Error("it knows something before it has looked")
	}
	s.refund = func(r *http.Request) (reply, error) {
		s.wantDownloads(t, 1)
		if got := r.Header.Get("Wechatpay-Serial"); got != "" {
			t.Errorf("a certificate is named: %q", got)
		}
		return signedBy(oldPlatform(), refundBody), nil
	}
	for range 3 {
		if _, err := client.CreateRefund(t.Context(), refundRequest()); err != nil {
			t.Fatal(err)
		}
	}
	s.wantDownloads(t, 1)
	if c.Serial() != oldPlatform().number() || !c.Expires().Equal(testNow.AddDate(0, 0, -30).AddDate(5, 0, 0)) {
		t.Errorf("serial %s, expires %v", c.Serial(), c.Expires())
	}
	if len(s.told) != 1 || s.told[0] != nil || s.named[0] != "" {
		t.Errorf("told %v, named %q", s.told, s.named)
	}
}

// TestCertificatesLists: what a list may be, and what it must not be. After one that is refused, those known before serve on.
func TestCertificatesLists(t *testing.T) {
	t.Parallel()
	old, newer := oldPlatform(), newPlatform()
	trailing := func(p platform) platform { p.names = func(s string) string { return s + " " }; return p }
	with := func(p platform, change func(*platform)) platform { change(&p); return p }
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	refusal := func(status int, code string) reply { return reply{status: status, body: `{"code":"` + code + `"}`} }
	good := listOf(old, newer)
	odd := func(change func(*platform)) reply { return signedBy(old, listOf(old, with(newer, change))) }
	tests := []struct {
		name    string
		answer  reply
		accepts bool
		passing bool // an error that time may mend
	}{
		{"both, signed by the old one", signedBy(old, good), true, false},
		{"both, signed by the new one", signedBy(newer, good), true, false},
		{"blanks after the names", signedBy(newer, listOf(trailing(old), trailing(newer))), true, false},
		{"without times", odd(func(p *platform) { p.effective, p.expire = "-", "-" }), true, false},
		{"times with fractions and Z", odd(func(p *platform) { p.effective = "2019-04-01T00:00:00.123Z" }), true, false},
		{"serial in lower case", odd(func(p *platform) { p.serialNo = strings.ToLower(p.number()) }), true, false},
		{"another algorithm beside", signedBy(newer, listOf(newer, platform{serial: 3, key: forgerKey(), algorithm: "AEAD_SM4_GCM"})), true, false},
		{"an expired one beside", signedBy(newer, listOf(newer, platform{serial: 3, key: forgerKey(), from: testNow.AddDate(-6, 0, 0)})), true, false},

		{"forged", reply{status: 200, body: good}.sign(forgerKey(), newer.number(), 0), false, true},
		{"signed by one not in it", signedBy(platform{serial: 9, key: forgerKey()}, good), false, true},
		{"unsigned", reply{status: 200, body: good}, false, true},
		{"stale", reply{status: 200, body: good}.sign(newer.key, newer.number(), -time.Hour), false, true},
		{"altered", signedBy(newer, good).withBody(strings.Replace(good, `"data"`, `"data" `, 1)), false, true},
		{"204", reply{status: 204}.sign(old.key, old.number(), 0), false, true},
		{"202", reply{status: 202, body: good}.sign(old.key, old.number(), 0), false, true},
		{"no JSON", signedBy(old, "<html>"), false, true},
		{"nothing in it", signedBy(old, `{"data":[]}`), false, false},
		{"nothing for us in it", signedBy(old, listOf(with(newer, func(p *platform) { p.algorithm = "AEAD_SM4_GCM" }))), false, false},
		{"all expired", signedBy(old, listOf(platform{serial: 3, key: forgerKey(), from: testNow.AddDate(-6, 0, 0)})), false, false},
		{"another APIv3 key", odd(func(p *platform) { p.apiV3Key = strings.Repeat("k", 32) }), false, false},
		{"another CA's", odd(func(p *platform) { p.ca = forgerKey() }), false, false},
		{"another serial", odd(func(p *platform) { p.serialNo = old.number() }), false, false},
		{"no serial", odd(func(p *platform) { p.serialNo = "-" }), false, false},
		{"no certificate", odd(func(p *platform) { p.text = "hello" }), false, false},
		{"1024 bits", odd(func(p *platform) { p.key = small }), false, false},
		{"effective_time of another kind", odd(func(p *platform) { p.effective = "2019-04-01 00:00:00" }), false, false},
		{"expire_time of another kind", odd(func(p *platform) { p.expire = "1900000000" }), false, false},
		{"401", refusal(401, "SIGN_ERROR"), false, false},
		{"404", refusal(404, "RESOURCE_NOT_EXISTS"), false, false},
		{"404, signed", refusal(404, "RESOURCE_NOT_EXISTS").sign(old.key, old.number(), 0), false, false},
		{"429", refusal(429, "FREQUENCY_LIMITED"), false, true},
		{"500", refusal(500, "SYSTEM_ERROR"), false, true},
		{"502", reply{status: 502, body: "<html>"}, false, true},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			// First of all: nothing else is known.
			s := newPlatformServer(old, old)
			s.answers(tc.answer)
			c := newTestCertificates(t, s)
			err := c.Ready(t.Context())
			if (err == nil) != tc.accepts || errors.Is(err, ErrNoCertificates) != (tc.passing && !tc.accepts) {
				t.Errorf("first: %v", err)
			}
			if tc.accepts {
				wantKey(t, c, newer, nil)
			} else if c.Serial() != "" {
				t.Errorf("%s is used", c.Serial())
			}
			// What comes of a call then: nothing was sent, and whether somebody must mend something.
			if !tc.accepts {
				_, err := clientOf(t, s, c).CreateRefund(t.Context(), refundRequest())
				n, noAnswer := errors.AsType[*NoAnswerError](err)
				_, signing := errors.AsType[*SigningError](err)
				if noAnswer != tc.passing || signing == tc.passing || noAnswer && n.Sent || s.others != 0 {
					t.Errorf("call: %#v, %d sent", err, s.others)
				}
			}

			// Later: the old one is known, and stays known.
			s = newPlatformServer(old, old)
			c = newTestCertificates(t, s)
			if err := c.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.answers(tc.answer)
			if err := c.Refresh(t.Context()); (err == nil) != tc.accepts {
				t.Errorf("refresh: %v", err)
			} else if err != nil && (len(s.told) != 2 || s.told[1] == nil) {
				t.Errorf("told %v", s.told)
			}
			if tc.accepts {
				wantKey(t, c, newer, nil)
				return
			}
			wantKey(t, c, old, nil)
			if err := c.Ready(t.Context()); err != nil || c.Serial() != old.number() {
				t.Errorf("%v, serial %s", err, c.Serial())
			}
		})
	}
}

// TestCertificatesWithoutRoots: then the APIv3 key alone proves where they come from.
func TestCertificatesWithoutRoots(t *testing.T) {
	t.Parallel()
	p := oldPlatform()
	p.ca = forgerKey()
	s := newPlatformServer(p, p)
	if err := newTestCertificates(t, s).Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "not issued by a root that is trusted") {
		t.Error(err)
	}
	if err := newTestCertificates(t, s, func(c *CertificatesConfig) { c.RootCAs = nil }).Refresh(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestCertificatesVector: the Java SDK's own encrypted list entry.
func TestCertificatesVector(t *testing.T) {
	t.Parallel()
	var v struct {
		Cases []struct {
			Name, Nonce, Note string
			AssociatedData    string `json:"associated_data"`
			Ciphertext        string `json:"ciphertext_base64"`
			Key               string `json:"key_utf8"`
			Plaintext         string
		}
	}
	readJSON("testdata/aes_gcm.json", &v)
	for _, tc := range v.Cases {
		if tc.Name != "java_sdk_certificate_download" {
			continue
		}
		cert := must(ParseCertificate([]byte(tc.Plaintext)))
		s := newPlatformServer(oldPlatform(), oldPlatform())
		s.now = cert.NotBefore.Add(time.Hour)
		c := newTestCertificates(t, s, func(c *CertificatesConfig) { c.APIv3Key, c.RootCAs = []byte(tc.Key), nil })
		body := fmt.Sprintf(`{"data":[{"serial_no":%q,"encrypt_certificate":{"algorithm":"AEAD_AES_256_GCM","nonce":%q,"associated_data":%q,"ciphertext":%q}}]}`,
			SerialNo(cert), tc.Nonce, tc.AssociatedData, tc.Ciphertext)
		known, err := c.read(&answer{status: 200, body: []byte(body)})
		if p := known[SerialNo(cert)]; err != nil || p == nil || !p.key.Equal(cert.PublicKey) || !p.to.Equal(cert.NotAfter) {
			t.Error(err)
		}
		return
	}
	t.Error("no such vector")
}

// TestCertificatesRotation: one, then both, then the new one; answers of either are believed as long as they count.
func TestCertificatesRotation(t *testing.T) {
	t.Parallel()
	old, newer := oldPlatform(), newPlatform()
	newer.from = testNow.Add(time.Hour)
	s := newPlatformServer(old, old)
	c := newTestCertificates(t, s, func(c *CertificatesConfig) { c.Refresh = time.Hour })
	client := clientOf(t, s, c)
	refund := func(by platform, want error) {
		t.Helper()
		s.refund = func(*http.Request) (reply, error) {
			return reply{status: 200, body: refundBody}.sign(by.key, by.number(), s.now.Sub(testNow)), nil
		}
		if _, err := client.CreateRefund(t.Context(), refundRequest()); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("signed by %s: %v, want %v", by.number(), err, want)
		}
	}
	answers := func(by platform, listed ...platform) {
		s.answers(reply{status: 200, body: listOf(listed...)}.sign(by.key, by.number(), s.now.Sub(testNow)))
	}
	refund(old, nil)
	refund(newer, ErrUnknownSerial) // the download was a moment ago

	// Both are listed, the new one is not in effect yet.
	s.pass(time.Minute)
	soon := old
	soon.expire = testNow.Add(3 * time.Hour).Format(time.RFC3339) // shortened: the certificate itself says years
	answers(old, soon, newer)
	refund(newer, ErrUnknownSerial)
	s.wantDownloads(t, 2)
	refund(old, nil)
	if c.Serial() != old.number() || !c.Expires().Equal(newer.from.AddDate(5, 0, 0)) {
		t.Errorf("serial %s, expires %v", c.Serial(), c.Expires())
	}

	// In effect, without another download.
	s.pass(time.Hour - time.Minute)
	refund(newer, nil)
	refund(old, nil)
	if c.Serial() != newer.number() {
		t.Error("the latest is not preferred")
	}
	s.wantDownloads(t, 2)

	// The old one expires to the second, although a refresh fails.
	s.fails(io.ErrUnexpectedEOF)
	s.pass(2*time.Hour - time.Second)
	refund(old, nil)
	s.pass(time.Second)
	refund(old, ErrNoCertificates) // could not look
	answers(newer, newer)
	s.pass(lookGap)
	refund(old, ErrUnknownSerial)
	refund(newer, nil)
}

// TestCertificatesDates: a certificate counts as long as both the list and it itself say so, to the second.
func TestCertificatesDates(t *testing.T) {
	t.Parallel()
	early, soon := testNow.Add(-time.Hour), testNow.Add(time.Hour)
	late := testNow.Add(2 * time.Hour)
	for name, tc := range map[string]struct {
		from, to, effective, expire time.Time
		now, inAnHour               bool
	}{
		"both":                     {early, late, early, late, true, true},
		"itself from soon":         {soon, late, early, late, false, true},
		"the list from soon":       {early, late, soon, late, false, true},
		"itself until soon":        {early, soon, early, late, true, false},
		"the list until soon":      {early, late, early, soon, true, false},
		"from this second":         {testNow, late, testNow, late, true, true},
		"until the next second":    {early, testNow.Add(time.Second), early, late, true, false},
		"listed for a second only": {early, late, testNow, testNow.Add(time.Second), true, false},
	} {
		p := platform{serial: 5, key: newerKey(), from: tc.from, to: tc.to, effective: tc.effective.Format(time.RFC3339), expire: tc.expire.Format(time.RFC3339)}
		s := newPlatformServer(oldPlatform(), oldPlatform(), p)
		c := newTestCertificates(t, s)
		if err := c.Refresh(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := c.key(p.number()) != nil; got != tc.now {
			t.Errorf("%s: counts now: %v", name, got)
		}
		s.pass(time.Hour)
		if got := c.key(p.number()) != nil; got != tc.inAnHour {
			t.Errorf("%s: counts in an hour: %v", name, got)
		}
	}
}

// TestCertificatesProvers: a list may be signed with a certificate that was known before and is not in it any more, but not
// with one that has expired.
func TestCertificatesProvers(t *testing.T) {
	t.Parallel()
	old, newer := oldPlatform(), newPlatform()
	old.to = testNow.Add(time.Hour)
	for after, want := range map[time.Duration]error{time.Hour - time.Second: nil, time.Hour: ErrUnknownSerial} {
		s := newPlatformServer(old, old)
		c := newTestCertificates(t, s)
		if err := c.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.pass(after)
		s.answers(reply{status: 200, body: listOf(newer)}.sign(old.key, old.number(), after))
		if err := c.Refresh(t.Context()); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("after %v: %v, want %v", after, err, want)
		}
	}
}

// TestCertificatesAllExpired: then there is nothing to verify by, and nothing is sent.
func TestCertificatesAllExpired(t *testing.T) {
	t.Parallel()
	p := oldPlatform()
	p.to = testNow.Add(time.Hour)
	s := newPlatformServer(p, p)
	c := newTestCertificates(t, s)
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.fails(syscall.ECONNREFUSED)
	s.pass(time.Hour)
	_, err := clientOf(t, s, c).CreateRefund(t.Context(), refundRequest())
	if n, ok := errors.AsType[*NoAnswerError](err); !ok || n.Sent || n.Host != testHost || s.others != 0 || c.Serial() != "" {
		t.Errorf("%#v", err)
	}
	if !c.Expires().Equal(p.to) {
		t.Errorf("expires %v", c.Expires())
	}
}

// TestCertificatesForgedSerials: a storm of serials that nobody has causes one download in 10 s.
func TestCertificatesForgedSerials(t *testing.T) {
	t.Parallel()
	s := newPlatformServer(oldPlatform(), oldPlatform())
	c := newTestCertificates(t, s)
	storm := func() {
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				if _, err := c.Key(t.Context(), fmt.Sprint("FORGED", i)); !errors.Is(err, ErrUnknownSerial) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	storm()
	s.wantDownloads(t, 1)
	s.pass(lookGap - 1)
	storm()
	s.wantDownloads(t, 1)
	s.pass(1)
	storm()
	s.wantDownloads(t, 2)
	wantKey(t, c, oldPlatform(), nil)
	// A public key cannot be downloaded.
	s.pass(lookGap)
	if _, err := c.Key(t.Context(), "PUB_KEY_ID_1"); !errors.Is(err, ErrUnknownSerial) {
		t.Error(err)
	}
	s.wantDownloads(t, 2)
	// Nor do failures come more often.
	s.fails(syscall.ECONNREFUSED)
	for range 10 {
		if _, err := c.Key(t.Context(), "FORGED"); !errors.Is(err, ErrNoCertificates) {
			t.Error(err)
		}
	}
	s.wantDownloads(t, 3)
	s.pass(-time.Hour) // a clock that is set back must not keep everybody waiting
	if _, err := c.Key(t.Context(), "FORGED"); !errors.Is(err, ErrNoCertificates) {
		t.Error(err)
	}
	s.wantDownloads(t, 4)
}

// TestCertificatesSingleFlight: whoever needs the list while it is being downloaded waits for that download, or gives up; one
// who gives up while downloading spoils nothing.
func TestCertificatesSingleFlight(t *testing.T) {
	t.Parallel()
	s := newPlatformServer(oldPlatform(), oldPlatform())
	arrived, release := make(chan struct{}, 10), make(chan struct{})
	good := s.list
	s.list = func(r *http.Request) (reply, error) {
		arrived <- struct{}{}
		select {
		case <-release:
			return good(r)
		case <-r.Context().Done():
			return reply{}, r.Context().Err()
		}
	}
	c := newTestCertificates(t, s)
	first, giveUp := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Ready(first); !errors.Is(err, context.Canceled) || !errors.Is(err, ErrNoCertificates) {
			t.Errorf("the first: %v", err)
		}
	})
	<-arrived
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Ready(impatient); !errors.Is(err, context.Canceled) {
		t.Errorf("the impatient: %v", err)
	}
	for range 50 {
		wg.Go(func() {
			if err := c.Ready(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	giveUp()
	<-arrived
	close(release)
	wg.Wait()
	s.wantDownloads(t, 2)
}

// TestCertificatesErrorsStayApart: the download that a call's answer needs fails. What the call's error says is about the
// call: it was sent, whatever the download was.
func TestCertificatesErrorsStayApart(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]func(*platformServer){
		"nothing sent": func(s *platformServer) { s.fails(syscall.ECONNREFUSED) },
		"refused":      func(s *platformServer) { s.answers(reply{status: 401, body: `{"code":"SIGN_ERROR"}`}) },
		"not proven":   func(s *platformServer) { s.answers(reply{status: 200, body: listOf(oldPlatform())}) },
		"KMS":          nil,
	} {
		s := newPlatformServer(oldPlatform(), oldPlatform())
		var signerFails bool
		signer := switchSigner{fastSigner{merchantKey().Public()}, &signerFails}
		c := newTestCertificates(t, s, func(c *CertificatesConfig) { c.Client.Signer = signer })
		client := clientOf(t, s, c)
		if err := c.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.pass(lookGap)
		s.refund = func(*http.Request) (reply, error) {
			if failure == nil {
				signerFails = true
			}
			return reply{status: 200, body: refundBody}.sign(newerKey(), "NEW", lookGap), nil
		}
		if failure != nil {
			failure(s)
		}
		_, err := client.CreateRefund(t.Context(), refundRequest())
		_, noAnswer := errors.AsType[*NoAnswerError](err)
		_, refused := errors.AsType[*Error](err)
		_, signing := errors.AsType[*SigningError](err)
		if e, ok := errors.AsType[*SignatureError](err); !ok || e.Op != "POST /v3/refund/domestic/refunds" || noAnswer || refused || signing {
			t.Errorf("%s: %#v", name, err)
		}
		s.wantDownloads(t, map[bool]int{true: 2, false: 1}[failure != nil])
	}
}

type switchSigner struct {
	fastSigner
	fails *bool
}

func (s switchSigner) Sign(r io.Reader, d []byte, o crypto.SignerOpts) ([]byte, error) {
	if *s.fails {
		return nil, errKMS
	}
	return s.fastSigner.Sign(r, d, o)
}

// TestCertificatesRefresh: without Run, one call now and then refreshes; a failure holds up few, and the time between grows.
func TestCertificatesRefresh(t *testing.T) {
	t.Parallel()
	s := newPlatformServer(oldPlatform(), oldPlatform())
	c := newTestCertificates(t, s)
	ready := func(after time.Duration, want int) {
		t.Helper()
		s.pass(after)
		for range 3 {
			if err := c.Ready(t.Context()); err != nil {
				t.Error(err)
			}
		}
		s.wantDownloads(t, want)
	}
	sign := func() {
		s.list = func(*http.Request) (reply, error) {
			return reply{status: 200, body: listOf(oldPlatform())}.sign(oldKey(), oldPlatform().number(), s.now.Sub(testNow)), nil
		}
	}
	sign()
	ready(0, 1)
	ready(defaultRefresh-1, 1)
	ready(1, 2)
	s.fails(syscall.ECONNREFUSED)
	ready(defaultRefresh, 3)
	ready(10*time.Second-1, 3)
	ready(1, 4)
	ready(20*time.Second-1, 4)
	ready(1, 5)
	for i := range 20 {
		ready(maxRetry, 6+i)
	}
	sign()
	ready(maxRetry, 26)
	ready(defaultRefresh-1, 26)
	ready(1, 27)
	// A clock that is set back stops nothing.
	ready(-24*time.Hour, 28)
	s.fails(syscall.ECONNREFUSED)
	ready(defaultRefresh+time.Hour, 29)
	ready(-30*time.Minute, 30)
}

// TestCertificatesRun: in the background, with the caller's goroutine and until the caller ends it.
func TestCertificatesRun(t *testing.T) {
	t.Parallel()
	old := oldPlatform()
	body := listOf(old)
	synctest.Test(t, func(t *testing.T) {
		s := newPlatformServer(old, old)
		started := time.Now()
		s.list = func(*http.Request) (reply, error) {
			return reply{status: 200, body: body}.sign(old.key, old.number(), time.Since(started)), nil
		}
		c := newTestCertificates(t, s, func(c *CertificatesConfig) {
			c.Client.Now = func() time.Time { return testNow.Add(time.Since(started)) }
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- c.Run(ctx) }()
		synctest.Wait()
		s.wantDownloads(t, 1)
		time.Sleep(defaultRefresh - time.Second)
		synctest.Wait()
		s.wantDownloads(t, 1)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		s.wantDownloads(t, 2)
		s.fails(syscall.ECONNREFUSED)
		time.Sleep(defaultRefresh + time.Minute)
		synctest.Wait()
		if s.downloads < 4 || s.downloads > 6 {
			t.Errorf("%d downloads after a minute of failures", s.downloads)
		}
		wantKey(t, c, old, nil)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// TestCertificatesMixed: public keys and certificates side by side, and alone when there are no certificates any more.
func TestCertificatesMixed(t *testing.T) {
	t.Parallel()
	old := oldPlatform()
	mixed := func(c *CertificatesConfig) {
		c.PublicKeys = map[string]*rsa.PublicKey{testSerial: &platformKey().PublicKey}
	}
	byPublicKey := func(status int, body string) reply {
		return reply{status: status, body: body}.sign(platformKey(), testSerial, 0)
	}
	s := newPlatformServer(old, old)
	c := newTestCertificates(t, s, mixed)
	client := clientOf(t, s, c)
	refund := func(a reply) {
		t.Helper()
		s.refund = func(r *http.Request) (reply, error) {
			if got := r.Header.Get("Wechatpay-Serial"); got != testSerial {
				t.Errorf("Wechatpay-Serial: %q", got)
			}
			return a, nil
		}
		if _, err := client.CreateRefund(t.Context(), refundRequest()); err != nil {
			t.Error(err)
		}
	}
	refund(byPublicKey(200, refundBody))
	refund(signedBy(old, refundBody))
	s.wantDownloads(t, 1)
	if c.Serial() != testSerial || s.named[0] != testSerial || c.Expires().IsZero() {
		t.Errorf("serial %s, named %q", c.Serial(), s.named)
	}
	// The list is signed with the public key; then there is none any more, which is no failure once it is proven.
	s.answers(byPublicKey(200, listOf(newPlatform())))
	if err := c.Refresh(t.Context()); err != nil {
		t.Error(err)
	}
	wantKey(t, c, newPlatform(), nil)
	s.answers(reply{status: 404, body: `{"code":"RESOURCE_NOT_EXISTS"}`})
	if err := c.Refresh(t.Context()); err == nil {
		t.Error("an unproven 404 is believed")
	}
	wantKey(t, c, newPlatform(), nil)
	s.answers(byPublicKey(404, `{"code":"RESOURCE_NOT_EXISTS"}`))
	if err := c.Refresh(t.Context()); err != nil || !c.Expires().IsZero() {
		t.Errorf("%v, %v", err, c.Expires())
	}
	wantKey(t, c, newPlatform(), ErrUnknownSerial)
	refund(byPublicKey(200, refundBody))
	// A list that cannot be had does not keep a merchant with a public key from working.
	s = newPlatformServer(old, old)
	s.fails(syscall.ECONNREFUSED)
	c = newTestCertificates(t, s, mixed)
	client = clientOf(t, s, c)
	refund(byPublicKey(200, refundBody))
	s.wantDownloads(t, 1)
}

func TestNewCertificatesRefuses(t *testing.T) {
	t.Parallel()
	key := &platformKey().PublicKey
	for name, change := range map[string]func(*CertificatesConfig){
		"APIv3Key":             func(c *CertificatesConfig) { c.APIv3Key = c.APIv3Key[1:] },
		"Refresh":              func(c *CertificatesConfig) { c.Refresh = maxRefresh },
		"Refresh short":        func(c *CertificatesConfig) { c.Refresh = time.Second },
		"PublicKeys none":      func(c *CertificatesConfig) { c.PublicKeyID = "PUB_KEY_ID_1" },
		"PublicKeys which":     func(c *CertificatesConfig) { c.PublicKeys = map[string]*rsa.PublicKey{"A": key, "B": key} },
		"PublicKeys not there": func(c *CertificatesConfig) { c.PublicKeys, c.PublicKeyID = onlyKey("A"), "B" },
		"MchID":                func(c *CertificatesConfig) { c.Client.MchID = "x" },
		"Hosts":                func(c *CertificatesConfig) { c.Client.Hosts = nil },
	} {
		config := new(platformServer).config()
		if _, err := NewCertificates(config); err != nil {
			t.Fatal(err)
		}
		change(&config)
		field, _, _ := strings.Cut(name, " ")
		if c, err := NewCertificates(config); err == nil || c != nil || !strings.Contains(err.Error(), field+":") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
