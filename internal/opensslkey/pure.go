//go:build !openssl

package opensslkey

import (
	"crypto"
	"crypto/rsa"
)

// Library names what signs, "" for Go itself.
func Library() string { return "" }

// New returns what signs with the key: the key.
func New(key *rsa.PrivateKey) (crypto.Signer, error) { return key, nil }
