package wxpay

import (
	"bufio"
	"bytes"
	"net/http"
	"testing"
)

// BenchmarkSign is the cost that cannot be avoided: one RSA-2048 signature.
func BenchmarkSign(b *testing.B) {
	text := []byte("x")
	for b.Loop() {
		if _, err := signText(merchantKey(), text); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCreateRefund is a whole call without the network; compare with BenchmarkSign.
func BenchmarkCreateRefund(b *testing.B) {
	answer := signed(200, refundBody).bytes()
	c := newTestClient(b, nil, func(c *Config) {
		c.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			return http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), r)
		})
	})
	request := refundRequest()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.CreateRefund(b.Context(), request); err != nil {
			b.Fatal(err)
		}
	}
}
