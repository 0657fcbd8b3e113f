//go:build openssl

package opensslkey

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// vectors are WeChat Pay's own signatures, with the key that it publishes for them.
type vectors struct {
	Key   []byte `json:"test_private_key_pkcs8_der_base64"`
	Cases []struct {
		Name, Message string
		Signature     string `json:"expected_signature"`
	}
}

func readVectors(t *testing.T) (*rsa.PrivateKey, vectors) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "wxpay", "testdata", "v3_request_signing.json"))
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(v.Key)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*rsa.PrivateKey), v
}

func open(t testing.TB, key *rsa.PrivateKey) crypto.Signer {
	t.Helper()
	s, err := New(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, ours := s.(*signer); !ours {
		t.Fatalf("%T signs", s)
	}
	return s
}

// Signatures are those that WeChat Pay publishes.
func TestVectors(t *testing.T) {
	t.Parallel()
	key, v := readVectors(t)
	s := open(t, key)
	if len(v.Cases) == 0 {
		t.Fatal("no vectors")
	}
	for _, c := range v.Cases {
		digest := sha256.Sum256([]byte(c.Message))
		got, err := s.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		if c.Signature == "" || base64.StdEncoding.EncodeToString(got) != c.Signature {
			t.Errorf("%s: %s; want %s", c.Name, base64.StdEncoding.EncodeToString(got), c.Signature)
		}
	}
}

// Signatures are those of crypto/rsa, whatever is signed, by keys of any size, by many at a time.
func TestSameAsGo(t *testing.T) {
	t.Parallel()
	for _, bits := range []int{2048, 3072, 4096} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, key)
		if !key.PublicKey.Equal(s.Public()) {
			t.Error("another public key")
		}
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for j := range 4 {
					digest := sha256.Sum256([]byte{byte(i), byte(j)})
					want, err1 := key.Sign(rand.Reader, digest[:], crypto.SHA256)
					got, err2 := s.Sign(rand.Reader, digest[:], crypto.SHA256)
					if err1 != nil || err2 != nil || !bytes.Equal(got, want) {
						t.Errorf("%d bits: signatures differ: %v, %v", bits, err1, err2)
					}
				}
			})
		}
		all.Wait()
	}
}

// What is not SHA-256 with PKCS #1 v1.5 is refused, not signed as if it were.
func TestOtherSchemes(t *testing.T) {
	t.Parallel()
	key, _ := readVectors(t)
	s := open(t, key)
	long, short := sha256.Sum256(nil), sha1.Sum(nil)
	for name, try := range map[string]func() ([]byte, error){
		"PSS":          func() ([]byte, error) { return s.Sign(nil, long[:], &rsa.PSSOptions{Hash: crypto.SHA256}) },
		"SHA-1":        func() ([]byte, error) { return s.Sign(nil, short[:], crypto.SHA1) },
		"no hash":      func() ([]byte, error) { return s.Sign(nil, long[:], crypto.Hash(0)) },
		"short digest": func() ([]byte, error) { return s.Sign(nil, short[:], crypto.SHA256) },
	} {
		if signature, err := try(); err == nil || signature != nil {
			t.Errorf("%s was signed", name)
		}
	}
}

// An error is told with OpenSSL's reason, is nothing of the key, and is not left for the next call on that thread.
func TestErrors(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	key, _ := readVectors(t)
	s := open(t, key).(*signer)
	_, first := parse(x509.MarshalPKCS1PrivateKey(key)[:100])
	_, second := s.sign([]byte("short"))
	if first == nil || second == nil {
		t.Fatalf("%v, %v; want errors", first, second)
	}
	if !strings.Contains(second.Error(), "digest length") {
		t.Errorf("%v, after %v", second, first)
	}
	if _, err := parse(nil); err == nil {
		t.Error("nothing was read as a key")
	}
	digest := sha256.Sum256(nil)
	if _, err := s.Sign(nil, digest[:], crypto.SHA256); err != nil {
		t.Error(err)
	}
}

// Keys that are not used any more are freed: a reload must not add to memory.
func TestFreed(t *testing.T) {
	key, _ := readVectors(t)
	der := x509.MarshalPKCS1PrivateKey(key)
	round := func() {
		for range 5000 {
			if _, err := parse(der); err != nil {
				t.Fatal(err)
			}
		}
		for range 20 { // cleanups run after a collection, in their own time
			runtime.GC()
			time.Sleep(time.Millisecond)
		}
	}
	round()
	before := resident(t)
	round()
	round()
	if grown := resident(t) - before; grown > 10<<20 {
		t.Errorf("10,000 keys that are gone hold %d MB", grown>>20)
	}
}

func resident(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc")
	}
	pages, err := strconv.Atoi(strings.Fields(string(data))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

func BenchmarkSign(b *testing.B) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	for name, s := range map[string]crypto.Signer{"openssl": open(b, key), "go": key} {
		b.Run(name, func(b *testing.B) {
			digest := sha256.Sum256(nil)
			for b.Loop() {
				if _, err := s.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
