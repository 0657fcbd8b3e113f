package natsembed

import (
	"errors"

	"github.com/nats-io/nats-server/v2/server"
)

// Failure says why the store takes nothing more, or nil. A stream whose write has failed once, of a full disk say, stores and confirms
// nothing until the server is started anew, also when there is room again, while its state and all else that JetStream answers look
// well; after an error of permissions the server turns all of JetStream off.
//
// A stream that is just being made or removed may look as if it had failed: believe it the second time.
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
		// A folder that no stream could be made of when the server started takes nothing either, and a new start changes nothing.
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
