package wxpaytest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"
)

// Platform certificates [平台证书] are what signs answers where a merchant is not in public-key mode.
//
//	mode of the merchant             a request names       its answer is signed by
//	public key (the default)         the public key id     the public key
//	PlatformCertificates             a listed serial       that certificate
//	                                 nothing               the newest certificate
//	… and PublicKeyToo (migration)   the public key id     the public key; else as above
//
// Whatever else is named is refused 400 PARAM_ERROR. Source: M:4012154180 (the request's serial decides;
// without it, during the migration, the certificate), M:4013053279 (wrong serial).

// platformLife of a platform certificate. Source: M:4012068829 (5 years).
const platformLife = 5

// platformAge of a merchant's first platform certificate.
const platformAge = 24 * time.Hour

// A signer is one of WeChat Pay's keys and its name in Wechatpay-Serial.
type signer struct {
	serial string
	key    *rsa.PrivateKey
}

// A platformCertificate is a signer that comes with a certificate.
type platformCertificate struct {
	signer
	certificate *x509.Certificate
	pem         []byte
}

// platform holds a merchant's platform certificates.
type platform struct {
	mu      sync.RWMutex
	listed  []*platformCertificate // guarded by mu; oldest first, never empty
	retired map[string]bool        // guarded by mu; serials that were listed once
	issued  int                    // guarded by mu; certificates ever made: the place of the next key in the pool
}

// newPlatform begins with one certificate.
func newPlatform(now time.Time) *platform {
	p := &platform{retired: map[string]bool{}}
	p.add(now.Add(-platformAge))
	return p
}

// add lists a new certificate; called with mu held, or before p is shared.
func (p *platform) add(effective time.Time) {
	p.listed = append(p.listed, issuePlatform(platformKeys.get(p.issued), effective))
	p.issued++
}

// rotate lists a new certificate beside the old one. It takes effect later than that: clients that
// encrypt must take the one with the later effective_time. Source: M:4012551764.
func (p *platform) rotate(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	effective := now.Add(-time.Hour)
	if earliest := p.newest().certificate.NotBefore.Add(time.Second); effective.Before(earliest) {
		effective = earliest
	}
	p.add(effective)
}

// retire leaves only the newest; false if there was no other.
func (p *platform) retire() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.listed) - 1
	for _, old := range p.listed[:last] {
		p.retired[old.serial] = true
	}
	p.listed = p.listed[last:]
	return last > 0
}

// newest needs mu.
func (p *platform) newest() *platformCertificate { return p.listed[len(p.listed)-1] }

// current is the newest certificate.
func (p *platform) current() *platformCertificate {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.newest()
}

// all are the listed certificates, oldest first.
func (p *platform) all() []*platformCertificate {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Clone(p.listed)
}

// named finds a listed certificate; nil if there is none of that serial.
func (p *platform) named(serial string) *platformCertificate {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, c := range p.listed {
		if c.serial == serial {
			return c
		}
	}
	return nil
}

// wasListed: did an honest client have a reason to name it?
func (p *platform) wasListed(serial string) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.retired[serial]
}

// RotatePlatformCertificate adds a new certificate to a merchant in certificate mode. Old and new are
// both listed and both sign: the old one where a request still names it, the new one otherwise.
// Source: M:4012068829 (from 180 days before expiry the list holds both).
func (s *Server) RotatePlatformCertificate(mchid string) error {
	p, err := s.platformOf(mchid, "RotatePlatformCertificate")
	if err != nil {
		return err
	}
	p.rotate(s.options.Now())
	return nil
}

// RetirePlatformCertificate drops all certificates of a merchant but the newest. A request that still
// names a dropped one is refused 400 PARAM_ERROR, signed by the newest. Source: M:4013053279.
func (s *Server) RetirePlatformCertificate(mchid string) error {
	p, err := s.platformOf(mchid, "RetirePlatformCertificate")
	if err != nil {
		return err
	}
	if !p.retire() {
		return s.misuse("RetirePlatformCertificate %s: there is only one, rotate first", mchid)
	}
	return nil
}

func (s *Server) platformOf(mchid, what string) (*platform, error) {
	if m := s.merchant(mchid); m != nil && m.platform != nil {
		return m.platform, nil
	}
	return nil, s.misuse("%s %s: not a merchant with PlatformCertificates", what, mchid)
}

// platformCA is this process's root of platform certificates. It has nothing to do with TLS.
// Source: M:4012069411 (issuer "Tenpay.com Root CA"); names as in the certificate that the Java SDK's
// tests hold (wechatpay-java, core/src/test/…/model/TestConfig.java).
var platformCA = sync.OnceValue(func() *rootCA {
	key := newKey()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               tenpay("Tenpay.com Root CA"),
		NotBefore:             time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC), // Options.Now may be any time
		NotAfter:              time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	certificate := sign(template, template, &key.PublicKey, key)
	return &rootCA{key, certificate, encodeCertificate(certificate)}
})

type rootCA struct {
	key         *rsa.PrivateKey
	certificate *x509.Certificate
	pem         []byte
}

func tenpay(commonName string) pkix.Name {
	return pkix.Name{
		Country: []string{"CN"}, Organization: []string{"Tenpay.com"}, OrganizationalUnit: []string{"Tenpay.com CA Center"},
		CommonName: commonName,
	}
}

// issuePlatform makes a certificate as WeChat Pay's are. Its dates are those of Options.Now.
func issuePlatform(key *rsa.PrivateKey, effective time.Time) *platformCertificate {
	ca, serial := platformCA(), newSerial()
	subject := tenpay("Tenpay.com sign")
	subject.Locality = []string{"ShenZhen"}
	certificate := sign(&x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(serial),
		Subject:               subject,
		NotBefore:             effective,
		NotAfter:              effective.AddDate(platformLife, 0, 0),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment | x509.KeyUsageKeyEncipherment | x509.KeyUsageDataEncipherment,
	}, ca.certificate, &key.PublicKey, ca.key)
	return &platformCertificate{
		signer:      signer{fmt.Sprintf("%X", serial), key},
		certificate: certificate,
		pem:         encodeCertificate(certificate),
	}
}

// sign makes a certificate; our own templates always sign.
func sign(template, parent *x509.Certificate, key *rsa.PublicKey, parentKey any) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, parentKey)
	if err != nil {
		panic(fmt.Sprintf("wxpaytest: issue certificate: %v", err))
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		panic(fmt.Sprintf("wxpaytest: issue certificate: %v", err))
	}
	return certificate
}

func encodeCertificate(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// newSerial is 20 bytes that print as 40 hex digits: positive, and without a leading zero.
func newSerial() []byte {
	serial := make([]byte, 20)
	rand.Read(serial)
	serial[0] = serial[0]&0x3f | 0x40
	return serial
}

// PlatformCA is the root that issues platform certificates, as PEM.
func (s *Server) PlatformCA() []byte { return slices.Clone(platformCA().pem) }

// PlatformCAPool trusts the issuer of platform certificates, and nothing else.
func (s *Server) PlatformCAPool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(platformCA().certificate)
	return pool
}
