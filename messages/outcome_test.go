package messages

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

var beijing = time.FixedZone("CST", 8*3600)

// outcomes holds one event for each kind and status that the contract allows.
func outcomes() map[string]*Outcome {
	at := time.Date(2026, 11, 21, 16, 0, 0, 123_999_999, beijing)
	metadata := map[string]string{"z": "1", "a": "<&>"}
	complaint := "200201820200101080076610000"
	refund := func(st Status, final string) *Outcome {
		return &Outcome{ID: "C-1", Kind: KindRefund, MchID: "1900000001", Key: "R*1", Status: st, Final: st.Final(), At: at, Attempts: 1,
			ComplaintID: complaint, Metadata: metadata, Refund: &Refund{
				RefundID: "50000000382019052709732678859", OutRefundNo: "R*1", TransactionID: "1217752501201407033233368018", OutTradeNo: "T1", Status: final,
				Channel: "ORIGINAL", UserReceivedAccount: "招商银行信用卡0403", Amount: Amount{Refund: 100, Total: 100, Currency: "CNY"}}}
	}
	succeeded := refund(StatusSucceeded, "SUCCESS")
	succeeded.Refund.SuccessTime = "2026-11-21T16:01:00+08:00"
	failed := &Outcome{Kind: KindRefund, MchID: "1900000001", Key: "R*1", Status: StatusFailed, Final: true, At: at.Truncate(time.Second), Attempts: 2,
		Error: &Failure{Reason: ReasonRejected, Code: "TRADE_OVERDUE", Message: "订单已经超过可退款的最大期限", HTTPStatus: 400, RequestID: "08E8…-268435461"}, DeadLetter: 17}
	conflict := &Outcome{ID: "D-1", Kind: KindDecision, MchID: "1900000001", Key: "seq-12", Status: StatusFailed, Final: true, At: at, ComplaintID: complaint,
		Error: &Failure{Reason: ReasonConflict, ConflictsWith: "D-1"}, DeadLetter: 18}
	return map[string]*Outcome{
		"refund-accepted":    refund(StatusAccepted, "PROCESSING"),
		"refund-succeeded":   succeeded,
		"refund-closed":      refund(StatusClosed, "CLOSED"),
		"refund-abnormal":    refund(StatusAbnormal, "ABNORMAL"),
		"refund-failed":      failed,
		"decision-conflict":  conflict,
		"decision-started":   {ID: "D-1", Kind: KindDecision, MchID: "1900000001", Key: "D-1", Status: StatusStarted, At: at, ComplaintID: complaint, Metadata: metadata},
		"reply-succeeded":    {ID: "D-1:reply", Kind: KindReply, MchID: "1900000001", Key: "D-1:reply", Status: StatusSucceeded, Final: true, At: at, Attempts: 1, ComplaintID: complaint},
		"complete-succeeded": {ID: "C-1", Kind: KindComplete, MchID: "1900000001", Key: "C-1", Status: StatusSucceeded, Final: true, At: at, Attempts: 1, ComplaintID: complaint},
	}
}

func TestOutcomeGolden(t *testing.T) {
	for name, o := range outcomes() {
		t.Run(name, func(t *testing.T) {
			data, err := o.Encode()
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "outcomes/"+name+".golden", wire(o.Headers(Subjects{"wxpay"}), data))

			again, err := DecodeOutcome(data)
			if err != nil {
				t.Fatal(err)
			}
			want := *o
			want.At = o.At.UTC().Truncate(time.Millisecond)
			if !reflect.DeepEqual(again, &want) {
				t.Errorf("decode(encode(o)) = %+v, want %+v", again, &want)
			}
		})
	}
}

func TestOutcomeFinalFollowsStatus(t *testing.T) {
	for _, st := range statuses {
		for _, final := range []bool{false, true} {
			o := &Outcome{Status: st, Final: final}
			data, err := o.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if again, err := DecodeOutcome(data); err != nil || again.Final != st.Final() {
				t.Errorf("%s: %s, %v", st, data, err)
			}
			if o.Final != final {
				t.Error("Encode changed the outcome")
			}
		}
	}
}

func TestEventID(t *testing.T) {
	o := &Outcome{MchID: "19", Kind: KindRefund, Key: "A*1", Status: StatusAbnormal, DeadLetter: 17}
	if got := o.EventID(); got != "19.refund.A*1.abnormal" {
		t.Errorf("got %s", got)
	}
	o.Status = StatusFailed
	if got := o.EventID(); got != "19.refund.A*1.failed.17" {
		t.Errorf("failed: got %s", got)
	}
}

func TestOutcomeHeadersAreFresh(t *testing.T) {
	o := &Outcome{}
	o.Headers(Subjects{"wxpay"})[HeaderTraceparent] = []string{"x"}
	if Get(o.Headers(Subjects{"wxpay"}), HeaderTraceparent) != "" {
		t.Error("two calls share a map")
	}
}

func TestDecodeOutcomeIgnoresUnknownFields(t *testing.T) {
	o, err := DecodeOutcome([]byte(` {"key":"R","newer":{"a":[1]},"refund":{"newer":1,"status":"SUCCESS"}}`))
	if err != nil || o.Key != "R" || o.Refund.Status != "SUCCESS" {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestDecodeOutcomeRefuses(t *testing.T) {
	for _, tt := range []struct{ data, field, expected string }{
		{``, "outcome", "one JSON object as the contract describes it"},
		{`null`, "outcome", "one JSON object as the contract describes it"},
		{`["secret"]`, "outcome", "one JSON object as the contract describes it"},
		{`"secret"`, "outcome", "one JSON object as the contract describes it"},
		{`{"key":"secret"`, "outcome", "one JSON object as the contract describes it"},
		{`{"key":"secret"} secret`, "outcome", "one JSON object as the contract describes it"},
		{`{"at":"secret"}`, "outcome", "one JSON object as the contract describes it"},
		{`{"attempts":1234.5}`, "attempts", "a value of type int"},
		{`{"refund":{"amount":{"total":"secret"}}}`, "refund.amount.total", "a value of type int64"},
	} {
		o, err := DecodeOutcome([]byte(tt.data))
		if o != nil {
			t.Errorf("%s: outcome %+v", tt.data, o)
		}
		checkMalformed(t, err, tt.field, tt.expected)
		if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "1234") {
			t.Errorf("%q shows a value", err)
		}
	}
}
