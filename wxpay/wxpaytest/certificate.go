package wxpaytest

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"net/http"
)

// certificates is GET /v3/certificates.
type certificates struct{}

// readCertificates reads the query, which must be empty. Source: M:4012551764.
func readCertificates(q query, _ []byte, _ string) (operation, *refusal) {
	if no := q.end(); no != nil {
		return nil, no
	}
	return certificates{}, nil
}

// certificatesView is the list. Source: M:4012551764 (times are RFC 3339 text, though typed integer).
type certificatesView struct {
	Data     []certificateView `json:"data"`
	NewField newField          `json:"wxpaytest_new_field"`
}

type certificateView struct {
	SerialNo           string     `json:"serial_no"`
	EffectiveTime      string     `json:"effective_time"`
	ExpireTime         string     `json:"expire_time"`
	EncryptCertificate sealedView `json:"encrypt_certificate"`
	NewField           newField   `json:"wxpaytest_new_field"`
}

type sealedView struct {
	Algorithm      string `json:"algorithm"`
	Nonce          string `json:"nonce"`
	AssociatedData string `json:"associated_data"`
	Ciphertext     string `json:"ciphertext"`
}

// plan answers with the certificates that are valid now, oldest first, each encrypted for the merchant.
// In pure public-key mode there is nothing to download. Source: M:4012069411.
func (certificates) plan(_ *books, x *exchange) (answer, func()) {
	if x.merchant.platform == nil {
		return no(refuse(http.StatusNotFound, "RESOURCE_NOT_EXISTS", "无可用的平台证书，请在商户平台-API安全申请使用微信支付公钥").
			because("merchant is in public-key mode, there are no platform certificates (M:4012069411)"))
	}
	v := certificatesView{NewField: aNewField}
	for _, c := range x.merchant.platform.all() {
		v.Data = append(v.Data, certificateView{
			SerialNo:           c.serial,
			EffectiveTime:      stamp(c.certificate.NotBefore),
			ExpireTime:         stamp(c.certificate.NotAfter),
			EncryptCertificate: seal(x.merchant.apiV3Key, randomHex(6), "certificate", c.pem),
			NewField:           aNewField,
		})
	}
	return answer{status: http.StatusOK, body: v}, nil
}

// seal encrypts: the key's 32 bytes, a nonce of 12 bytes of text, Base64 of ciphertext and tag.
// Source: M:4012071382.
func seal(key, nonce, associated string, text []byte) sealedView {
	block, err := aes.NewCipher([]byte(key))
	if err != nil || len(key) != 32 {
		panic("wxpaytest: seal: an APIv3 key has 32 bytes") // ours always has
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic("wxpaytest: seal: " + err.Error()) // AES always fits GCM
	}
	sealed := gcm.Seal(nil, []byte(nonce), text, []byte(associated))
	return sealedView{"AEAD_AES_256_GCM", nonce, associated, base64.StdEncoding.EncodeToString(sealed)}
}
