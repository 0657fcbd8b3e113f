package wxpaytest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// A Merchant that may call. Zero values give a direct merchant [普通商户] whose money never ends.
type Merchant struct {
	MchID string // digits

	// Balance in fen: what refunds are paid from. 0 or below = unlimited; for an empty purse use SetBalance.
	Balance int64

	// Provider [服务商]: refunds and refund queries must carry a sub_mchid, of SubMchIDs unless that is
	// empty. The money is the sub-merchant's: SetBalance(sub_mchid, …).
	Provider  bool
	SubMchIDs []string

	// PlatformCertificates puts the merchant into certificate mode: answers are signed by a platform
	// certificate that GET /v3/certificates lists, instead of the public key. With PublicKeyToo both are
	// valid, as during the migration: the serial that a request names decides. See platform.go.
	PlatformCertificates bool
	PublicKeyToo         bool

	// AppID of v2 calls; "" = one is made from MchID.
	AppID string

	// PrivateKey, if set, is used instead of one of the process's cached keys: for a thousand merchants
	// that share a key, or for one that must differ from all others.
	PrivateKey *rsa.PrivateKey
}

// Credentials are what a merchant would hold. They print without their secrets.
type Credentials struct {
	MchID          string
	SerialNo       string // of the merchant API certificate, upper-case hex
	PrivateKey     *rsa.PrivateKey
	CertificatePEM []byte         // CN = MchID; with PrivateKeyPEM the client certificate of v2 refunds
	PublicKeyID    string         // PUB_KEY_ID_…: the value of Wechatpay-Serial, both ways; "" in certificate mode
	PublicKey      *rsa.PublicKey // WeChat Pay's; nil in certificate mode
	APIv3Key       string         // 32 bytes
	AppID          string         // bound to MchID
	APIv2Key       string         // 32 characters

	platform *platform // nil in public-key mode
}

// PlatformSerial is the serial of the current platform certificate, upper-case hex; "" in public-key mode.
func (c *Credentials) PlatformSerial() string {
	if c.platform == nil {
		return ""
	}
	return c.platform.current().serial
}

// PrivateKeyPEM is the merchant's key as apiclient_key.pem holds it (PKCS #8).
func (c *Credentials) PrivateKeyPEM() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		panic(fmt.Sprintf("wxpaytest: encode key: %v", err))
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// PublicKeyPEM is WeChat Pay's public key as the merchant platform hands it out (PKIX); nil in
// certificate mode.
func (c *Credentials) PublicKeyPEM() []byte {
	if c.PublicKey == nil {
		return nil
	}
	der, err := x509.MarshalPKIXPublicKey(c.PublicKey)
	if err != nil {
		panic(fmt.Sprintf("wxpaytest: encode key: %v", err))
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func (c Credentials) String() string {
	return fmt.Sprintf("merchant %s serial %s", c.MchID, c.SerialNo)
}
func (c Credentials) GoString() string { return c.String() }

// merchant is a Merchant as the judge knows it; immutable once added.
type merchant struct {
	Merchant
	serialNo    string
	key         *rsa.PublicKey
	certificate *x509.Certificate
	former      []apiCertificate // valid ones before it; renewal.go
	publicKey   *signer          // WeChat Pay's; nil in certificate mode
	platform    *platform        // nil in public-key mode
	apiV3Key    string
	apiV2Key    string
}

// AddMerchant makes m known and returns what it needs to call. Adding one again gives it new
// credentials, voids the old ones and leaves the books alone.
func (s *Server) AddMerchant(m Merchant) *Credentials {
	if m.MchID == "" || len(m.MchID) > 32 || !allDigits(m.MchID) {
		panic("wxpaytest: AddMerchant: MchID must be 1 to 32 digits")
	}
	m.SubMchIDs = slices.Clone(m.SubMchIDs)

	s.merchantsMu.Lock()
	slot, known := s.slots[m.MchID]
	if !known {
		slot = len(s.slots)
		s.slots[m.MchID] = slot
	}
	s.merchantsMu.Unlock()

	key := m.PrivateKey
	if key == nil {
		go weChatPayKey() // both at once: each takes a while the first time
		key = merchantKeys.get(slot)
	}
	if m.AppID == "" {
		m.AppID = appIDOf(m.MchID)
	}
	certificate := issue(m.MchID, &key.PublicKey)
	added := &merchant{
		Merchant:    m,
		serialNo:    fmt.Sprintf("%X", certificate.SerialNumber),
		key:         &key.PublicKey,
		certificate: certificate,
		apiV3Key:    randomHex(16),
		apiV2Key:    randomHex(16),
	}
	if m.PlatformCertificates {
		added.platform = newPlatform(s.options.Now())
	}
	if !m.PlatformCertificates || m.PublicKeyToo {
		added.publicKey = &signer{"PUB_KEY_ID_01" + m.MchID + "2026010100000000000001", weChatPayKey()}
	}
	s.merchantsMu.Lock()
	s.merchants[m.MchID] = added
	s.merchantsMu.Unlock()
	if m.Balance > 0 {
		s.SetBalance(m.MchID, m.Balance)
	}
	return added.credentials(key)
}

func (m *merchant) credentials(key *rsa.PrivateKey) *Credentials {
	c := &Credentials{
		MchID:          m.MchID,
		SerialNo:       m.serialNo,
		PrivateKey:     key,
		CertificatePEM: encodeCertificate(m.certificate),
		APIv3Key:       m.apiV3Key,
		AppID:          m.AppID,
		APIv2Key:       m.apiV2Key,
		platform:       m.platform,
	}
	if m.publicKey != nil {
		c.PublicKeyID, c.PublicKey = m.publicKey.serial, &m.publicKey.key.PublicKey
	}
	return c
}

// appIDOf makes an appid: wx and 16 hex digits, the same for a merchant at every start.
func appIDOf(mchID string) string {
	digest := sha256.Sum256([]byte(mchID))
	return "wx" + hex.EncodeToString(digest[:8])
}

// signerFor is the key that signs the answer to a request with these Wechatpay-Serial headers, and
// whether they named it rightly; a refusal is signed too. The table is in platform.go.
func (m *merchant) signerFor(named []string) (by signer, right bool) {
	if m.platform == nil {
		return *m.publicKey, len(named) == 1 && named[0] == m.publicKey.serial
	}
	current := m.platform.current().signer
	switch {
	case len(named) == 0:
		return current, true
	case len(named) > 1:
		return current, false
	case m.publicKey != nil && named[0] == m.publicKey.serial:
		return *m.publicKey, true
	}
	if c := m.platform.named(named[0]); c != nil {
		return c.signer, true
	}
	return current, false
}

func (s *Server) merchant(mchID string) *merchant {
	s.merchantsMu.RLock()
	defer s.merchantsMu.RUnlock()
	return s.merchants[mchID]
}

// issue makes a merchant API certificate. Source: M:4012365345 (CN is the mchid, serial in upper hex),
// M:4024350132 (valid five years).
func issue(mchID string, key *rsa.PublicKey) *x509.Certificate {
	ca := authority()
	now := time.Now()
	return sign(&x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(newSerial()),
		Subject:      pkix.Name{CommonName: mchID, Organization: []string{"wxpaytest"}},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(5, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca.certificate, key, ca.key)
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
