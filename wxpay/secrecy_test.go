package wxpay

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestSecrecy makes every kind of error, and prints everything that can be printed, and looks for what must not be there.
func TestSecrecy(t *testing.T) {
	t.Parallel()
	const (
		payer  = "PAYER-13800000000"    // in every answer's body
		reason = "REASON-OF-THE-REFUND" // in every request's body
	)
	key := merchantKey()
	der := must(readKeyBase64())
	forbidden := map[string]string{
		"payer data": payer, "the request's body": reason, "the Authorization": authScheme, "its nonce": testNonce,
		"the private exponent": key.D.String(), "the private exponent in hex": key.D.Text(16),
		"a prime": key.Primes[0].String(), "a prime in hex": key.Primes[0].Text(16), "the key file": der[100:160],
	}
	body := strings.Replace(refundBody, "T1", payer, 1)
	refusal := `{"code":"PARAM_ERROR","message":"m","detail":{"field":"/reason","value":"` + payer + `","issue":"i","location":"body"}}`
	good := signed(200, body)
	forbidden["the answer's signature"] = good.header.Get("Wechatpay-Signature")[:40]
	forbidden["a forged signature"] = good.sign(forgerKey(), testSerial, 0).header.Get("Wechatpay-Signature")[:40]
	mine, err := newTestClient(t, nil).authorization("POST", "/v3/refund/domestic/refunds", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(mine, authScheme) || !strings.Contains(mine, testNonce) {
		t.Fatal("looking for the wrong things")
	}

	answers := map[string][]byte{
		"refused":          signed(400, refusal).bytes(),
		"refused unproven": reply{status: 400, body: refusal}.bytes(),
		"page":             reply{status: 502, body: "<html>" + payer}.bytes(),
		"unsigned":         reply{status: 200, body: body}.bytes(),
		"forged":           good.sign(forgerKey(), testSerial, 0).bytes(),
		"stale":            good.sign(platformKey(), testSerial, -time.Hour).bytes(),
		"unknown serial":   good.sign(platformKey(), "X", 0).bytes(),
		"odd serial":       good.with("Wechatpay-Serial", payer+" ").with("Wechatpay-Serial", payer+`"`).bytes(),
		"odd request id":   signed(400, refusal).with("Request-Id", payer+" x").bytes(),
		"another refund":   signed(200, strings.Replace(body, "1217752501201407033233368018", payer, 1)).bytes(),
		"not JSON":         signed(200, payer).bytes(),
		"cut":              cut(good.bytes(), 5),
		"closed":           nil,
		"garbage line":     []byte(payer + "\r\n\r\n"),
		"garbage header":   []byte("HTTP/1.1 200 OK\r\n" + payer + "\r\n\r\n"),
		"garbage length":   []byte("HTTP/1.1 200 OK\r\nContent-Length: " + payer + "\r\n\r\n"),
		"garbage chunk":    []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + payer + "\r\n\r\n"),
		"202":              signed(202, payer).bytes(),
		"too large":        signed(200, payer+strings.Repeat(" ", maxBody)).bytes(),
	}
	printed := map[string]string{}
	print := func(name string, v any) {
		for _, verb := range []string{"%v", "%+v", "%s", "%q"} {
			printed[name+" "+verb] = fmt.Sprintf(verb, v)
		}
	}
	asked := refundRequest()
	asked.Reason = reason
	for name, answer := range answers {
		c := newTestClient(t, serve(t, func(request) []byte { return answer }))
		_, err := c.CreateRefund(t.Context(), asked)
		if err == nil {
			t.Errorf("%s is no error", name)
		}
		print(name, err)
		if n, ok := errors.AsType[*NoAnswerError](err); ok {
			print(name+", its cause", n.Err)
		}
	}
	broken := newTestClient(t, nil, func(c *Config) { c.Signer = brokenSigner{key} })
	_, err = broken.CreateRefund(t.Context(), asked)
	print("KMS", err)
	_, err = broken.CreateRefund(t.Context(), &RefundRequest{OutRefundNo: payer + "/", Reason: reason})
	print("argument", err)
	_, err = ParsePrivateKey(encodePEM("PRIVATE KEY", []byte(der)))
	print("parse", err)

	config := Config{MchID: "1900007291", SerialNo: "AB", Signer: key, Keys: must(NewKeySet("X", onlyKey("X"))), Hosts: []string{testHost}}
	c := must(New(config))
	byValue := config
	byValue.Signer = remoteSigner{key.Public(), payer} // payer stands for a KMS token here
	for name, v := range map[string]any{"config": config, "config's address": &config, "config with a token": byValue, "client with a token": must(New(byValue)), "client": c, "client's contents": struct{ C *Client }{c}} {
		print(name, v)
		printed[name+" %#v"] = fmt.Sprintf("%#v", v)
		if text, err := json.Marshal(v); err == nil {
			printed[name+" JSON"] = string(text)
		}
	}
	if !strings.Contains(printed["config %+v"], "1900007291") || !strings.Contains(printed["client %+v"], "1900007291") {
		t.Error("config or client print nothing at all")
	}
	for name, text := range printed {
		for what, secret := range forbidden {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds %s: %s", name, what, short(text))
			}
		}
	}
}

// remoteSigner is a KMS client that somebody wrote without thinking of printing.
type remoteSigner struct {
	public crypto.PublicKey
	Token  string
}

func (s remoteSigner) Public() crypto.PublicKey { return s.public }
func (s remoteSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errKMS
}

func readKeyBase64() (string, error) {
	var v struct {
		Key string `json:"test_private_key_pkcs8_der_base64"`
	}
	readJSON("testdata/v3_request_signing.json", &v)
	_, err := base64.StdEncoding.DecodeString(v.Key)
	return v.Key, err
}

// TestMessageIsNotText: a message of WeChat Pay is kept for people, and never becomes part of an error's text.
func TestMessageIsNotText(t *testing.T) {
	t.Parallel()
	c := newTestClient(t, serve(t, always(signed(http.StatusBadRequest, `{"code":"PARAM_ERROR","message":"<message>"}`))))
	_, err := c.CreateRefund(t.Context(), refundRequest())
	if e, ok := errors.AsType[*Error](err); !ok || e.Message != "<message>" || strings.Contains(err.Error(), "message") {
		t.Error(err)
	}
}
