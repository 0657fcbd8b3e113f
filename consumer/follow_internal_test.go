package consumer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"wxpay-worker/internal/stored"
	"wxpay-worker/messages"
)

// Refunds that were accepted while a schedule was being written share the next one, which keeps of each all that its end must know, to the
// byte. One that is alone is a message like its command's.
func TestRefundsAcceptedTogetherShareASchedule(t *testing.T) {
	t.Parallel()
	complaints, _ := laneOf(t, 0)
	l := newLane(complaints.shared, Merchant{MchID: "1900000001"}, familyRefund)
	l.settlement = Settlement{First: time.Hour, Max: time.Hour, GiveUp: time.Hour}
	writing, goOn := make(chan struct{}, 2), make(chan struct{})
	l.following.do = func(all []followed) ([]struct{}, error) {
		writing <- struct{}{}
		<-goOn
		return l.followAll(all)
	}
	orders := map[string]*job{}
	written := make(chan error)
	follow := func(key, body string, header nats.Header) {
		o := &job{header: header, body: []byte(body), sequence: uint64(len(orders) + 1), kind: messages.KindRefund, began: time.UnixMilli(1).UTC()}
		var malformed *messages.MalformedError
		if o.cmd, malformed = l.decode(o.kind, header, o.body); malformed != nil {
			t.Fatal(malformed)
		}
		orders[key] = o
		go func() { written <- l.follow(t.Context(), o, 3) }()
	}
	body := func(key, spaces string) string {
		return fmt.Sprintf(`{"out_refund_no":%q,%s"transaction_id":"T","amount":{"refund":1,"total":1},"reason":"<&>\u2028 "}`, key, spaces)
	}
	follow("R1", body("R1", ""), nats.Header{"X-Own": {"1"}, "Nats-Msg-Id": {"x"}, "Wxpay-Replays": {"2"}})
	<-writing
	follow("R2", body("R2", " \n\t"), nats.Header{"X-Own": {"a", "<b>"}, "traceparent": {"00-1"}, messages.HeaderCommandID: {"cmd-2"}})
	follow("R*3", body("R*3", strings.Repeat(" ", 5000)), nil)
	for joined := 0; joined < 2; time.Sleep(time.Millisecond) { // nothing else tells
		l.following.mu.Lock()
		joined = len(l.following.line)
		l.following.mu.Unlock()
	}
	close(goOn)
	for range orders {
		if err := <-written; err != nil {
			t.Fatal(err)
		}
	}

	seen := map[string]bool{}
	schedules := 0
	for m, err := range stored.From(t.Context(), l.nc, l.subjects.SettlementsStream(), l.subjects.AllSchedules(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		schedules++
		at, err := time.Parse("@at "+time.RFC3339Nano, m.Header.Get(headerSchedule))
		if until := time.Until(at); err != nil || until < 40*time.Minute || until > 80*time.Minute || m.Header.Get(headerScheduleTarget) != l.subjects.SettlementDue(l.mchid) {
			t.Errorf("schedule %v: %v", m.Header, err)
		}
		due := &nats.Msg{Header: nats.Header{"Nats-Scheduler": {m.Subject}, "Nats-Schedule-Next": {"purge"}}, Data: m.Data}
		for name, values := range m.Header {
			if !strings.HasPrefix(name, "Nats-") {
				due.Header[name] = values
			}
		}
		s, err := readSchedule(due)
		if err != nil || s.subject != m.Subject || s.looks != 0 {
			t.Fatalf("%+v, %v", s, err)
		}
		for _, f := range s.refunds {
			var c struct {
				OutRefundNo string `json:"out_refund_no"`
			}
			if err := json.Unmarshal(f.Command, &c); err != nil {
				t.Fatal(err)
			}
			o := orders[c.OutRefundNo]
			seen[c.OutRefundNo] = true
			want := nats.Header{
				headerAcceptedAt: f.Header[headerAcceptedAt], messages.HeaderAttempts: {"3"}, messages.HeaderStreamSeq: {fmt.Sprint(o.sequence)},
				messages.HeaderFirstAt: {"1970-01-01T00:00:00.001Z"},
			}
			if id := o.cmd.Base().ID; id != "" {
				want[messages.HeaderCommandID] = []string{id}
			}
			for name, values := range o.header {
				if !strings.HasPrefix(name, "Nats-") {
					want[name] = values
				}
			}
			if len(s.refunds) == 1 {
				want[headerLooks] = []string{"0"} // the schedule's own
			}
			if have := fmt.Sprint(f.Header); have != fmt.Sprint(want) || headerTime(f.Header, headerAcceptedAt).IsZero() || !bytes.Equal(f.Command, o.body) {
				t.Errorf("%s: %s %q, want %v %q", c.OutRefundNo, have, f.Command, want, o.body)
			}
		}
		if alone := m.Subject == l.subjects.SettlementAt(l.mchid, "R1"); alone != (len(s.refunds) == 1) || !alone && !strings.HasPrefix(m.Subject, l.subjects.SettlementTogether(l.mchid, "")) {
			t.Errorf("%d refunds on %s", len(s.refunds), m.Subject)
		}
	}
	if schedules != 2 || len(seen) != 3 {
		t.Errorf("%d schedules of %v", schedules, seen)
	}
	if _, err := readSchedule(&nats.Msg{Header: nats.Header{headerRefunds: {"2"}}, Data: []byte(`{}`)}); err == nil {
		t.Error("read what is no list")
	}
}

// What is followed together fits into a message of the server, whatever it is.
func TestWhatIsFollowedTogetherFits(t *testing.T) {
	t.Parallel()
	worst := followed{Header: nats.Header{}}
	for i := range 8 {
		worst.Header.Set(fmt.Sprint("X-", i), strings.Repeat("<", 4<<10)) // JSON writes each as six bytes
	}
	small := followed{Header: nats.Header{"X": {"1"}}, Command: []byte(`{}`)}
	for _, f := range []followed{worst, small} {
		n := max(1, maxTogether/f.size())
		s := &schedule{subject: "s", refunds: append(make([]followed, 0, n+1), f)}
		for range n {
			s.refunds = append(s.refunds, f)
		}
		msg, err := s.message()
		if err != nil {
			t.Fatal(err)
		}
		if msg.Size() > 1<<20 { // nats-server's max_payload, unless it is configured
			t.Errorf("%d of %d bytes make a message of %d", len(s.refunds), f.size(), msg.Size())
		}
	}
	if worst.size() > maxTogether {
		t.Error("nothing goes together with what has long headers") // else this tests nothing
	}
}
