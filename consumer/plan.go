package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/messages"
)

// Installation is what workers need at the NATS server: streams, and a lane for each merchant and family.
type Installation struct {
	Streams
	Merchants []string      // mchids
	AckWait   time.Duration // as in Options
	PinnedTTL time.Duration // as in Options
}

// PartKind tells what a Part is.
type PartKind string

const (
	PartStream PartKind = "stream"
	PartLane   PartKind = "lane" // a durable consumer
)

// Part is one stream, or one lane, as it should be. What is there is compared with it by Plan.
type Part struct {
	Kind   PartKind
	Name   string
	stream jetstream.StreamConfig // of a lane: only the name of its stream
	lane   jetstream.ConsumerConfig
}

// Stream is the stream that the part is, or that its lane consumes.
func (p Part) Stream() string { return p.stream.Name }

// Parts lists the installation in the order in which it is made: streams, the merchants' lanes, settlement.
func (i Installation) Parts() []Part {
	parts, s := i.streamParts(), i.Subjects
	lane := func(stream, name, filter string) {
		parts = append(parts, Part{
			Kind: PartLane, Name: name, stream: jetstream.StreamConfig{Name: stream}, lane: laneConfig(name, filter, i.AckWait, i.PinnedTTL),
		})
	}
	for _, mchid := range i.Merchants {
		for _, f := range []family{familyRefund, familyComplaint} {
			lane(s.CommandsStream(), laneName(f, mchid), laneFilter(s, f, mchid))
		}
	}
	lane(s.SettlementsStream(), settlementLane, s.SettlementDue("*"))
	return parts
}

// streamParts are those of the streams alone.
func (w Streams) streamParts() (parts []Part) {
	for _, c := range w.configs() {
		parts = append(parts, Part{Kind: PartStream, Name: c.Name, stream: c})
	}
	return parts
}

// The names of lanes and what they consume, for those who set lanes up and those who serve them.

const settlementLane = "settlement"

func laneName(f family, mchid string) string { return string(f) + "-" + mchid }

func laneFilter(s messages.Subjects, f family, mchid string) string {
	if f == familyComplaint {
		return s.ComplaintCommands(mchid)
	}
	return s.Command(mchid, messages.KindRefund)
}

// laneConfig is the consumer of a lane. No MaxDeliver: a message ends when we say so, never because the server stopped counting.
func laneConfig(name, filter string, ackWait, pinnedTTL time.Duration) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: name, FilterSubject: filter, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: ackWait, MaxDeliver: -1, MaxAckPending: maxAckPending,
		PriorityPolicy: jetstream.PriorityPolicyPinned, PriorityGroups: []string{pinGroup}, PinnedTTL: pinnedTTL,
	}
}

// Change is what is there of a part, and what has to be done. Nothing is done before Apply.
type Change struct {
	Part
	Action      Action
	Differences []Difference          // of a part that is to be created: what it will be like
	Info        *jetstream.StreamInfo // of a stream that is there
	Lane        *LaneState            // of a lane that is there

	newStream jetstream.StreamConfig
	newLane   jetstream.ConsumerConfig
	consumer  *jetstream.ConsumerInfo // of a lane that is there
}

// Action is what Apply does.
type Action string

const (
	ActionNone   Action = "none"
	ActionCreate Action = "create"
	ActionUpdate Action = "update"
)

// Difference is one setting that is not as wanted. Its names are those of the server's JSON.
type Difference struct {
	Setting string `json:"setting"`
	Have    string `json:"have,omitempty"`
	Want    string `json:"want,omitempty"`
	Step    Step   `json:"step"`
	Why     string `json:"why,omitempty"` // of StepKeep and StepMend
}

func (d Difference) String() string {
	switch {
	case d.Have == "":
		return d.Setting + " " + d.Want
	case d.Step == StepChange:
		return fmt.Sprintf("%s %s → %s", d.Setting, d.Have, d.Want)
	}
	text := fmt.Sprintf("%s %s, not %s", d.Setting, d.Have, d.Want)
	if d.Why != "" {
		text += ": " + d.Why
	}
	return text
}

// Step is what becomes of a difference.
type Step string

const (
	StepChange Step = "change" // Apply makes it so; nothing that is stored is lost by it
	StepKeep   Step = "keep"   // it serves as it is, and stays
	StepMend   Step = "mend"   // it stays, and the worker runs, but a person should mend it: a promise does not hold
	StepMisfit Step = "misfit" // it cannot be changed, and does not serve: the worker does not start
)

// Misfit is an error if a worker cannot work with what is there of the part, and the server does not allow it to be changed; nil otherwise.
func (c *Change) Misfit() error {
	var all []error
	for _, d := range c.Differences {
		if d.Step == StepMisfit {
			all = append(all, fmt.Errorf("%s %s: %s is %s, expected %s: mend it, or choose another nats.prefix", c.Kind, c.Name, d.Setting, d.Have, d.Want))
		}
	}
	return errors.Join(all...)
}

// Plan compares what is there with the part. It changes nothing, and needs no other permission than to look.
func (p Part) Plan(ctx context.Context, js jetstream.JetStream) (*Change, error) {
	if p.Kind == PartLane {
		return p.planLane(ctx, js)
	}
	c := &Change{Part: p, Action: ActionCreate, newStream: p.stream}
	stream, err := js.Stream(ctx, p.Name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		c.Differences = describeStream(p.stream)
	case err != nil:
		return nil, fmt.Errorf("read stream %s: %w", p.Name, explained(err))
	default:
		c.Info = stream.CachedInfo()
		c.newStream, c.Differences = compareStream(c.Info.Config, p.stream)
		c.Action = actionOf(c.Differences)
	}
	return c, nil
}

func (p Part) planLane(ctx context.Context, js jetstream.JetStream) (*Change, error) {
	c := &Change{Part: p, Action: ActionCreate, newLane: p.lane}
	have, err := js.Consumer(ctx, p.Stream(), p.Name)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		c.Differences = describeLane(p.lane)
	case errors.Is(err, jetstream.ErrNotPullConsumer):
		c.Action, c.Differences = ActionNone, []Difference{{Setting: "deliver_subject", Have: "set", Want: "none", Step: StepMisfit}}
	case err != nil:
		return nil, fmt.Errorf("read lane %s: %w", p.Name, explained(err))
	default:
		c.consumer = have.CachedInfo()
		c.Lane = laneState(c.consumer)
		c.Differences = compareLane(c.consumer.Config, p.lane)
		c.Action = actionOf(c.Differences)
		c.newLane.Metadata = c.consumer.Config.Metadata // the reason of a hold; the server keeps the pause itself
	}
	return c, nil
}

func actionOf(differences []Difference) Action {
	for _, d := range differences {
		if d.Step == StepChange {
			return ActionUpdate
		}
	}
	return ActionNone
}

// Apply does what was planned. It may be repeated.
func (c *Change) Apply(ctx context.Context, js jetstream.JetStream) (err error) {
	switch {
	case c.Action == ActionNone:
		return nil
	case c.Kind == PartLane:
		_, err = js.CreateOrUpdateConsumer(ctx, c.Stream(), c.newLane)
	case c.Action == ActionCreate:
		if _, err = js.CreateStream(ctx, c.newStream); errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return nil // another worker of the fleet was first, with the same wishes
		}
	default:
		_, err = js.UpdateStream(ctx, c.newStream)
	}
	if err != nil {
		return fmt.Errorf("%s %s %s: %w", c.Action, c.Kind, c.Name, explained(err))
	}
	return nil
}

// explanations are what the server's codes mean here.
// Source: nats-server 2.15 server/errors.json.
var explanations = map[jetstream.ErrorCode]string{
	10005: "too few servers take another copy: start more, or lower nats.replicas",
	10074: "the server is alone and keeps one copy: make a cluster, or set nats.replicas to 1",
	10023: "too few servers take another copy, or one is full: start more, or lower nats.replicas",
	10039: "enable JetStream for the user's account",
	10076: "enable JetStream on the server",
	10047: "the server's storage is full, or reserved",
	10027: "the account may have no more streams",
	10026: "the account, or the stream, may have no more consumers",
	10113: "create it by hand with the wanted settings and a limit, since the account demands one",
	10065: "another stream takes some of its subjects: choose another nats.prefix, or remove that one",
	10100: "another consumer takes the same messages: remove it",
	10099: "another consumer takes all messages: remove it",
}

// explained adds to a refusal of the server what can be done about it.
func explained(err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) && explanations[api.ErrorCode] != "" {
		return fmt.Errorf("%w: %s", err, explanations[api.ErrorCode])
	}
	return err
}
