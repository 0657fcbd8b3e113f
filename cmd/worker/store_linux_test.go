package main

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"wxpay-worker/internal/natstest"
	"wxpay-worker/wxpay/wxpaytest"
)

// fileLimit is the variable that makes this program the worker, in which every write beyond so many bytes of a file fails, as on a disk
// that is full.
const fileLimit = "WORKER_TEST_FILE_LIMIT"

func init() {
	bytes, err := strconv.ParseUint(os.Getenv(fileLimit), 10, 64)
	if err != nil {
		return
	}
	signal.Ignore(syscall.SIGXFSZ) // the error is enough
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bytes, Max: bytes}); err != nil {
		panic(err)
	}
	os.Exit(Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// TestStoreFull: a worker whose own store takes nothing more says so at /readyz and in check, ends with 1, and started anew goes on
// where it was: what was under way has one end.
func TestStoreFull(t *testing.T) {
	i := install(t, "")
	i.embed(t)
	addresses := map[string]string{}
	for _, variable := range []string{"WXPAY_NATS_EMBEDDED_LISTEN", "WXPAY_HTTP_LISTEN"} {
		address, err := natstest.Address()
		if err != nil {
			t.Fatal(err)
		}
		addresses[variable] = address
		t.Setenv(variable, address)
	}
	arrived, hold := make(chan struct{}, 1), make(chan struct{})
	i.sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Apply: true, Arrived: arrived, Hold: hold})

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := i.process(t, self, fileLimit+"=2000000")
	ready(t, "http://"+addresses["WXPAY_HTTP_LISTEN"], http.StatusOK, "")
	const dir = "nats.embedded.dir" // of the worker; a folder that check would name could be another one
	checkConfig(t, exitDone, i.config).says("store", dir, checkOK, "")

	run(t, exitDone, aRefund("R1"), "send", "refund", "-c", i.config, "--mchid", mchid)
	<-arrived // it cannot end before it is answered
	c := connectTo(t, i)
	fill := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := c.js.Publish(ctx, "wxpay.deadletter.1.refund.rejected.k", bytes.Repeat([]byte("CANARY"), 50_000))
		return err
	}
	for n := 0; fill() == nil; n++ {
		if n == 100 {
			t.Fatal("the store does not fill")
		}
	}
	const want = "nats.embedded.dir: the store takes nothing more until the worker is started anew"
	ready(t, "http://"+addresses["WXPAY_HTTP_LISTEN"], http.StatusServiceUnavailable, want)
	checkConfig(t, exitFailed, i.config).says("store", dir, checkWrong, want)
	checkConfig(t, exitFailed, i.config, "--ready").says("ready", "http://"+addresses["WXPAY_HTTP_LISTEN"]+"/readyz", checkWrong, want)
	c.Close()

	var said strings.Builder
	for p.lines.Scan() {
		if said.WriteString(p.lines.Text() + "\n"); strings.Contains(p.lines.Text(), "to be started anew") {
			close(hold)
		}
	}
	if code := p.ends(t); code != exitFailed || strings.Contains(said.String(), canary) {
		t.Errorf("exit code %d:\n%s", code, said.String())
	}
	for _, text := range []string{"worker: " + want, "file too large"} {
		if !strings.Contains(said.String(), text) {
			t.Errorf("no %q in\n%s", text, said.String())
		}
	}

	i.work(t)
	watched := run(t, exitDone, "", "watch", "-c", i.config, "--since", "1h", "--key", "R1", "--status", "succeeded", "--count", "1")
	if text := watched.out.String(); !strings.Contains(text, "R1") {
		t.Errorf("got %s", text)
	}
	ready(t, "http://"+addresses["WXPAY_HTTP_LISTEN"], http.StatusOK, "")
}
