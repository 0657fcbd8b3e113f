package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"wxpay-worker/wxpay"
)

// installation is the keys that all processes of one run share, in a folder of its own that goes with the run. All merchants have
// the same key: what it costs to have many is the same.
type installation struct {
	answerKey *answerKey
	keyID     string
	apiV2Key  string
	server    tls.Certificate // of the answering side
	roots     *x509.CertPool
	merchant  tls.Certificate
	private   *rsa.PrivateKey
	serial    string
}

const (
	answerKeyID = "PUB_KEY_ID_0119000000012026010100000000000001"
	apiV2Key    = "0123456789abcdef0123456789abcdef"
	appID       = "wx0000000000000001"
)

func merchantID(i int) string { return fmt.Sprintf("19%08d", i+1) }

// newInstallation makes the keys and writes them where the worker's configuration names them.
func newInstallation(dir string) error {
	key, err := newAnswerKey()
	if err != nil {
		return err
	}
	public, err := key.publicPEM()
	if err != nil {
		return err
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	merchantCert, err := selfSigned("merchant", &private.PublicKey, private)
	if err != nil {
		return err
	}
	serverCert, err := selfSigned("answering side", &serverKey.PublicKey, serverKey)
	if err != nil {
		return err
	}
	var words []uint64
	for _, p := range key.primes {
		words = append(words, p.p)
	}
	primes, err := json.Marshal(words)
	if err != nil {
		return err
	}
	files := map[string][]byte{
		"merchant_cert.pem": merchantCert, "server_cert.pem": serverCert, "wxp_pub.pem": public, "apiv2.key": []byte(apiV2Key), "primes.json": primes,
	}
	for name, k := range map[string]any{"merchant_key.pem": private, "server_key.pem": serverKey} {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			return err
		}
		files[name] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func selfSigned(name string, public, private any) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, certificate(name), certificate(name), public, private)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func certificate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(0x5157F09E), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
}

func readInstallation(dir string) (*installation, error) {
	in := &installation{keyID: answerKeyID, apiV2Key: apiV2Key, roots: x509.NewCertPool()}
	data, err := os.ReadFile(filepath.Join(dir, "primes.json"))
	if err != nil {
		return nil, err
	}
	var words []uint64
	if err := json.Unmarshal(data, &words); err != nil {
		return nil, err
	}
	if in.answerKey, err = answerKeyOf(words); err != nil {
		return nil, err
	}
	pair := func(name string) (tls.Certificate, error) {
		return tls.LoadX509KeyPair(filepath.Join(dir, name+"_cert.pem"), filepath.Join(dir, name+"_key.pem"))
	}
	if in.server, err = pair("server"); err != nil {
		return nil, err
	}
	if in.merchant, err = pair("merchant"); err != nil {
		return nil, err
	}
	private, ok := in.merchant.PrivateKey.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("the merchant's key is not RSA")
	}
	in.private, in.serial = private, wxpay.SerialNo(in.merchant.Leaf)
	in.roots.AddCert(in.server.Leaf)
	return in, nil
}

// refunds is the call that is measured; the clients of v3 and v2 have it.
type refunds interface {
	CreateRefund(ctx context.Context, r *wxpay.RefundRequest) (*wxpay.Refund, error)
}

// client is a merchant's client of WeChat Pay.
func (in *installation) client(api, mchID, address string) (refunds, error) {
	transport := wxpay.NewTransport(wxpay.TransportConfig{RootCAs: in.roots})
	hosts := []string{"https://" + address}
	if api == apiV2 {
		return wxpay.NewV2(wxpay.V2Config{
			MchID: mchID, AppID: appID, APIKey: []byte(in.apiV2Key), Certificate: in.merchant, Hosts: hosts, Transport: transport,
		})
	}
	keys, err := wxpay.NewKeySet(in.keyID, map[string]*rsa.PublicKey{in.keyID: {N: in.answerKey.n, E: publicExponent}})
	if err != nil {
		return nil, err
	}
	return wxpay.New(wxpay.Config{MchID: mchID, SerialNo: in.serial, Signer: in.private, Keys: keys, Hosts: hosts, Transport: transport})
}

// settings of a worker under measurement; the zero value of a field is the default of the configuration.
type settings struct {
	api       string
	nats      string // URL; "" = embedded
	address   string // of the answering side
	merchants int
	quotas    bool          // whether WeChat Pay's quotas are kept, as by default
	first     time.Duration // settlement.first
}

// write writes the worker's configuration and returns its file.
func (s settings) write(dir, name string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "nats: {url: %q, embedded: {listen: \"127.0.0.1:0\", dir: %s}}\n", s.nats, name+"-store")
	fmt.Fprintf(&b, "wechatpay: {hosts: [\"https://%s\"], ca_file: server_cert.pem}\n", s.address)
	if s.first > 0 {
		fmt.Fprintf(&b, "settlement: {first: %s}\n", s.first)
	}
	b.WriteString("http: {listen: \"\"}\nmerchants:\n") // several workers on one machine
	for i := range s.merchants {
		fmt.Fprintf(&b, "  - mchid: %q\n    serial_no: 5157F09E\n    private_key_file: merchant_key.pem\n"+
			"    public_keys: [{id: %s, file: wxp_pub.pem}]\n", merchantID(i), answerKeyID)
		if s.api == apiV2 {
			fmt.Fprintf(&b, "    refund_api: v2\n    v2: {appid: %s, api_key_file: apiv2.key, client_cert_file: merchant_cert.pem, client_key_file: merchant_key.pem}\n", appID)
		}
		if !s.quotas {
			b.WriteString("    quota: {refunds: 0, failing_refunds: 0, queries: 0}\n")
		}
	}
	file := filepath.Join(dir, name+".yaml")
	return file, os.WriteFile(file, []byte(b.String()), 0o600)
}
