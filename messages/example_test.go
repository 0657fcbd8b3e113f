package messages_test

import (
	"errors"
	"fmt"

	"wxpay-worker/messages"
)

func ExampleDecodeCommand() {
	subjects, _ := messages.NewSubjects("wxpay")
	mchid, kind, _ := subjects.ParseCommand("wxpay.command.1900000001.refund")

	command, err := messages.DecodeCommand(kind, mchid, nil, []byte(
		`{"out_refund_no":"R*1","out_trade_no":"T1","amount":{"refund":100,"total":250}}`))
	if err != nil {
		panic(err)
	}
	refund := command.(*messages.RefundCommand)
	fmt.Println(refund.Key(), refund.Amount.Refund, refund.Amount.Currency)
	fmt.Println(subjects.Outcome(mchid, kind, refund.Key(), messages.StatusAccepted))
	// Output:
	// R*1 100 CNY
	// wxpay.outcome.1900000001.refund.R=2A1.accepted
}

// A typing error in a command that moves money is not ignored.
func ExampleDecodeCommand_malformed() {
	_, err := messages.DecodeCommand(messages.KindRefund, "1900000001", nil, []byte(
		`{"out_refund_no":"R1","out_trade_no":"T1","Amount":{"refund":100,"total":250}}`))
	if malformed, ok := errors.AsType[*messages.MalformedError](err); ok {
		fmt.Println(malformed.Field)
		fmt.Println(malformed)
	}
	// Output:
	// Amount
	// Amount: expected the spelling amount
}

func ExampleEncodeCommand() {
	today := int64(0)
	data, _ := messages.EncodeCommand(&messages.DecisionCommand{
		Common:          messages.Common{ID: "D-1"},
		ComplaintID:     "200201820200101080076610000",
		Action:          messages.ActionApprove,
		LaunchRefundDay: &today,
	})
	fmt.Println(string(data))
	// Output:
	// {"id":"D-1","complaint_id":"200201820200101080076610000","action":"APPROVE","launch_refund_day":0}
}

func ExampleDeadLetter_Headers() {
	d := &messages.DeadLetter{
		MchID: "1900000001", Kind: messages.KindRefund, Key: "seq-17", Reason: messages.ReasonMalformed,
		Message: "amount.refund: expected at most amount.total", StreamSeq: 17, Command: []byte(`{"amount":{"refund":2,"total":1}}`),
	}
	again, err := messages.ParseDeadLetter(d.Headers(), d.Command)
	fmt.Println(again.Reason, again.Message, err)
	// Output:
	// malformed amount.refund: expected at most amount.total <nil>
}

func ExampleEscapeToken() {
	token := messages.EscapeToken("A*1")
	text, ok := messages.UnescapeToken(token)
	fmt.Println(token, text, ok)
	// Output:
	// A=2A1 A*1 true
}
