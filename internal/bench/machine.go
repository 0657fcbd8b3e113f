package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"os"
	"path/filepath"
	"time"
)

// machine measures what the figures of the other parts rest on: one signature with a merchant's key, by Go, and one small write
// that is synced to the disk under the store.
func (b *bench) machine(ctx context.Context) error {
	files, err := readInstallation(b.dir)
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(b.dir, "synced"))
	if err != nil {
		return err
	}
	defer f.Close()
	digest, block := sha256.Sum256(nil), make([]byte, 512)
	things := map[string]func() error{
		"Machine/does=rsa-2048-signature": func() error {
			_, err := files.private.Sign(rand.Reader, digest[:], crypto.SHA256)
			return err
		},
		"Machine/does=answer-signature": func() error {
			files.answerKey.sign(block)
			return nil
		},
		"Machine/does=synced-write": func() error {
			if _, err := f.Write(block); err != nil {
				return err
			}
			return f.Sync()
		},
	}
	for range b.repeat {
		for name, do := range things {
			took, err := mean(ctx, do)
			if err != nil {
				return err
			}
			if err := b.report.add(name, figures{"ns/op": float64(took)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// mean is what one of many takes, done one after the other.
func mean(ctx context.Context, do func() error) (time.Duration, error) {
	const times = 500
	began := time.Now()
	for range times {
		if err := do(); err != nil {
			return 0, err
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
	}
	return time.Since(began) / times, nil
}
