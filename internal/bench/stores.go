package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"wxpay-worker/consumer"
)

// stores measures what a refund's two records cost the store alone, a schedule and then a conditional outcome: one server and a cluster of
// three on this machine, synced and not, by one and by many at a time; and both records as one atomic batch in a stream that would
// hold both kinds.
func (b *bench) stores(ctx context.Context) error {
	for range b.repeat {
		for _, servers := range []int{1, 3} {
			for _, synced := range []bool{false, true} {
				if err := b.records(ctx, servers, synced); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// atOnce is how many records are written at a time: fewer than the batches that a server takes at a time for one stream, 50.
const atOnce = 48

func (b *bench) records(ctx context.Context, servers int, synced bool) (err error) {
	js, end, err := b.startCluster(ctx, servers, synced)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	for _, way := range []struct {
		name  string
		write func(context.Context, jetstream.JetStream) error
	}{{"two", writeTwo}, {"batch", writeBatch}} {
		for _, clients := range []int{1, atOnce} {
			f, err := written(ctx, js, way.write, clients, b.window)
			if err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
			store := map[bool]string{true: "synced", false: "unsynced"}[synced]
			if err := b.report.add(fmt.Sprintf("Records/servers=%d/store=%s/as=%s/at-once=%d", servers, store, way.name, clients), f); err != nil {
				return err
			}
		}
	}
	return nil
}

// written has so many write for a while.
func written(ctx context.Context, js jetstream.JetStream, write func(context.Context, jetstream.JetStream) error, clients int, window time.Duration) (figures, error) {
	ctx, cancel := context.WithTimeout(ctx, window)
	defer cancel()
	var (
		n    atomic.Int64
		all  sync.WaitGroup
		fail = make(chan error, clients)
	)
	began := time.Now()
	for range clients {
		all.Go(func() {
			for ctx.Err() == nil {
				if err := write(context.WithoutCancel(ctx), js); err != nil {
					fail <- err
					return
				}
				n.Add(1)
			}
		})
	}
	all.Wait()
	select {
	case err := <-fail:
		return nil, err
	default:
		return figures{"cmd/s": float64(n.Load()) / time.Since(began).Seconds()}, nil
	}
}

// body is as long as a refund command or its outcome.
var body = []byte(strings.Repeat("x", 400))

func scheduled(at, due string, body []byte) *nats.Msg {
	return &nats.Msg{Subject: at, Data: body, Header: nats.Header{
		"Nats-Schedule": {"@at " + time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano)}, "Nats-Schedule-Target": {due},
	}}
}

// writeTwo writes the records as the worker does, each to its stream, the second when the first is confirmed.
func writeTwo(ctx context.Context, js jetstream.JetStream) error {
	mchid, key := merchantID(0), nuid.Next()
	if _, err := js.PublishMsg(ctx, scheduled(subjects.SettlementAt(mchid, key), subjects.SettlementDue(mchid), body)); err != nil {
		return err
	}
	out := &nats.Msg{Subject: subjects.Outcome(mchid, "refund", key, "accepted"), Data: body}
	_, err := js.PublishMsg(ctx, out, jetstream.WithExpectLastSequenceForSubject(0, subjects.OutcomeFilter(mchid, "refund", key)))
	return err
}

// writeBatch writes both records at once: all or nothing.
// Source: NATS ADR-50, atomic batch publishing.
func writeBatch(ctx context.Context, js jetstream.JetStream) error {
	id, key := nuid.Next(), nuid.Next()
	first, second := scheduled("batch.at."+key, "batch.due", body), &nats.Msg{Subject: "batch.outcome." + key + ".accepted", Data: body, Header: nats.Header{
		"Nats-Expected-Last-Subject-Sequence": {"0"}, "Nats-Batch-Commit": {"1"},
	}}
	first.Header["Nats-Batch-Id"], first.Header["Nats-Batch-Sequence"] = []string{id}, []string{"1"}
	second.Header["Nats-Batch-Id"], second.Header["Nats-Batch-Sequence"] = []string{id}, []string{"2"}
	if err := js.Conn().PublishMsg(first); err != nil {
		return err
	}
	_, err := js.PublishMsg(ctx, second)
	return err
}

// startCluster starts servers with an empty store each, and the streams in them; end ends them.
func (b *bench) startCluster(ctx context.Context, servers int, synced bool) (js jetstream.JetStream, end func() error, err error) {
	dir, err := os.MkdirTemp(b.dir, "cluster-")
	if err != nil {
		return nil, nil, err
	}
	var running []*process
	end = func() error {
		var failed error
		for _, p := range running {
			failed = errors.Join(failed, p.stop())
		}
		return errors.Join(failed, os.RemoveAll(dir))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, end())
		}
	}()
	var clients, routes []string
	for range 2 * servers {
		address, err := freeAddress()
		if err != nil {
			return nil, nil, err
		}
		if len(clients) < servers {
			clients = append(clients, address)
		} else {
			routes = append(routes, "nats://"+address)
		}
	}
	for i, listen := range clients {
		interval, cluster := "", ""
		if synced {
			interval = ", sync_interval: always"
		}
		if servers > 1 {
			cluster = fmt.Sprintf("cluster: {name: bench, listen: %q, routes: [%s]}\n", strings.TrimPrefix(routes[i], "nats://"), strings.Join(routes, ", "))
		}
		config := fmt.Sprintf("listen: %q\nserver_name: bench-%d\njetstream: {store_dir: %q, max_file_store: 16GB%s}\n%s", listen, i, filepath.Join(dir, fmt.Sprint(i)), interval, cluster)
		file := filepath.Join(dir, fmt.Sprintf("nats-%d.conf", i))
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			return nil, nil, err
		}
		p, err := start(b.dir, "nats-server", b.natsServer, "-c", file)
		if err != nil {
			return nil, nil, err
		}
		running = append(running, p)
	}
	nc, err := nats.Connect(strings.Join(clients, ","), nats.RetryOnFailedConnect(true), nats.MaxReconnects(1000), nats.ReconnectWait(5*time.Millisecond))
	if err != nil {
		return nil, nil, err
	}
	stop := end
	end = func() error { nc.Close(); return stop() }
	if js, err = jetstream.New(nc); err != nil {
		return nil, nil, err
	}
	wanted := consumer.Streams{Subjects: subjects, Replicas: servers, MaxWaiting: 2_000_000, OutcomesMaxAge: 24 * time.Hour}
	for until := time.Now().Add(storePatience); ; { // a cluster elects a leader first
		if err = b.ensure(ctx, js, wanted); err == nil || time.Now().After(until) || ctx.Err() != nil {
			return js, end, err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (b *bench) ensure(ctx context.Context, js jetstream.JetStream, wanted consumer.Streams) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := consumer.EnsureStreams(ctx, js.Conn(), wanted); err != nil {
		return err
	}
	_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: "BATCH", Subjects: []string{"batch.>"}, Replicas: wanted.Replicas, AllowAtomicPublish: true, AllowMsgSchedules: true,
	})
	return err
}
