package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/internal/natstest"
)

// node is one NATS server. It keeps its address and its store when it is killed.
type node struct {
	name, address, config, log, program string

	mu      sync.Mutex
	process *process // nil: not running; guarded by mu
}

// maxStore is what all streams of a node may take on the disk: small, so that it can be filled.
const maxStore = 96 << 20

// newNodes writes the configurations of a single node or of a cluster, and starts none.
func newNodes(dir, program string, n int) ([]*node, error) {
	var nodes []*node
	var routes []string
	for i := range n {
		name := fmt.Sprintf("n%d", i+1)
		address, err := natstest.Address()
		if err != nil {
			return nil, err
		}
		route, err := natstest.Address()
		if err != nil {
			return nil, err
		}
		routes = append(routes, route)
		nodes = append(nodes, &node{
			name: name, address: address, program: program,
			config: filepath.Join(dir, name+".conf"), log: filepath.Join(dir, name+".log"),
		})
	}
	for i, n := range nodes {
		config := fmt.Sprintf("server_name: %s\nlisten: %s\njetstream { store_dir: %q, sync_interval: always, max_file_store: %d, max_memory_store: 64MB }\n",
			n.name, n.address, filepath.Join(dir, n.name), maxStore)
		if len(nodes) > 1 {
			// Clients must stay on the addresses that they were given: those of the wires.
			config += fmt.Sprintf("cluster { name: chaos, listen: %s, no_advertise: true, routes: [nats://%s] }\n",
				routes[i], strings.Join(routes, ", nats://"))
		}
		if err := os.WriteFile(n.config, []byte(config), 0o600); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

// start runs the node, if it is not running.
func (n *node) start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process != nil {
		return nil
	}
	p, err := launch(n.log, n.program, nil, "-c", n.config)
	n.process = p
	return err
}

// kill is kill -9.
func (n *node) kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process != nil {
		n.process.kill()
		n.process = nil
	}
}

// leader is the node that leads a stream; any node if that cannot be found out.
func (s *site) leader(ctx context.Context, stream string, otherwise *node) *node {
	have, err := s.js.Stream(ctx, stream)
	if err != nil || have.CachedInfo().Cluster == nil {
		return otherwise
	}
	for _, n := range s.nodes {
		if n.name == have.CachedInfo().Cluster.Leader {
			return n
		}
	}
	return otherwise
}

// fill stores ballast until the store takes no more; the returned function takes it away.
func (s *site) fill(ctx context.Context) (empty func() error, err error) {
	const ballast = "BALLAST"
	_, err = s.js.CreateStream(ctx, jetstream.StreamConfig{Name: ballast, Subjects: []string{"ballast"}, Storage: jetstream.FileStorage, Replicas: len(s.nodes)})
	if err != nil {
		return nil, err
	}
	// Large pieces first, then small ones, so that nothing else fits any more.
	for _, size := range []int{512 << 10, 16 << 10, 256} {
		piece := make([]byte, size)
		for ctx.Err() == nil {
			if _, err := s.js.Publish(ctx, "ballast", piece); err != nil {
				break
			}
		}
	}
	return func() error { return s.js.DeleteStream(context.WithoutCancel(ctx), ballast) }, nil
}
