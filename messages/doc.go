// Package messages is the language between those who send commands and the worker: commands, outcomes, dead letters, their headers
// and their subjects. It knows neither NATS nor WeChat Pay's API; it turns bytes and headers into checked values and back.
//
//	subject                                             body         who writes
//	<prefix>.command.<mchid>.refund                     command      anyone who may
//	<prefix>.command.<mchid>.complaint.<kind>           command      anyone who may (decision, reply, complete)
//	<prefix>.outcome.<mchid>.<kind>.<key>.<status>      Outcome      the worker
//	<prefix>.deadletter.<mchid>.<kind>.<reason>.<key>   the command  the worker
//
// # Promises
//
//   - A command that decodes is valid in every rule of the contract: nothing unknown, misspelt, doubled, null or out of its limits is
//     in it, and encoding/json with DisallowUnknownFields would have read the same.
//   - Encoding is deterministic, and decoding what was encoded gives the same command.
//   - Command.Digest stays the same across releases; a field that a later release adds does not change it for commands without.
//   - An error never holds a field's value. The name of a field that the contract does not have is shown, bounded and printable.
//   - Subjects and tokens are parsed by exact inverses: one key has one subject.
//   - What DeadLetter.Headers returns can be published, whatever the command's publisher put into its headers.
//
// # Limits
//
//   - A command has at most 64 KiB; JSON in UTF-8; one object.
//   - A dead letter keeps at most 32 KiB of the command's own headers, and of a message 512 bytes.
//   - Times are written in UTC with milliseconds.
//   - Outcomes and dead letters are trusted: only the worker may publish on their subjects.
//   - A command's id may begin or end with spaces if it stands in the body. NATS trims header values: such an id is exact in bodies and
//     subjects only, and one that comes in a header has no spaces around it. Package dlq reads a letter's key from its subject.
//
// # Use
//
//	subjects, err := messages.NewSubjects("wxpay")
//	…
//	mchid, kind, ok := subjects.ParseCommand(msg.Subject)
//	…
//	command, err := messages.DecodeCommand(kind, mchid, msg.Header, msg.Data)
//	if malformed, ok := errors.AsType[*messages.MalformedError](err); ok {
//		return bury(messages.ReasonMalformed, malformed.Error()) // malformed.Field names the place
//	}
//	switch command := command.(type) {
//	case *messages.RefundCommand:
//		return refund(command.RefundParams)
//	…
package messages
