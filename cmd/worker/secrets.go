package main

import (
	"bytes"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"software.sslmate.com/src/go-pkcs12"

	"wxpay-worker/consumer"
	"wxpay-worker/wxpay"
)

// The files that a configuration names. Their contents go nowhere but to those who sign, verify and connect.

// credentials are what one merchant calls WeChat Pay with.
type credentials struct {
	mchID, serialNo string
	signer          *rsa.PrivateKey
	publicKeyID     string // of the key that answers are asked to be signed with; "" if there are certificates only
	publicKeys      map[string]*rsa.PublicKey
	apiV3Key        []byte            // nil without platform certificates
	v2              *wxpay.V2Config   // nil unless refunds go out as v2; hosts are to be added
	certificate     *x509.Certificate // of certificate_file, nil without one
	v2Certificate   *x509.Certificate // of v2, nil without one
	subMerchants    bool
	quota           consumer.Quota // the zero value limits nothing
}

// readMerchants reads and checks every file of every merchant, also those that only other commands use: a mistake shows at the
// start, not later. The error is that of loadConfig.
func (c *Config) readMerchants() ([]credentials, error) {
	var all []credentials
	for i := range c.Merchants {
		all = append(all, c.readMerchant(fmt.Sprintf("merchants[%d]", i), &c.Merchants[i]))
	}
	return all, c.err()
}

func (c *Config) readMerchant(key string, m *MerchantConfig) credentials {
	out := credentials{mchID: m.MchID, serialNo: strings.ToUpper(m.SerialNo), subMerchants: m.SubMerchants, quota: m.Quota.limits()}
	out.signer = parseFile(c, key+".private_key_file", m.PrivateKeyFile, secret, wxpay.ParsePrivateKey)
	out.publicKeys = map[string]*rsa.PublicKey{}
	for i, k := range m.PublicKeys {
		out.publicKeys[k.ID] = parseFile(c, fmt.Sprintf("%s.public_keys[%d].file", key, i), k.File, public, wxpay.ParsePublicKey)
	}
	if m.CertificateFile != "" {
		out.certificate = parseFile(c, key+".certificate_file", m.CertificateFile, public, wxpay.ParseCertificate)
	}
	if len(m.PublicKeys) > 0 {
		out.publicKeyID = m.PublicKeys[0].ID
	}
	if p := m.PlatformCertificates; p != nil {
		out.apiV3Key = parseFile(c, key+".platform_certificates.api_v3_key_file", p.APIv3KeyFile, secret, parseSymmetricKey)
	}
	if v := m.V2; v != nil {
		v2 := c.readV2(key+".v2", m.MchID, v)
		out.v2Certificate = v2.Certificate.Leaf
		if m.RefundAPI == "v2" {
			out.v2 = v2
		}
	}
	return out
}

func (c *Config) readV2(key, mchID string, v *V2Config) *wxpay.V2Config {
	out := &wxpay.V2Config{MchID: mchID, AppID: v.AppID, SubAppID: v.SubAppID, SignType: wxpay.V2SignType(v.SignType)}
	out.APIKey = parseFile(c, key+".api_key_file", v.APIKeyFile, secret, parseSymmetricKey)
	if v.isPKCS12() {
		out.Certificate = parseFile(c, key+".client_cert_file", v.ClientCertFile, secret, func(data []byte) (tls.Certificate, error) {
			// WeChat Pay hands it out encrypted with the merchant number.
			// Source: 商户API证书, https://pay.weixin.qq.com/doc/v2/merchant/4011937577, 2026-08
			private, leaf, chain, err := pkcs12.DecodeChain(data, mchID)
			if err != nil {
				return tls.Certificate{}, errors.New("want a PKCS #12 file whose password is the mchid")
			}
			pair := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: private, Leaf: leaf}
			for _, c := range chain {
				pair.Certificate = append(pair.Certificate, c.Raw)
			}
			return pair, nil
		})
		return out
	}
	leaf := parseFile(c, key+".client_cert_file", v.ClientCertFile, public, wxpay.ParseCertificate)
	private := parseFile(c, key+".client_key_file", v.ClientKeyFile, secret, wxpay.ParsePrivateKey)
	if leaf == nil || private == nil {
		return out
	}
	if !private.PublicKey.Equal(leaf.PublicKey) {
		c.fail(key+".client_key_file", "the private key of client_cert_file")
	}
	out.Certificate = tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: private, Leaf: leaf}
	return out
}

// wechatPayRoots are the roots to verify WeChat Pay's hosts by; nil stands for the system's.
func (c *Config) wechatPayRoots() (*x509.CertPool, error) {
	if c.WechatPay.CAFile == "" {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil { // a machine without roots: those of the file are enough
		pool = x509.NewCertPool()
	}
	c.addRoots(pool, "wechatpay.ca_file", c.WechatPay.CAFile)
	return pool, c.err()
}

func (c *Config) addRoots(pool *x509.CertPool, key, file string) {
	data, ok := c.read(key, file, public)
	if ok && !pool.AppendCertsFromPEM(data) {
		c.fail(key, "a PEM file with at least one certificate")
	}
}

// natsOptions are how to prove to NATS who we are, and to whom we speak.
func (c *Config) natsOptions() ([]nats.Option, error) {
	n, options := &c.NATS, []nats.Option(nil)
	if prefix := n.inboxPrefix(); prefix != "" {
		options = append(options, nats.CustomInboxPrefix(prefix))
	}
	switch {
	case n.CredsFile != "":
		if creds, ok := c.read("nats.creds_file", n.CredsFile, secret); ok {
			options = append(options, nats.UserCredentialBytes(creds))
		}
	case n.NkeySeedFile != "":
		if option, ok := c.nkey("nats.nkey_seed_file", n.NkeySeedFile); ok {
			options = append(options, option)
		}
	case n.User != "":
		if password, ok := c.read("nats.password_file", n.PasswordFile, secret); ok {
			options = append(options, nats.UserInfo(n.User, strings.TrimRight(string(password), "\r\n")))
		}
	}
	if n.TLS != (TLSConfig{}) {
		options = append(options, nats.Secure(c.natsTLS()))
	}
	return options, c.err()
}

func (c *Config) nkey(key, file string) (nats.Option, bool) {
	data, ok := c.read(key, file, secret)
	if !ok {
		return nil, false
	}
	pair, err := nkeys.ParseDecoratedUserNKey(data)
	if err != nil {
		pair, err = nkeys.FromSeed(bytes.TrimSpace(data))
	}
	if err != nil {
		c.fail(key, "the seed of a user nkey, SU…")
		return nil, false
	}
	name, err := pair.PublicKey()
	if err != nil {
		c.fail(key, "the seed of a user nkey, SU…")
		return nil, false
	}
	return nats.Nkey(name, pair.Sign), true
}

func (c *Config) natsTLS() *tls.Config {
	t, out := c.NATS.TLS, &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		out.RootCAs = x509.NewCertPool()
		c.addRoots(out.RootCAs, "nats.tls.ca_file", t.CAFile)
	}
	if t.CertFile != "" {
		cert, _ := c.read("nats.tls.cert_file", t.CertFile, public)
		key, _ := c.read("nats.tls.key_file", t.KeyFile, secret)
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil && len(c.problems) == 0 {
			c.fail("nats.tls.cert_file", "a PEM certificate that belongs to key_file")
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out
}

type secrecy bool

const (
	public secrecy = false
	secret secrecy = true
)

// parseFile reads and parses a file; what is wrong with it becomes a problem of the key.
func parseFile[T any](c *Config, key, name string, s secrecy, parse func([]byte) (T, error)) (out T) {
	data, ok := c.read(key, name, s)
	if !ok {
		return out
	}
	out, err := parse(data)
	if err != nil { // the parsers' texts say what was found, never any of it
		c.fail(key, "another content: %v", err)
	}
	return out
}

// maxFile is more than any key, certificate or bundle of them needs.
const maxFile = 1 << 20

// read reads a file once, so that it may also be a pipe, such as /dev/fd/3.
func (c *Config) read(key, name string, s secrecy) ([]byte, bool) {
	f, err := os.Open(c.path(name))
	if err != nil {
		c.fail(key, "%s", c.unopened(name, s, err))
		return nil, false
	}
	defer f.Close()
	file := namedFile{key: key, path: f.Name()}
	info, err := f.Stat()
	if err == nil && s == secret && info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0 {
		file.exposed = "read"
		c.warnings = append(c.warnings, fmt.Sprintf("%s: others can read %s; chmod o-rwx it", key, f.Name()))
	} else if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o002 != 0 {
		file.exposed = "write"
	}
	c.files = append(c.files, file)
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil || len(data) > maxFile {
		c.fail(key, "a readable file of at most 1 MiB")
		return nil, false
	}
	return data, true
}

// unopened is what was expected of a file that cannot be opened. The name of a secret's that is not there is not repeated: it may be the
// secret itself, put where its file was meant. Where it stands is told anyway.
func (c *Config) unopened(name string, s secrecy, err error) string {
	switch {
	case s == public, errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("a readable file: %v", err)
	case filepath.IsAbs(name):
		return fmt.Sprintf("a readable file: %v", reason(err))
	}
	return fmt.Sprintf("a readable file, by its path from the folder %s: %v", c.path("."), reason(err))
}

// parseSymmetricKey checks an APIv3 key or API v2 key.
// Source: 如何解密证书和回调报文, https://pay.weixin.qq.com/doc/v3/merchant/4012071382, read 2026-08 (32 bytes).
func parseSymmetricKey(data []byte) ([]byte, error) {
	key := bytes.TrimRight(data, "\r\n")
	if len(key) != 32 || !isAll(string(key), isAlphanumeric) {
		return nil, errors.New("want 32 digits or letters")
	}
	return key, nil
}
