package dlq

import (
	"fmt"

	"wxpay-worker/messages"
)

// Explanation is what a dead letter means to the person who finds it.
type Explanation struct {
	Meaning string // what happened, and what did not
	Do      string // what to do about it
	Replay  string // what putting it back would do
}

// Explain says what a letter means. The texts hold names and numbers of the letter, never what the command says.
func Explain(l *Letter) Explanation {
	e := explanations[l.Reason]
	e.Do = e.Do + where(l)
	switch {
	case l.Reason == messages.ReasonConflict && l.ConflictsWith != "":
		e.Meaning = fmt.Sprintf("%s stands for a command with other parameters already, or for a refund at WeChat Pay with another amount or order. ",
			l.ConflictsWith) + e.Meaning
	case l.Step != "":
		e.Meaning += fmt.Sprintf(" A decision is carried out in steps: what came before the step %q has been done and stays done, "+
			"nothing after it was sent, and a replay goes on at it.", l.Step)
	}
	return e
}

var explanations = map[messages.Reason]Explanation{
	messages.ReasonMalformed: {
		Meaning: "The message is not a command of the contract, or not one that this merchant's configuration can carry. " +
			"It was not carried out.",
		Do:     "Mend the publisher. Then correct this command with --patch, or send a corrected one and drop this letter.",
		Replay: "Unchanged, it fails again, unless the worker's version or the merchant's configuration has changed since.",
	},
	messages.ReasonConflict: {
		Meaning: "Nothing was done for this one.",
		Do: "Find out which of the two was meant. If both were, send this one again with another number or id. " +
			"Then drop this letter.",
		Replay: "It fails again for as long as the other one stands. It cannot be patched.",
	},
	messages.ReasonRejected: {
		Meaning: "WeChat Pay said no, and that is proven: it did not happen, and by itself it will not.",
		Do: "Read code and message. If the cause can be mended (the order is paid, the complaint is replied to), mend it and replay it. " +
			"If a field is wrong, correct it with --patch, or send a corrected command with the same number or id.",
		Replay: "Safe. It is a new try under the same number or id, and reads back before it sends.",
	},
	messages.ReasonExhausted: {
		Meaning: "Tries ran out. The last look at WeChat Pay, at least a minute after the last attempt, showed that nothing had happened.",
		Do:      "Find out what kept it (an outage, throttling). When that is over, replay it.",
		Replay:  "Safe. It is a new try under the same number or id, and reads back before it sends.",
	},
	messages.ReasonUnresolved: {
		Meaning: "Tries ran out, and it is open whether it happened: neither an answer nor a look afterwards could prove it.",
		Do:      "Look before anything else:",
		Replay:  "Needs --unresolved, from somebody who has looked. The worker reads back first, and sends only what it does not find.",
	},
	messages.ReasonPoison: {
		Meaning: "Handling it panicked: a bug in the worker. It may have happened before the panic.",
		Do:      "Report the bug with the stack trace in the worker's log. Look before you put it back:",
		Replay:  "It reads back first. With the same version of the worker it will most likely panic again.",
	},
}

// where says where to look whether a command took effect.
func where(l *Letter) string {
	if l.Reason != messages.ReasonUnresolved && l.Reason != messages.ReasonPoison {
		return ""
	}
	switch l.Kind {
	case messages.KindRefund:
		return fmt.Sprintf(" `worker dlq show %d --live` asks WeChat Pay for the refund by its number; "+
			"so does the merchant platform (商户平台), under refunds.", l.Sequence)
	default:
		return fmt.Sprintf(" `worker dlq show %d --live` asks WeChat Pay for the complaint and its history; "+
			"so does the merchant platform (商户平台), under complaints.", l.Sequence)
	}
}
