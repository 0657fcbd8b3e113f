package consumer

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// comparing collects differences.
type comparing struct{ all []Difference }

func (c *comparing) note(setting string, have, want any, step Step, why string) {
	c.all = append(c.all, Difference{Setting: setting, Have: text(have), Want: text(want), Step: step, Why: why})
}

func text(v any) string {
	switch v := v.(type) {
	case []string:
		return strings.Join(v, " ")
	case limit:
		if v <= 0 {
			return "unlimited"
		}
		return fmt.Sprint(int64(v))
	case age:
		if v <= 0 {
			return "unlimited"
		}
		return time.Duration(v).String()
	}
	return fmt.Sprint(v)
}

// limit is a number of which zero and less mean unlimited; age is the same for durations.
type (
	limit int64
	age   time.Duration
)

// raise lifts a limit to what is wanted. One that is higher already stays: lowering it makes the server delete messages.
func raise[L limit | age, V ~int32 | ~int64 | ~int](c *comparing, setting string, have *V, want V) {
	switch {
	case *have == want, *have <= 0 && want <= 0:
	case *have > 0 && (want <= 0 || *have < want):
		c.note(setting, L(*have), L(want), StepChange, "")
		*have = want
	default:
		c.note(setting, L(*have), L(want), StepKeep, "lowering it could delete messages")
	}
}

// flag sets what can be switched without loss.
func (c *comparing) flag(setting string, have *bool, want bool) {
	if *have != want {
		c.note(setting, *have, want, StepChange, "")
		*have = want
	}
}

// compareStream returns the configuration to apply (the one that the stream has, with whatever falls short made as wanted), and every
// difference that matters.
func compareStream(have, want jetstream.StreamConfig) (jetstream.StreamConfig, []Difference) {
	out, c := have, &comparing{}
	if out.Subjects = slices.Clone(have.Subjects); have.Mirror != nil {
		c.note("mirror", have.Mirror.Name, "none", StepMisfit, "")
	}
	if have.Retention != want.Retention {
		c.note("retention", have.Retention, want.Retention, StepMisfit, "")
	}
	if have.Storage != want.Storage {
		c.note("storage", have.Storage, want.Storage, StepMisfit, "")
	}
	if want.DiscardNewPerSubject && (have.Discard != want.Discard || !have.DiscardNewPerSubject) {
		c.note("discard", have.Discard, "new, per subject", StepMisfit, "")
	}
	if have.Sealed {
		c.note("sealed", true, false, StepMisfit, "")
	}
	compareSubjects(c, &out, want)
	if have.Replicas < want.Replicas {
		c.note("num_replicas", have.Replicas, want.Replicas, StepChange, "")
		out.Replicas = want.Replicas
	} else if have.Replicas > want.Replicas {
		c.note("num_replicas", have.Replicas, want.Replicas, StepKeep, "copies are not taken away")
	}
	raise[limit](c, "max_msgs_per_subject", &out.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
	raise[limit](c, "max_msg_size", &out.MaxMsgSize, want.MaxMsgSize)
	raise[age](c, "max_age", &out.MaxAge, want.MaxAge)
	compareBounds(c, have, want)
	if want.Duplicates > 0 && have.Duplicates > want.Duplicates { // a shorter memory of message ids loses no message
		c.note("duplicate_window", have.Duplicates, want.Duplicates, StepChange, "")
		out.Duplicates = want.Duplicates
	}
	if want.AllowDirect { // what is allowed beyond that does no harm
		c.flag("allow_direct", &out.AllowDirect, true)
	}
	if want.AllowMsgSchedules {
		c.flag("allow_msg_schedules", &out.AllowMsgSchedules, true)
	} else {
		if have.AllowMsgSchedules {
			c.note("allow_msg_schedules", true, false, StepMend,
				"whoever publishes to one of its subjects can make the server publish to another, and it cannot be disabled: empty the stream, remove it, and run setup")
		}
		// With it, a publisher could remove other publishers' messages. Schedules cannot do without.
		c.flag("allow_rollup_hdrs", &out.AllowRollup, want.AllowRollup || have.AllowMsgSchedules)
	}
	c.flag("no_ack", &out.NoAck, false)
	if have.DenyDelete && !want.DenyDelete {
		c.note("deny_delete", true, false, StepKeep, "it cannot be disabled; single messages cannot be taken out")
	}
	return out, c.all
}

// compareSubjects adds what is missing, and takes nothing away.
func compareSubjects(c *comparing, out *jetstream.StreamConfig, want jetstream.StreamConfig) {
	before := slices.Clone(out.Subjects)
	if slices.ContainsFunc(before, func(have string) bool { return differsInCase(have, want.Subjects[0]) }) {
		c.note("subjects", before, want.Subjects, StepMisfit, "")
		return
	}
	var missing, more []string
	for _, s := range want.Subjects {
		if !slices.ContainsFunc(before, func(have string) bool { return covers(have, s) }) {
			missing = append(missing, s)
		}
	}
	for _, s := range before {
		if !slices.Contains(want.Subjects, s) {
			more = append(more, s)
		}
	}
	if len(missing) > 0 {
		out.Subjects = append(out.Subjects, missing...)
		c.note("subjects", before, out.Subjects, StepChange, "")
	}
	if len(more) > 0 {
		c.note("subjects", more, want.Subjects, StepKeep, "what is published there is stored, and nobody takes it")
	}
}

// differsInCase reports whether the prefixes of two subjects differ in nothing but case: an installation's streams bear its prefix in upper
// case, so that another one has streams of the same names, and each would take the other's lanes.
func differsInCase(a, b string) bool {
	a, _, _ = strings.Cut(a, ".")
	b, _, _ = strings.Cut(b, ".")
	return a != b && strings.EqualFold(a, b)
}

// covers reports whether every subject that b matches is matched by the pattern a.
func covers(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i, token := range as {
		switch {
		case token == ">":
			return len(bs) > i
		case i >= len(bs) || bs[i] == ">":
			return false
		case token != "*" && token != bs[i]:
			return false
		}
	}
	return len(as) == len(bs)
}

// compareBounds looks at the bounds of a whole stream, which are never set here: somebody had a reason, and so they stay.
func compareBounds(c *comparing, have, want jetstream.StreamConfig) {
	for _, b := range []struct {
		setting    string
		have, want int64
	}{{"max_msgs", have.MaxMsgs, want.MaxMsgs}, {"max_bytes", have.MaxBytes, want.MaxBytes}} {
		switch {
		case b.have <= 0, b.want > 0 && b.have >= b.want:
		case have.Discard == jetstream.DiscardNew:
			c.note(b.setting, limit(b.have), limit(b.want), StepKeep, "when it is full, all publishers are refused")
		default:
			c.note(b.setting, limit(b.have), limit(b.want), StepMend,
				"when it is full, the server drops its oldest messages, whatever they are: remove the limit (nats stream edit)")
		}
	}
}

// describeStream says what a stream will be like.
func describeStream(want jetstream.StreamConfig) []Difference {
	c := &comparing{}
	c.note("subjects", "", want.Subjects, StepChange, "")
	c.note("retention", "", strings.ToLower(want.Retention.String()), StepChange, "")
	c.note("num_replicas", "", want.Replicas, StepChange, "")
	if want.MaxMsgsPerSubject > 0 {
		c.note("max_msgs_per_subject", "", limit(want.MaxMsgsPerSubject), StepChange, "")
	}
	c.note("max_age", "", age(want.MaxAge), StepChange, "")
	return c.all
}

// compareLane lists what is not as wanted. All of it but what the server refuses to change is changed: a lane holds no messages.
func compareLane(have, want jetstream.ConsumerConfig) []Difference {
	c := &comparing{}
	if have.AckPolicy != want.AckPolicy {
		c.note("ack_policy", have.AckPolicy, want.AckPolicy, StepMisfit, "")
	}
	if have.DeliverPolicy != want.DeliverPolicy {
		c.note("deliver_policy", have.DeliverPolicy, want.DeliverPolicy, StepMisfit, "")
	}
	for _, s := range []struct {
		setting    string
		have, want any
	}{
		{"filter_subject", append(slices.Clone(have.FilterSubjects), have.FilterSubject), append(slices.Clone(want.FilterSubjects), want.FilterSubject)},
		{"ack_wait", have.AckWait, want.AckWait},
		{"max_deliver", limit(have.MaxDeliver), limit(want.MaxDeliver)},
		{"max_ack_pending", limit(have.MaxAckPending), limit(want.MaxAckPending)},
		{"priority_policy", have.PriorityPolicy, want.PriorityPolicy},
		{"priority_groups", have.PriorityGroups, want.PriorityGroups},
		{"priority_timeout", have.PinnedTTL, want.PinnedTTL},
		{"backoff", have.BackOff, want.BackOff}, // it would override ack_wait
		{"headers_only", have.HeadersOnly, want.HeadersOnly},
		{"inactive_threshold", age(have.InactiveThreshold), age(want.InactiveThreshold)}, // it would remove the lane
		{"max_batch", limit(have.MaxRequestBatch), limit(want.MaxRequestBatch)},
		{"max_expires", age(have.MaxRequestExpires), age(want.MaxRequestExpires)},
		{"max_bytes", limit(have.MaxRequestMaxBytes), limit(want.MaxRequestMaxBytes)},
	} {
		if text(s.have) != text(s.want) {
			c.note(s.setting, s.have, s.want, StepChange, "")
		}
	}
	return c.all
}

// describeLane says what a lane will be like.
func describeLane(want jetstream.ConsumerConfig) []Difference {
	c := &comparing{}
	c.note("filter_subject", "", want.FilterSubject, StepChange, "")
	c.note("ack_wait", "", want.AckWait, StepChange, "")
	c.note("max_ack_pending", "", want.MaxAckPending, StepChange, "")
	return c.all
}
