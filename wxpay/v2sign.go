package wxpay

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"crypto/subtle"
	"slices"
)

// V2SignType is how v2 messages are signed, as sign_type spells it.
type V2SignType string

const (
	V2MD5        V2SignType = "MD5" // what WeChat Pay assumes when sign_type is absent
	V2HMACSHA256 V2SignType = "HMAC-SHA256"
)

// SignV2 returns the sign of a v2 message: upper-case hex over all parameters that are not empty, unknown ones too, but
// not over sign itself. Names are case sensitive, values are raw: not URL-encoded, CDATA and entities resolved. key is
// the APIv2 key (32 bytes). Any type but V2HMACSHA256 is MD5.
//
// Source: 安全规范, https://pay.weixin.qq.com/wiki/doc/api/app/app.php?chapter=4_3, 2024-12-11
func SignV2(params map[string]string, key string, by V2SignType) string {
	var room [32]string // more than a refund or its answer has
	names := room[:0]
	size := len("key=") + len(key)
	for name, value := range params {
		if value != "" && name != "sign" {
			names = append(names, name)
			size += len(name) + len(value) + 2
		}
	}
	slices.Sort(names)
	text := make([]byte, 0, size)
	for _, name := range names {
		text = append(append(append(append(text, name...), '='), params[name]...), '&')
	}
	text = append(append(text, "key="...), key...)
	if by == V2HMACSHA256 {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write(text)
		return upperHex(mac.Sum(text[:0]))
	}
	sum := md5.Sum(text)
	return upperHex(sum[:])
}

func upperHex(sum []byte) string {
	const digits = "0123456789ABCDEF"
	var room [2 * sha256.Size]byte
	text := room[:0]
	for _, b := range sum {
		text = append(text, digits[b>>4], digits[b&15])
	}
	return string(text)
}

// VerifyV2 proves a v2 message by its sign. Errors: ErrNoSignature, ErrBadSignature.
func VerifyV2(params map[string]string, key string, by V2SignType) error {
	switch sign := params["sign"]; {
	case sign == "":
		return ErrNoSignature
	case subtle.ConstantTimeCompare([]byte(sign), []byte(SignV2(params, key, by))) != 1:
		return ErrBadSignature
	}
	return nil
}
