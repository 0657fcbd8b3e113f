package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/consumer"
)

// store is a NATS server in a process of its own with an empty store, and our connection to it.
type store struct {
	*process
	url string
	nc  *nats.Conn
	js  jetstream.JetStream
	dir string
}

// startStore starts a server whose streams exist. synced: every write is on the disk before it is confirmed.
func (b *bench) startStore(ctx context.Context, synced bool) (*store, error) {
	dir, err := os.MkdirTemp(b.dir, "store-")
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	interval := ""
	if synced {
		interval = ", sync_interval: always"
	}
	config := fmt.Sprintf("listen: %q\nserver_name: bench\njetstream: {store_dir: %q, max_file_store: 64GB%s}\n", address, dir, interval)
	s := &store{url: "nats://" + address, dir: dir}
	profiles := ""
	if b.profiles != "" {
		if profiles, err = freeAddress(); err != nil {
			return nil, err
		}
		_, port, _ := net.SplitHostPort(profiles)
		config += "prof_port: " + port + "\n"
	}
	file := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	if s.process, err = start(b.dir, "nats-server", b.natsServer, "-c", file); err != nil {
		return nil, err
	}
	s.pprof = profiles
	if s.nc, err = nats.Connect(s.url, nats.RetryOnFailedConnect(true), nats.MaxReconnects(1000), nats.ReconnectWait(5*time.Millisecond)); err != nil {
		return nil, err
	}
	if s.js, err = jetstream.New(s.nc); err != nil {
		return nil, err
	}
	for !s.nc.IsConnected() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return s, consumer.EnsureStreams(ctx, s.nc, consumer.Streams{Subjects: subjects, Replicas: 1, MaxWaiting: 2_000_000, OutcomesMaxAge: 24 * time.Hour})
}

// close ends the server and removes its store.
func (s *store) close() error {
	s.nc.Close()
	if err := s.stop(); err != nil {
		return err
	}
	return os.RemoveAll(s.dir)
}

// count is how many messages a stream holds.
func (s *store) count(ctx context.Context, stream string) (int, error) {
	have, err := s.js.Stream(ctx, stream)
	if err != nil {
		return 0, err
	}
	return int(have.CachedInfo().State.Msgs), nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
