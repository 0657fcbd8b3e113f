package wxpay

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"time"
)

// Verify proves that an answer or a callback is WeChat Pay's: that body, byte for byte as it came, was signed with the
// key that header names, less than five minutes from now. It returns the time at which WeChat Pay signed.
//
// Errors: ErrNoSignature (a header is missing), ErrUnknownSerial, ErrBadSignature (not Base64, or not a signature of
// this; WeChat Pay's own probes, which begin with WECHATPAY/SIGNTEST/, end here like any other), ErrClockSkew (a good
// signature, but stale or from the future: a replay, or our clock is wrong; the time is returned as well), or what keys
// returned. A callback that fails is answered with 4xx or 5xx; WeChat Pay sends genuine ones again.
//
// Source: 如何验证签名, https://pay.weixin.qq.com/doc/v3/merchant/4013053420; public keys: …/4013053249; callbacks: …/4013071196
func Verify(ctx context.Context, keys KeySource, header http.Header, body []byte, now time.Time) (time.Time, error) {
	timestamp, nonce := header.Get("Wechatpay-Timestamp"), header.Get("Wechatpay-Nonce")
	signature, serial := header.Get("Wechatpay-Signature"), header.Get("Wechatpay-Serial")
	if timestamp == "" || nonce == "" || signature == "" || serial == "" {
		return time.Time{}, ErrNoSignature
	}
	if !isToken(serial) { // not worth asking a source that may go and look
		return time.Time{}, ErrUnknownSerial
	}
	key, err := keys.Key(ctx, serial)
	if err != nil {
		return time.Time{}, err
	}
	if key == nil {
		return time.Time{}, ErrUnknownSerial
	}
	if err := verifyText(key, signedText(body, timestamp, nonce), signature); err != nil {
		return time.Time{}, err
	}
	// The time is looked at last: ErrClockSkew then means that WeChat Pay did sign this, and can be told to an operator
	// as a fact about clocks.
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return time.Time{}, ErrBadSignature
	}
	// In seconds, since a difference of Durations saturates and that of whole seconds is what WeChat Pay means.
	at := time.Unix(seconds, 0)
	if d := now.Unix() - seconds; d >= int64(maxSkew/time.Second) || -d >= int64(maxSkew/time.Second) {
		return at, ErrClockSkew
	}
	return at, nil
}

// verifyText returns nil or ErrBadSignature.
func verifyText(key *rsa.PublicKey, text []byte, signature string) error {
	sig, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		return ErrBadSignature
	}
	digest := sha256.Sum256(text)
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], sig) != nil {
		return ErrBadSignature
	}
	return nil
}
