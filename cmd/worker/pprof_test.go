package main

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// Profiles tell what is in memory, keys too: nobody but this machine may ask for them.
func TestPprofOnlyOnLoopback(t *testing.T) {
	for _, address := range []string{"0.0.0.0:6060", ":6060", "[::]:0", "192.0.2.1:6060", "example.com:6060", "localhost", "127.0.0.1", "127.0.0.1:x", "6060"} {
		refused := run(t, exitUsage, "", "run", "--pprof", address)
		if got := refused.err.String(); !strings.Contains(got, "--pprof: expected") {
			t.Errorf("%s: %s", address, got)
		}
	}
}

func TestPprof(t *testing.T) {
	i := install(t, "")
	w := start(t, "", "run", "--config", i.config, "--pprof", "127.0.0.1:0")
	url := "http://" + regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(w.saw(w.err, "serving profiles"))
	w.saw(w.err, "worker started")
	for path, want := range map[string]string{"/debug/pprof/": "heap", "/debug/pprof/goroutine?debug=1": "goroutine profile: total"} {
		answer, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %d %v, want %q", path, answer.StatusCode, err, want)
		}
	}
	w.stop()
	w.exits(exitDone)
}
