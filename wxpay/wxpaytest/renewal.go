package wxpaytest

import (
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
)

// maxCertificates of one merchant are valid at once. Source: M:4024350132.
const maxCertificates = 3

// apiCertificate is a merchant API certificate that is valid beside the newest.
type apiCertificate struct {
	serialNo    string
	key         *rsa.PublicKey
	certificate *x509.Certificate
}

// AddCertificate gives a merchant one more API certificate, with that key, and returns what it calls with from now on. Those it has
// stay valid beside it until RevokeCertificate, so that it can change over without a pause; everything else stays as it is.
// Source: M:4024350132 (certificates are not renewed: a new one is made beside the old).
func (s *Server) AddCertificate(mchid string, key *rsa.PrivateKey) (*Credentials, error) {
	m := s.merchant(mchid)
	if m == nil {
		return nil, s.misuse("AddCertificate %s: not a merchant", mchid)
	}
	if len(m.former)+1 >= maxCertificates {
		return nil, s.misuse("AddCertificate %s: %d are valid, revoke one first (M:4024350132)", mchid, maxCertificates)
	}
	next := *m
	next.former = append(slices.Clone(m.former), apiCertificate{m.serialNo, m.key, m.certificate})
	next.certificate = issue(mchid, &key.PublicKey)
	next.serialNo, next.key = fmt.Sprintf("%X", next.certificate.SerialNumber), &key.PublicKey
	s.replace(&next)
	return next.credentials(key), nil
}

// RevokeCertificate voids an older API certificate. Requests that are signed with its key are answered 401 from then on.
func (s *Server) RevokeCertificate(mchid, serialNo string) error {
	m := s.merchant(mchid)
	if m == nil {
		return s.misuse("RevokeCertificate %s: not a merchant", mchid)
	}
	next := *m
	next.former = slices.DeleteFunc(slices.Clone(m.former), func(c apiCertificate) bool { return c.serialNo == serialNo })
	if len(next.former) == len(m.former) {
		return s.misuse("RevokeCertificate %s: no older certificate has that serial", mchid)
	}
	s.replace(&next)
	return nil
}

func (s *Server) replace(m *merchant) {
	s.merchantsMu.Lock()
	defer s.merchantsMu.Unlock()
	s.merchants[m.MchID] = m
}

// keyOf is the key of the merchant's valid API certificate of that serial, nil if there is none.
func (m *merchant) keyOf(serialNo string) *rsa.PublicKey {
	if serialNo == m.serialNo {
		return m.key
	}
	for _, c := range m.former {
		if c.serialNo == serialNo {
			return c.key
		}
	}
	return nil
}

// holds reports whether a certificate is one of the merchant's valid ones.
func (m *merchant) holds(certificate *x509.Certificate) bool {
	return certificate.Equal(m.certificate) ||
		slices.ContainsFunc(m.former, func(c apiCertificate) bool { return c.certificate.Equal(certificate) })
}
