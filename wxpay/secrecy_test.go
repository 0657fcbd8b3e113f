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
	secretsOfV2(t, print, printed, forbidden, payer, reason)
	secretsOfCertificates(t, print, printed, forbidden)
	for name, text := range printed {
		for what, secret := range forbidden {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds %s: %s", name, what, short(text))
			}
		}
	}
}

// secretsOfV2 makes and prints what version 2 has to print.
func secretsOfV2(t *testing.T, print func(string, any), printed map[string]string, forbidden map[string]string, payer, reason string) {
	good := v2Accepted.with("user", payer).sign(testV2Key, "HMAC-SHA256")
	refused := v2Params{
		"return_code": "SUCCESS", "result_code": "FAIL", "err_code": "PARAM_ERROR", "err_code_des": payer, "mch_id": testV2MchID,
	}
	forged := good.sign(strings.Repeat("k", 32), "HMAC-SHA256")
	asked := seedRefund()
	asked.Reason = reason
	sent := elements(t, string(encodeV2(map[string]string{"reason": reason})))
	if sent["reason"] != reason {
		t.Fatal("looking for the wrong things")
	}
	secret := V2Config{MchID: testV2MchID, AppID: "wx1", APIKey: []byte(testV2Key), Certificate: merchantPair(), Hosts: []string{testHost}}
	forbidden["the API key"], forbidden["the API key in numbers"] = testV2Key, fmt.Sprint(secret.APIKey)[1:40]
	forbidden["the API key in Base64"] = base64.StdEncoding.EncodeToString(secret.APIKey)[:40]
	forbidden["the API key in hex"] = fmt.Sprintf("%x", testV2Key)
	forbidden["the answer's sign"], forbidden["a forged sign"] = good["sign"], forged["sign"]
	for name, answer := range map[string]reply{
		"refused":        refused.answer(),
		"unproven":       v2Reply(refused.xml()),
		"FAIL":           v2Reply("<xml><return_code>FAIL</return_code><return_msg>" + payer + "</return_msg></xml>"),
		"an odd code":    refused.with("err_code", payer).answer(),
		"unsigned":       v2Reply(good.with("sign", "-").xml()),
		"forged":         v2Reply(forged.xml()),
		"another refund": good.with("out_refund_no", payer).answer(),
		"an odd amount":  good.with("refund_fee", payer).answer(),
		"not XML":        v2Reply(payer),
		"odd XML":        v2Reply("<xml><" + payer + " " + payer + "='" + payer + "'>&" + payer + ";</xml>"),
		"crossed":        v2Reply("<xml><a" + payer + "></b" + payer + "></xml>"),
		"a page":         {status: 400, body: "<html>" + payer},
	} {
		s := serve(t, always(answer))
		_, err := newTestV2Client(t, s).CreateRefund(t.Context(), asked)
		if err == nil {
			t.Errorf("v2, %s is no error", name)
		}
		print("v2, "+name, err)
		forbidden["the request's sign"] = elements(t, s.received()[0].body)["sign"]
	}
	c := must(NewV2(secret))
	print("v2, argument", c.Carries(&RefundRequest{OutRefundNo: "R", Reason: payer + "\x00"}))
	short := secret
	short.APIKey = short.APIKey[:31]
	forbidden["a part of the API key"] = testV2Key[:31]
	print("v2, short key", second(NewV2(short)))
	for name, v := range map[string]any{"v2 config": secret, "v2 config's address": &secret, "v2 client": c, "v2 client's contents": struct{ C *V2Client }{c}} {
		print(name, v)
		printed[name+" %#v"] = fmt.Sprintf("%#v", v)
		if text, err := json.Marshal(v); err == nil {
			printed[name+" JSON"] = string(text)
		}
	}
	if !strings.Contains(printed["v2 config %+v"], testV2MchID) || !strings.Contains(printed["v2 client %+v"], testV2MchID) {
		t.Error("config or client of version 2 print nothing at all")
	}
}

// secretsOfCertificates makes and prints what the download of certificates has to print.
func secretsOfCertificates(t *testing.T, print func(string, any), printed map[string]string, forbidden map[string]string) {
	forbidden["the APIv3 key"], forbidden["the APIv3 key in numbers"] = testV3Key, fmt.Sprint([]byte(testV3Key))[1:40]
	forbidden["the APIv3 key in Base64"] = base64.StdEncoding.EncodeToString([]byte(testV3Key))[:40]
	const plain = "PLAINTEXT-OF-A-CERTIFICATE"
	forbidden["what was decrypted"] = plain
	old := oldPlatform()
	for name, p := range map[string]platform{
		"another key":    {serial: 1, key: old.key, apiV3Key: strings.Repeat("k", 32)},
		"no certificate": {serial: 1, key: old.key, text: plain},
		"odd time":       {serial: 1, key: old.key, expire: plain},
		"odd serial":     {serial: 1, key: old.key, serialNo: plain},
	} {
		s := newPlatformServer(old, p)
		c := newTestCertificates(t, s)
		print("certificates, "+name, c.Refresh(t.Context()))
		print("certificates ready, "+name, c.Ready(t.Context()))
		_, err := clientOf(t, s, c).CreateRefund(t.Context(), refundRequest())
		print("certificates, call, "+name, err)
		if err == nil {
			t.Errorf("certificates, %s is no error", name)
		}
	}
	config := newPlatformServer(old, old).config()
	config.Client.Signer = merchantKey()
	c := must(NewCertificates(config))
	for name, v := range map[string]any{"certificates config": config, "certificates": c, "certificates' contents": struct{ C *Certificates }{c}} {
		print(name, v)
		printed[name+" %#v"] = fmt.Sprintf("%#v", v)
		if text, err := json.Marshal(v); err == nil {
			printed[name+" JSON"] = string(text)
		}
	}
	if !strings.Contains(printed["certificates config %+v"], "1900007291") {
		t.Error("the config of certificates prints nothing at all")
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
