package wxpaytest_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"wxpay-worker/wxpay/wxpaytest"
)

// The tiny client's other half: v2, written by hand from the same documents.

const (
	v2Refund = "/secapi/pay/refund"
	v2Query  = "/pay/refundquery"
)

type v2caller struct {
	t           testing.TB
	url         string
	creds       *wxpaytest.Credentials
	with, plain *http.Client // with the client certificate and without
}

// v2 makes a v2 caller of the merchant that setup added; its order also has a number that v2 accepts.
func (b *bench) v2() *v2caller {
	b.AddOrder(wxpaytest.Order{MchID: mchid, TransactionID: "4200000010", OutTradeNo: "T-0010", Total: 100})
	return newV2Caller(b.t, b.Server, b.creds)
}

func newV2Caller(t testing.TB, s *wxpaytest.Server, creds *wxpaytest.Credentials) *v2caller {
	pair, err := tls.X509KeyPair(creds.CertificatePEM, creds.PrivateKeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	return &v2caller{t: t, url: s.URL(), creds: creds, with: newV2Client(t, s, pair), plain: newV2Client(t, s)}
}

func newV2Client(t testing.TB, s *wxpaytest.Server, pairs ...tls.Certificate) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.CertPool(), Certificates: pairs}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// v2call is one request; everything has a right value by default.
type v2call struct {
	path, method, host, contentType string
	fields                          map[string]string
	unsigned                        map[string]string   // elements that come after signing
	write                           func(string) string // spoils the document after signing
	key                             string
	client                          *http.Client
}

// v2fields overlays pairs of name and value; an empty value removes the element.
func v2fields(base map[string]string, pairs ...string) map[string]string {
	fields := maps.Clone(base)
	for i := 0; i < len(pairs); i += 2 {
		if fields[pairs[i]] = pairs[i+1]; pairs[i+1] == "" {
			delete(fields, pairs[i])
		}
	}
	return fields
}

// refund is a call for the order that v2 makes.
func (c *v2caller) refund(no string, amount int, pairs ...string) v2call {
	return v2call{path: v2Refund, client: c.with, fields: v2fields(map[string]string{
		"appid": c.creds.AppID, "mch_id": c.creds.MchID, "nonce_str": nonce(), "sign_type": "HMAC-SHA256",
		"transaction_id": "4200000010", "out_refund_no": no, "total_fee": "100", "refund_fee": fmt.Sprint(amount),
	}, pairs...)}
}

func (c *v2caller) query(pairs ...string) v2call {
	return v2call{path: v2Query, client: c.plain, fields: v2fields(map[string]string{
		"appid": c.creds.AppID, "mch_id": c.creds.MchID, "nonce_str": nonce(),
	}, pairs...)}
}

// signAs is the v2 signature, once more and on its own.
func signAs(signType, key string, fields map[string]string) string {
	var pairs []string
	for name, value := range fields {
		if value != "" && name != "sign" {
			pairs = append(pairs, name+"="+value)
		}
	}
	slices.Sort(pairs) // no name here is the beginning of another, up to a byte below =
	text := strings.Join(append(pairs, "key="+key), "&")
	if signType == "HMAC-SHA256" {
		mac := hmac.New(sha256.New, []byte(key))
		io.WriteString(mac, text)
		return strings.ToUpper(hex.EncodeToString(mac.Sum(nil)))
	}
	return fmt.Sprintf("%X", md5.Sum([]byte(text)))
}

func (c *v2caller) document(q v2call) string {
	fields := maps.Clone(q.fields)
	fields["sign"] = signAs(fields["sign_type"], or(q.key, c.creds.APIv2Key), fields)
	maps.Copy(fields, q.unsigned)
	var b bytes.Buffer
	b.WriteString("<xml>")
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		fmt.Fprintf(&b, "<%s>", name)
		xml.EscapeText(&b, []byte(fields[name]))
		fmt.Fprintf(&b, "</%s>", name)
	}
	b.WriteString("</xml>")
	if q.write != nil {
		return q.write(b.String())
	}
	return b.String()
}

type v2reply struct {
	reply
	fields map[string]string
}

func (c *v2caller) try(q v2call) (v2reply, error) {
	request, err := http.NewRequest(or(q.method, "POST"), or(q.host, c.url)+q.path, strings.NewReader(c.document(q)))
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header.Set("Content-Type", or(q.contentType, "text/xml; charset=utf-8"))
	response, err := q.client.Do(request)
	if err != nil {
		return v2reply{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return v2reply{reply{response.StatusCode, response.Header, body}, parse(body)}, err
}

func parse(body []byte) map[string]string {
	var document struct {
		XMLName xml.Name `xml:"xml"`
		Items   []struct {
			XMLName xml.Name
			Value   string `xml:",chardata"`
		} `xml:",any"`
	}
	if xml.Unmarshal(body, &document) != nil {
		return nil
	}
	fields := map[string]string{}
	for _, item := range document.Items {
		fields[item.XMLName.Local] = item.Value
	}
	return fields
}

// verify insists on an answer that is signed as documented, with the request's sign_type.
func (c *v2caller) verify(q v2call, r v2reply) error {
	if r.fields["sign"] == "" || r.fields["sign"] != signAs(q.fields["sign_type"], c.creds.APIv2Key, r.fields) {
		return errors.New("not proven")
	}
	return nil
}

// want insists on a proven answer with this err_code, "" for success.
func (c *v2caller) want(q v2call, errCode string) map[string]string {
	c.t.Helper()
	r, err := c.try(q)
	if err != nil {
		c.t.Fatalf("%s: %v", q.path, err)
	}
	for name := range r.header {
		if strings.HasPrefix(name, "Wechatpay") || name == "Request-Id" {
			c.t.Errorf("a v2 answer has the header %s of v3", name)
		}
	}
	result := "SUCCESS"
	if errCode != "" {
		result = "FAIL"
	}
	if err := c.verify(q, r); err != nil || r.status != 200 || r.fields["return_code"] != "SUCCESS" ||
		r.fields["result_code"] != result || r.fields["err_code"] != errCode {
		c.t.Fatalf("%s %v: got %v %v, want %q", q.path, q.fields, r, err, errCode)
	}
	return r.fields
}

// wantFail insists on an unsigned return_code FAIL and nothing else.
func (c *v2caller) wantFail(q v2call) string {
	c.t.Helper()
	r, err := c.try(q)
	if err != nil || r.status != 200 || len(r.fields) != 2 || r.fields["return_code"] != "FAIL" {
		c.t.Fatalf("%s: got %v %v, want return_code FAIL", q.path, r, err)
	}
	return r.fields["return_msg"]
}

// wantPage insists on a page of the gateway.
func (c *v2caller) wantPage(q v2call, status int, text string) {
	c.t.Helper()
	r, err := c.try(q)
	if err != nil || r.status != status || r.header.Get("Content-Type") != "text/html" || !strings.Contains(string(r.body), text) {
		c.t.Fatalf("%s: got %v %v, want a page %d %s", q.path, r, err, status, text)
	}
}
