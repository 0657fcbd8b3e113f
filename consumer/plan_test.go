package consumer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/consumer"
	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
)

func wanted() consumer.Installation {
	return consumer.Installation{
		Streams:   consumer.Streams{Subjects: messages.Subjects{Prefix: "wxpay"}, Replicas: 1, MaxWaiting: 1000, OutcomesMaxAge: time.Hour},
		Merchants: []string{mchid, "1900000002"}, AckWait: time.Minute, PinnedTTL: 15 * time.Second,
	}
}

// planAll plans every part and reports, by name, what it would change; applied if told so.
func planAll(t *testing.T, js jetstream.JetStream, i consumer.Installation, apply bool) map[string]*consumer.Change {
	t.Helper()
	out := map[string]*consumer.Change{}
	for _, part := range i.Parts() {
		change := must(part.Plan(t.Context(), js))
		out[part.Name] = change
		if apply {
			check(t, change.Misfit())
			check(t, change.Apply(t.Context(), js))
		}
	}
	return out
}

// What setup makes is what a worker wants: once applied nothing differs, and planning alone makes nothing.
func TestAPlanThatWasAppliedIsEmpty(t *testing.T) {
	t.Parallel()
	js := must(jetstream.New(natstest.Connect(t)))
	for name, c := range planAll(t, js, wanted(), false) {
		if c.Action != consumer.ActionCreate || len(c.Differences) == 0 {
			t.Errorf("%s: %s %v", name, c.Action, c.Differences)
		}
	}
	if info := must(js.AccountInfo(t.Context())); info.Streams != 0 {
		t.Fatalf("planning made %d streams", info.Streams)
	}
	planAll(t, js, wanted(), true)
	for name, c := range planAll(t, js, wanted(), false) {
		if c.Action != consumer.ActionNone || len(c.Differences) != 0 {
			t.Errorf("%s: %s %v", name, c.Action, c.Differences)
		}
	}
	if info := must(js.AccountInfo(t.Context())); info.Streams != 5 || info.Consumers != 5 {
		t.Errorf("%d streams, %d lanes", info.Streams, info.Consumers)
	}
}

// Whatever stands in the streams' settings, nothing that holds messages shrinks, what falls short is raised, and what a
// person has to mend is said.
func TestStreamsAreExtendedAndNeverShrunk(t *testing.T) {
	t.Parallel()
	const commands, outcomes, letters, settlements = "COMMANDS", "OUTCOMES", "DEADLETTERS", "SETTLEMENTS"
	js := must(jetstream.New(natstest.Connect(t)))
	for name, c := range map[string]struct {
		stream string
		edit   func(*jetstream.StreamConfig)
		want   string // the differences
		then   func(jetstream.StreamConfig) bool
	}{
		"outcomes kept longer": {outcomes, func(s *jetstream.StreamConfig) { s.MaxAge = 5 * time.Hour },
			"max_age 5h0m0s, not 1h0m0s: lowering it could delete messages", func(s jetstream.StreamConfig) bool { return s.MaxAge == 5*time.Hour }},
		"outcomes kept for ever": {outcomes, func(s *jetstream.StreamConfig) { s.MaxAge = 0 },
			"max_age unlimited, not 1h0m0s: lowering it could delete messages", func(s jetstream.StreamConfig) bool { return s.MaxAge == 0 }},
		"outcomes kept too short": {outcomes, func(s *jetstream.StreamConfig) { s.MaxAge = 30 * time.Minute },
			"max_age 30m0s → 1h0m0s", func(s jetstream.StreamConfig) bool { return s.MaxAge == time.Hour }},
		"dead letters that expire": {letters, func(s *jetstream.StreamConfig) { s.MaxAge = time.Hour },
			"max_age 1h0m0s → unlimited", func(s jetstream.StreamConfig) bool { return s.MaxAge == 0 }},
		"more may wait": {commands, func(s *jetstream.StreamConfig) { s.MaxMsgsPerSubject = 5000 },
			"max_msgs_per_subject 5000, not 1000: lowering it could delete messages", func(s jetstream.StreamConfig) bool { return s.MaxMsgsPerSubject == 5000 }},
		"less may wait": {commands, func(s *jetstream.StreamConfig) { s.MaxMsgsPerSubject = 10 },
			"max_msgs_per_subject 10 → 1000", func(s jetstream.StreamConfig) bool { return s.MaxMsgsPerSubject == 1000 }},
		"small messages only": {commands, func(s *jetstream.StreamConfig) { s.MaxMsgSize = 1000 },
			"max_msg_size 1000 → 262144", func(s jetstream.StreamConfig) bool { return s.MaxMsgSize == 262144 }},
		"a subject is missing": {commands, func(s *jetstream.StreamConfig) { s.Subjects = s.Subjects[:3] },
			"subjects ", func(s jetstream.StreamConfig) bool { return len(s.Subjects) == 4 }},
		"a subject too many": {commands, func(s *jetstream.StreamConfig) { s.Subjects = append(s.Subjects, s.Name+".>") },
			"what is published there is stored, and nobody takes it", func(s jetstream.StreamConfig) bool { return len(s.Subjects) == 5 }},
		"one subject for all": {commands, func(s *jetstream.StreamConfig) { s.Subjects = []string{"one-subject-for-all.command.>"} },
			"what is published there is stored, and nobody takes it", func(s jetstream.StreamConfig) bool { return len(s.Subjects) == 1 }},
		"a shared window of message ids": {commands, func(s *jetstream.StreamConfig) { s.Duplicates = 2 * time.Minute },
			"duplicate_window 2m0s → 100ms", func(s jetstream.StreamConfig) bool { return s.Duplicates == 100*time.Millisecond }},
		"publishers may purge": {commands, func(s *jetstream.StreamConfig) { s.AllowRollup = true },
			"allow_rollup_hdrs true → false", func(s jetstream.StreamConfig) bool { return !s.AllowRollup }},
		"no direct get": {outcomes, func(s *jetstream.StreamConfig) { s.AllowDirect = false },
			"allow_direct false → true", func(s jetstream.StreamConfig) bool { return s.AllowDirect }},
		"nothing is confirmed": {outcomes, func(s *jetstream.StreamConfig) { s.NoAck = true },
			"no_ack true → false", func(s jetstream.StreamConfig) bool { return !s.NoAck }},
		"no schedules": {settlements, func(s *jetstream.StreamConfig) { s.AllowMsgSchedules = false },
			"allow_msg_schedules false → true", func(s jetstream.StreamConfig) bool { return s.AllowMsgSchedules }},
		"a bound that drops schedules": {settlements, func(s *jetstream.StreamConfig) { s.MaxBytes = 1 << 20 },
			"max_bytes 1048576, not unlimited: when it is full, the server drops its oldest messages, whatever they are: remove the limit (nats stream edit)",
			func(s jetstream.StreamConfig) bool { return s.MaxBytes == 1<<20 }},
		"a bound that refuses commands": {commands, func(s *jetstream.StreamConfig) { s.MaxBytes = 1 << 20 },
			"max_bytes 1048576, not unlimited: when it is full, all publishers are refused", func(s jetstream.StreamConfig) bool { return s.MaxBytes == 1<<20 }},
		"letters that cannot be taken out": {letters, func(s *jetstream.StreamConfig) { s.DenyDelete = true },
			"deny_delete true, not false: it cannot be disabled; single messages cannot be taken out", func(s jetstream.StreamConfig) bool { return s.DenyDelete }},
	} {
		t.Run(name, func(t *testing.T) {
			want := wanted()
			want.Subjects.Prefix = strings.ReplaceAll(name, " ", "-") // an installation of its own
			stream := strings.ToUpper(want.Subjects.Prefix) + "_" + c.stream
			planAll(t, js, want, true)
			config := must(js.Stream(t.Context(), stream)).CachedInfo().Config
			check(t, js.DeleteStream(t.Context(), stream)) // some settings cannot be taken back
			c.edit(&config)
			_ = must(js.CreateStream(t.Context(), config))
			plan := planAll(t, js, want, true)[stream]
			var got []string
			for _, d := range plan.Differences {
				got = append(got, d.String())
			}
			if text := strings.Join(got, "; "); !strings.Contains(text, c.want) || len(got) != 1 {
				t.Errorf("differences: %s", text)
			}
			if have := must(js.Stream(t.Context(), stream)).CachedInfo().Config; !c.then(have) {
				t.Errorf("then: %+v", have)
			}
		})
	}
}

// What cannot be mended while it is there is an error that says what is expected; the worker does not start on it.
func TestAStreamThatCannotServeIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config jetstream.StreamConfig
		want   string
	}{
		"retention":      {jetstream.StreamConfig{Name: "WXPAY_COMMANDS", Subjects: []string{"wxpay.command.*.refund"}}, "retention is Limits, expected WorkQueue"},
		"storage":        {jetstream.StreamConfig{Name: "WXPAY_OUTCOMES", Subjects: []string{"wxpay.outcome.>"}, Storage: jetstream.MemoryStorage}, "storage is Memory, expected File"},
		"discard":        {jetstream.StreamConfig{Name: "WXPAY_COMMANDS", Subjects: []string{"wxpay.command.*.refund"}, Retention: jetstream.WorkQueuePolicy}, "discard is DiscardOld, expected new, per subject"},
		"another stream": {jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"wxpay.outcome.>"}}, "another stream takes some of its subjects"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc := natstest.Connect(t)
			_ = must(must(jetstream.New(nc)).CreateStream(t.Context(), c.config))
			if err := consumer.EnsureStreams(t.Context(), nc, wanted().Streams); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// More copies than there are servers: the error says what to do.
func TestReplicasThatCannotBeMet(t *testing.T) {
	t.Parallel()
	want := wanted()
	want.Replicas = 3
	err := consumer.EnsureStreams(t.Context(), natstest.Connect(t), want.Streams)
	if err == nil || !strings.Contains(err.Error(), "set nats.replicas to 1") {
		t.Errorf("got %v", err)
	}
}

// A lane that differs is changed, and keeps its hold: the pause and its reason.
func TestALaneIsUpdatedAndKeepsItsHold(t *testing.T) {
	t.Parallel()
	js := must(jetstream.New(natstest.Connect(t)))
	planAll(t, js, wanted(), true)
	config := must(js.Consumer(t.Context(), "WXPAY_COMMANDS", "refund-"+mchid)).CachedInfo().Config
	config.Metadata = map[string]string{"wxpay_hold": "HTTP 401 SIGN_ERROR"}
	config.MaxAckPending, config.InactiveThreshold = 5, time.Hour
	_ = must(js.UpdateConsumer(t.Context(), "WXPAY_COMMANDS", config))
	_ = must(js.PauseConsumer(t.Context(), "WXPAY_COMMANDS", "refund-"+mchid, time.Now().Add(time.Hour)))
	change := planAll(t, js, wanted(), true)["refund-"+mchid]
	if len(change.Differences) != 2 || change.Action != consumer.ActionUpdate {
		t.Errorf("plan: %v", change.Differences)
	}
	info := must(js.Consumer(t.Context(), "WXPAY_COMMANDS", "refund-"+mchid)).CachedInfo()
	if !info.Paused || info.Config.Metadata["wxpay_hold"] != "HTTP 401 SIGN_ERROR" || info.Config.MaxAckPending != 10_000 || info.Config.InactiveThreshold != 0 {
		t.Errorf("then: %+v", info)
	}
}

func TestServerVersions(t *testing.T) {
	for version, ok := range map[string]bool{"2.15.0": true, "v2.15.2": true, "2.16.0-RC.1": true, "3.0.0": true, "2.14.9": false, "1.99.0": false, "": false, "dev": false} {
		if err := consumer.CheckServer(version); (err == nil) != ok {
			t.Errorf("%q: %v", version, err)
		}
	}
}

// Two installations whose prefixes differ in case only have streams of the same names: the second one does not start, and takes nothing.
func TestPrefixesThatDifferInCase(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t)
	streams := func(prefix string) consumer.Streams {
		return consumer.Streams{Subjects: must(messages.NewSubjects(prefix)), Replicas: 1, MaxWaiting: 10, OutcomesMaxAge: time.Hour}
	}
	check(t, consumer.EnsureStreams(t.Context(), nc, streams("wxpay")))
	if err := consumer.EnsureStreams(t.Context(), nc, streams("WXPAY")); err == nil || !strings.Contains(err.Error(), "choose another nats.prefix") {
		t.Errorf("%v", err)
	}
	stream := must(must(jetstream.New(nc)).Stream(t.Context(), "WXPAY_COMMANDS"))
	if subjects := stream.CachedInfo().Config.Subjects; len(subjects) != 4 {
		t.Errorf("subjects %v", subjects)
	}
	check(t, consumer.EnsureStreams(t.Context(), nc, streams("wxpay")))
}

// What differs is told in one line, with the reason where there is one.
func TestDifferencesAreTold(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]consumer.Difference{
		"max_age 24h0m0s → 720h0m0s":         {Setting: "max_age", Have: "24h0m0s", Want: "720h0m0s", Step: consumer.StepChange},
		"retention limits, not workqueue":    {Setting: "retention", Have: "limits", Want: "workqueue", Step: consumer.StepMisfit},
		"num_replicas 3, not 1: it may stay": {Setting: "num_replicas", Have: "3", Want: "1", Step: consumer.StepKeep, Why: "it may stay"},
	} {
		if got := d.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
