package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"wxpay-worker/wxpay"
	"wxpay-worker/wxpay/wxpaytest"
)

// simulation is a simulator and a configuration for it: there is no NATS server, which show does not need.
func simulation(t *testing.T, o wxpaytest.Options, mchids ...string) (sim *wxpaytest.Server, config string) {
	t.Helper()
	sim = wxpaytest.New(t, o)
	s := simulateCmd{MchID: mchids, ConfigOut: filepath.Join(t.TempDir(), "worker.yaml")}
	if err := s.writeConfig(sim); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, v := range sim.Violations() {
			t.Errorf("violation: %s", v)
		}
	})
	return sim, s.ConfigOut
}

// noPayer looks for what is never shown. The simulator's openid and the name of the encrypted number stand for both.
func noPayer(t *testing.T, r *running) {
	t.Helper()
	all := r.out.String() + r.err.String()
	for _, secret := range []string{"oUpF8uMuAJO", "payer_phone", "payer_openid", "18500000000"} {
		if strings.Contains(all, secret) {
			t.Errorf("shows %s:\n%s", secret, all)
		}
	}
}

// TestShowComplaint: a complaint with an order and more history than a page holds, both as text and as JSON, in either order of
// WeChat Pay's.
func TestShowComplaint(t *testing.T) {
	t.Parallel()
	for _, oldest := range []bool{false, true} {
		t.Run(fmt.Sprintf("oldest first %v", oldest), func(t *testing.T) {
			t.Parallel()
			sim, config := simulation(t, wxpaytest.Options{HistoryOldestFirst: oldest}, mchid)
			sim.AddOrder(wxpaytest.Order{MchID: mchid, TransactionID: "4200000001", OutTradeNo: "O1", Total: 12345})
			sim.AddComplaint(wxpaytest.Complaint{ID: "C1", MchID: mchid, Orders: []string{"4200000001"}, FastRefund: true})
			for range 301 {
				if err := sim.UserReplies("C1"); err != nil {
					t.Fatal(err)
				}
			}
			r := run(t, exitDone, "", "show", "complaint", "C1", "-c", config)
			noPayer(t, r)
			for _, want := range []string{
				"complaint C1 of merchant " + mchid, "state        PENDING", "asks for     REFUND of 123.45 yuan", "tags         TRUSTED",
				"order        123.45 yuan, transaction_id 4200000001, out_trade_no O1", "phone        not shown", "history, oldest first (302 entries)",
				"  投诉人  complains\n      反馈一个重复扣费的问题\n", "  投诉人  writes\n      请尽快处理\n",
			} {
				if !strings.Contains(r.out.String(), want) {
					t.Errorf("no %q in\n%.2000s", want, r.out)
				}
			}
			if strings.Index(r.out.String(), "complains") > strings.Index(r.out.String(), "writes") {
				t.Error("the history does not begin with the complaint")
			}

			r = run(t, exitDone, "", "show", "complaint", "C1", "-c", config, "-o", "json")
			noPayer(t, r)
			var got struct {
				MchID     string
				Complaint wxpay.Complaint
				History   []wxpay.HistoryEntry `json:"negotiation_history"`
			}
			if err := json.Unmarshal([]byte(r.out.String()), &got); err != nil || len(lines(r.out.String())) != 1 {
				t.Fatalf("%v: %.2000s", err, r.out)
			}
			seen := map[string]bool{}
			for _, e := range got.History {
				seen[e.LogID] = true
			}
			if len(got.History) != 302 || len(seen) != 302 || got.MchID != mchid || got.Complaint.ComplaintOrderInfo[0].Amount != 12345 || got.Complaint.ComplaintDetail == "" {
				t.Errorf("%d entries, %d different: %+v", len(got.History), len(seen), got.Complaint)
			}
		})
	}
}

// TestShowRefund: v3, and v2 with a .p12-less pair, and by platform certificates, which are downloaded first.
func TestShowRefund(t *testing.T) {
	t.Parallel()
	i := install(t, "")
	i.work(t)
	run(t, exitDone, aRefund("REFUND1"), "send", "refund", "--mchid", mchid, "-c", i.config, "--wait")
	r := run(t, exitDone, "", "show", "refund", "REFUND1", "-c", i.config)
	for _, want := range []string{"refund REFUND1 of merchant " + mchid, "state        SUCCESS: the money has arrived", "amount       0.01 yuan of 0.01 yuan", "arrived      2", "out_trade_no T-REFUND1"} {
		if !strings.Contains(r.out.String(), want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
	var got struct {
		MchID  string
		Refund wxpay.Refund
	}
	r = run(t, exitDone, "", "show", "refund", "-o", "json", "REFUND1", "-c", i.config)
	if err := json.Unmarshal([]byte(r.out.String()), &got); err != nil || got.MchID != mchid || got.Refund.OutRefundNo != "REFUND1" || got.Refund.Amount.Refund != 1 {
		t.Errorf("%v: %s", err, r.out)
	}

	dir := t.TempDir()
	file := func(name string, data []byte) string {
		return filepath.Base(writeFile(t, filepath.Join(dir, name), string(data)))
	}
	v2 := i.sim.AddMerchant(wxpaytest.Merchant{MchID: "1900000011"})
	certified := i.sim.AddMerchant(wxpaytest.Merchant{MchID: "1900000013", PlatformCertificates: true})
	config := writeFile(t, filepath.Join(dir, "worker.yaml"), fmt.Sprintf(`http: {listen: ""}
nats: {url: %q, prefix: other}
wechatpay: {hosts: [%q, %q], ca_file: %s}
settlement: {first: 1s}
merchants:
  - {mchid: "1900000011", serial_no: %q, private_key_file: %s, public_keys: [{id: %s, file: %s}], refund_api: v2,
     v2: {appid: %s, api_key_file: %s, client_cert_file: %s, client_key_file: 11_key.pem}}
  - {mchid: "1900000013", serial_no: %q, private_key_file: %s, platform_certificates: {api_v3_key_file: %s}}
  - {mchid: "1900000099", serial_no: "0123456789ABCDEF", private_key_file: not_there.pem, public_keys: [{id: PUB_KEY_ID_1, file: not_there.pem}]}
`, i.url, i.sim.URL(), i.sim.BackupURL(), file("ca.pem", i.sim.CAPEM()),
		v2.SerialNo, file("11_key.pem", v2.PrivateKeyPEM()), v2.PublicKeyID, file("11_pub.pem", v2.PublicKeyPEM()),
		v2.AppID, file("11_v2.key", []byte(v2.APIv2Key)), file("11_cert.pem", v2.CertificatePEM),
		certified.SerialNo, file("13_key.pem", certified.PrivateKeyPEM()), file("13_v3.key", []byte(certified.APIv3Key))))
	for _, merchant := range []string{"1900000011", "1900000013"} {
		missing := run(t, exitFailed, "", "show", "refund", "REFUND2", "-c", config, "--mchid", merchant)
		if !strings.Contains(missing.err.String(), "WeChat Pay does not have refund REFUND2 of merchant "+merchant+" (one of the last minute may not show yet)") || missing.out.String() != "" {
			t.Errorf("missing: %s%s", missing.out, missing.err)
		}
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "--mchid: expected one of the 3 merchants of the configuration"},
		{[]string{"--mchid", "2"}, "--mchid: expected a merchant of the configuration"},
		{[]string{"--mchid", "1900000099"}, "merchants[2].private_key_file: expected a readable file"}, // the others need not care
	} {
		r := run(t, exitUsage, "", append([]string{"show", "refund", "REFUND2", "-c", config}, tt.args...)...)
		if !strings.Contains(r.err.String(), tt.want) {
			t.Errorf("%q: %s", tt.args, r.err)
		}
	}

	// The merchant of v2 refunds, and its refund shows.
	writeFile(t, config, regexp.MustCompile(`(?m)^  - \{mchid: "1900000099".*$`).ReplaceAllString(readFile(t, config), ""))
	worker := start(t, "", "run", "-c", config)
	worker.saw(worker.err, "worker started")
	run(t, exitDone, aRefund("REFUND2"), "send", "refund", "--mchid", v2.MchID, "-c", config, "--wait")
	r = run(t, exitDone, "", "show", "refund", "REFUND2", "-c", config, "--mchid", v2.MchID)
	if !strings.Contains(r.out.String(), "state        SUCCESS") || !strings.Contains(r.out.String(), "amount       0.01 yuan of 0.01 yuan") {
		t.Errorf("v2: %s", r.out)
	}
}

// TestShowNothing: what WeChat Pay does not have, does not show, or did not sign; nothing of it is printed as if it were true.
func TestShowNothing(t *testing.T) {
	t.Parallel()
	sim, config := simulation(t, wxpaytest.Options{}, mchid, "1900000002")
	sim.AddComplaint(wxpaytest.Complaint{ID: "C1", MchID: mchid})
	show := func(code int, args ...string) string {
		t.Helper()
		r := run(t, code, "", append([]string{"show", "-c", config}, args...)...)
		if r.out.String() != "" {
			t.Errorf("printed %s", r.out)
		}
		noPayer(t, r)
		return r.err.String()
	}
	is := func(got string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("got %swant %s", got, w)
			}
		}
	}
	is(show(exitFailed, "complaint", "C2", "--mchid", mchid), "WeChat Pay does not show complaint C2 to merchant "+mchid+": 投诉单不存在: ", "400 PARAM_ERROR")
	is(show(exitFailed, "complaint", "C1", "--mchid", "1900000002"), "WeChat Pay does not show complaint C1 to merchant 1900000002: ", "403 NO_AUTH")
	sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintDetail, Answer: wxpaytest.AnswerForged})
	is(show(exitFailed, "complaint", "C1", "--mchid", mchid), "read complaint C1: ", "200 is not proven: wrong signature")
	sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointNegotiationHistory, Answer: wxpaytest.Answer5xx})
	is(show(exitFailed, "complaint", "C1", "--mchid", mchid), "the history of complaint C1", "500 SYSTEM_ERROR")
	sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundQuery, Answer: wxpaytest.AnswerRefusal, Status: 404, Code: "RESOURCE_NOT_EXISTS", Unsigned: true})
	is(show(exitFailed, "refund", "R1", "--mchid", mchid), "read refund R1: ", "unproven: no signature")
	before := len(sim.Requests())
	is(show(exitUsage, "complaint", "a/b", "--mchid", mchid), "complaint_id: wants 1 to 64 of")
	is(show(exitUsage, "refund", "a b", "--mchid", mchid), "out_refund_no: wants 1 to 64 of")
	is(show(exitUsage, "refund", "R1", "--mchid", mchid, "--sub-mchid", "x"), "sub_mchid: wants 1 to 32 digits")
	if n := len(sim.Requests()); n != before {
		t.Errorf("%d requests for what cannot be", n-before)
	}
}

func TestShowWithoutConfiguration(t *testing.T) {
	r := run(t, exitUsage, "", "show", "refund", "R1")
	if !strings.Contains(r.err.String(), "no configuration: expected worker.yaml") {
		t.Errorf("got %s", r.err)
	}
}

// TestShowDev: `worker dev` says what to type, and it works while it runs.
func TestShowDev(t *testing.T) {
	r := start(t, "", "dev", "--listen", "127.0.0.1:0")
	r.saw(r.out, "example-approve-refund        succeeded")
	next := regexp.MustCompile(`show complaint --config (\S+) --mchid (\d+) (\d+)`).FindStringSubmatch(r.out.String())
	if next == nil {
		t.Fatalf("no show complaint in\n%s", r.out)
	}
	shown := run(t, exitDone, "", "show", "complaint", "--config", next[1], "--mchid", next[2], "200201820200101080076610000")
	for _, want := range []string{"approves the refund", "round        1, the first"} {
		if !strings.Contains(shown.out.String(), want) {
			t.Errorf("no %q in\n%s", want, shown.out)
		}
	}
	run(t, exitDone, "", "show", "complaint", "--config", next[1], "--mchid", next[2], next[3])
	run(t, exitDone, "", "show", "refund", "--config", next[1], "example-approve-refund")
	if info, err := os.Stat(next[1]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}
