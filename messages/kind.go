package messages

// Kind is what a command asks for. It is a token of every outcome and dead letter subject.
type Kind string

// The four kinds of command.
const (
	KindRefund   Kind = "refund"   // refund an order
	KindDecision Kind = "decision" // approve or reject the refund a complaint asks for
	KindReply    Kind = "reply"    // say something to the complaining user
	KindComplete Kind = "complete" // report a complaint as finished
)

// Kinds lists every kind, in the order in which documents and tables show them.
var Kinds = []Kind{KindRefund, KindDecision, KindReply, KindComplete}

// Status is where a command stands, the last token of its outcome subject.
type Status string

// The statuses. Started and accepted are not final: another one follows.
const (
	StatusStarted   Status = "started"   // complaint kinds: the call that WeChat Pay does not deduplicate is about to be made
	StatusAccepted  Status = "accepted"  // refunds: WeChat Pay took it, the money is not there yet
	StatusSucceeded Status = "succeeded" // done
	StatusClosed    Status = "closed"    // refunds: WeChat Pay closed it, no money moved; a new number is needed
	StatusAbnormal  Status = "abnormal"  // refunds: the money did not reach the payer, a person is needed; may become succeeded
	StatusFailed    Status = "failed"    // it ended as a dead letter
)

// Final reports whether a command that shows this status has ended.
func (s Status) Final() bool { return s != StatusStarted && s != StatusAccepted }

// Reason is why a command became a dead letter, a token of its subject.
type Reason string

// The reasons.
const (
	ReasonMalformed  Reason = "malformed"  // not valid JSON, not this contract, over a limit
	ReasonConflict   Reason = "conflict"   // known identity, other parameters
	ReasonRejected   Reason = "rejected"   // WeChat Pay's proven, definite no
	ReasonExhausted  Reason = "exhausted"  // tries ran out; nothing happened
	ReasonUnresolved Reason = "unresolved" // tries ran out; it may have happened: look before replaying
	ReasonPoison     Reason = "poison"     // handling it panicked
)

// Reasons lists every reason.
var Reasons = []Reason{ReasonMalformed, ReasonConflict, ReasonRejected, ReasonExhausted, ReasonUnresolved, ReasonPoison}
