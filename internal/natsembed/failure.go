package natsembed

import (
	"errors"

	"github.com/nats-io/nats-server/v2/server"
)

// Failure says why the store takes nothing more; nil if it does. A stream of which one write has failed, because the disk is full, say, stores
// and confirms nothing until the server is started anew, even when there is room again; and yet its state, and all else that JetStream
// answers, looks well. After an error of permissions the server turns all of JetStream off.
//
// A stream that is just being made or removed may look as if it had failed: believe only what two calls in a row say.
//
// Source: nats-server 2.15 server/filestore.go and stream.go, setWriteErr; monitor.go, healthz; jetstream.go, ShutdownJetStream.
func (s *Server) Failure() error {
	health := s.s.Healthz(&server.HealthzOptions{Details: true})
	if len(health.Errors) == 0 {
		return nil
	}
	var all []error
	streams := s.streams()
	for _, e := range health.Errors {
		// Only streams that there are. A folder that the server could make no stream of when it started shows as an error, too, but a new start
		// would change nothing about it.
		if e.Type == server.HealthzErrorJetStream || e.Type == server.HealthzErrorStream && streams[e.Account+" "+e.Stream] {
			all = append(all, errors.New(e.Error))
		}
	}
	return errors.Join(all...)
}

// streams are those that there are, by account and name.
func (s *Server) streams() map[string]bool {
	there := map[string]bool{}
	report, err := s.s.Jsz(&server.JSzOptions{Accounts: true, Streams: true})
	if err != nil {
		return there // JetStream is off, which is told anyway
	}
	for _, account := range report.AccountDetails {
		for _, stream := range account.Streams {
			there[account.Id+" "+stream.Name] = true
		}
	}
	return there
}
