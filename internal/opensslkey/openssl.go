//go:build openssl

package opensslkey

/*
#cgo LDFLAGS: -lcrypto
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#if OPENSSL_VERSION_NUMBER < 0x30000000L
#error "OpenSSL 3.0 or newer is needed"
#endif

// OpenSSL keeps errors by thread, and a goroutine may be on another thread at its next call: what a call left there is taken, and the
// queue emptied, before it returns.
static unsigned long take_error(void) {
	unsigned long first = ERR_peek_error();
	ERR_clear_error();
	return first;
}

static EVP_PKEY *parse_key(const unsigned char *der, long n, unsigned long *failed) {
	EVP_PKEY *key = d2i_PrivateKey(EVP_PKEY_RSA, NULL, &der, n);
	*failed = take_error();
	return key;
}

// sign writes the signature of a SHA-256 digest and returns whether it could. The context is this call's own; the key is shared.
static int sign(EVP_PKEY *key, unsigned char *sig, size_t *size, const unsigned char *digest, size_t n, unsigned long *failed) {
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	int ok = ctx != NULL && EVP_PKEY_sign_init(ctx) > 0 &&
		EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) > 0 &&
		EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) > 0 &&
		EVP_PKEY_sign(ctx, sig, size, digest, n) > 0;
	EVP_PKEY_CTX_free(ctx);
	*failed = take_error();
	return ok;
}
*/
import "C"

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"runtime"
	"unsafe"
)

// Library names what signs.
func Library() string { return C.GoString(C.OpenSSL_version(C.OPENSSL_VERSION)) }

// signer signs with a key that OpenSSL holds. It is safe for concurrent use: OpenSSL counts the references to a key, and nothing
// changes it.
type signer struct {
	public rsa.PublicKey
	size   int // of a signature
	key    *C.EVP_PKEY
}

// New returns what signs with the key, having tried it. OpenSSL's copy of the key is wiped and freed when it is not used any more.
func New(key *rsa.PrivateKey) (crypto.Signer, error) {
	der := x509.MarshalPKCS1PrivateKey(key)
	s, err := parse(der)
	clear(der)
	if err != nil {
		return nil, err
	}
	s.public, s.size = key.PublicKey, key.Size()
	digest := sha256.Sum256(nil)
	signature, err := s.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	if rsa.VerifyPKCS1v15(&s.public, crypto.SHA256, digest[:], signature) != nil {
		return nil, errors.New("OpenSSL signs with another key")
	}
	return s, nil
}

// parse hands a key over to OpenSSL, which reads der where it is and keeps the numbers only.
func parse(der []byte) (*signer, error) {
	var failed C.ulong
	key := C.parse_key((*C.uchar)(unsafe.SliceData(der)), C.long(len(der)), &failed)
	if key == nil {
		return nil, failure("read private key", failed)
	}
	s := &signer{key: key}
	runtime.AddCleanup(s, func(key *C.EVP_PKEY) { C.EVP_PKEY_free(key) }, key)
	return s, nil
}

// Public implements crypto.Signer.
func (s *signer) Public() crypto.PublicKey { return &s.public }

// Sign implements crypto.Signer for RSASSA-PKCS1-v1_5 with SHA-256, which is all that WeChat Pay uses. It needs no randomness, and
// takes a thread of the operating system while it runs: it is for the caller not to have more at a time than there are processors.
func (s *signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, pss := opts.(*rsa.PSSOptions); pss || opts.HashFunc() != crypto.SHA256 || len(digest) != sha256.Size {
		return nil, errors.New("sign: only RSASSA-PKCS1-v1_5 with SHA-256 is supported")
	}
	return s.sign(digest)
}

func (s *signer) sign(digest []byte) ([]byte, error) {
	var failed C.ulong
	signature, n := make([]byte, s.size), C.size_t(s.size)
	ok := C.sign(s.key, (*C.uchar)(unsafe.SliceData(signature)), &n, (*C.uchar)(unsafe.SliceData(digest)), C.size_t(len(digest)), &failed)
	runtime.KeepAlive(s) // or its key might be freed under the call
	if ok == 0 || int(n) != s.size {
		return nil, failure("sign", failed)
	}
	return signature, nil
}

// failure tells what OpenSSL calls an error: a fixed text, which holds nothing of the key.
func failure(doing string, code C.ulong) error {
	reason := C.ERR_reason_error_string(code)
	if reason == nil {
		return fmt.Errorf("%s: OpenSSL error %#x", doing, uint64(code))
	}
	return fmt.Errorf("%s: OpenSSL: %s", doing, C.GoString(reason))
}
