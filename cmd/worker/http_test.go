package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"encoding/base64"
	"encoding/hex"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/internal/natsembed"
	"wxpay-worker/internal/natstest"
	"wxpay-worker/wxpay/wxpaytest"
)

// served is where a worker that was started tells of itself.
func (r *running) served() string {
	r.t.Helper()
	return regexp.MustCompile(`"url":"(http://[^"]+)"`).FindStringSubmatch(r.saw(r.err, `serving /metrics`))[1]
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// becomes asks again and again until the answer is as wanted; it is what a scraper would see, and there is nothing to wait upon.
func becomes(t *testing.T, what string, ask func() (ok bool, seen string)) {
	t.Helper()
	late := patience(t)
	for {
		ok, seen := ask()
		if ok {
			return
		}
		select {
		case <-late:
			t.Fatalf("%s: still\n%s", what, seen)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// ready waits until /readyz answers with this status and text.
func ready(t *testing.T, url string, status int, text string) {
	t.Helper()
	becomes(t, fmt.Sprintf("/readyz %d %s", status, text), func() (bool, string) {
		code, body := get(t, url+"/readyz")
		var answer struct{ Ready *bool }
		if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Ready == nil || *answer.Ready != (code == http.StatusOK) {
			t.Fatalf("/readyz: %d %s %v", code, body, err)
		}
		return code == status && strings.Contains(body, text), body
	})
}

// scrape reads the metrics: by name and labels as they are printed.
func scrape(t *testing.T, url string) map[string]float64 {
	t.Helper()
	code, body := get(t, url+"/metrics")
	if code != http.StatusOK {
		t.Fatalf("/metrics: %d %s", code, body)
	}
	all := map[string]float64{}
	for _, line := range lines(body) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all[line[:at]] = value
	}
	return all
}

// name takes the labels off, and what a histogram adds.
func metricOf(series string) string {
	name, _, _ := strings.Cut(series, "{")
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		name = strings.TrimSuffix(name, suffix)
	}
	return name
}

// TestMetrics: after a day's work every metric that is documented is told, with the right numbers, and none that is not.
func TestMetrics(t *testing.T) {
	t.Setenv("WXPAY_HTTP_LISTEN", "127.0.0.1:0")
	const certified, broke, nobody = "1900000013", "1900000014", "1900000099"
	i := install(t, "")
	c := i.sim.AddMerchant(wxpaytest.Merchant{MchID: certified, PlatformCertificates: true})
	b := i.sim.AddMerchant(wxpaytest.Merchant{MchID: broke})
	file := func(name string, data []byte) string {
		return filepath.Base(writeFile(t, filepath.Join(i.dir, name), string(data)))
	}
	i.edit(t, "merchants:\n", fmt.Sprintf("merchants:\n  - {mchid: %q, serial_no: %q, private_key_file: %s, platform_certificates: {api_v3_key_file: %s}}\n"+
		"  - {mchid: %q, serial_no: %q, private_key_file: %s, public_keys: [{id: %s, file: %s}]}\n",
		certified, c.SerialNo, file("13.pem", c.PrivateKeyPEM()), file("13.key", []byte(c.APIv3Key)),
		broke, b.SerialNo, file("14.pem", b.PrivateKeyPEM()), b.PublicKeyID, file("14_pub.pem", b.PublicKeyPEM())))
	worker := i.work(t)
	url := worker.served()
	ready(t, url, http.StatusOK, `"lanes":6`)

	send := func(code int, kind, merchant, body string, more ...string) {
		t.Helper()
		run(t, code, body, append([]string{"send", kind, "-c", i.config, "--mchid", merchant}, more...)...)
	}
	send(exitDone, "refund", mchid, aRefund("R1"), "--wait")
	send(exitDone, "refund", certified, aRefund("R2"), "--wait")
	send(exitDone, "reply", mchid, `{"id":"P1","complaint_id":"c2","complainted_mchid":"1","response_content":"您好"}`, "--wait")
	send(exitDone, "reply", mchid, `{"id":"P1","complaint_id":"c2","complainted_mchid":"1","response_content":"您好"}`) // once more: it is known
	send(exitDone, "refund", nobody, aRefund("R3"))
	if _, err := i.js(t).Publish(t.Context(), subjects.Command(mchid, "refund"), []byte("{")); err != nil {
		t.Fatal(err)
	}
	i.sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, MchID: broke, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 403, Code: "NOT_ENOUGH"})
	send(exitDone, "refund", broke, aRefund("R4"))
	worker.saw(worker.err, "lane held")

	lane := func(family, merchant string) string {
		return fmt.Sprintf(`{family="%s",lane="%[1]s-%s",mchid="%[2]s"`, family, merchant)
	}
	want := map[string]float64{
		`wxpay_commands_total{kind="refund",mchid="` + mchid + `",status="accepted"}`:                                                   1,
		`wxpay_commands_total{kind="refund",mchid="` + mchid + `",status="succeeded"}`:                                                  1,
		`wxpay_commands_total{kind="refund",mchid="` + mchid + `",status="failed"}`:                                                     1,
		`wxpay_commands_total{kind="refund",mchid="` + mchid + `",status="abnormal"}`:                                                   0,
		`wxpay_commands_total{kind="reply",mchid="` + mchid + `",status="succeeded"}`:                                                   1,
		`wxpay_attempts_total{kind="refund",mchid="` + certified + `"}`:                                                                 1,
		`wxpay_attempts_total{kind="reply",mchid="` + mchid + `"}`:                                                                      1,
		`wxpay_deliveries_total{kind="reply",mchid="` + mchid + `",settlement="false",verdict="duplicate"}`:                             1,
		`wxpay_dead_letters_total{kind="refund",mchid="` + mchid + `",reason="malformed"}`:                                              1,
		`wxpay_dead_letters_stored{reason="malformed"}`:                                                                                 1,
		`wxpay_dead_letters_stored{reason="unresolved"}`:                                                                                0,
		`wxpay_calls_total{code="OK",endpoint="POST /v3/refund/domestic/refunds",mchid="` + mchid + `"}`:                                1,
		`wxpay_calls_total{code="OK",endpoint="POST /v3/merchant-service/complaints-v2/{complaint_id}/response",mchid="` + mchid + `"}`: 1,
		`wxpay_platform_certificate_downloads_total{mchid="` + certified + `",result="ok"}`:                                             1,
		`wxpay_host_in_use{host="` + i.sim.URL() + `",mchid="` + mchid + `"}`:                                                           1,
		`wxpay_lane_held` + lane("refund", broke) + `,reason="HTTP 403 NOT_ENOUGH"}`:                                                    1,
		`wxpay_lane_held` + lane("refund", mchid) + `,reason=""}`:                                                                       0,
		`wxpay_lane_ready` + lane("complaint", certified) + `}`:                                                                         1,
		`wxpay_lane_serving` + lane("refund", mchid) + `}`:                                                                              1,
		`wxpay_lane_unacknowledged` + lane("refund", broke) + `}`:                                                                       1,
		`wxpay_lane_oldest_age_seconds` + lane("refund", mchid) + `}`:                                                                   0,
		`wxpay_lane_speed_ratio` + lane("refund", mchid) + `}`:                                                                          1,
		`wxpay_settlement_backlog`:             0,
		`wxpay_orphan_commands`:                1,
		`wxpay_ready`:                          1,
		`wxpay_nats_connected`:                 1,
		`wxpay_nats_reconnects_total`:          0,
		`wxpay_scrape_complete`:                1,
		`wxpay_last_reload_successful`:         1,
		`wxpay_reloads_total{result="failed"}`: 0,
	}
	var got map[string]float64
	becomes(t, "metrics", func() (bool, string) {
		got = scrape(t, url)
		var wrong strings.Builder
		for series, value := range want {
			if have, ok := got[series]; !ok || have != value {
				fmt.Fprintf(&wrong, "%s is %v (%v), want %v\n", series, have, ok, value)
			}
		}
		return wrong.Len() == 0, wrong.String()
	})
	if age := got[`wxpay_lane_oldest_age_seconds`+lane("refund", broke)+`}`]; age <= 0 || age > 3600 {
		t.Errorf("the held refund is %v s old", age)
	}
	for what, merchant := range map[string]string{"merchant": mchid, "platform": certified} {
		at := time.Unix(int64(got[`wxpay_certificate_expiry_timestamp_seconds{certificate="`+what+`",mchid="`+merchant+`"}`]), 0)
		if years := time.Until(at).Hours() / 24 / 365; years < 4 || years > 6 {
			t.Errorf("the %s certificate expires at %s", what, at)
		}
	}

	documented := map[string]bool{}
	text, err := os.ReadFile("../../doc/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `(wxpay_[a-z_]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		documented[row[1]] = false
	}
	for series := range got {
		name := metricOf(series)
		if _, known := documented[name]; !known && strings.HasPrefix(name, "wxpay_") {
			t.Errorf("%s is not documented", series)
		}
		documented[name] = true
		for _, identity := range []string{"R1", "R2", "R3", "R4", "T-R", "P1", "c2", nobody} {
			if strings.Contains(series, `"`+identity) {
				t.Errorf("%s names an identity", series)
			}
		}
	}
	for name, told := range documented {
		if !told {
			t.Errorf("%s is documented, and not told", name)
		}
	}
	worker.stop()
	worker.exits(exitDone)
}

// edit replaces the first old in the installation's configuration.
func (i *installation) edit(t *testing.T, old, replacement string) {
	t.Helper()
	text := readFile(t, i.config)
	if !strings.Contains(text, old) {
		t.Fatalf("no %q in\n%s", old, text)
	}
	writeFile(t, i.config, strings.Replace(text, old, replacement, 1))
}

// TestReady: /readyz tells the truth: before NATS is there, while it is away, without streams, when no lane can run, while the
// worker drains; /healthz says that the process lives all the while, and a scrape does not hang.
func TestReady(t *testing.T) {
	t.Setenv("WXPAY_HTTP_LISTEN", "127.0.0.1:0")
	i := install(t, "")
	store := t.TempDir()
	address, err := natstest.Address()
	if err != nil {
		t.Fatal(err)
	}
	serve := func() *natsembed.Server {
		t.Helper()
		s, err := natsembed.Start(natsembed.Options{Listen: address, Dir: store, NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Shutdown)
		return s
	}
	worker := start(t, "", "run", "-c", i.config, "--nats", "nats://"+address)
	url := worker.served()
	ready(t, url, http.StatusServiceUnavailable, "starting")
	if code, body := get(t, url+"/readyz"); !strings.Contains(body, `"check":"worker check --config `) {
		t.Errorf("%d %s", code, body)
	}
	if got := scrape(t, url); got["wxpay_nats_connected"] != 0 || got["wxpay_ready"] != 0 {
		t.Errorf("without NATS: %v", got)
	}
	server := serve()
	ready(t, url, http.StatusOK, `"lanes":2`)

	server.Shutdown()
	ready(t, url, http.StatusServiceUnavailable, "no connection to NATS")
	began, got := time.Now(), scrape(t, url)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("a scrape took %s", took)
	}
	for series := range got {
		if name := metricOf(series); name == "wxpay_lane_waiting" || name == "wxpay_orphan_commands" || name == "wxpay_settlement_backlog" {
			t.Errorf("%s while nobody can know", series)
		}
	}
	if got["wxpay_nats_connected"] != 0 || got["wxpay_scrape_complete"] != 0 || got["wxpay_lane_held"+`{family="refund",lane="refund-`+mchid+`",mchid="`+mchid+`",reason=""}`] != 0 {
		t.Errorf("%v", got)
	}
	serve()
	ready(t, url, http.StatusOK, `"ready":true`)
	if got := scrape(t, url); got["wxpay_nats_reconnects_total"] != 1 {
		t.Errorf("%v reconnects", got["wxpay_nats_reconnects_total"])
	}

	nc, err := nats.Connect("nats://" + address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	// A key that WeChat Pay does not know holds both lanes.
	i.sim.AddMerchant(wxpaytest.Merchant{MchID: mchid})
	for kind, body := range map[string]string{"refund": aRefund("R1"), "complaint.complete": `{"id":"C1","complaint_id":"c1","complainted_mchid":"1"}`} {
		if _, err := js.Publish(t.Context(), "wxpay.command."+mchid+"."+kind, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	ready(t, url, http.StatusServiceUnavailable, "no lane can run: all are held")
	ready(t, url, http.StatusServiceUnavailable, `"refund-`+mchid+`":"HTTP 401 SIGN_ERROR"`)

	if err := js.DeleteStream(t.Context(), "WXPAY_OUTCOMES"); err != nil {
		t.Fatal(err)
	}
	ready(t, url, http.StatusServiceUnavailable, "stream WXPAY_OUTCOMES is not there")
	if code, body := get(t, url+"/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d %s", code, body)
	}
	for _, path := range []string{"/", "/debug/pprof/"} {
		if code, _ := get(t, url+path); code != http.StatusNotFound {
			t.Errorf("%s: %d", path, code)
		}
	}
	worker.stop()
	worker.exits(exitDone)
	if _, err := http.Get(url + "/healthz"); err == nil {
		t.Error("still served")
	}
}

// TestNotReadyWhileDraining: who watches must not count on a worker that is about to go, and can still see its last calls.
func TestNotReadyWhileDraining(t *testing.T) {
	t.Setenv("WXPAY_HTTP_LISTEN", "127.0.0.1:0")
	i := install(t, "")
	arrived, hold := make(chan struct{}, 1), make(chan struct{})
	i.sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Apply: true, Arrived: arrived, Hold: hold})
	worker := i.work(t)
	url := worker.served()
	ready(t, url, http.StatusOK, "")
	run(t, exitDone, aRefund("R1"), "send", "refund", "-c", i.config, "--mchid", mchid)
	<-arrived
	worker.stop()
	ready(t, url, http.StatusServiceUnavailable, "draining")
	if got := scrape(t, url); got["wxpay_ready"] != 0 || got["wxpay_nats_connected"] != 1 {
		t.Errorf("%v", got)
	}
	if code, body := get(t, url+"/healthz"); code != http.StatusOK || body != "{\"alive\":true}\n" {
		t.Errorf("/healthz: %d %s", code, body)
	}
	close(hold)
	worker.exits(exitDone)
}

// TestListenRefuses: an address that is taken, and a tracing that there is not, end run before anything is begun.
func TestListenRefuses(t *testing.T) {
	i := install(t, "")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	t.Setenv("WXPAY_HTTP_LISTEN", taken.Addr().String())
	r := run(t, exitUsage, "", "run", "-c", i.config)
	if !strings.Contains(r.err.String(), "WXPAY_HTTP_LISTEN: http.listen: expected an address that is free") {
		t.Errorf("got %s", r.err)
	}
	t.Setenv("WXPAY_HTTP_LISTEN", "127.0.0.1:0")
	t.Setenv("OTEL_TRACES_EXPORTER", "zipkin")
	r = run(t, exitUsage, "", "run", "-c", i.config)
	if !strings.Contains(r.err.String(), "OTEL_TRACES_EXPORTER: expected otlp or none") {
		t.Errorf("got %s", r.err)
	}
}

// collector takes what an OTLP exporter sends, as bytes.
type collector struct {
	*httptest.Server
	mu   sync.Mutex
	seen strings.Builder // guarded by mu
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/v1/traces" {
			http.Error(w, "not here", http.StatusNotFound)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.seen.Write(body)
	}))
	t.Cleanup(c.Server.Close)
	return c
}

func (c *collector) all() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen.String()
}

// TestNothingSecretIsTold: in a noisy run with everything on, neither log, metrics, readiness nor traces hold a key, a signature
// or a word about a payer; and the traces are there, in the command's own.
func TestNothingSecretIsTold(t *testing.T) {
	const payer, traceID = "客户张三的电话", "0af7651916cd43dd8448eb211c80319c"
	collector := newCollector(t)
	t.Setenv("WXPAY_HTTP_LISTEN", "127.0.0.1:0")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	i := install(t, "")
	i.edit(t, "http:", "retry: {initial: 10ms}\nlog: {level: debug}\nhttp:")
	for _, f := range []wxpaytest.Fault{
		{Endpoint: wxpaytest.EndpointComplaintResponse, Answer: wxpaytest.AnswerRefusal, Status: 404, Code: "RESOURCE_NOT_EXISTS", Message: "关于 " + payer + " 的答复"},
		{Endpoint: wxpaytest.EndpointRefundCreate, ID: "R1", Apply: true, Answer: wxpaytest.AnswerRight},
		{Endpoint: wxpaytest.EndpointRefundCreate, ID: "R2", Answer: wxpaytest.AnswerForged},
		{Endpoint: wxpaytest.EndpointRefundCreate, ID: "R3", Answer: wxpaytest.AnswerLost},
		{Endpoint: wxpaytest.EndpointRefundCreate, ID: "R4", Answer: wxpaytest.AnswerRefusal, Status: 400, Code: "PARAM_ERROR", Message: payer},
		{Endpoint: wxpaytest.EndpointRefundCreate, ID: "R5", Answer: wxpaytest.Answer502HTML},
	} {
		i.sim.Fault(f)
	}
	worker := i.work(t)
	url := worker.served()
	js := i.js(t)
	publish := func(kind, body string) {
		t.Helper()
		m := nats.NewMsg("wxpay.command." + mchid + "." + kind)
		m.Data = []byte(body)
		m.Header.Set("traceparent", "00-"+traceID+"-b7ad6b7169203331-01")
		m.Header.Set("X-Payer", payer)
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 5 {
		publish("refund", fmt.Sprintf(`{"out_refund_no":"R%d","out_trade_no":"T%[1]d","amount":{"refund":1,"total":1},"reason":%q,"metadata":{"m":%[2]q}}`, n+1, payer))
	}
	publish("refund", fmt.Sprintf(`{"out_refund_no":%q,"amount":1}`, payer))
	publish("complaint.reply", fmt.Sprintf(`{"id":"P1","complaint_id":"C1","complainted_mchid":"1","response_content":%q}`, payer))
	publish("complaint.decision", fmt.Sprintf(`{"id":"D1","complaint_id":"C2","action":"REJECT","reject_reason":%q,"remark":%[1]q}`, payer))
	c := connectTo(t, i)
	for _, key := range []string{"refund.R1.succeeded", "refund.R4.failed", "reply.P1.failed", "decision.D1.succeeded", "refund.seq-6.failed"} {
		becomes(t, key, func() (bool, string) {
			_, err := js.Stream(t.Context(), "WXPAY_OUTCOMES")
			if err != nil {
				return false, err.Error()
			}
			stream, err := c.js.Stream(t.Context(), "WXPAY_OUTCOMES")
			if err != nil {
				return false, err.Error()
			}
			_, err = stream.GetLastMsgForSubject(t.Context(), "wxpay.outcome."+mchid+"."+key)
			return err == nil, fmt.Sprint(err)
		})
	}
	becomes(t, "the unclear ones", func() (bool, string) {
		got := scrape(t, url)
		n := got[`wxpay_calls_total{code="unproven_200",endpoint="POST /v3/refund/domestic/refunds",mchid="`+mchid+`"}`] *
			got[`wxpay_calls_total{code="no_answer",endpoint="POST /v3/refund/domestic/refunds",mchid="`+mchid+`"}`] *
			got[`wxpay_calls_total{code="unproven_502",endpoint="POST /v3/refund/domestic/refunds",mchid="`+mchid+`"}`]
		return n > 0, fmt.Sprint(got)
	})
	var told strings.Builder
	for _, path := range []string{"/metrics", "/readyz", "/healthz"} {
		_, body := get(t, url+path)
		told.WriteString(body)
	}
	worker.stop()
	worker.exits(exitDone)
	told.WriteString(worker.err.String())
	told.WriteString(worker.out.String())
	told.WriteString(collector.all())

	id, err := hex.DecodeString(traceID)
	if err != nil {
		t.Fatal(err)
	}
	for _, there := range []string{string(id), "refund process", "reply process", "settlement process", "POST /v3/refund/domestic/refunds", "unproven_200", "wxpay-worker", "refund-" + mchid} {
		if !strings.Contains(collector.all(), there) {
			t.Errorf("no %q in the traces", there)
		}
	}
	keys, err := i.secretsOf(t)
	if err != nil {
		t.Fatal(err)
	}
	secrets := append(keys, "张三", "WECHATPAY2-SHA256", "PRIVATE KEY", "signature=")
	for _, r := range i.sim.Requests() {
		if _, after, ok := strings.Cut(r.Header.Get("Authorization"), `signature="`); ok {
			secrets = append(secrets, after[:40])
		}
	}
	for _, secret := range secrets {
		if at := strings.Index(told.String(), secret); at >= 0 {
			t.Errorf("%.12s… shows: …%q…", secret, told.String()[max(0, at-80):min(told.Len(), at+20)])
		}
	}
	if len(secrets) < 12 {
		t.Errorf("only %d secrets were looked for", len(secrets))
	}
}

// secretsOf are pieces of the private keys of the installation.
func (i *installation) secretsOf(t *testing.T) (pieces []string, err error) {
	t.Helper()
	c, err := loadConfig(i.config, "")
	if err != nil {
		return nil, err
	}
	keys, err := c.readMerchants()
	for _, k := range keys {
		pieces = append(pieces, base64.StdEncoding.EncodeToString(k.signer.D.Bytes())[:40])
	}
	pem := readFile(t, filepath.Join(i.dir, mchid+"_key.pem"))
	return append(pieces, lines(pem)[3]), err
}

// TestShippedPermissionsLetItBeWatched: a worker that may do no more than deploy/nats/secure.conf allows can be asked everything.
func TestShippedPermissionsLetItBeWatched(t *testing.T) {
	t.Setenv("WXPAY_HTTP_LISTEN", "127.0.0.1:0")
	r := installRoles(t)
	run(t, exitDone, "", "setup", "-c", r.config["operator"])
	worker := r.work(t)
	url := worker.served()
	ready(t, url, http.StatusOK, `"lanes":2`)
	run(t, exitDone, aRefund("R1"), "send", "refund", "-c", r.config["operator"], "--mchid", mchid, "--wait")
	becomes(t, "everything is answered", func() (bool, string) {
		got := scrape(t, url)
		_, counted := got[`wxpay_dead_letters_stored{reason="poison"}`]
		return counted && got["wxpay_scrape_complete"] == 1, fmt.Sprint(got)
	})
	worker.stop()
	if text := worker.exits(exitDone).err.String(); strings.Contains(strings.ToLower(text), "permission") {
		t.Errorf("something was denied: %s", text)
	}
}
