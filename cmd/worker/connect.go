package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sirupsen/logrus"

	"wxpay-worker/internal/natsembed"
)

// connectTimeout bounds one attempt to reach one server.
const connectTimeout = 5 * time.Second

// clientName shows in NATS tools.
const clientName = "wxpay-worker"

// clientURL is where commands other than run look for NATS: at nats.url, or, without it, where the embedded server of worker run listens.
func (c *Config) clientURL() string {
	if c.NATS.URL != "" {
		return c.NATS.URL
	}
	host, port, _ := net.SplitHostPort(c.NATS.Embedded.Listen) // checked
	return "nats://" + net.JoinHostPort(cmp.Or(host, "127.0.0.1"), port)
}

// dialOptions reads the files that a connection needs, once, and has the connection's troubles logged. A connection that is lost is
// restored, however long that takes.
func dialOptions(c *Config, log logrus.FieldLogger) ([]nats.Option, error) {
	options, err := c.natsOptions()
	c.warn(log)
	options = append(options, nats.Name(clientName), nats.MaxReconnects(-1), nats.Timeout(connectTimeout))
	return append(options, natsEvents(log)...), err
}

// dial connects to the configured servers, or fails at once.
func dial(c *Config, options []nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect(c.clientURL(), options...)
	if err != nil && c.NATS.URL == "" {
		return nil, fmt.Errorf("cannot reach NATS at %s, where worker run has its own: %w (nats.url names another)", c.clientURL(), err)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot reach NATS at %s: %w", c.clientURL(), err)
	}
	return nc, nil
}

// client is the connection of a command that publishes or reads. NATS must be there when it is made.
type client struct {
	*nats.Conn
	js     jetstream.JetStream
	config *Config
}

// publishTimeout is how long a publisher waits for the stream's confirmation: long enough for a cluster to elect a leader.
const publishTimeout = 10 * time.Second

func (a *app) connect(more ...nats.Option) (*client, error) {
	c, err := loadConfig(a.config, a.nats)
	if err != nil {
		return nil, err
	}
	return a.connectAs(c, more...)
}

// connectAs is connect for a command that has read its configuration already.
func (a *app) connectAs(c *Config, more ...nats.Option) (*client, error) {
	options, err := dialOptions(c, quiet(a.err))
	if err != nil {
		return nil, err
	}
	nc, err := dial(c, append(options, more...))
	if err != nil {
		return nil, err
	}
	return newClient(nc, c)
}

func newClient(nc *nats.Conn, c *Config) (*client, error) {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(publishTimeout))
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	return &client{nc, js, c}, nil
}

// embedded is a NATS server in this process and our connection to it.
type embedded struct {
	*natsembed.Server
	nc *nats.Conn
}

func startEmbedded(ctx context.Context, o natsembed.Options, log logrus.FieldLogger) (*embedded, error) {
	server, err := natsembed.StartContext(ctx, o)
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect("", append(natsEvents(log), nats.Name(clientName), server.InProcess())...)
	if err != nil {
		server.Shutdown()
		return nil, fmt.Errorf("connect to the embedded NATS server: %w", err)
	}
	return &embedded{server, nc}, nil
}

// Close ends the connection, then the server.
func (e *embedded) Close() {
	e.nc.Close()
	e.Shutdown()
}

// retryPause is the time between two attempts of patiently.
const retryPause = 2 * time.Second

// patiently repeats do, and logs each failure, until it succeeds, fails with an error that is lasting, or ctx ends.
func patiently(ctx context.Context, log logrus.FieldLogger, lasting func(error) bool, do func() error) error {
	for {
		err := do()
		if err == nil || lasting(err) || ctx.Err() != nil {
			return err
		}
		log.WithError(err).Warnf("trying again in %s", retryPause)
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return err
		}
	}
}

// The codes, besides status 503, that a cluster answers with while some of its servers, or a leader, are missing.
//
// Source: nats-server 2.15 server/errors.json (JSClusterNoPeersErrF, JSClusterNotLeaderErr, JSStreamAssignmentErrF).
const (
	noSuitablePeers   jetstream.ErrorCode = 10005
	notLeader         jetstream.ErrorCode = 10009
	notAssignedStream jetstream.ErrorCode = 10048
)

// errNoJetStream says that nobody serves the JetStream API: it is not enabled, or the server is starting, or a cluster is electing a leader.
var errNoJetStream = errors.New("JetStream does not answer: is it enabled at this server and for this account?")

// jetStreamError wraps an error by which NATS says that it has no JetStream, at all or for this account, in errNoJetStream. Any other error
// it returns as it is.
func jetStreamError(err error) error {
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return fmt.Errorf("%w (%w)", errNoJetStream, err)
	}
	return err
}

// noTaker lists what may be the matter when no stream answers a message or a request. The server does not say which it is, and a user who may
// only publish cannot ask.
const noTaker = "start a worker first, or check nats.prefix; or JetStream is not enabled for this account; or a cluster is electing " +
	"the stream's leader: then try again in some seconds"

// unanswered is the error of what no stream answered.
func (c *client) unanswered(what string) error {
	if enabled, _ := c.ConnectedServerJetStream(); !enabled {
		return fmt.Errorf("%s: %w Else "+noTaker, what, errNoJetStream) // in a cluster some servers may be without
	}
	return fmt.Errorf("%s: "+noTaker, what)
}

// isLasting reports whether an error is one that only a person can mend, and not that of a NATS that is starting, or electing a leader.
func isLasting(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.Code != http.StatusServiceUnavailable && !slices.Contains([]jetstream.ErrorCode{noSuitablePeers, notLeader, notAssignedStream}, api.ErrorCode)
	}
	return !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrTimeout) && !errors.Is(err, nats.ErrNoResponders) &&
		!errors.Is(err, nats.ErrDisconnected) && !errors.Is(err, nats.ErrConnectionReconnecting)
}
