package consumer

import (
	"testing"

	"wxpay-worker/messages"
)

// What is remembered of a command goes when it turns out to have ended, as when the answer to its record was lost: its replay, days later, is not
// taken for one that has been tried ever since.
func TestADuplicateIsForgotten(t *testing.T) {
	t.Parallel()
	complaints, _ := laneOf(t, 0)
	l := newLane(complaints.shared, Merchant{MchID: "1900000001"}, familyRefund)
	l.sure.Store(0)
	cmd, malformed := l.decode(messages.KindRefund, nil, []byte(`{"out_refund_no":"R1","transaction_id":"T","amount":{"refund":1,"total":1}}`))
	if malformed != nil {
		t.Fatal(malformed)
	}
	o := &order{delivery: &delivery{delivered: 1}, kind: messages.KindRefund, sequence: 1, cmd: cmd}
	e, err := l.ledger.read(t.Context(), l.mchid, o.kind, "R1")
	if err == nil {
		_, err = l.write(t.Context(), o, e, &messages.Outcome{Kind: o.kind, Key: "R1", Status: messages.StatusAccepted, Refund: &messages.Refund{OutRefundNo: "R1"}})
	}
	if err != nil {
		t.Fatal(err)
	}
	l.memory.keep(o.kind, "R1", &attempts{writes: 1, open: true})
	if e := l.carryOut(t.Context(), o); e.verdict != "duplicate" {
		t.Fatalf("ended %+v", e)
	}
	if a := l.memory.recall(o.kind, "R1"); a != nil {
		t.Errorf("remembered: %+v", a)
	}
}
