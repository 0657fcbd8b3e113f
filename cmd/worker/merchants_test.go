package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// TestMerchantsOfEveryKind: v2 with a PEM pair and with the .p12 that WeChat Pay hands out, MD5 and HMAC; answers verified by
// downloaded platform certificates, alone and beside a public key; all in one worker, each refund to its end.
func TestMerchantsOfEveryKind(t *testing.T) {
	t.Parallel()
	dir, server := t.TempDir(), natstest.Start(t)
	sim := wxpaytest.New(t, wxpaytest.Options{OpenBooks: true, SettleAtOnce: true})
	file := func(name string, data []byte) string {
		return filepath.Base(writeFile(t, filepath.Join(dir, name), string(data)))
	}
	kinds := []struct {
		merchant wxpaytest.Merchant
		config   func(c *wxpaytest.Credentials) string
	}{
		{wxpaytest.Merchant{MchID: "1900000011"}, func(c *wxpaytest.Credentials) string {
			return fmt.Sprintf("    refund_api: v2\n    v2: {appid: %s, api_key_file: %s, client_cert_file: %s, client_key_file: %s}\n",
				c.AppID, file("11_v2.key", []byte(c.APIv2Key)), file("11_cert.pem", c.CertificatePEM), file("11_key.pem", c.PrivateKeyPEM()))
		}},
		{wxpaytest.Merchant{MchID: "1900000012"}, func(c *wxpaytest.Credentials) string {
			block, _ := pem.Decode(c.CertificatePEM)
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			p12, err := pkcs12.Legacy.Encode(c.PrivateKey, cert, nil, c.MchID)
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("    refund_api: v2\n    v2: {appid: %s, api_key_file: %s, sign_type: MD5, client_cert_file: %s}\n",
				c.AppID, file("12_v2.key", []byte(c.APIv2Key)), file("apiclient_cert.p12", p12))
		}},
		{wxpaytest.Merchant{MchID: "1900000013", PlatformCertificates: true}, func(c *wxpaytest.Credentials) string {
			return fmt.Sprintf("    platform_certificates: {api_v3_key_file: %s}\n", file("13_v3.key", []byte(c.APIv3Key)))
		}},
		{wxpaytest.Merchant{MchID: "1900000014", PlatformCertificates: true, PublicKeyToo: true}, func(c *wxpaytest.Credentials) string {
			return fmt.Sprintf("    platform_certificates: {api_v3_key_file: %s}\n", file("14_v3.key", []byte(c.APIv3Key)))
		}},
	}
	var config strings.Builder
	fmt.Fprintf(&config, "http: {listen: \"\"}\nnats: {url: %q}\nwechatpay: {hosts: [%q, %q], ca_file: %s}\nsettlement: {first: 1s}\nmerchants:\n",
		server.URL(), sim.URL(), sim.BackupURL(), file("ca.pem", sim.CAPEM()))
	for _, k := range kinds {
		c := sim.AddMerchant(k.merchant)
		fmt.Fprintf(&config, "  - mchid: %q\n    serial_no: %q\n    private_key_file: %s\n", c.MchID, c.SerialNo, file(c.MchID+".pem", c.PrivateKeyPEM()))
		if c.PublicKeyID != "" {
			fmt.Fprintf(&config, "    public_keys: [{id: %s, file: %s}]\n", c.PublicKeyID, file(c.MchID+"_pub.pem", c.PublicKeyPEM()))
		}
		config.WriteString(k.config(c))
	}
	path := writeFile(t, filepath.Join(dir, "worker.yaml"), config.String())
	i := &installation{url: server.URL(), nc: natstest.Client(t, server), sim: sim, config: path, dir: dir}
	worker := start(t, "", "run", "-c", path)
	worker.saw(worker.err, "worker started")
	for _, k := range kinds {
		out := run(t, exitDone, aRefund("REFUND1"), "send", "refund", "-c", path, "--mchid", k.merchant.MchID, "--wait").out.String()
		if !strings.Contains(out, "succeeded") {
			t.Errorf("%s: %s", k.merchant.MchID, out)
		}
	}
	// Each can be asked what has become of a refund, too.
	for n, k := range kinds {
		d := aRefundLetter(messages.ReasonUnresolved, "REFUND1")
		d.MchID, d.StreamSeq = k.merchant.MchID, uint64(100+n)
		i.letters(t, d)
		out := run(t, exitDone, "", "dlq", "show", fmt.Sprint(n+1), "--live", "-c", path).out.String()
		if !strings.Contains(out, "At WeChat Pay now\n  refund REFUND1: SUCCESS, refund_id ") || strings.Contains(out, "IS NOT THAT OF THE COMMAND") {
			t.Errorf("%s: %s", k.merchant.MchID, out)
		}
	}
	for n, k := range kinds {
		d := aRefundLetter(messages.ReasonUnresolved, "REFUND2")
		d.MchID, d.StreamSeq = k.merchant.MchID, uint64(200+n)
		i.letters(t, d)
		if out := run(t, exitDone, "", "dlq", "show", fmt.Sprint(len(kinds)+n+1), "--live", "-c", path).out.String(); !strings.Contains(out, "refund REFUND2: there is none.") {
			t.Errorf("%s: %s", k.merchant.MchID, out)
		}
	}
	// What v2 cannot carry is malformed before any call: it knows no order number shorter than six characters.
	short := run(t, exitFailed, aRefund("R3"), "send", "refund", "-c", path, "--mchid", "1900000011", "--wait").out.String()
	if !strings.Contains(short, "malformed") {
		t.Errorf("short order number: %s", short)
	}
	worker.stop()
	worker.exits(exitDone)
	if err := sim.CheckBooks(); err != nil {
		t.Error(err)
	}
	for _, v := range sim.Violations() {
		t.Errorf("violation: %s", v)
	}
}
