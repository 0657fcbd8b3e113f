package wxpay

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	_ "crypto/sha1" // OAEP below; WeChat Pay prescribes it
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"strings"
)

// minKeyBits is the size of every key that WeChat Pay issues, and the least that is taken here.
const minKeyBits = 2048

// KeySource knows the keys that WeChat Pay signs its answers with. It is asked for every answer, by many goroutines.
//
// A source may be fixed ([KeySet]), or one that downloads platform certificates (平台证书) and learns new ones
// ([Certificates]). One that has to prepare itself may also have a method Ready(context.Context) error, which is called
// before each request: its error keeps the request from being sent, as a *NoAnswerError if errors.Is(err, ErrNoCertificates),
// else as a *SigningError. Errors of a source must not wrap this package's error types: a *NoAnswerError of its own would be
// taken for that of the call.
type KeySource interface {
	// Key returns the key named by an answer's Wechatpay-Serial: "PUB_KEY_ID_…" names a WeChat Pay public key
	// (微信支付公钥), anything else is the serial number of a platform certificate. For an unknown serial a source that
	// can learn may look once, within ctx, and must then return an error for which errors.Is(err, ErrUnknownSerial)
	// holds; any other error means that it could not look. serial comes from an unproven answer: [0-9A-Za-z_-]{1,128},
	// chosen by whoever answered, so a source must limit how often it looks.
	//
	// Source: 如何验证签名, https://pay.weixin.qq.com/doc/v3/merchant/4013053420, 2025
	Key(ctx context.Context, serial string) (*rsa.PublicKey, error)

	// Serial returns the serial to send as Wechatpay-Serial, which selects the key that answers are signed with;
	// empty sends none.
	//
	// Source: 从平台证书切换成微信支付公钥, https://pay.weixin.qq.com/doc/v3/merchant/4012154180
	Serial() string
}

// KeySet is a fixed KeySource. While a merchant migrates from certificates to a public key both must be in it, since
// WeChat Pay uses both, and "stop" switches back at once.
type KeySet struct {
	first string
	keys  map[string]*rsa.PublicKey
}

// NewKeySet returns the set of keys by serial or public key id. Answers are asked to be signed with first, which must be
// one of them. Keys under 2048 bits and names that are not [0-9A-Za-z_-]{1,128} are refused.
func NewKeySet(first string, keys map[string]*rsa.PublicKey) (*KeySet, error) {
	if keys[first] == nil {
		return nil, fmt.Errorf("wxpay: key set: no key for the first serial %q", bounded(first, maxToken))
	}
	for serial, key := range keys {
		if !isToken(serial) {
			return nil, fmt.Errorf("wxpay: key set: %q is not a serial or public key id", bounded(serial, maxToken))
		}
		if err := checkPublicKey(key); err != nil {
			return nil, fmt.Errorf("wxpay: key set: %s: %w", serial, err)
		}
	}
	return &KeySet{first, maps.Clone(keys)}, nil
}

// Key returns the key for serial, or ErrUnknownSerial.
func (s *KeySet) Key(_ context.Context, serial string) (*rsa.PublicKey, error) {
	if key := s.keys[serial]; key != nil {
		return key, nil
	}
	return nil, ErrUnknownSerial
}

// Serial returns the serial that NewKeySet was told to ask for.
func (s *KeySet) Serial() string { return s.first }

func checkPublicKey(key crypto.PublicKey) error {
	k, ok := key.(*rsa.PublicKey)
	if !ok || k == nil || k.N == nil {
		return errors.New("not an RSA key")
	}
	if n := k.N.BitLen(); n < minKeyBits {
		return fmt.Errorf("%d bits, want at least %d", n, minKeyBits)
	}
	return nil
}

// ParsePrivateKey reads a merchant's API private key (apiclient_key.pem): PEM with a PKCS #8 or PKCS #1 RSA key of at
// least 2048 bits, not encrypted. Errors say what was found, never any of it.
func ParsePrivateKey(data []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("wxpay: private key: not PEM")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, errors.New("wxpay: private key: PEM holds something else, want an unencrypted PKCS #8 or PKCS #1 key")
	}
	if err != nil { // not wrapped: a parser's text is not ours to vouch for
		return nil, errors.New("wxpay: private key: damaged, or encrypted")
	}
	k, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("wxpay: private key: not an RSA key")
	}
	if err := checkPublicKey(k.Public()); err != nil {
		return nil, fmt.Errorf("wxpay: private key: %w", err)
	}
	return k, nil
}

// ParsePublicKey reads a WeChat Pay public key (pub_key.pem) or the key of a certificate: PEM of at least 2048 bits.
func ParsePublicKey(data []byte) (*rsa.PublicKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("wxpay: public key: not PEM")
	}
	var key crypto.PublicKey
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = cert.PublicKey
		}
	default:
		return nil, errors.New("wxpay: public key: PEM holds something else, want PUBLIC KEY or CERTIFICATE")
	}
	if err != nil {
		return nil, fmt.Errorf("wxpay: public key: %w", err)
	}
	if err := checkPublicKey(key); err != nil {
		return nil, fmt.Errorf("wxpay: public key: %w", err)
	}
	return key.(*rsa.PublicKey), nil
}

// ParseCertificate reads the first certificate of a PEM file: a merchant's apiclient_cert.pem or a platform certificate.
// It checks neither its chain nor its dates.
func ParseCertificate(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("wxpay: certificate: not a PEM certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("wxpay: certificate: %w", err)
	}
	return cert, nil
}

// SerialNo returns a certificate's serial number as WeChat Pay writes it, and as `openssl x509 -serial` does: upper-case
// hex, two digits a byte.
//
// Source: 如何查看证书序列号, https://pay.weixin.qq.com/doc/v3/merchant/4012365345
func SerialNo(cert *x509.Certificate) string {
	return strings.ToUpper(hex.EncodeToString(cert.SerialNumber.Bytes()))
}

// DecryptResource opens what WeChat Pay encrypts for a merchant: resources of callbacks and downloaded platform
// certificates (AEAD_AES_256_GCM). apiV3Key is 32 bytes, nonce 12, ciphertext Base64 with the tag at its end;
// associatedData may be empty, as it is in complaint callbacks. Nothing is returned unless all of it is genuine.
//
// Source: 如何解密证书和回调报文, https://pay.weixin.qq.com/doc/v3/merchant/4012071382
func DecryptResource(apiV3Key []byte, nonce, associatedData, ciphertext string) ([]byte, error) {
	if len(apiV3Key) != 32 { // 16 bytes would make it AES-128 without a word
		return nil, fmt.Errorf("wxpay: decrypt resource: APIv3 key of %d bytes, want 32", len(apiV3Key))
	}
	sealed, err := base64.StdEncoding.DecodeString(ciphertext)
	if err != nil {
		return nil, errors.New("wxpay: decrypt resource: not Base64")
	}
	block, err := aes.NewCipher(apiV3Key)
	if err != nil {
		return nil, errors.New("wxpay: decrypt resource: unusable key")
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, errors.New("wxpay: decrypt resource: unusable key")
	}
	if len(nonce) != aead.NonceSize() {
		return nil, fmt.Errorf("wxpay: decrypt resource: nonce of %d bytes, want %d", len(nonce), aead.NonceSize())
	}
	plain, err := aead.Open(nil, []byte(nonce), sealed, []byte(associatedData))
	if err != nil {
		return nil, errors.New("wxpay: decrypt resource: not genuine, or another key")
	}
	return plain, nil
}

// DecryptSensitive opens a sensitive field of an answer, such as payer_phone: Base64 of RSAES-OAEP with SHA-1, for the
// merchant's API private key (an *rsa.PrivateKey, or a KMS). The result is payer data: it belongs in no log.
//
// Source: 如何解密敏感信息, https://pay.weixin.qq.com/doc/v3/merchant/4013053265
func DecryptSensitive(key crypto.Decrypter, ciphertext string) (string, error) {
	sealed, err := base64.StdEncoding.DecodeString(ciphertext)
	if err != nil {
		return "", errors.New("wxpay: decrypt sensitive field: not Base64")
	}
	plain, err := key.Decrypt(nil, sealed, &rsa.OAEPOptions{Hash: crypto.SHA1})
	if err != nil {
		return "", errors.New("wxpay: decrypt sensitive field: for another key, or damaged")
	}
	return string(plain), nil
}
