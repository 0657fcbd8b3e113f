package wxpay

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"time"
)

// authScheme names the one signature scheme of APIv3: RSASSA-PKCS1-v1_5 with SHA-256.
const authScheme = "WECHATPAY2-SHA256-RSA2048"

// signedText joins the lines of a message to be signed or verified. Every line ends in LF, the last one too: also when
// it is empty, and also when it ends in LF already.
//
// Source: 如何构造签名串, https://pay.weixin.qq.com/doc/v3/merchant/4012365334
func signedText(body []byte, lines ...string) []byte {
	n := len(body) + 1
	for _, l := range lines {
		n += len(l) + 1
	}
	text := make([]byte, 0, n)
	for _, l := range lines {
		text = append(append(text, l...), '\n')
	}
	return append(append(text, body...), '\n')
}

// signText signs with the merchant's key.
func signText(signer crypto.Signer, text []byte) ([]byte, error) {
	digest := sha256.Sum256(text)
	return signer.Sign(rand.Reader, digest[:], crypto.SHA256)
}

// authorization returns the Authorization header for a request. uri is the escaped path and query exactly as they go on
// the wire, body exactly the bytes that are sent, or of a form those of its part "meta". The host is not signed: the header
// serves the backup host as well.
//
// Source: 如何设置 HTTP 头, https://pay.weixin.qq.com/doc/v3/merchant/4012365344
func (c *Client) authorization(method, uri string, body []byte) (string, error) {
	timestamp, nonce := strconv.FormatInt(c.now().Unix(), 10), c.nonce()
	signature, err := signText(c.signer, signedText(body, method, uri, timestamp, nonce))
	if err != nil {
		return "", err
	}
	h := make([]byte, 0, len(authScheme)+len(c.mchID)+len(nonce)+len(timestamp)+len(c.serialNo)+
		base64.StdEncoding.EncodedLen(len(signature))+64)
	h = append(append(h, authScheme+` mchid="`...), c.mchID...)
	h = append(append(h, `",nonce_str="`...), nonce...)
	h = base64.StdEncoding.AppendEncode(append(h, `",signature="`...), signature)
	h = append(append(h, `",timestamp="`...), timestamp...)
	h = append(append(h, `",serial_no="`...), c.serialNo...)
	return string(append(h, '"')), nil
}

// newNonce returns 16 random bytes in hex, as WeChat Pay's documents do.
func newNonce() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// maxSkew is how far a signed time may be from ours, either way. Exactly 300 s is refused, as WeChat Pay's SDKs do.
//
// Source: 如何验证签名, https://pay.weixin.qq.com/doc/v3/merchant/4013053420
const maxSkew = 300 * time.Second
