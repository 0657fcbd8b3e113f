package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// askTime bounds a question to the worker that runs here: longer than it asks NATS itself.
const askTime = readyTime + 3*time.Second

// ready asks the worker that runs on this machine, at http.listen, whether it is ready, and looks at nothing else: what is wrong
// with the rest of the configuration, which may have changed since it started, does not make it less so. It is for health checks
// of images that hold the program and no other.
func (k *checking) ready(ctx context.Context) error {
	address, err := reachableHere(k.config.HTTP.Listen)
	if err != nil {
		return err
	}
	url := "http://" + address + "/readyz"
	r, err := askReady(ctx, url)
	switch {
	case err != nil:
		k.bad("ready", url, err.Error(), "is worker run started? with this http.listen?")
	case !r.Ready:
		k.bad("ready", url, strings.Join(r.Reasons, "; "), r.Check)
	default:
		k.ok("ready", url, fmt.Sprintf("lanes: %d, of these held: %d", r.Lanes, len(r.Held)))
	}
	return k.verdict()
}

// reachableHere is where a program on the same machine reaches one that listens there.
func reachableHere(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port == "0" {
		return "", usageError("--ready: expected http.listen to be HOST:PORT with a port of its own; it is %q", listen)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port), nil
}

// askReady returns what /readyz says, whether ready or not.
func askReady(ctx context.Context, url string) (r readiness, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return r, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy, whatever the environment says
	resp, err := client.Do(req)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	err = json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&r)
	if err != nil || r.Ready != (resp.StatusCode == http.StatusOK) {
		return r, fmt.Errorf("HTTP %d, and not a worker's answer", resp.StatusCode)
	}
	return r, nil
}
