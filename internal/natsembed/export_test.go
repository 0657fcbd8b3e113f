package natsembed

// TurnJetStreamOff does what the server does when it may not write to its store any more.
func (s *Server) TurnJetStreamOff() error { return s.s.ShutdownJetStream() }
