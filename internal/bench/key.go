package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"math/bits"
)

// answerKey signs v3 answers as WeChat Pay does, RSA-2048 with PKCS #1 v1.5, many times as fast as crypto/rsa.
//
// Every v3 answer is signed over its body, which repeats the refund's number, so that none can be signed before its request has
// come; and with crypto/rsa the answering side would need as much processor as the worker under measurement. The modulus
// is therefore a product of 32 primes that fit a machine word each, and a signature is put together from as many small powers.
// That key protects nothing (its primes are found in no time), and those who verify cannot tell it from another.
type answerKey struct {
	n      *big.Int
	primes []prime
}

// prime is one prime's part in a signature: s = Σ (m^d mod p)·c mod n.
type prime struct {
	p, d uint64
	c    *big.Int
}

const (
	answerKeyBits  = 2048
	publicExponent = 65537
)

func newAnswerKey() (*answerKey, error) {
	for {
		var words []uint64
		for len(words) < answerKeyBits/64 {
			p, err := wordPrime()
			if err != nil {
				return nil, err
			}
			words = append(words, p)
		}
		if k, err := answerKeyOf(words); err == nil {
			return k, nil
		}
	}
}

// answerKeyOf puts a key together; it fails if the primes do not make one.
func answerKeyOf(words []uint64) (*answerKey, error) {
	k := &answerKey{n: big.NewInt(1)}
	for _, word := range words {
		k.n.Mul(k.n, new(big.Int).SetUint64(word))
	}
	for _, word := range words {
		p := new(big.Int).SetUint64(word)
		d := new(big.Int).ModInverse(big.NewInt(publicExponent), new(big.Int).Sub(p, big.NewInt(1)))
		rest := new(big.Int).Div(k.n, p)
		inverse := new(big.Int).ModInverse(rest, p)
		if d == nil || inverse == nil || k.n.BitLen() != answerKeyBits {
			return nil, errors.New("not the primes of a key")
		}
		k.primes = append(k.primes, prime{p: word, d: d.Uint64(), c: rest.Mul(rest, inverse)})
	}
	return k, nil
}

// wordPrime returns a prime just below 2^64, so that the product of 32 has 2048 bits.
func wordPrime() (uint64, error) {
	top := new(big.Int).Lsh(big.NewInt(0x7f), 57)
	for {
		low, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 57))
		if err != nil {
			return 0, fmt.Errorf("make answer key: %w", err)
		}
		if p := low.Or(low, top); p.ProbablyPrime(20) {
			return p.Uint64(), nil
		}
	}
}

// sha256Info is the DER prefix of a SHA-256 digest in PKCS #1 v1.5. Source: RFC 8017, section 9.2, note 1.
var sha256Info = []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}

func (k *answerKey) sign(text []byte) []byte {
	digest := sha256.Sum256(text)
	padded := make([]byte, answerKeyBits/8)
	padded[1] = 1
	start := len(padded) - len(sha256Info) - len(digest)
	for i := 2; i < start-1; i++ {
		padded[i] = 0xff
	}
	copy(padded[start:], sha256Info)
	copy(padded[start+len(sha256Info):], digest[:])

	sum, part, word := new(big.Int), new(big.Int), new(big.Int)
	for _, p := range k.primes {
		sum.Add(sum, part.Mul(p.c, word.SetUint64(p.power(padded))))
	}
	return sum.Mod(sum, k.n).FillBytes(padded)
}

// power returns m^d mod p.
func (p prime) power(m []byte) uint64 {
	base, result := uint64(0), uint64(1)
	for i := 0; i < len(m); i += 8 {
		var word uint64
		for _, b := range m[i : i+8] {
			word = word<<8 | uint64(b)
		}
		base = bits.Rem64(base, word, p.p)
	}
	for d := p.d; d > 0; d >>= 1 {
		if d&1 == 1 {
			result = p.times(result, base)
		}
		base = p.times(base, base)
	}
	return result
}

func (p prime) times(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return bits.Rem64(high, low, p.p)
}

// publicPEM is what a configuration's public_keys names.
func (k *answerKey) publicPEM() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: k.n, E: publicExponent})
	if err != nil {
		return nil, fmt.Errorf("write answer key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}
