package dlq_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/dlq"
	"wxpay-worker/messages"
)

// A publisher claims that his command has been put back more often than anybody counts. Its letters can be read, and it can be put back
// until it succeeds.
func TestAClaimOfManyReplays(t *testing.T) {
	t.Parallel()
	for _, claimed := range []string{"2147483647", "99999999999", "99999999999999999999"} {
		t.Run(claimed, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.work()
			a := acts[1]
			failures[0].script(s, a)
			s.Publish(a.kind, a.body, messages.HeaderReplays, claimed)
			s.replay(must(s.Letters.Get(t.Context(), s.end(a.kind, a.key, 1).DeadLetter)))
			again := must(s.Letters.Get(t.Context(), s.end(a.kind, a.key, 2).DeadLetter))
			s.Sim.ClearFaults()
			s.replay(again)
			if o := s.end(a.kind, a.key, 3); o.Status != a.good {
				t.Errorf("ended %s: %+v", o.Status, o.Error)
			}
			s.Drained()
			s.check(a, 2)
		})
	}
}

// A letter that cannot be read stands in the way of its own command only: the others of its key get theirs, and find them.
func TestAnUnreadableLetterIsInNobodysWay(t *testing.T) {
	t.Parallel()
	q, nc := setup(t)
	unreadable := letter("R1", 5)
	h := nats.Header(unreadable.Headers())
	h.Set(messages.HeaderReason, "of a later version")
	must(must(jetstream.New(nc)).PublishMsg(t.Context(), &nats.Msg{Subject: "wxpay.deadletter.1900000001.refund.rejected.R1", Header: h, Data: unreadable.Command}))

	other := letter("R1", 6)
	seq := must(q.Put(t.Context(), other))
	if again := must(q.Put(t.Context(), other)); again != seq {
		t.Errorf("put again it is letter %d beside %d", again, seq)
	}
	if found := must(q.Find(t.Context(), other.MchID, other.Kind, other.Key, other.StreamSeq)); found.Sequence != seq {
		t.Errorf("found %d, want %d", found.Sequence, seq)
	}
	if again, err := q.Put(t.Context(), unreadable); !isUnreadable(err) {
		t.Errorf("the command of the unreadable letter has letter %d, too: %v", again, err)
	}
	if _, err := q.Find(t.Context(), unreadable.MchID, unreadable.Kind, unreadable.Key, unreadable.StreamSeq); !isUnreadable(err) {
		t.Errorf("the unreadable letter: %v", err)
	}
	_, err := q.Get(t.Context(), 1)
	if whole, ok := errors.AsType[*dlq.UnreadableError](err); !ok || whole.Header[messages.HeaderReason][0] != "of a later version" || string(whole.Data) != string(unreadable.Command) || whole.Time.IsZero() {
		t.Errorf("it cannot be kept elsewhere: %+v", whole)
	}
}

// Ids that begin or end with spaces.
var spacious = []string{" ", "  ", " P1", "P1 ", " P 1 "}

// A reply whose id begins or ends with spaces, or is nothing else, is refused, put back and refused again, put back and carried out: it
// is one command all the while, which nobody mistakes for the one without the spaces.
func TestIdsWithSpacesAreReplayed(t *testing.T) {
	t.Parallel()
	for _, id := range spacious {
		t.Run(fmt.Sprintf("%q", id), func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.work()
			a := acts[1]
			a.key, a.body = id, strings.Replace(a.body, "P1", id, 1)
			failures[0].script(s, a)
			s.Publish(a.kind, a.body)
			for nth := 1; nth <= 2; nth++ {
				l := must(s.Letters.Get(t.Context(), s.end(a.kind, a.key, nth).DeadLetter))
				if l.Key != id || l.CommandID != id {
					t.Fatalf("letter of key %q and id %q", l.Key, l.CommandID)
				}
				if nth == 2 {
					s.Sim.ClearFaults()
				}
				s.replay(l)
			}
			if o := s.end(a.kind, a.key, 3); o.Status != a.good || o.ID != id {
				t.Errorf("%q ended %s: %+v", o.ID, o.Status, o.Error)
			}
			s.Drained()
			s.check(a, 2)
		})
	}
}

// Letters whose ids begin or end with spaces are told apart, chosen by their exact keys, and dropped.
func TestIdsWithSpacesAreExact(t *testing.T) {
	t.Parallel()
	q, _ := setup(t)
	ids := append([]string{"P1"}, spacious...)
	for i, id := range ids {
		d := letter(id, uint64(i+1))
		d.Kind, d.CommandID, d.Command = messages.KindReply, id, []byte(`{"id":"`+id+`"}`)
		must(q.Put(t.Context(), d))
	}
	for i, id := range ids {
		got := selected(t, q, dlq.Filter{Key: []string{id}})
		if len(got) != 1 || got[0].Sequence != uint64(i+1) || got[0].Key != id || got[0].CommandID != id {
			t.Errorf("%q: selected %+v", id, got)
		}
		if newest := selected(t, q, dlq.Filter{Key: []string{id}, Newest: 1}); !slices.Equal(seqs(newest), seqs(got)) {
			t.Errorf("%q: the newest are %v", id, seqs(newest))
		}
		found := must(q.Find(t.Context(), "1900000001", messages.KindReply, id, uint64(i+1)))
		if found.Key != id || found.CommandID != id {
			t.Errorf("%q: found key %q, id %q", id, found.Key, found.CommandID)
		}
	}
	for i, l := range all(t, q, "", "") {
		if l.Key != ids[i] || l.CommandID != ids[i] {
			t.Errorf("%q: read key %q, id %q", ids[i], l.Key, l.CommandID)
		}
		if gone := must(q.Drop(t.Context(), l.Sequence)); gone {
			t.Errorf("%q: it was gone", ids[i])
		}
	}
	if left := all(t, q, "", ""); len(left) != 0 {
		t.Errorf("%d are left", len(left))
	}
}

// Where the id is not the key, it is read from the command: what is to be corrected keeps it, and what a conflict is with is found.
func TestIdsWithSpacesInsideCommands(t *testing.T) {
	t.Parallel()
	q, _ := setup(t)
	reply := `{"id":" P1 ","complaint_id":"C1","complainted_mchid":"1","response_content":"a"`
	for i, tt := range []struct {
		name          string
		kind          messages.Kind
		reason        messages.Reason
		key, id       string
		conflictsWith string
		command       string
		patched       string // what `{"misspelt":null}` makes of it, "" if it may not be patched
	}{
		{"a refund", messages.KindRefund, messages.ReasonRejected, "R1", " I1 ", "",
			`{"out_refund_no":"R1","id":" I1 ","out_trade_no":"T1","amount":{"refund":1,"total":1},"misspelt":1}`,
			`{"out_refund_no":"R1","id":" I1 ","out_trade_no":"T1","amount":{"refund":1,"total":1}}`},
		{"a malformed reply", messages.KindReply, messages.ReasonMalformed, "seq-2", " P1 ", "", reply + `,"misspelt":1}`, reply + `}`},
		{"a reply of that key", messages.KindReply, messages.ReasonRejected, " P1 ", " P1 ", "", reply + `}`, reply + `}`},
		{"a conflict", messages.KindReply, messages.ReasonConflict, "seq-4", " P1 ", " P1 ", reply + `}`, ""},
		{"a conflict of one space", messages.KindReply, messages.ReasonConflict, "seq-5", " ", " ", strings.Replace(reply, " P1 ", " ", 1) + `}`, ""},
		{"a conflict of a step", messages.KindDecision, messages.ReasonConflict, "seq-6", " D1 ", " D1 :reply", `{"id":" D1 ","complaint_id":"C1","action":"APPROVE"}`, ""},
		{"no conflict, and one space", messages.KindReply, messages.ReasonPoison, " ", " ", "", strings.Replace(reply, " P1 ", " ", 1) + `}`, strings.Replace(reply, " P1 ", " ", 1) + `}`},
		{"no id", messages.KindRefund, messages.ReasonRejected, "R8", "", "", `{"out_refund_no":"R8","out_trade_no":"T1","amount":{"refund":1,"total":1}}`,
			`{"out_refund_no":"R8","out_trade_no":"T1","amount":{"refund":1,"total":1}}`},
		{"an id of the headers", messages.KindRefund, messages.ReasonRejected, "R9", "I9", "", `{"out_refund_no":"R9","out_trade_no":"T1","amount":{"refund":1,"total":1}}`,
			`{"out_refund_no":"R9","out_trade_no":"T1","amount":{"refund":1,"total":1}}`},
		{"no JSON", messages.KindReply, messages.ReasonMalformed, "seq-10", "", "", `no JSON`, ""},
	} {
		d := letter(tt.key, uint64(i+1))
		d.Kind, d.Reason, d.CommandID, d.ConflictsWith, d.Command = tt.kind, tt.reason, tt.id, tt.conflictsWith, []byte(tt.command)
		l := must(q.Get(t.Context(), must(q.Put(t.Context(), d))))
		if l.Key != tt.key || l.CommandID != tt.id || l.ConflictsWith != tt.conflictsWith {
			t.Errorf("%s: key %q, id %q, in conflict with %q", tt.name, l.Key, l.CommandID, l.ConflictsWith)
		}
		if body, err := l.Patched([]byte(`{"misspelt":null}`)); string(body) != tt.patched || err == nil != (tt.patched != "") {
			t.Errorf("%s: patched to %s, %v", tt.name, body, err)
		}
	}
}
