package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/internal/natstest"
)

// TestSetupAndCheckOfACluster: an installation grows from one copy to three, keeps what it holds, and check sees the server that is
// gone, and what it had a copy of.
func TestSetupAndCheckOfACluster(t *testing.T) {
	t.Parallel()
	i := install(t, "")
	urls, stop := natstest.StartCluster(t)
	nc, err := nats.Connect(urls[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		late := patience(t)
		for !ok() {
			select {
			case <-time.After(50 * time.Millisecond):
			case <-late:
				t.Fatalf("never: %s", what)
			}
		}
	}
	until("a leader", func() bool { _, err := js.AccountInfo(t.Context()); return err == nil })

	text := readFile(t, i.config)
	config := func(replicas int) string {
		return writeFile(t, i.config, strings.Replace(text, fmt.Sprintf("url: %q", i.url), fmt.Sprintf("url: %q, replicas: %d", strings.Join(urls, ","), replicas), 1))
	}
	run(t, exitDone, "", "setup", "-c", config(1))
	run(t, exitDone, aRefund("R1"), "send", "refund", "-c", i.config, "--mchid", mchid)
	dry := run(t, exitDone, "", "setup", "-c", config(3), "--dry-run").out.String()
	if strings.Count(dry, "num_replicas 1 → 3") != 5 {
		t.Errorf("dry run: %s", dry)
	}
	checkConfig(t, exitFailed, i.config).says("stream", "WXPAY_COMMANDS", checkWrong, "num_replicas 1 → 3")
	run(t, exitDone, "", "setup", "-c", i.config)
	until("three copies of all", func() bool {
		for _, name := range []string{subjects.CommandsStream(), subjects.OutcomesStream(), subjects.DeadLettersStream(), subjects.SettlementsStream(), subjects.MediaStream()} {
			s, err := js.Stream(t.Context(), name)
			if err != nil || s.CachedInfo().Cluster == nil || len(s.CachedInfo().Cluster.Replicas) != 2 {
				return false
			}
			for _, peer := range s.CachedInfo().Cluster.Replicas {
				if !peer.Current || peer.Offline {
					return false
				}
			}
		}
		return true
	})
	worker := i.work(t)
	watch := start(t, "", "watch", "-c", i.config, "--since", "1h")
	watch.saw(watch.out, "R1") // it was kept
	c := checkConfig(t, exitDone, i.config)
	c.only("sync", "lane")
	for _, url := range urls {
		c.says("nats", url, checkOK, "server n")
	}
	c.says("stream", "WXPAY_OUTCOMES", checkOK, "replicas: 3")

	stop(2)
	until("a copy that is offline", func() bool {
		s, err := js.Stream(t.Context(), subjects.OutcomesStream())
		if err != nil || s.CachedInfo().Cluster == nil {
			return false
		}
		for _, peer := range s.CachedInfo().Cluster.Replicas {
			if peer.Offline {
				return true
			}
		}
		return false
	})
	c = checkConfig(t, exitFailed, i.config)
	c.says("nats", urls[2], checkWrong, "no servers available")
	c.says("stream", "WXPAY_OUTCOMES", checkWrong, "the copy on n2 is offline or behind")
	worker.stop()
}
