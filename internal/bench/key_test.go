package main

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"testing"
)

func TestAnswerKeySigns(t *testing.T) {
	k, err := newAnswerKey()
	if err != nil {
		t.Fatal(err)
	}
	text := []byte("1\nnonce\n{}\n")
	digest := sha256.Sum256(text)
	if err := rsa.VerifyPKCS1v15(&rsa.PublicKey{N: k.n, E: publicExponent}, crypto.SHA256, digest[:], k.sign(text)); err != nil {
		t.Errorf("the standard library does not take the signature: %v", err)
	}
}

func BenchmarkAnswerKeySign(b *testing.B) {
	k, err := newAnswerKey()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		k.sign([]byte("1\nnonce\n{}\n"))
	}
}
