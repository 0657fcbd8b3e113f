package wxpay

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// genuine is one answer to every request, as it is on the wire.
func genuine(t testing.TB, wire []byte) *Client {
	return newTestClient(t, nil, func(c *Config) {
		c.Signer = fastSigner{merchantKey().Public()}
		c.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			return http.ReadResponse(bufio.NewReader(bytes.NewReader(wire)), r)
		})
	})
}

// known reports whether an error is one of those that calls document.
func known(err error) bool {
	var answer *Error
	var none *NoAnswerError
	var forged *SignatureError
	return errors.As(err, &answer) || errors.As(err, &none) || errors.As(err, &forged)
}

// maxErrorText is more than any error may say: it goes into logs.
const maxErrorText = 4 << 10

// Whatever a proven answer holds, it is read or is of no use, and the error that a refusal becomes is bounded. (Proofs are left out
// here: they take most of the time, and their randomness looks like news to the fuzzer.)
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(refundBody))
	f.Add([]byte(`{"complaint_id":"c","complaint_state":"PENDING","complaint_media_list":[{"media_type":"X","media_url":["u"]}]}`))
	f.Add([]byte(`{"data":[{"log_id":"1","operate_type":"MERCHANT_RESPONSE","operate_time":"2026-11-21T08:00:00+08:00","complaint_media_list":{}}],"total_count":1}`))
	f.Add([]byte(`{"code":"PARAM_ERROR","message":"x","detail":{"field":"/amount/refund","value":"1","issue":"y"}}`))
	f.Add([]byte(`{"code":{},"message":[1e99]}`))
	f.Add([]byte(`{"data":[{"serial_no":"5","effective_time ":"2020-01-01T00:00:00Z","encrypt_certificate":{"algorithm":"AEAD_AES_256_GCM","nonce":"n"}}]}`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		if refusal := newError("GET /x", &answer{status: 400, body: body}); len(refusal.Error()) > maxErrorText {
			t.Errorf("refusal says too much: %s", short(refusal.Error()))
		}
		var refund Refund
		if json.Unmarshal(body, &refund) == nil && isRefund(&refund, "R-1") && refund.OutRefundNo != "R-1" {
			t.Error("an answer about another refund counts")
		}
		var complaint Complaint
		if err := json.Unmarshal(body, &complaint); err != nil && len(err.Error()) > maxErrorText {
			t.Errorf("complaint: %s", short(err.Error()))
		}
		var history historyAnswer
		if json.Unmarshal(body, &history) == nil {
			history.check(0)
		}
		c := &Certificates{apiV3Key: []byte("0123456789abcdef0123456789abcdef"), client: &Client{}, now: func() time.Time { return testNow }}
		listed, err := c.read(&answer{status: 200, body: body})
		if len(listed) > 0 || err == nil || len(err.Error()) > maxErrorText {
			t.Errorf("certificates out of nothing: %d, %v", len(listed), err)
		}
	})
}

// Whatever comes over the wire, headers included, nothing that WeChat Pay has not signed is believed.
func FuzzWire(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
	f.Add(signed(200, refundBody).sign(forgerKey(), testSerial, 0).bytes())
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\nWechatpay-Serial: x\r\nWechatpay-Nonce: \x00\r\nWechatpay-Signature: WECHATPAY/SIGNTEST/\r\nWechatpay-Timestamp: 99999999999999999999\r\nContent-Length: 40\r\n\r\n{\"code\":\"RESOURCE_NOT_EXISTS\"}"))
	f.Add([]byte("HTTP/1.1 404 \r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		_, err := genuine(t, wire).QueryRefund(context.Background(), refundRequest().OutRefundNo, "")
		var refusal *Error
		switch {
		case err == nil:
			t.Error("an answer without a signature of WeChat Pay's was believed")
		case errors.As(err, &refusal) && refusal.Proven:
			t.Errorf("a refusal without a signature of WeChat Pay's counts as proven: %s", short(err.Error()))
		case !known(err) || len(err.Error()) > maxErrorText:
			t.Errorf("%T: %s", err, short(err.Error()))
		}
	})
}

// What comes encrypted (notifications of v3 and v2, platform certificates) opens or does not; nothing panics.
func FuzzDecrypt(f *testing.F) {
	f.Add("0123456789abcdef0123456789abcdef", "fdasflkja484", "transaction", "AAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add("", "", "", "")
	f.Add("0123456789abcdef0123456789abcdef", strings.Repeat("n", 40), "x", "!")
	f.Fuzz(func(t *testing.T, key, nonce, associated, sealed string) {
		if plain, err := DecryptResource([]byte(key), nonce, associated, sealed); err == nil && len(plain) > len(sealed) {
			t.Error("more came out than was in it")
		}
		if plain, err := DecryptReqInfo(key, sealed); err == nil && len(plain) >= len(sealed) {
			t.Error("more came out than was in it")
		}
	})
}

// Key files of any content are read or refused, and a refusal does not quote them.
func FuzzKeyFile(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\n\n-----END PUBLIC KEY-----\n"))
	f.Add([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err1 := ParsePrivateKey(data)
		_, err2 := ParsePublicKey(data)
		_, err3 := ParseCertificate(data)
		for _, err := range []error{err1, err2, err3} {
			if err != nil && (len(err.Error()) > 300 || len(data) > 16 && strings.Contains(err.Error(), string(data))) {
				t.Errorf("error says too much: %s", short(err.Error()))
			}
		}
	})
}
