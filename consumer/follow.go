package consumer

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"wxpay-worker/messages"
)

// An accepted refund is followed by query until its final state, for Settlement.GiveUp at most. Between two looks it waits in a message
// schedule, which carries the command and which the server turns into a message when its time has come. So a refund that is being
// followed costs a record in the store and nothing here. Refunds that were accepted while a schedule was being written share the next
// one, and stay together until each has its end, which spares a busy store most of its work.
//
// The schedule is written before `accepted`, `accepted` before the acknowledgement: an `accepted` refund is always followed.

// The headers by which a schedule knows what it follows, besides those that dead letters have too.
const (
	headerSchedule       = "Nats-Schedule"
	headerScheduleTarget = "Nats-Schedule-Target"
	headerScheduler      = "Nats-Scheduler" // of what has become due: the schedule's subject; the server's
	headerAcceptedAt     = "Wxpay-Accepted-At"
	headerLooks          = "Wxpay-Looks"
	headerRefunds        = "Wxpay-Refunds" // how many it follows, if the body is a list of them
)

// followed is an accepted refund that is being followed to its end: the command as it was published, and what else its end must know.
type followed struct {
	// Header holds what a dead letter keeps of the command's, and when it was accepted, by how many attempts, and so on.
	Header nats.Header `json:"header"`
	// Command is the command's body, to the byte.
	Command []byte `json:"command"`

	key string // of the command
}

// schedule follows refunds of one merchant.
type schedule struct {
	subject string // a schedule that is written replaces the one before
	looks   int    // that were taken
	refunds []followed
}

// maxTogether bounds what one schedule carries of several refunds, in bytes as followed.size reckons them: a few dozen refunds. A larger
// refund goes alone. A server that takes only small messages lowers the bound to an eighth of its limit, since JSON may write one byte as
// six.
const maxTogether = 64 << 10

// size is about how many bytes the refund takes in a schedule. It is at least a kilobyte, so that one schedule has not too many refunds.
func (f followed) size() int {
	n := len(f.Command) * 4 / 3 // base64
	for name, values := range f.Header {
		for _, v := range values {
			n += len(name) + len(v) + len(`"":[""],`)
		}
	}
	return max(n, 1<<10)
}

// follow schedules the first look at a refund and returns when the stream has confirmed it.
func (l *lane) follow(ctx context.Context, o *job, attempts int) error {
	kept, _ := messages.KeepHeaders(messages.Header(o.header))
	f := followed{Header: nats.Header{}, Command: o.body, key: o.cmd.Key()}
	maps.Copy(f.Header, kept)
	for name, value := range map[string]string{
		headerAcceptedAt:         l.clock.Now().UTC().Format(time.RFC3339Nano),
		messages.HeaderAttempts:  strconv.Itoa(attempts),
		messages.HeaderStreamSeq: strconv.FormatUint(o.sequence, 10),
		messages.HeaderFirstAt:   o.began.UTC().Format(time.RFC3339Nano),
		messages.HeaderReplays:   o.header.Get(messages.HeaderReplays),
		messages.HeaderCommandID: o.cmd.Base().ID,
	} {
		if value != "" {
			f.Header.Set(name, value)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.storeTimeout)
	defer cancel()
	_, err := l.following.ask(ctx, f)
	return err
}

// followAll schedules the first look at refunds that were accepted at about the same time.
func (l *lane) followAll(refunds []followed) ([]struct{}, error) {
	s := &schedule{refunds: refunds, subject: l.subjects.SettlementAt(l.mchid, refunds[0].key)}
	if len(refunds) > 1 {
		s.subject = l.subjects.SettlementTogether(l.mchid, nuid.Next())
	}
	return make([]struct{}, len(refunds)), l.schedule(s)
}

// schedule writes when to look next, and returns when the stream has confirmed it.
func (l *lane) schedule(s *schedule) error {
	msg, err := s.message()
	if err != nil {
		return fmt.Errorf("schedule settlement: %w", err)
	}
	return l.dueAfter(msg, l.subjects.SettlementDue(l.mchid), l.settlement.Delay(s.looks+1))
}

// dueAfter has the server turn a schedule into a message on the target when the delay is over, and returns when the stream has confirmed
// it.
func (s *shared) dueAfter(schedule *nats.Msg, target string, delay time.Duration) error {
	schedule.Header.Set(headerScheduleTarget, target)
	// Nanoseconds: the client library's own option drops them, and schedules would fire up to a second early.
	at := time.Now().Add(s.clock.Wall(delay))
	schedule.Header.Set(headerSchedule, "@at "+at.UTC().Format(time.RFC3339Nano))
	// A context of its own: one schedule may be for several deliveries, and a look whose delivery is being cut short must still be scheduled.
	ctx, cancel := context.WithTimeout(context.Background(), s.storeTimeout)
	defer cancel()
	if _, err := s.js.PublishMsg(ctx, schedule); err != nil {
		return fmt.Errorf("schedule settlement: %w", err)
	}
	return nil
}

// message is the schedule as it is stored. One refund is a message like its command's; several are a list.
func (s *schedule) message() (*nats.Msg, error) {
	msg := &nats.Msg{Subject: s.subject, Header: nats.Header{}}
	if len(s.refunds) == 1 {
		maps.Copy(msg.Header, s.refunds[0].Header)
		msg.Data = s.refunds[0].Command
	} else {
		body, err := json.Marshal(s.refunds)
		if err != nil {
			return nil, err
		}
		msg.Data = body
		msg.Header.Set(headerRefunds, strconv.Itoa(len(s.refunds)))
	}
	msg.Header.Set(headerLooks, strconv.Itoa(s.looks))
	return msg, nil
}

// readSchedule reads a schedule that has become due.
func readSchedule(msg *nats.Msg) (*schedule, error) {
	s := &schedule{subject: msg.Header.Get(headerScheduler), looks: int(headerUint(msg.Header, headerLooks))}
	if msg.Header.Get(headerRefunds) == "" {
		f := followed{Header: ownHeaders(msg), Command: msg.Data}
		s.refunds = []followed{f}
		return s, nil
	}
	if err := json.Unmarshal(msg.Data, &s.refunds); err != nil {
		return nil, fmt.Errorf("read settlements: %w", err)
	}
	return s, nil
}

// ownHeaders are the headers that a schedule gave to what has become due: without the server's own, which would be wrong in the next one.
func ownHeaders(due *nats.Msg) nats.Header {
	own := nats.Header{}
	for name, values := range due.Header {
		if !strings.HasPrefix(name, "Nats-") {
			own[name] = values
		}
	}
	return own
}
