package main

import (
	"crypto/x509"
	"fmt"
	"time"

	"wxpay-worker/wxpay"
)

// merchants checks every file that the configuration names but NATS's, and how keys and certificates go together.
func (k *checking) merchants() []credentials {
	keys, _ := k.config.readMerchants() // what is wrong with the files is told by files
	k.roots, _ = k.config.wechatPayRoots()
	k.files()
	for i := range keys {
		m := &keys[i]
		k.key(m)
		k.certificate("certificate", m, m.certificate)
		k.certificate("v2_certificate", m, m.v2Certificate)
	}
	return keys
}

// files tells of the files that were read since the last time, and of problems with them.
func (k *checking) files() {
	c := k.config
	for _, err := range c.problems {
		if p, ok := err.(*problem); ok {
			k.bad("file", p.key, "expected "+p.expected, "set it at "+p.place)
		}
	}
	for _, f := range c.files {
		subject := f.key
		switch {
		case c.wrong[f.key]: // told above
		case f.exposed == "read":
			k.bad("file", subject, "others can read "+f.path, "chmod o-rwx "+f.path)
		case f.exposed == "write":
			k.bad("file", subject, "others can write "+f.path, "chmod o-w "+f.path)
		default:
			k.ok("file", subject, f.path)
		}
	}
	c.problems, c.files, c.warnings = nil, nil, nil
}

// key checks that private key, certificate and serial number are one merchant's and belong together.
// Source: 如何查看证书序列号, https://pay.weixin.qq.com/doc/v3/merchant/4012365345 (the certificate's CN is the mchid)
func (k *checking) key(m *credentials) {
	cert := m.certificate
	if cert == nil && m.v2Certificate != nil && wxpay.SerialNo(m.v2Certificate) == m.serialNo {
		cert = m.v2Certificate // it is the merchant API certificate, too
	}
	switch {
	case m.signer == nil: // told with its file
	case cert == nil:
		k.unknown("key", m.mchID, "there is no certificate to compare private key and serial_no with", "set certificate_file, or ask with --online")
	case !m.signer.PublicKey.Equal(cert.PublicKey):
		k.bad("key", m.mchID, "private_key_file is not the key of the merchant API certificate", "take apiclient_key.pem and apiclient_cert.pem of the same download")
	case wxpay.SerialNo(cert) != m.serialNo:
		k.bad("key", m.mchID, "serial_no is "+m.serialNo+", the certificate's is "+wxpay.SerialNo(cert), "set serial_no to that of the certificate")
	case cert.Subject.CommonName != m.mchID:
		k.bad("key", m.mchID, "the certificate is that of merchant "+cert.Subject.CommonName, "take this merchant's own files")
	default:
		k.ok("key", m.mchID, "private key, certificate and serial_no belong together")
	}
}

// renewal is how long before its end a certificate should be replaced.
const renewal = 30 * 24 * time.Hour

// certificate checks the dates of a certificate, and of v2's also whose it is. (That its key fits was found out when it was read.)
func (k *checking) certificate(check string, m *credentials, cert *x509.Certificate) {
	if cert == nil {
		return
	}
	const renew = "apply for a new one on the merchant platform (API安全), then replace key, certificate and serial_no"
	until := cert.NotAfter.UTC().Format(time.DateOnly)
	switch {
	case check == "v2_certificate" && cert.Subject.CommonName != m.mchID:
		k.bad(check, m.mchID, "the client certificate is that of merchant "+cert.Subject.CommonName, "take this merchant's own files")
	case k.now.After(cert.NotAfter):
		k.bad(check, m.mchID, "expired on "+until, renew)
	case k.now.Before(cert.NotBefore):
		k.bad(check, m.mchID, "valid only from "+cert.NotBefore.UTC().Format(time.DateOnly), "check this machine's clock")
	case cert.NotAfter.Sub(k.now) < renewal:
		k.warn(check, m.mchID, fmt.Sprintf("expires on %s, in %d days", until, int(cert.NotAfter.Sub(k.now).Hours()/24)), renew)
	default:
		k.ok(check, m.mchID, "valid until "+until)
	}
}
