package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"wxpay-worker/wxpay/wxpaytest"
)

// TestCheckReady: --ready says of the worker that runs here what /readyz says, whatever its configuration has become since, and takes
// nobody else's answer for it.
func TestCheckReady(t *testing.T) {
	t.Setenv("WXPAY_HTTP_LISTEN", "127.0.0.1:0")
	i := install(t, "")
	worker := i.work(t)
	served, err := url.Parse(worker.served())
	if err != nil {
		t.Fatal(err)
	}
	ready(t, served.String(), http.StatusOK, "")

	t.Setenv("WXPAY_HTTP_LISTEN", "0.0.0.0:"+served.Port()) // as in a container: everywhere, so here too
	here := "http://localhost:" + served.Port() + "/readyz"
	c := checkConfig(t, exitDone, i.config, "--ready")
	if c.says("ready", here, checkOK, "lanes: 2"); len(c.findings) != 1 {
		t.Errorf("it asked for more: %s", c.out)
	}
	config := readFile(t, i.config)
	i.edit(t, "serial_no: ", "serial_no: \"\"\n    platform_certificates: {}\n    # ")
	run(t, exitUsage, "", "setup", "--dry-run", "-c", i.config) // it would not load any more
	checkConfig(t, exitDone, i.config, "--ready")
	writeFile(t, i.config, config)

	i.sim.AddMerchant(wxpaytest.Merchant{MchID: mchid}) // a key that WeChat Pay does not know holds both lanes
	for kind, body := range map[string]string{"refund": aRefund("R1"), "complete": `{"id":"C1","complaint_id":"c1","complainted_mchid":"1"}`} {
		run(t, exitDone, body, "send", kind, "-c", i.config, "--mchid", mchid)
	}
	ready(t, served.String(), http.StatusServiceUnavailable, "all are held")
	checkConfig(t, exitFailed, i.config, "--ready").says("ready", here, checkWrong, "no lane can run: all are held")

	worker.stop()
	worker.exits(exitDone)
	f := checkConfig(t, exitFailed, i.config, "--ready").says("ready", here, checkWrong, "")
	if !strings.Contains(f.Mend, "worker run") {
		t.Errorf("how to mend it: %s", f.Mend)
	}

	for _, body := range []string{"fine", "{}", `{"ready":false}`} {
		other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }))
		t.Setenv("WXPAY_HTTP_LISTEN", other.Listener.Addr().String())
		checkConfig(t, exitFailed, i.config, "--ready").says("ready", other.URL+"/readyz", checkWrong, "not a worker's answer")
		other.Close()
	}
	for _, listen := range []string{"127.0.0.1:0", "nonsense"} {
		t.Setenv("WXPAY_HTTP_LISTEN", listen)
		if r := run(t, exitUsage, "", "check", "--ready", "-c", i.config); !strings.Contains(r.err.String(), "http.listen") {
			t.Errorf("%s: %s", listen, r.err)
		}
	}
	t.Setenv("WXPAY_HTTP_LISTEN", "")
	run(t, exitUsage, "", "check", "--ready", "-c", i.config) // the file says: off
	run(t, exitUsage, "", "check", "--ready", "--online", "-c", i.config)
}
