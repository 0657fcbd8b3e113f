package wxpaytest

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"maps"
	"slices"
	"strings"
)

// Digests of v2. Source: V2M:4011939577.
const (
	signMD5  = "MD5" // what a request without sign_type means
	signHMAC = "HMAC-SHA256"
)

// textToSign is every element that is not empty, except sign, sorted by the bytes of its name, k=v joined by
// &, and then the key. Values are raw. sign_type, where there is one, is signed like the rest.
// Source: WIKI:api/app/app.php?chapter=4_3.
func textToSign(elements map[string]string, key string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(elements)) {
		if name != "sign" && elements[name] != "" {
			b.WriteString(name + "=" + elements[name] + "&")
		}
	}
	return b.String() + "key=" + key
}

// signV2 is upper-case hex of MD5, or of HMAC-SHA256 with the same key once more as its key.
// Source: WIKI:api/app/app.php?chapter=4_3.
func signV2(signType, key string, elements map[string]string) string {
	var h hash.Hash
	if signType == signHMAC {
		h = hmac.New(sha256.New, []byte(key))
	} else {
		h = md5.New()
	}
	h.Write([]byte(textToSign(elements, key)))
	return strings.ToUpper(hex.EncodeToString(h.Sum(nil)))
}

// forgeV2 spoils a sign in a way that still looks like one: one digit in its middle.
func forgeV2(sign string) string {
	b := []byte(sign)
	digit := &b[len(b)/2]
	if *digit == '0' {
		*digit = '1'
	} else {
		*digit = '0'
	}
	return string(b)
}
