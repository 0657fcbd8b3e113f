package wxpaytest_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"wxpay-worker/wxpay/wxpaytest"
)

// A tiny client, written by hand from the same documents: the judge is judged without package wxpay.

const mchid = "1900000001"

// clock is a settable clock.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Unix(1800000000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

type bench struct {
	*wxpaytest.Server
	*caller
	clock *clock
}

// setup starts a simulator with one merchant, an order of 100 fen and a complaint about it.
func setup(t testing.TB, o ...wxpaytest.Options) *bench {
	t.Helper()
	var options wxpaytest.Options
	if len(o) > 0 {
		options = o[0]
	}
	c := newClock()
	if options.Now == nil {
		options.Now = c.now
	}
	s := wxpaytest.New(t, options)
	b := &bench{Server: s, clock: c}
	b.caller = newCaller(t, s, s.AddMerchant(wxpaytest.Merchant{MchID: mchid}), options.Now)
	s.AddOrder(wxpaytest.Order{MchID: mchid, TransactionID: "4200000001", OutTradeNo: "T1", Total: 100})
	s.AddComplaint(wxpaytest.Complaint{ID: "C1", MchID: mchid, Orders: []string{"4200000001"}, FastRefund: true})
	s.AddMedia(mchid, "MediaId")
	return b
}

type caller struct {
	t     testing.TB
	url   string
	creds *wxpaytest.Credentials
	http  *http.Client
	now   func() time.Time
}

func newCaller(t testing.TB, s *wxpaytest.Server, creds *wxpaytest.Credentials, now func() time.Time) *caller {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.CertPool()}, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &caller{t: t, url: s.URL(), creds: creds, http: &http.Client{Transport: transport}, now: now}
}

// call is one request; everything has a right value by default.
type call struct {
	method, target, body    string
	signedTarget            string // default target
	signedBody              string // default body
	signsNoBody             bool   // whatever body is
	mchid, serial, nonce    string
	at                      time.Time
	key                     *rsa.PrivateKey
	header                  map[string]string
	double                  string // header to send twice
	spoil                   func(signature string) string
	spoilAuthorization      func(string) string
	timestampText, hostBase string
}

type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) code() string { return r.text("code") }

func (r reply) text(name string) string {
	var fields map[string]any
	_ = json.Unmarshal(r.body, &fields)
	s, _ := fields[name].(string)
	return s
}

func (r reply) String() string { return fmt.Sprintf("%d %s", r.status, r.body) }

func nonce() string {
	b := make([]byte, 16)
	rand.Read(b)
	return hex.EncodeToString(b)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func (c *caller) request(q call) *http.Request {
	base, _ := url.Parse(or(q.hostBase, c.url))
	r, err := http.NewRequest(q.method, "https://"+base.Host, strings.NewReader(q.body))
	if err != nil {
		c.t.Fatal(err)
	}
	if q.body == "" {
		r.Body, r.GetBody, r.ContentLength = nil, nil, 0
	}
	r.URL = &url.URL{Scheme: "https", Host: base.Host, Opaque: q.target}
	at := q.at
	if at.IsZero() {
		at = c.now()
	}
	timestamp := or(q.timestampText, strconv.FormatInt(at.Unix(), 10))
	n := or(q.nonce, nonce())
	key := q.key
	if key == nil {
		key = c.creds.PrivateKey
	}
	signedBody := or(q.signedBody, q.body)
	if q.signsNoBody {
		signedBody = ""
	}
	message := q.method + "\n" + or(q.signedTarget, q.target) + "\n" + timestamp + "\n" + n + "\n" + signedBody + "\n"
	digest := sha256.Sum256([]byte(message))
	raw, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		c.t.Fatal(err)
	}
	signature := base64.StdEncoding.EncodeToString(raw)
	if q.spoil != nil {
		signature = q.spoil(signature)
	}
	authorization := fmt.Sprintf(`WECHATPAY2-SHA256-RSA2048 mchid="%s",nonce_str="%s",timestamp="%s",serial_no="%s",signature="%s"`,
		or(q.mchid, c.creds.MchID), n, timestamp, or(q.serial, c.creds.SerialNo), signature)
	if q.spoilAuthorization != nil {
		authorization = q.spoilAuthorization(authorization)
	}
	r.Header.Set("Authorization", authorization)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "judge-test/1")
	r.Header.Set("Wechatpay-Serial", c.creds.PublicKeyID)
	if q.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range q.header {
		if value == "" && name != "User-Agent" {
			r.Header.Del(name)
		} else {
			r.Header.Set(name, value)
		}
	}
	if q.double != "" {
		r.Header.Add(q.double, r.Header.Get(q.double))
	}
	return r
}

// try sends and returns the answer as it is, or the error.
func (c *caller) try(q call) (reply, error) {
	response, err := c.http.Do(c.request(q))
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header, body}, err
}

// do sends and insists on an answer that is signed as documented.
func (c *caller) do(q call) reply {
	c.t.Helper()
	r, err := c.try(q)
	if err != nil {
		c.t.Fatalf("%s %s: %v", q.method, q.target, err)
	}
	if err := c.verify(r); (err == nil) == (r.status == http.StatusUnauthorized) {
		c.t.Fatalf("%s %s: %v: signature: %v", q.method, q.target, r, err)
	}
	return r
}

func (c *caller) verify(r reply) error {
	h := r.header
	if h.Get("Wechatpay-Serial") != c.creds.PublicKeyID {
		return fmt.Errorf("Wechatpay-Serial %q", h.Get("Wechatpay-Serial"))
	}
	seconds, err := strconv.ParseInt(h.Get("Wechatpay-Timestamp"), 10, 64)
	if err != nil {
		return err
	}
	if skew := c.now().Sub(time.Unix(seconds, 0)); skew.Abs() >= 5*time.Minute {
		return fmt.Errorf("skew %s", skew)
	}
	signature, err := base64.StdEncoding.DecodeString(h.Get("Wechatpay-Signature"))
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(h.Get("Wechatpay-Timestamp") + "\n" + h.Get("Wechatpay-Nonce") + "\n" + string(r.body) + "\n"))
	return rsa.VerifyPKCS1v15(c.creds.PublicKey, crypto.SHA256, digest[:], signature)
}

func post(target, body string) call { return call{method: "POST", target: target, body: body} }
func get(target string) call        { return call{method: "GET", target: target} }

const refunds = "/v3/refund/domestic/refunds"

func complaintPath(id, rest string) string {
	return "/v3/merchant-service/complaints-v2/" + id + rest
}

// refund is a create call for the order that setup makes.
func refund(no string, fen int) call {
	return post(refunds, fmt.Sprintf(`{"transaction_id":"4200000001","out_refund_no":%q,"amount":{"refund":%d,"total":100,"currency":"CNY"}}`, no, fen))
}

func (c *caller) want(q call, status int, code string) reply {
	c.t.Helper()
	r := c.do(q)
	if r.status != status || r.code() != code {
		c.t.Fatalf("%s %s %s: got %v, want %d %s", q.method, q.target, q.body, r, status, code)
	}
	return r
}

func (b *bench) wantViolations(n int) {
	b.t.Helper()
	if list := b.Violations(); len(list) != n {
		b.t.Fatalf("%d violations, want %d: %q", len(list), n, list)
	}
}

func (b *bench) wantBooks() {
	b.t.Helper()
	if err := b.CheckBooks(); err != nil {
		b.t.Fatalf("books: %v", err)
	}
}
