// Package opensslkey signs with OpenSSL where the program is built for it, and with Go's own crypto/rsa where it is not.
//
// The signature of a v3 call is nearly all that the call costs, and OpenSSL's assembler makes it in a quarter of the time
// (doc/performance.md). It needs cgo and libcrypto 3 at build and run time, which a program of one static file has not; so it is behind
// the build tag openssl: `make build TAGS=openssl`. Without the tag nothing of this is compiled.
//
// Both make the same bytes: RSASSA-PKCS1-v1_5 has no randomness.
//
//	signer, err := opensslkey.New(privateKey) // for wxpay.Config.Signer
package opensslkey
