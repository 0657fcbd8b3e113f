package wxpay

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// testNow is when every test takes place: the second at which the official examples were signed.
var testNow = time.Unix(1554208460, 0)

const (
	testSerial = "PUB_KEY_ID_0119000072912026010100000000000000"
	testHost   = "https://api.mch.weixin.qq.com"
	testHost2  = "https://api2.mch.weixin.qq.com"
	testNonce  = "593BEC0C930BF1AFEB40B4A08C8FB242"
)

// platformKey plays WeChat Pay, forgerKey somebody else. Made once, they protect nothing.
var (
	platformKey = sync.OnceValue(newKey)
	forgerKey   = sync.OnceValue(newKey)
)

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

// merchantKey is the demonstration key that WeChat Pay prints in its documents.
var merchantKey = sync.OnceValue(func() *rsa.PrivateKey {
	var v struct {
		Key []byte `json:"test_private_key_pkcs8_der_base64"`
	}
	readJSON("testdata/v3_request_signing.json", &v)
	key, err := x509.ParsePKCS8PrivateKey(v.Key)
	if err != nil {
		panic(err)
	}
	return key.(*rsa.PrivateKey)
})

func readJSON(name string, v any) {
	data, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		panic(fmt.Errorf("%s: %w", name, err))
	}
}

// tlsIdentity is a certificate for WeChat Pay's host names and for 127.0.0.1, and the roots that trust it.
var tlsIdentity = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames:    []string{"api.mch.weixin.qq.com", "api2.mch.weixin.qq.com", "localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:        true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
})

// request is what a server received.
type request struct {
	raw  string // every byte of it
	uri  string // the request line's target, as it was on the wire
	http *http.Request
	body string
	// certificate is what the client showed of itself, DER; nil = nothing.
	certificate []byte
}

// server is a TLS server that shows each request as raw bytes and answers with raw bytes.
type server struct {
	addr string
	// answer returns what to write. nil closes the connection without a word. An answer with "Connection: close", or one
	// that is cut short, is followed by closing.
	answer func(request) []byte

	// settle takes no new connections and waits until the clients have closed theirs: then all requests were received.
	settle func()

	mu       sync.Mutex
	requests []request
	protos   []string // what TLS negotiated, per connection
}

// serve starts a server that lives as long as the test.
func serve(t testing.TB, answer func(request) []byte) *server {
	t.Helper()
	return serveTLS(t, func(*tls.Config) {}, answer)
}

// serveTLS is serve with another TLS configuration. Without, a client may show a certificate, and need not.
func serveTLS(t testing.TB, change func(*tls.Config), answer func(request) []byte) *server {
	t.Helper()
	cert, _ := tlsIdentity()
	config := &tls.Config{
		Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}, ClientAuth: tls.RequestClientCert,
	}
	change(config)
	l, err := tls.Listen("tcp4", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: l.Addr().String(), answer: answer}
	var open sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	open.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[conn] = true
			mu.Unlock()
			open.Go(func() { s.talk(conn) })
		}
	})
	s.settle = func() {
		l.Close()
		open.Wait()
	}
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for conn := range conns {
			conn.Close()
		}
		mu.Unlock()
		open.Wait()
	})
	return s
}

func (s *server) talk(conn net.Conn) {
	defer conn.Close()
	var raw bytes.Buffer
	r := bufio.NewReader(io.TeeReader(conn, &raw))
	if err := conn.(*tls.Conn).Handshake(); err != nil {
		return
	}
	s.mu.Lock()
	s.protos = append(s.protos, conn.(*tls.Conn).ConnectionState().NegotiatedProtocol)
	s.mu.Unlock()
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		got := request{raw: raw.String(), uri: req.RequestURI, http: req, body: string(body)}
		if shown := conn.(*tls.Conn).ConnectionState().PeerCertificates; len(shown) > 0 {
			got.certificate = shown[0].Raw
		}
		raw.Reset()
		s.mu.Lock()
		s.requests = append(s.requests, got)
		s.mu.Unlock()
		answer := s.answer(got)
		if _, err := conn.Write(answer); err != nil || answer == nil || !bytes.Contains(answer, []byte("Keep-Alive")) {
			return
		}
	}
}

func (s *server) received() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]request(nil), s.requests...)
}

// reply is an answer before it is signed and written.
type reply struct {
	status int
	header http.Header
	body   string
}

// sign signs like WeChat Pay, testNow plus skew.
func (r reply) sign(key *rsa.PrivateKey, serial string, skew time.Duration) reply {
	timestamp := strconv.FormatInt(testNow.Add(skew).Unix(), 10)
	// Spelled out rather than with the package's own function: a misreading must not pass on both sides.
	digest := sha256.Sum256([]byte(timestamp + "\nC5AC7061FCCAB6BF3E254DCF98995B8C\n" + r.body + "\n"))
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		panic(err)
	}
	return r.with("Wechatpay-Timestamp", timestamp).with("Wechatpay-Nonce", "C5AC7061FCCAB6BF3E254DCF98995B8C").
		with("Wechatpay-Signature", base64.StdEncoding.EncodeToString(sig)).with("Wechatpay-Serial", serial)
}

// with returns the reply with one more, or another, header; an empty value removes it.
func (r reply) with(name, value string) reply {
	r.header = r.header.Clone()
	if r.header == nil {
		r.header = http.Header{}
	}
	r.header.Set(name, value)
	if value == "" {
		r.header.Del(name)
	}
	return r
}

func (r reply) withBody(body string) reply {
	r.body = body
	return r
}

func (r reply) bytes() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nConnection: Keep-Alive\r\n", r.status, http.StatusText(r.status))
	if r.status != http.StatusNoContent {
		fmt.Fprintf(&b, "Content-Length: %d\r\nContent-Type: application/json\r\n", len(r.body))
	}
	r.header.Write(&b)
	return []byte(b.String() + "\r\n" + r.body)
}

// signed is a genuine answer.
func signed(status int, body string) reply {
	return reply{status: status, body: body}.with("Request-ID", "08E7A8CDB80610F10218-268447840").sign(platformKey(), testSerial, 0)
}

func always(r reply) func(request) []byte {
	answer := r.bytes()
	return func(request) []byte { return answer }
}

// newTestTransport is NewTransport's, led to the servers: hosts maps "name:port" to an address.
func newTestTransport(t testing.TB, hosts map[string]string) *http.Transport {
	_, roots := tlsIdentity()
	transport := NewTransport(TransportConfig{RootCAs: roots})
	dial := transport.DialContext
	transport.Proxy = nil
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if to, ok := hosts[addr]; ok {
			addr = to
		}
		return dial(ctx, network, addr)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// newTestClient is the merchant of the official examples, talking to s as if it were WeChat Pay.
func newTestClient(t testing.TB, s *server, change ...func(*Config)) *Client {
	t.Helper()
	keys, err := NewKeySet(testSerial, map[string]*rsa.PublicKey{testSerial: &platformKey().PublicKey})
	if err != nil {
		t.Fatal(err)
	}
	config := Config{
		MchID: "1900007291", SerialNo: "408B07E79B8269FEC3D5D3E6AB8ED163A6A380DB", Signer: merchantKey(), Keys: keys,
		Hosts: []string{testHost}, Now: func() time.Time { return testNow },
	}
	if s != nil {
		config.Transport = newTestTransport(t, map[string]string{"api.mch.weixin.qq.com:443": s.addr})
	}
	for _, f := range change {
		f(&config)
	}
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	c.nonce = func() string { return testNonce }
	return c
}

// refundBody is a genuine answer about the refund that refundRequest asks for.
const refundBody = `{"refund_id":"50000000382019052709732678859","out_refund_no":"1217752501201407033233368018",` +
	`"transaction_id":"4200000404201909069117582536","out_trade_no":"T1","channel":"ORIGINAL",` +
	`"user_received_account":"招商银行信用卡0403","create_time":"2020-12-01T16:18:12+08:00","status":"PROCESSING",` +
	`"funds_account":"AVAILABLE","amount":{"total":3,"refund":3,"payer_total":2,"payer_refund":1,"currency":"CNY"},` +
	`"promotion_detail":[{"promotion_id":"109519"}],"a_field_of_tomorrow":{"x":[1]}}`

func refundRequest() *RefundRequest {
	return &RefundRequest{
		TransactionID: "4200000404201909069117582536", OutRefundNo: "1217752501201407033233368018", Reason: "商品已售完",
		NotifyURL: "https://weixin.qq.com", Amount: RefundAmount{Refund: 3, Total: 3, Currency: "CNY"},
	}
}

func ptr[T any](v T) *T { return &v }

// short cuts a long string for a failure's text.
func short(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}
