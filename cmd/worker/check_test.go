package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"software.sslmate.com/src/go-pkcs12"

	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// checked is what check said, as JSON.
type checked struct {
	*running
	findings []finding
}

// checkConfig runs check.
func checkConfig(t *testing.T, code int, config string, args ...string) *checked {
	t.Helper()
	c := &checked{running: run(t, code, "", append([]string{"check", "-c", config, "-o", "json"}, args...)...)}
	for _, line := range lines(c.out.String()) {
		var f finding
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&f); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if f.Status == checkWrong && f.Mend == "" {
			t.Errorf("does not say how to mend it: %s", line)
		}
		c.findings = append(c.findings, f)
	}
	return c
}

// says fails unless there is one such finding, and returns it.
func (c *checked) says(check, subject string, status checkStatus, detail string) finding {
	c.t.Helper()
	for _, f := range c.findings {
		if f.Check == check && f.Subject == subject {
			if f.Status != status || !strings.Contains(f.Detail, detail) {
				c.t.Errorf("%s %s: got %s, %s; want %s, …%s…", check, subject, f.Status, f.Detail, status, detail)
			}
			return f
		}
	}
	c.t.Errorf("no check %s of %s:\n%s", check, subject, c.out)
	return finding{}
}

// only fails if anything but the named checks has another status than ok.
func (c *checked) only(checks ...string) {
	c.t.Helper()
	for _, f := range c.findings {
		if f.Status != checkOK && !slices.Contains(checks, f.Check) {
			c.t.Errorf("%s %s is %s: %s", f.Check, f.Subject, f.Status, f.Detail)
		}
	}
}

// TestCheckOfAGoodInstallation: with a worker that runs, all is well, and asking WeChat Pay changes nothing there.
func TestCheckOfAGoodInstallation(t *testing.T) {
	t.Parallel()
	i := install(t, "")
	i.work(t)
	run(t, exitDone, aRefund("R1"), "send", "refund", "-c", i.config, "--mchid", mchid, "--wait")
	for _, lane := range []string{"refund-" + mchid, "complaint-" + mchid} { // each begins on its own
		i.awaitLane(t, lane, func(info *jetstream.ConsumerInfo) bool { return info.NumWaiting > 0 })
	}
	c := checkConfig(t, exitDone, i.config, "--online")
	c.only("sync")
	c.says("sync", "JetStream store", checkUnknown, "only the system account shows")
	c.says("configuration", i.config, checkOK, "merchants: 1")
	c.says("file", "merchants[0].private_key_file", checkOK, "1900000001_key.pem")
	c.says("key", mchid, checkOK, "belong together")
	c.says("certificate", mchid, checkOK, "valid until")
	c.says("nats", i.url, checkOK, "version 2.")
	c.says("permissions", "everybody", checkOK, "limits nothing")
	c.says("stream", "WXPAY_COMMANDS", checkOK, "replicas: 1")
	c.says("lane", "refund-"+mchid, checkOK, "waiting: 0")
	c.says("lane", "settlement", checkOK, "waiting: 0")
	c.says("orphans", "WXPAY_COMMANDS", checkOK, "no command")
	for _, host := range []string{i.sim.URL(), i.sim.BackupURL()} {
		host = strings.TrimPrefix(host, "https://")
		c.says("wechatpay", mchid+" v3 "+host, checkOK, "proven")
		c.says("clock", host, checkOK, "this machine's clock is")
	}
	if v := i.sim.Violations(); len(v) > 0 {
		t.Errorf("violations: %q", v)
	}
	for _, line := range lines(run(t, exitDone, "", "check", "-c", i.config).out.String()) {
		if word, _, _ := strings.Cut(line, " "); word != "ok" && word != "unknown" {
			t.Errorf("line %q", line)
		}
	}
	if n := len(i.sim.Requests()); n != len(i.sim.RequestsTo(wxpaytest.EndpointRefundCreate))+len(i.sim.RequestsTo(wxpaytest.EndpointRefundQuery)) {
		t.Errorf("%d requests", n)
	}
}

// TestCheckAsksNobodyUnlessTold: without --online WeChat Pay hears nothing, and what is not there is said.
func TestCheckAsksNobodyUnlessTold(t *testing.T) {
	t.Parallel()
	i := install(t, "")
	c := checkConfig(t, exitFailed, i.config)
	c.says("stream", "WXPAY_OUTCOMES", checkWrong, "not there yet")
	if n := len(i.sim.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
	run(t, exitDone, "", "setup", "-c", i.config)
	c = checkConfig(t, exitDone, i.config) // no worker yet, and nothing waits
	c.says("lane", "refund-"+mchid, checkUnknown, "no worker serves it, and nothing waits")
	if n := len(i.sim.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// A certificate that nobody issued, with the serial, the common name and the end that a test wants.
func certificate(t *testing.T, key *rsa.PrivateKey, serial int64, name string, until time.Time) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func certificatePEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// TestCheckOfKeysAndCertificates: private key, certificate, serial_no and mchid belong together, also those of v2, and have not
// expired; files are there and nobody else's to read or to change.
func TestCheckOfKeysAndCertificates(t *testing.T) {
	t.Parallel()
	dir := keyFolder(t)
	own, err := os.ReadFile(filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(own)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key := parsed.(*rsa.PrivateKey)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	const serial = 0x5157F09EFDC096DE
	year, soon, past := time.Now().AddDate(1, 0, 0), time.Now().Add(20*24*time.Hour), time.Now().Add(-time.Minute)
	p12 := func(cert *x509.Certificate, private *rsa.PrivateKey) string {
		data, err := pkcs12.Legacy.Encode(private, cert, nil, mchid)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for name, text := range map[string]string{
		"good.pem":          certificatePEM(certificate(t, key, serial, mchid, year)),
		"soon.pem":          certificatePEM(certificate(t, key, serial, mchid, soon)),
		"past.pem":          certificatePEM(certificate(t, key, serial, mchid, past)),
		"other_key.pem":     certificatePEM(certificate(t, other, serial, mchid, year)),
		"other_serial.pem":  certificatePEM(certificate(t, key, serial+1, mchid, year)),
		"other_name.pem":    certificatePEM(certificate(t, key, serial, "1900000009", year)),
		"good.p12":          p12(certificate(t, key, serial, mchid, year), key),
		"other_name.p12":    p12(certificate(t, key, serial, "1900000009", year), key),
		"past.p12":          p12(certificate(t, key, serial, mchid, past), key),
		"readable.pem":      string(own),
		"writable_cert.pem": certificatePEM(certificate(t, key, serial, mchid, year)),
	} {
		writeFile(t, filepath.Join(dir, name), text)
	}
	for name, mode := range map[string]os.FileMode{"readable.pem": 0o644, "writable_cert.pem": 0o666} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	const keyFile, certificateFile = "    private_key_file: key.pem\n", "    certificate_file: good.pem\n"
	const v2 = "    v2: {appid: wx1, api_key_file: v3.key, client_cert_file: "
	for _, tt := range []struct {
		name, from, to string
		check, subject string
		status         checkStatus
		detail         string
	}{
		{"good", "", "", "key", mchid, checkOK, "belong together"},
		{"no certificate", certificateFile, "", "key", mchid, checkUnknown, "no certificate to compare"},
		{"the certificate of v2 will do", certificateFile, v2 + "good.p12}\n", "key", mchid, checkOK, "belong together"},
		{"another key's certificate", "good.pem", "other_key.pem", "key", mchid, checkWrong, "not the key of"},
		{"another serial", "good.pem", "other_serial.pem", "key", mchid, checkWrong, "serial_no is 5157F09EFDC096DE, the certificate's is 5157F09EFDC096DF"},
		{"another merchant's", "good.pem", "other_name.pem", "key", mchid, checkWrong, "that of merchant 1900000009"},
		{"soon", "good.pem", "soon.pem", "certificate", mchid, checkWarn, "in 19 days"},
		{"expired", "good.pem", "past.pem", "certificate", mchid, checkWrong, "expired on"},
		{"v2, PEM", certificateFile, v2 + "good.pem, client_key_file: key.pem}\n", "v2_certificate", mchid, checkOK, "valid until"},
		{"v2, PEM, another key's", certificateFile, v2 + "other_key.pem, client_key_file: key.pem}\n", "file", "merchants[0].v2.client_key_file", checkWrong, "expected the private key of client_cert_file"},
		{"v2, p12", certificateFile, v2 + "good.p12}\n", "v2_certificate", mchid, checkOK, "valid until"},
		{"v2, another merchant's", certificateFile, v2 + "other_name.p12}\n", "v2_certificate", mchid, checkWrong, "that of merchant 1900000009"},
		{"v2, expired", certificateFile, v2 + "past.p12}\n", "v2_certificate", mchid, checkWrong, "expired on"},
		{"readable", "key.pem", "readable.pem", "file", "merchants[0].private_key_file", checkWrong, "others can read"},
		{"writable", "good.pem", "writable_cert.pem", "file", "merchants[0].certificate_file", checkWrong, "others can write"},
		{"missing", "key.pem", "nothing.pem", "file", "merchants[0].private_key_file", checkWrong, "expected a readable file"},
		{"public for private", "key.pem", "pub.pem", "file", "merchants[0].private_key_file", checkWrong, "expected another content"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(aMerchant, "    private_key_file: key.pem\n", keyFile+certificateFile, 1)
			text = strings.Replace(text, tt.from, tt.to, 1) + "nats: {embedded: {listen: \"127.0.0.1:1\"}}\n"
			code := exitDone
			if tt.status == checkWrong {
				code = exitFailed
			}
			c := checkConfig(t, code, writeFile(t, filepath.Join(dir, "worker.yaml"), text))
			c.says(tt.check, tt.subject, tt.status, tt.detail)
			c.says("nats", "nats://127.0.0.1:1", checkUnknown, "the embedded server does not run")
			if tt.status == checkOK {
				c.only("nats")
			}
		})
	}
}

// TestCheckOfAConfiguration: what is wrong in it is told like anything else; without one there is nothing to check.
func TestCheckOfAConfiguration(t *testing.T) {
	file := writeFile(t, filepath.Join(t.TempDir(), "worker.yaml"), "nats: {prefiks: a}\nconsumer: {concurrency: 0}\n")
	c := checkConfig(t, exitFailed, file)
	c.says("configuration", file, checkWrong, "worker.yaml:1: nats.prefiks: expected no key of this name")
	if len(c.findings) != 2 {
		t.Errorf("%d lines", len(c.findings))
	}
	writeFile(t, file, "outcomes: {max_age: 24h}\n")
	c = checkConfig(t, exitFailed, file, "--nats", unreachable(t))
	c.says("configuration", file, checkWarn, "outcomes.max_age is not more than retry.max_age")
	if text := c.out.String(); !strings.Contains(text, "no merchants") || !strings.Contains(text, "no servers available") {
		t.Errorf("got %s", text)
	}
	t.Chdir(t.TempDir())
	if r := run(t, exitUsage, "", "check"); !strings.Contains(r.err.String(), "no configuration") {
		t.Errorf("got %s", r.err)
	}
	if r := run(t, exitUsage, "", "check", "-c", "nothing.yaml"); !strings.Contains(r.err.String(), "nothing.yaml") {
		t.Errorf("got %s", r.err)
	}
}

// TestCheckShowsHeldLanes: a lane that a worker holds, because of what WeChat Pay answers it, shows with the reason and what to
// do; the other lane does not suffer; when it is mended, so is the check.
func TestCheckShowsHeldLanes(t *testing.T) {
	t.Parallel()
	for code, status := range map[string]int{"SIGN_ERROR": 401, "NOT_ENOUGH": 403} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			i := install(t, "")
			i.sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: status, Code: code})
			worker := i.work(t)
			for n := range 3 {
				run(t, exitDone, aRefund(fmt.Sprintf("R%d", n)), "send", "refund", "-c", i.config, "--mchid", mchid)
			}
			worker.saw(worker.err, "lane held")
			i.awaitLane(t, "refund-"+mchid, func(info *jetstream.ConsumerInfo) bool { return info.Config.Metadata["wxpay_hold"] != "" })
			c := checkConfig(t, exitFailed, i.config)
			f := c.says("lane", "refund-"+mchid, checkWrong, fmt.Sprintf("held: HTTP %d %s", status, code))
			if !strings.Contains(f.Mend, "mend what WeChat Pay complains of") {
				t.Errorf("mend: %s", f.Mend)
			}
			c.says("lane", "complaint-"+mchid, checkOK, "waiting: 0")
			c.only("lane", "sync")
			i.sim.ClearFaults()
			i.awaitLane(t, "refund-"+mchid, func(info *jetstream.ConsumerInfo) bool {
				return info.Config.Metadata["wxpay_hold"] == "" && !info.Paused && info.NumPending+uint64(info.NumAckPending) == 0
			})
			checkConfig(t, exitDone, i.config).only("sync")
		})
	}
}

// awaitLane waits until the server shows a lane as wanted: it looks again after everything that is done to a consumer.
func (i *installation) awaitLane(t *testing.T, name string, as func(*jetstream.ConsumerInfo) bool) {
	t.Helper()
	events, err := i.nc.SubscribeSync("$JS.>")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = events.Unsubscribe() }()
	js, late := i.js(t), patience(t)
	for {
		c, err := js.Consumer(t.Context(), subjects.CommandsStream(), name)
		if err == nil && as(c.CachedInfo()) {
			return
		}
		select {
		case <-late:
			t.Fatalf("lane %s: %+v, %v", name, c, err)
		default:
		}
		_, _ = events.NextMsg(100 * time.Millisecond) // nothing: look all the same
	}
}

// TestCheckShowsStandstill: lanes that a person has paused, that nobody serves although commands wait, that are full, or that
// somebody has changed; commands of unknown merchants; streams that fall short.
func TestCheckShowsStandstill(t *testing.T) {
	t.Parallel()
	i := install(t, "")
	run(t, exitDone, "", "setup", "-c", i.config)
	js, lane := i.js(t), "refund-"+mchid
	publish := func(mchid string) {
		t.Helper()
		if _, err := js.Publish(t.Context(), subjects.Command(mchid, messages.KindRefund), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	ok := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	publish(mchid)
	checkConfig(t, exitFailed, i.config).says("lane", lane, checkWrong, "no worker serves it; waiting: 1")

	ok(js.PauseConsumer(t.Context(), subjects.CommandsStream(), lane, time.Now().Add(time.Hour)))
	f := checkConfig(t, exitFailed, i.config).says("lane", lane, checkWrong, "paused by hand for ")
	if f.Mend != "nats consumer resume WXPAY_COMMANDS "+lane {
		t.Errorf("mend: %s", f.Mend)
	}

	held, err := js.Consumer(t.Context(), subjects.CommandsStream(), lane)
	if err != nil {
		t.Fatal(err)
	}
	config := held.CachedInfo().Config
	config.Metadata = map[string]string{"wxpay_hold": "HTTP 401 SIGN_ERROR"}
	ok(js.UpdateConsumer(t.Context(), subjects.CommandsStream(), config))
	f = checkConfig(t, exitFailed, i.config).says("lane", lane, checkWrong, "held: HTTP 401 SIGN_ERROR; the next command is tried in")
	if !strings.Contains(f.Mend, "nats consumer resume WXPAY_COMMANDS "+lane) {
		t.Errorf("mend: %s", f.Mend)
	}
	ok(js.ResumeConsumer(t.Context(), subjects.CommandsStream(), lane))
	checkConfig(t, exitFailed, i.config).says("lane", lane, checkWrong, "held: HTTP 401 SIGN_ERROR; it is being tried")

	c, err := js.Consumer(t.Context(), subjects.CommandsStream(), lane)
	if err != nil {
		t.Fatal(err)
	}
	config = c.CachedInfo().Config
	config.MaxAckPending = 1
	ok(js.UpdateConsumer(t.Context(), subjects.CommandsStream(), config))
	i.pullOne(t, lane)
	f = checkConfig(t, exitFailed, i.config).says("lane", lane, checkWrong, "stands still: 1 commands are in flight or in back-off, its limit")
	if !strings.Contains(f.Detail, "max_ack_pending 1 → 10000") {
		t.Errorf("detail: %s", f.Detail)
	}

	publish("1900000777")
	publish("1900000777")
	f = checkConfig(t, exitFailed, i.config).says("orphans", "1900000777", checkWrong, "2 commands wait for a merchant that is not configured")
	if !strings.Contains(f.Mend, "--subject 'wxpay.command.1900000777.>'") {
		t.Errorf("mend: %s", f.Mend)
	}
	// What a publisher calls a merchant is neither obeyed by the terminal nor by the shell into which the mend is copied.
	publish("';id;'")
	f = checkConfig(t, exitFailed, i.config).says("orphans", "';id;'", checkWrong, "1 commands wait for a merchant that is not configured")
	if want := `no merchant can be called that: nats stream purge WXPAY_COMMANDS --subject 'wxpay.command.'\'';id;'\''.>'`; f.Mend != want {
		t.Errorf("mend: %s\nwant  %s", f.Mend, want)
	}
	publish("\x1b[31m")
	if out := run(t, exitFailed, "", "check", "-c", i.config).out.String(); !strings.Contains(out, "[31m.>'") || strings.Contains(out, "\x1b") {
		t.Errorf("the terminal would obey it: %q", out)
	}

	s, err := js.Stream(t.Context(), subjects.OutcomesStream())
	if err != nil {
		t.Fatal(err)
	}
	short := s.CachedInfo().Config
	short.MaxAge = time.Hour
	ok(js.UpdateStream(t.Context(), short))
	checkConfig(t, exitFailed, i.config).says("stream", "WXPAY_OUTCOMES", checkWrong, "max_age 1h0m0s → 2160h0m0s")
}

// pullOne takes one command from a lane, as a worker does, and keeps it.
func (i *installation) pullOne(t *testing.T, lane string) {
	t.Helper()
	_, err := i.nc.Request("$JS.API.CONSUMER.MSG.NEXT."+subjects.CommandsStream()+"."+lane, []byte(`{"batch":1,"expires":5000000000,"group":"worker"}`), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
}

// TestCheckOfPermissions: which subjects a worker lacks is told, with what each is for; an operator is not a worker.
func TestCheckOfPermissions(t *testing.T) {
	t.Parallel()
	i := install(t, "")
	password := filepath.Base(writeFile(t, filepath.Join(i.dir, "password"), "secret-of-a\n"))
	boss := filepath.Base(writeFile(t, filepath.Join(i.dir, "boss"), "b"))
	as := func(t *testing.T, permissions string) *checked {
		t.Helper()
		url := natstest.StartFile(t, writeFile(t, filepath.Join(t.TempDir(), "nats.conf"), `
			jetstream {}
			authorization { users: [{user: b, password: b}, {user: a, password: secret-of-a, permissions: {`+permissions+`}}] }`))
		config := func(name, user, password string) string {
			text := strings.Replace(readFile(t, i.config), i.url+"\"", url+"\", user: "+user+", password_file: "+password, 1)
			return writeFile(t, filepath.Join(i.dir, name), text)
		}
		run(t, exitDone, "", "setup", "-c", config("boss.yaml", "b", boss))
		file := config("limited.yaml", "a", password)
		return checkConfig(t, exitFailed, file)
	}
	t.Run("pull and acknowledge", func(t *testing.T) {
		c := as(t, `publish: {deny: ["$JS.API.CONSUMER.MSG.NEXT.WXPAY_COMMANDS.*", "$JS.ACK.>", "$JS.API.STREAM.UPDATE.>"]}`)
		c.says("permissions", "$JS.API.CONSUMER.MSG.NEXT.WXPAY_COMMANDS.refund-"+mchid, checkWrong, "needed to pull")
		c.says("permissions", "$JS.ACK.WXPAY_COMMANDS.refund-"+mchid+".1.1.1.1.1", checkWrong, "and 2 more like it): needed to acknowledge")
		c.says("stream", "WXPAY_COMMANDS", checkOK, "messages: 0")
	})
	t.Run("look", func(t *testing.T) {
		c := as(t, `publish: {deny: ["$JS.API.STREAM.INFO.WXPAY_OUTCOMES", "$SYS.>"]}`)
		c.says("permissions", "a", checkUnknown, "the server does not tell")
		c.says("stream", "WXPAY_OUTCOMES", checkWrong, `not permitted: Publish to "$JS.API.STREAM.INFO.WXPAY_OUTCOMES"`)
	})
	t.Run("inbox", func(t *testing.T) {
		c := as(t, `subscribe: {allow: "nothing"}`)
		c.says("permissions", "_INBOX_a.>", checkWrong, `not permitted: Subscription to "_INBOX_a.`)
	})
}

// TestCheckOfNATS: what is in the way is told.
func TestCheckOfNATS(t *testing.T) {
	t.Parallel()
	i := install(t, "")
	gone := unreachable(t)
	c := checkConfig(t, exitFailed, i.config, "--nats", gone)
	c.says("nats", gone, checkWrong, "no servers available")
	c = checkConfig(t, exitFailed, i.config, "--nats", gone+","+i.url) // one of a cluster
	c.says("nats", gone, checkWrong, "no servers available")
	c.says("nats", i.url, checkOK, "version")
	c.says("stream", "WXPAY_COMMANDS", checkWrong, "not there yet")
	url := natstest.StartFile(t, writeFile(t, filepath.Join(i.dir, "nats.conf"), "jetstream {}\nauthorization { user: a, password: b }\n"))
	c = checkConfig(t, exitFailed, i.config, "--nats", url)
	c.says("nats", url, checkWrong, "Authorization Violation")
}

// TestCheckShowsNoSecret: a full configuration, right and wrong, on- and offline, leaves no key, password or seed in the output.
func TestCheckShowsNoSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sim := wxpaytest.New(t, wxpaytest.Options{OpenBooks: true})
	m := sim.AddMerchant(wxpaytest.Merchant{MchID: mchid, PlatformCertificates: true, PublicKeyToo: true})
	url := natstest.StartFile(t, writeFile(t, filepath.Join(dir, "nats.conf"), "jetstream {}\nauthorization { user: a, password: CANARYpassword }\n"))
	secrets := map[string]string{
		"key.pem": string(m.PrivateKeyPEM()), "v3.key": m.APIv3Key, "v2.key": m.APIv2Key, "password": "CANARYpassword\n",
	}
	files := maps.Clone(secrets)
	maps.Copy(files, map[string]string{"pub.pem": string(m.PublicKeyPEM()), "cert.pem": string(m.CertificatePEM), "ca.pem": string(sim.CAPEM())})
	for name, text := range files {
		writeFile(t, filepath.Join(dir, name), text)
	}
	text := fmt.Sprintf(`nats: {url: %q, user: a, password_file: password}
wechatpay: {hosts: [%q, %q], ca_file: ca.pem}
merchants:
  - mchid: %q
    serial_no: %q
    private_key_file: key.pem
    certificate_file: cert.pem
    public_keys: [{id: %s, file: pub.pem}]
    platform_certificates: {api_v3_key_file: v3.key}
    refund_api: v2
    v2: {appid: %s, api_key_file: v2.key, client_cert_file: cert.pem, client_key_file: key.pem}
`, url, sim.URL(), sim.BackupURL(), mchid, m.SerialNo, m.PublicKeyID, m.AppID)
	file := writeFile(t, filepath.Join(dir, "worker.yaml"), text)
	run(t, exitDone, "", "setup", "-c", file)
	good := checkConfig(t, exitDone, file, "--online")
	good.only("sync", "lane")
	good.says("wechatpay", mchid+" v2 "+strings.TrimPrefix(sim.URL(), "https://"), checkOK, "proven")
	good.says("platform_certificates", mchid, checkOK, "downloaded; the last one expires on")
	output := good.out.String()
	for _, edit := range []struct{ file, text string }{
		{"v3.key", strings.Repeat("x", 32)}, {"v2.key", strings.Repeat("y", 32)}, {"password", "CANARYother"},
		{"key.pem", m.APIv3Key}, {"pub.pem", string(m.PrivateKeyPEM())}, {"cert.pem", string(m.PrivateKeyPEM())}, {"worker.yaml", strings.Replace(text, "nats:", m.APIv2Key+":", 1)},
	} {
		was := readFile(t, filepath.Join(dir, edit.file))
		writeFile(t, filepath.Join(dir, edit.file), edit.text)
		r := run(t, exitFailed, "", "check", "-c", file, "--online")
		if edit.file != "worker.yaml" { // a key's name is told, a secret that stands in its place is the user's own
			output += r.out.String() + r.err.String()
		}
		writeFile(t, filepath.Join(dir, edit.file), was)
	}
	for name, text := range secrets {
		for _, line := range strings.Fields(text) {
			if len(line) > 20 && strings.Contains(output, line) || strings.Contains(output, "CANARY") {
				t.Errorf("shows %s", name)
			}
		}
	}
}
