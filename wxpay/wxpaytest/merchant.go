package wxpaytest

import (
	"crypto/rand"
	"crypto/rsa"
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

	// PrivateKey, if set, is used instead of one of the process's cached keys: for a thousand merchants
	// that share a key, or for one that must differ from all others.
	PrivateKey *rsa.PrivateKey
}

// Credentials are what a merchant would hold. They print without their secrets.
type Credentials struct {
	MchID          string
	SerialNo       string // of the merchant API certificate, upper-case hex
	PrivateKey     *rsa.PrivateKey
	CertificatePEM []byte         // CN = MchID
	PublicKeyID    string         // PUB_KEY_ID_…: the value of Wechatpay-Serial, both ways
	PublicKey      *rsa.PublicKey // WeChat Pay's
	APIv3Key       string         // 32 bytes
}

// PrivateKeyPEM is the merchant's key as apiclient_key.pem holds it (PKCS #8).
func (c *Credentials) PrivateKeyPEM() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		panic(fmt.Sprintf("wxpaytest: encode key: %v", err))
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// PublicKeyPEM is WeChat Pay's public key as the merchant platform hands it out (PKIX).
func (c *Credentials) PublicKeyPEM() []byte {
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
	publicKeyID string
	answerKey   *rsa.PrivateKey // WeChat Pay's, the one named publicKeyID
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
	answerKey := weChatPayKey()
	serial, certificate := issue(m.MchID, &key.PublicKey)
	added := &merchant{
		Merchant:    m,
		serialNo:    serial,
		key:         &key.PublicKey,
		publicKeyID: "PUB_KEY_ID_01" + m.MchID + "2026010100000000000001",
		answerKey:   answerKey,
	}
	s.merchantsMu.Lock()
	s.merchants[m.MchID] = added
	s.merchantsMu.Unlock()
	if m.Balance > 0 {
		s.SetBalance(m.MchID, m.Balance)
	}
	return &Credentials{
		MchID:          m.MchID,
		SerialNo:       serial,
		PrivateKey:     key,
		CertificatePEM: certificate,
		PublicKeyID:    added.publicKeyID,
		PublicKey:      &answerKey.PublicKey,
		APIv3Key:       randomHex(16),
	}
}

func (s *Server) merchant(mchID string) *merchant {
	s.merchantsMu.RLock()
	defer s.merchantsMu.RUnlock()
	return s.merchants[mchID]
}

// issue makes a merchant API certificate. Source: M:4012365345 (CN is the mchid, serial in upper hex),
// M:4024350132 (valid five years).
func issue(mchID string, key *rsa.PublicKey) (serialNo string, certificatePEM []byte) {
	serial := make([]byte, 20)
	rand.Read(serial)
	serial[0] = serial[0]&0x3f | 0x40 // positive, and 40 digits long
	ca := authority()
	now := time.Now()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial),
		Subject:      pkix.Name{CommonName: mchID, Organization: []string{"wxpaytest"}},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(5, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca.certificate, key, ca.key)
	if err != nil {
		panic(fmt.Sprintf("wxpaytest: issue certificate: %v", err))
	}
	return fmt.Sprintf("%X", serial), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
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
