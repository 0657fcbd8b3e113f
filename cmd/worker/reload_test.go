package main

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/wxpay/wxpaytest"
)

// startProcess starts the built program, which writes into a screen.
func startProcess(t *testing.T, binary string, args ...string) (*running, *os.Process) {
	t.Helper()
	r := &running{t: t, out: newScreen(), err: newScreen(), ended: make(chan struct{})}
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = r.out, r.err
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.stop = func() { _ = cmd.Process.Signal(syscall.SIGTERM) } // it may have ended
	go func() {
		defer close(r.ended)
		_ = cmd.Wait() // its exit code says it
		r.code = cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // the same
		<-r.ended
		if t.Failed() {
			t.Logf("worker %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
		}
	})
	return r, cmd.Process
}

// refunding is a stream of refunds: always some under way, a new one for each that is accepted.
type refunding struct {
	t     *testing.T
	js    jetstream.JetStream
	mchid string

	mu                  sync.Mutex
	published, accepted int  // guarded by mu, as below
	enough              bool // no more
}

func (i *installation) refunds(t *testing.T, mchid string, atOnce int) *refunding {
	t.Helper()
	l := &refunding{t: t, js: i.js(t), mchid: mchid}
	sub, err := i.nc.Subscribe("wxpay.outcome."+mchid+".refund.*.accepted", func(*nats.Msg) {
		l.mu.Lock()
		l.accepted++
		l.mu.Unlock()
		l.publish()
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() }) // the connection may be closed
	for range atOnce {
		l.publish()
	}
	return l
}

func (l *refunding) publish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.enough {
		return
	}
	l.published++
	if _, err := l.js.PublishAsync(subjects.Command(l.mchid, "refund"), []byte(aRefund(fmt.Sprintf("LOAD-%d", l.published)))); err != nil {
		l.t.Errorf("publish: %v", err)
	}
}

// goesOn waits until n more refunds are accepted, and those that were under way.
func (l *refunding) goesOn(n int) {
	l.t.Helper()
	l.mu.Lock()
	until := l.published + n
	l.mu.Unlock()
	becomes(l.t, "the load goes on", func() (bool, string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.accepted >= until, fmt.Sprintf("%d of %d accepted, waiting for %d", l.accepted, l.published, until)
	})
}

// ends waits until all that was published is accepted.
func (l *refunding) ends() {
	l.t.Helper()
	l.mu.Lock()
	l.enough = true
	l.mu.Unlock()
	becomes(l.t, "the load ends", func() (bool, string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.accepted >= l.published, fmt.Sprintf("%d of %d accepted", l.accepted, l.published)
	})
}

// TestReloadUnderLoad: the built program, with refunds under way all the while, takes a new key and serial number, a merchant more,
// a merchant less, and refuses a configuration that is broken; no call fails, and nothing that was published is lost.
func TestReloadUnderLoad(t *testing.T) {
	t.Setenv("WXPAY_HTTP_LISTEN", "127.0.0.1:0")
	const other = "1900000002"
	i := install(t, "")
	second := i.sim.AddMerchant(wxpaytest.Merchant{MchID: other})
	file := func(name string, data []byte) string {
		return filepath.Base(writeFile(t, filepath.Join(i.dir, name), string(data)))
	}
	worker, process := startProcess(t, build(t), "run", "-c", i.config)
	worker.saw(worker.err, "worker started")
	url := worker.served()
	reloads := 0
	reload := func(result string) {
		t.Helper()
		reloads++
		if err := process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		becomes(t, "reload "+result, func() (bool, string) {
			got := scrape(t, url)
			all := got[`wxpay_reloads_total{result="ok"}`] + got[`wxpay_reloads_total{result="failed"}`]
			return all == float64(reloads), fmt.Sprint(got)
		})
		if got := scrape(t, url)["wxpay_last_reload_successful"]; (got == 1) != (result == "ok") {
			t.Fatalf("reload %d: successful %v, want %s", reloads, got, result)
		}
	}
	load := i.refunds(t, mchid, 8)
	load.goesOn(20)

	// A new key: old and new are good at WeChat Pay until the worker has the new one.
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	old, err := loadConfig(i.config, "")
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := i.sim.AddCertificate(mchid, key)
	if err != nil {
		t.Fatal(err)
	}
	file(mchid+"_key.pem", renewed.PrivateKeyPEM())
	file(mchid+"_cert.pem", renewed.CertificatePEM)
	oldSerial := old.Merchants[0].SerialNo
	i.edit(t, oldSerial, renewed.SerialNo)
	i.edit(t, "settlement:", "consumer: {concurrency: 7}\nsettlement:")
	added := fmt.Sprintf("  - {mchid: %q, serial_no: %q, private_key_file: %s, public_keys: [{id: %s, file: %s}]}\n",
		other, second.SerialNo, file("2.pem", second.PrivateKeyPEM()), second.PublicKeyID, file("2_pub.pem", second.PublicKeyPEM()))
	i.edit(t, "merchants:\n", "merchants:\n"+added)
	reload("ok")
	load.goesOn(20) // and with that, all that began with the old key has ended
	if err := i.sim.RevokeCertificate(mchid, oldSerial); err != nil {
		t.Fatal(err)
	}
	load.goesOn(20)
	run(t, exitDone, aRefund("S1"), "send", "refund", "-c", i.config, "--mchid", other, "--wait")
	for _, said := range []string{
		`"keys":["serial_no","private_key_file","certificate_file"],"level":"info","mchid":"` + mchid + `","msg":"merchant changed"`,
		`"mchid":"` + other + `","msg":"merchant added"`,
		`"keys":["consumer.concurrency"],"level":"warning","msg":"a reload does not change these; restart the worker for that"`,
	} {
		if !strings.Contains(worker.err.String(), said) {
			t.Errorf("the log does not say %s", said)
		}
	}

	// Broken configurations, of the file and of a key, change nothing.
	good := readFile(t, i.config)
	writeFile(t, i.config, good+"nuts: {}\n")
	reload("failed")
	writeFile(t, i.config, good)
	file("2.pem", []byte("not a key"))
	reload("failed")
	for _, said := range []string{"configuration not reloaded; the old one stays in use", "nuts: expected no key of this name", "merchants[0].private_key_file: expected another content"} {
		if !strings.Contains(worker.err.String(), said) {
			t.Errorf("the log does not say %q", said)
		}
	}
	run(t, exitDone, "", "send", "refund", "-c", i.config, "--mchid", other, "--out-refund-no", "S2", "--out-trade-no", "T-S2", "--refund", "1", "--total", "1", "--wait")
	file("2.pem", second.PrivateKeyPEM())

	// A merchant goes, and comes back: meanwhile its commands wait.
	i.edit(t, added, "")
	reload("ok")
	run(t, exitDone, aRefund("S3"), "send", "refund", "-c", i.config, "--mchid", other)
	becomes(t, "an orphan", func() (bool, string) {
		got := scrape(t, url)
		for series := range got {
			if strings.HasPrefix(series, "wxpay_lane_") && strings.Contains(series, other) {
				return false, series
			}
		}
		return got["wxpay_orphan_commands"] == 1, fmt.Sprint(got["wxpay_orphan_commands"])
	})
	i.edit(t, "merchants:\n", "merchants:\n"+strings.Replace(added, "}]}", "}], quota: {refunds: 20/s}}", 1))
	reload("ok")
	run(t, exitDone, aRefund("S3"), "send", "refund", "-c", i.config, "--mchid", other, "--wait")
	i.edit(t, "20/s", "30/s")
	reload("ok")
	if said := `"keys":["quota"],"level":"info","mchid":"` + other + `","msg":"merchant changed"`; !strings.Contains(worker.err.String(), said) {
		t.Errorf("the log does not say %s", said)
	}

	load.ends()
	worker.stop()
	worker.exits(exitDone)
	serials := map[string]bool{}
	for _, r := range i.sim.Requests() {
		readBack := r.Endpoint == wxpaytest.EndpointRefundQuery && r.Status == 404 // whether it exists already
		if r.Status/100 != 2 && !readBack {
			t.Errorf("a call failed: %s: %s", r, r.Refusal)
		}
		for _, serial := range []string{oldSerial, renewed.SerialNo} {
			serials[serial] = serials[serial] || strings.Contains(r.Header.Get("Authorization"), `serial_no="`+serial+`"`)
		}
	}
	if !serials[oldSerial] || !serials[renewed.SerialNo] {
		t.Errorf("serial numbers seen: %v", serials)
	}
	if text := worker.err.String(); strings.Contains(text, "lane held") || strings.Contains(text, "PRIVATE KEY") || strings.Contains(text, renewed.SerialNo) {
		t.Error("a lane was held, or the log says more than which keys have changed")
	}
	if err := i.sim.CheckBooks(); err != nil {
		t.Error(err)
	}
}

// TestDifference: each part of a merchant's credentials counts, and is named by its key.
func TestDifference(t *testing.T) {
	t.Parallel()
	sim := wxpaytest.New(t, wxpaytest.Options{})
	c := sim.AddMerchant(wxpaytest.Merchant{MchID: mchid})
	base := func() *credentials {
		k := simulated([]*wxpaytest.Credentials{c})[0]
		k.apiV3Key = []byte("k")
		return &k
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		want   string
		change func(k *credentials)
	}{
		{"", func(*credentials) {}},
		{"serial_no", func(k *credentials) { k.serialNo = "B" }},
		{"private_key_file", func(k *credentials) { k.signer = key }},
		{"public_keys", func(k *credentials) { k.publicKeys = map[string]*rsa.PublicKey{k.publicKeyID: &key.PublicKey} }},
		{"public_keys", func(k *credentials) { k.publicKeyID = "" }},
		{"platform_certificates", func(k *credentials) { k.apiV3Key = nil }},
		{"sub_merchants", func(k *credentials) { k.subMerchants = true }},
		{"quota", func(k *credentials) { k.quota.Queries.N = 1 }},
	} {
		k := base()
		tt.change(k)
		if got := strings.Join(base().difference(k), " "); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

// TestReloadKeepsClients: who has not changed keeps its client, which knows the hosts, and its platform certificates.
func TestReloadKeepsClients(t *testing.T) {
	t.Parallel()
	sim := wxpaytest.New(t, wxpaytest.Options{})
	var keys []credentials
	for _, id := range []string{"1", "2", "3"} {
		c := sim.AddMerchant(wxpaytest.Merchant{MchID: id, PlatformCertificates: true})
		keys = append(keys, credentials{mchID: id, serialNo: c.SerialNo, signer: c.PrivateKey, apiV3Key: []byte(c.APIv3Key)})
	}
	config := defaultConfig()
	config.WechatPay.Hosts = []string{sim.URL()}
	shop := newWorkshop(config, sim.CertPool(), quiet(newScreen()))
	r, err := newRoster(shop, keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.stop()
	was := slices.Clone(r.merchants)
	keys[0].quota.Refunds.N = 3
	keys[1].serialNo = "AB"
	next, changes, err := r.compare(keys[:2])
	if err != nil {
		t.Fatal(err)
	}
	r.use(next)
	if next[0].Refunds != was[0].Refunds || next[0].certificates != was[0].certificates || next[0].Quota.Refunds.N != 3 {
		t.Error("a quota is no reason for another client")
	}
	if next[1].Refunds == was[1].Refunds || next[1].certificates == was[1].certificates {
		t.Error("another serial number, and the client of before")
	}
	if got := fmt.Sprint(changes); got != "[{1 changed [quota]} {2 changed [serial_no]} {3 removed []}]" {
		t.Errorf("changes %s", got)
	}
	if len(r.refreshing) != 2 || r.refreshing[was[0].certificates] == nil || r.refreshing[next[1].certificates] == nil {
		t.Errorf("%d are refreshed", len(r.refreshing))
	}
}
