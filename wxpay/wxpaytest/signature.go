package wxpaytest

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"hash/maphash"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const scheme = "WECHATPAY2-SHA256-RSA2048"

// window is how far a request's timestamp may be from the clock. Source: M:4012072670.
const window = 5 * time.Minute

// authorization is the Authorization header, taken apart.
type authorization struct {
	mchID, nonce, signature, serialNo string
	timestamp                         int64
}

// parseAuthorization is strict about the form: one header, one space after the scheme, five items in
// any order, each once, quoted, comma separated without blanks.
// Source: M:4012365344 (form), M:4012365334 (order is irrelevant).
func parseAuthorization(header http.Header) (a authorization, rule string) {
	values := header.Values("Authorization")
	if len(values) != 1 {
		return a, "there must be one Authorization header (M:4012365344)"
	}
	items, ok := strings.CutPrefix(values[0], scheme+" ")
	if !ok {
		return a, "Authorization must begin with " + scheme + " and one space (M:4012365344)"
	}
	found := map[string]string{}
	for item := range strings.SplitSeq(items, ",") {
		name, quoted, _ := strings.Cut(item, "=")
		if strings.Contains(name, " ") {
			return a, "Authorization holds a blank too many (M:4012365344)"
		}
		if len(quoted) < 2 || quoted[0] != '"' || quoted[len(quoted)-1] != '"' {
			return a, `Authorization items must be name="value", comma separated without blanks (M:4012365344)`
		}
		value := quoted[1 : len(quoted)-1]
		if _, twice := found[name]; twice || strings.ContainsAny(value, "\" ") {
			return a, "Authorization holds an item twice, or a blank or quote inside a value (M:4012365344)"
		}
		found[name] = value
	}
	a.mchID = found["mchid"] // even if the rest is not right: it is what the request claims
	for _, name := range []string{"mchid", "nonce_str", "signature", "timestamp", "serial_no"} {
		if found[name] == "" {
			return a, "Authorization lacks " + name + " (M:4012365344)"
		}
	}
	if len(found) != 5 {
		return a, "Authorization holds an unknown item (M:4012365344)"
	}
	a.nonce, a.signature, a.serialNo = found["nonce_str"], found["signature"], found["serial_no"]
	timestamp, err := strconv.ParseInt(found["timestamp"], 10, 64)
	if err != nil || strconv.FormatInt(timestamp, 10) != found["timestamp"] || timestamp <= 0 {
		return a, "timestamp must be Unix seconds (M:4012365334)"
	}
	a.timestamp = timestamp
	if !saneNonce(a.nonce) {
		return a, "nonce_str must be 16 to 64 of [0-9A-Za-z_-] (M:4012365334 shows 32; stricter than production)"
	}
	return a, ""
}

func saneNonce(s string) bool {
	if len(s) < 16 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// verify checks the signature over five lines, each ended by LF: method, the target as it was on the
// wire, timestamp, nonce, the raw body. Source: M:4012365334.
//
// Of an upload the last line is the form part `meta` only (M:4012365335).
func (a authorization) verify(key *rsa.PublicKey, method, target string, body []byte) bool {
	signature, err := base64.StdEncoding.Strict().DecodeString(a.signature)
	if err != nil {
		return false
	}
	var message bytes.Buffer
	message.Grow(len(target) + len(body) + 128)
	message.WriteString(method + "\n" + target + "\n" + strconv.FormatInt(a.timestamp, 10) + "\n" + a.nonce + "\n")
	message.Write(body)
	message.WriteByte('\n')
	digest := sha256.Sum256(message.Bytes())
	return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature) == nil
}

// digestAnswer covers three lines, each ended by LF: timestamp, nonce, body. A body that is empty, as
// that of a 204, leaves the third line empty. Source: M:4013053420.
func digestAnswer(timestamp, nonce string, body []byte) [sha256.Size]byte {
	var message bytes.Buffer
	message.Grow(len(body) + 64)
	message.WriteString(timestamp + "\n" + nonce + "\n")
	message.Write(body)
	message.WriteByte('\n')
	return sha256.Sum256(message.Bytes())
}

func signAnswer(key *rsa.PrivateKey, timestamp, nonce string, body []byte) string {
	digest := digestAnswer(timestamp, nonce, body)
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		panic("wxpaytest: sign answer: " + err.Error()) // a good key does not fail
	}
	return base64.StdEncoding.EncodeToString(signature)
}

// forge spoils a signature in a way that still decodes: one bit of one byte in its middle.
func forge(signature string) string {
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		panic("wxpaytest: forge: " + err.Error())
	}
	raw[len(raw)/2] ^= 1
	return base64.StdEncoding.EncodeToString(raw)
}

// probe is a signature probe as WeChat Pay sends them: it begins with WECHATPAY/SIGNTEST/ and decodes
// to as many bytes as a real one. Source: M:4013053249.
func probe(signature string) string {
	const mark = "WECHATPAY/SIGNTEST/"
	return mark + signature[len(mark):]
}

// A nonceSet remembers which nonces were used, the last quarter million of them at least.
type nonceSet struct {
	seed     maphash.Seed
	mu       sync.Mutex
	now, old map[uint64]*nonceUse // guarded by mu
}

// nonceUse is how far the exchange that first used a nonce has come; guarded by nonceSet.mu.
type nonceUse struct{ lost bool }

const nonceGeneration = 1 << 18

// use notes a nonce. It is fresh unless it was seen before with this timestamp. The one exception is a
// GET whose first exchange ended without a byte of an answer: Go's http.Transport sends such a request
// again by itself, which a client can hardly prevent, and which changes nothing.
func (n *nonceSet) use(a authorization, method string) (use *nonceUse, fresh bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.now == nil {
		n.seed, n.now = maphash.MakeSeed(), map[uint64]*nonceUse{}
	}
	key := maphash.String(n.seed, a.mchID+" "+strconv.FormatInt(a.timestamp, 10)+" "+a.nonce)
	use = n.now[key]
	if use == nil {
		use = n.old[key]
	}
	if use != nil && !(method == http.MethodGet && use.lost) {
		return nil, false
	}
	if len(n.now) >= nonceGeneration {
		n.old, n.now = n.now, map[uint64]*nonceUse{}
	}
	use = &nonceUse{}
	n.now[key] = use
	return use, true
}

// lost notes that the exchange ended without a byte of an answer.
func (n *nonceSet) lost(use *nonceUse) {
	if use == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	use.lost = true
}
