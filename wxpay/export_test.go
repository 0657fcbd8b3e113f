package wxpay

import (
	"bufio"
	"bytes"
	"crypto/rsa"
	"net/http"
	"time"
)

// ForExamples returns what a merchant's configuration needs: keys, and a transport to a WeChat Pay that gives one answer.
func ForExamples(status int, body string) Config {
	answer := signed(status, body)
	keys := must(NewKeySet(testSerial, map[string]*rsa.PublicKey{testSerial: &platformKey().PublicKey}))
	return Config{
		MchID: "1900007291", SerialNo: "408B07E79B8269FEC3D5D3E6AB8ED163A6A380DB", Signer: merchantKey(), Keys: keys,
		Hosts: []string{"https://api.mch.weixin.qq.com", "https://api2.mch.weixin.qq.com"},
		Now:   func() time.Time { return testNow },
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			return http.ReadResponse(bufio.NewReader(bytes.NewReader(answer.bytes())), r)
		}),
	}
}
