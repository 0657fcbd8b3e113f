package messages

import (
	"reflect"
	"testing"
)

func decision(t *testing.T) *DecisionCommand {
	t.Helper()
	return mustDecode(t, KindDecision, `{"id":"D-1","mchid":"1900000001","complaint_id":"7","action":"APPROVE","metadata":{"a":"b"},
		"reply":{"complainted_mchid":"1","response_content":"r"},
		"refund":{"out_refund_no":"R*1","out_trade_no":"T","amount":{"refund":1,"total":2}}}`).(*DecisionCommand)
}

func TestReplyStep(t *testing.T) {
	d := decision(t)
	want := &ReplyCommand{
		Common:      Common{ID: "D-1:reply", Metadata: map[string]string{"a": "b"}},
		ComplaintID: "7",
		ReplyParams: ReplyParams{ComplaintedMchID: "1", ResponseContent: "r"},
	}
	got := d.ReplyStep()
	if !reflect.DeepEqual(got, want) || got.Key() != "D-1:reply" {
		t.Errorf("ReplyStep() = %+v, want %+v", got, want)
	}
	alone := mustDecode(t, KindReply, `{"id":"P","complaint_id":"7","complainted_mchid":"1","response_content":"r"}`)
	if got.Digest() != alone.Digest() {
		t.Error("the digest is not that of the same reply alone")
	}
	got.Metadata["a"] = "changed"
	if d.Metadata["a"] != "b" {
		t.Error("the step shares its decision's metadata")
	}
}

func TestRefundStep(t *testing.T) {
	d := decision(t)
	want := &RefundCommand{
		Common:       Common{Metadata: map[string]string{"a": "b"}},
		RefundParams: RefundParams{OutRefundNo: "R*1", OutTradeNo: "T", Amount: Amount{Refund: 1, Total: 2, Currency: "CNY"}},
		ComplaintID:  "7",
	}
	got := d.RefundStep()
	if !reflect.DeepEqual(got, want) || got.Key() != "R*1" {
		t.Errorf("RefundStep() = %+v, want %+v", got, want)
	}
	alone := mustDecode(t, KindRefund, `{"id":"X","out_refund_no":"R*1","out_trade_no":"T","amount":{"refund":1,"total":2}}`)
	if got.Digest() != alone.Digest() {
		t.Error("the digest is not that of the same refund alone")
	}
	data, err := EncodeCommand(got)
	if err != nil {
		t.Fatal(err)
	}
	if again := mustDecode(t, KindRefund, string(data)); !reflect.DeepEqual(again, got) {
		t.Errorf("published and decoded it is %+v, want %+v", again, got)
	}
	got.Metadata["a"] = "changed"
	if d.Metadata["a"] != "b" {
		t.Error("the step shares its decision's metadata")
	}
}

func TestStepsOfPlainDecision(t *testing.T) {
	d := &DecisionCommand{}
	if d.ReplyStep() != nil || d.RefundStep() != nil {
		t.Error("a decision without reply and refund has steps")
	}
}
