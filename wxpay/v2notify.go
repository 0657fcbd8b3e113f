package wxpay

import (
	"bytes"
	"crypto/aes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
)

// DecryptReqInfo opens req_info of a v2 refund notification and returns the XML in it, whose root element is "root".
//
// It is AES-256 in ECB mode with PKCS #7 padding; the key is the hex text of the MD5 of the APIv2 key, in lower case.
// That proves nothing: such a notification is unsigned and its blocks can be rearranged. Query before acting on it.
//
// Source: 退款结果通知, https://pay.weixin.qq.com/doc/v2/partner/4011989265
func DecryptReqInfo(apiKey, reqInfo string) ([]byte, error) {
	sealed, err := base64.StdEncoding.DecodeString(reqInfo)
	if err != nil {
		return nil, errors.New("wxpay: decrypt req_info: not Base64")
	}
	if len(sealed) == 0 || len(sealed)%aes.BlockSize != 0 {
		return nil, errors.New("wxpay: decrypt req_info: not whole blocks")
	}
	sum := md5.Sum([]byte(apiKey))
	block, err := aes.NewCipher([]byte(hex.EncodeToString(sum[:])))
	if err != nil {
		return nil, errors.New("wxpay: decrypt req_info: unusable key")
	}
	plain := make([]byte, len(sealed))
	for i := 0; i < len(sealed); i += aes.BlockSize {
		block.Decrypt(plain[i:], sealed[i:i+aes.BlockSize])
	}
	pad := int(plain[len(plain)-1])
	if pad < 1 || pad > aes.BlockSize || !bytes.HasSuffix(plain, bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, errors.New("wxpay: decrypt req_info: for another key, or damaged")
	}
	return plain[:len(plain)-pad], nil
}
