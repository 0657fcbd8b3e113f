// Package natstest gives each test a real NATS server with JetStream, in the process, with a store of its own.
//
//	nc := natstest.Connect(t)        // a server of its own, stopped after the test
//
// Nothing here is a mock: what a test shows, it shows of the server that users run.
package natstest

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"wxpay-worker/internal/natsembed"
)

// Crowd lets n tests run at a time unless -parallel says otherwise. It is for packages whose tests wait for servers and clocks and
// hardly ever for a processor: call it from TestMain.
func Crowd(n int) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		if err := f.Value.Set(strconv.Itoa(n)); err != nil {
			panic(err) // a number is what it wants
		}
	}
}

// Start runs a server that listens on a free loopback port and stops it after the test.
// Its store is not synced on every write: tests that kill servers start their own processes.
func Start(t testing.TB) *natsembed.Server {
	t.Helper()
	s, err := natsembed.Start(natsembed.Options{Listen: "127.0.0.1:0", Dir: t.TempDir(), NoSync: true})
	if err != nil {
		t.Fatalf("natstest: %v", err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// Connect starts a server and returns a connection to it, closed after the test.
func Connect(t testing.TB) *nats.Conn {
	t.Helper()
	return Client(t, Start(t))
}

// Client returns one more connection to the server, closed after the test.
func Client(t testing.TB, s *natsembed.Server) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(s.URL(), nats.MaxReconnects(-1), nats.Name(t.Name()))
	if err != nil {
		t.Fatalf("natstest: connect: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// PublishRaw publishes a message with a header block that no client library would write, and returns when the server has it: what is
// published to the same stream after that is stored after it.
func PublishRaw(t testing.TB, serverURL, subject, header, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(serverURL, "nats://"))
	if err != nil {
		t.Fatalf("natstest: %v", err)
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "CONNECT {\"headers\":true}\r\nHPUB %s %d %d\r\n%s%s\r\nPING\r\n", subject, len(header), len(header)+len(body), header, body)
	if err != nil {
		t.Fatalf("natstest: %v", err)
	}
	for lines := bufio.NewScanner(conn); lines.Scan() && lines.Text() != "PONG"; {
		if strings.HasPrefix(lines.Text(), "-ERR") {
			t.Fatalf("natstest: server: %s", lines.Text())
		}
	}
}

// Address is a loopback address that can be listened on again after who listened there was stopped or killed: its port is below
// the range from which systems take the ports of other connections (32768 on Linux, 49152 elsewhere).
func Address() (string, error) {
	for range 100 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(20000+rand.IntN(10000)))
		if l, err := net.Listen("tcp", address); err == nil {
			return address, l.Close()
		}
	}
	return "", errors.New("natstest: no free port from 20000 to 29999")
}

// StartFile runs the server that a configuration file describes, as nats-server would, but on a free loopback port and with a
// store of its own. It returns where clients reach it.
func StartFile(t testing.TB, file string) string {
	t.Helper()
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatalf("natstest: %v", err)
	}
	opts.Host, opts.Port, opts.HTTPPort, opts.HTTPSPort = "127.0.0.1", server.RANDOM_PORT, 0, 0
	opts.StoreDir, opts.NoSigs, opts.NoLog = t.TempDir(), true, true
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatalf("natstest: %s: %v", file, err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10*time.Second) || !s.JetStreamEnabled() {
		t.Fatalf("natstest: %s: not ready in time", file)
	}
	return s.ClientURL()
}

// StartWithoutJetStream runs a server that has none. It returns where clients reach it.
func StartWithoutJetStream(t testing.TB) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatalf("natstest: %v", err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("natstest: not ready in time")
	}
	return s.ClientURL()
}

// StartCluster runs three servers that replicate to each other. stop ends one of them early.
func StartCluster(t testing.TB) (urls []string, stop func(n int)) {
	t.Helper()
	// A server takes part in a cluster only if it has routes, and the first knows of none: it is found by the others.
	routes := []*url.URL{{Scheme: "nats", Host: "127.0.0.1:1"}, {Scheme: "nats", Host: "127.0.0.1:2"}, {Scheme: "nats", Host: "127.0.0.1:3"}}
	var servers []*server.Server
	for n := range 3 {
		opts := &server.Options{
			ServerName: "n" + strconv.Itoa(n), Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(),
			NoSigs: true, NoLog: true, Cluster: server.ClusterOpts{Name: "natstest", Host: "127.0.0.1", Port: server.RANDOM_PORT}, Routes: slices.Clone(routes),
		}
		s, err := server.NewServer(opts)
		if err != nil {
			t.Fatalf("natstest: %v", err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		servers = append(servers, s)
		routes[n] = &url.URL{Scheme: "nats", Host: clusterAddr(t, s)}
	}
	for n, s := range servers { // none is ready before most of them are there
		if !s.ReadyForConnections(20 * time.Second) {
			t.Fatalf("natstest: server %d is not ready in time", n)
		}
		urls = append(urls, s.ClientURL())
	}
	return urls, func(n int) { servers[n].Shutdown(); servers[n].WaitForShutdown() }
}

// clusterAddr is where a server that has just been started takes routes. It says so a moment later.
func clusterAddr(t testing.TB, s *server.Server) string {
	t.Helper()
	for range 500 {
		if addr := s.ClusterAddr(); addr != nil {
			return addr.String()
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("natstest: no cluster address")
	return ""
}
