package consumer_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
	"wxpay-worker/wxpay/wxpaytest"
)

func TestRefundIsAccepted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Start()
	seq := b.Publish(messages.KindRefund, consumertest.RefundBody("R1"), "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	e := b.End(messages.KindRefund, "R1")
	book, ok := b.Sim.Refund(mchid, "R1")
	if !ok || book.Amount != 60 || book.Creates != 1 {
		t.Fatalf("books: %+v, %v", book, ok)
	}
	if e.Status != messages.StatusAccepted || e.Final || e.Attempts != 1 || e.Metadata["order"] != "42" || e.Refund.RefundID != book.RefundID {
		t.Errorf("outcome: %+v %+v", e.Outcome, e.Refund)
	}
	for name, want := range map[string]string{
		"ce-id": "1900000001.refund.R1.accepted", "ce-type": "wxpay.refund.accepted", "ce-source": "/wxpay/1900000001", "ce-subject": "R1",
		"ce-specversion": "1.0", "Content-Type": "application/json", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	} {
		if got := e.Header.Get(name); got != want {
			t.Errorf("header %s: %q, want %q", name, got, want)
		}
	}
	b.Settled()
	if seq != 1 {
		t.Errorf("sequence %d", seq)
	}
}

// A refusal without a valid signature says nothing: it delays a command and never ends it.
func TestUnprovenRefusalsEndNothing(t *testing.T) {
	t.Parallel()
	for status, code := range map[int]string{400: "PARAM_ERROR", 403: "USER_ACCOUNT_ABNORMAL", 404: "RESOURCE_NOT_EXISTS", 302: ""} {
		t.Run(fmt.Sprint(status, code), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.Sim.Fault(wxpaytest.Fault{Times: 3, Answer: wxpaytest.AnswerRefusal, Status: status, Code: code, Unsigned: true})
			b.Start()
			b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
			b.Publish(messages.KindReply, consumertest.ReplyBody)
			if e := b.End(messages.KindRefund, "R1"); e.Status != messages.StatusAccepted {
				t.Errorf("refund: %+v %+v", e.Outcome, e.Error)
			}
			if e := b.End(messages.KindReply, "P1"); e.Status != messages.StatusSucceeded {
				t.Errorf("reply: %+v %+v", e.Outcome, e.Error)
			}
			b.Settled()
		})
	}
}

func TestDuplicateRefundIsAcknowledgedWithoutACall(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Start()
	for range 5 {
		b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	}
	b.End(messages.KindRefund, "R1")
	b.Settled()
	if n := len(b.Sim.RequestsTo(wxpaytest.EndpointRefundCreate)); n != 1 {
		t.Errorf("%d create calls", n)
	}
	if got := b.Statuses(messages.KindRefund, "R1"); len(got) != 1 {
		t.Errorf("outcomes %v", got)
	}
}

func TestSameNumberOtherParametersIsConflictWithoutACall(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Start()
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	b.End(messages.KindRefund, "R1")
	b.Publish(messages.KindRefund, `{"out_refund_no":"R1","transaction_id":"TXR1","amount":{"refund":61,"total":100}}`)
	e := b.End(messages.KindRefund, "seq-2")
	if e.Status != messages.StatusFailed || e.Error.Reason != messages.ReasonConflict || e.Error.ConflictsWith != "R1" {
		t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
	}
	letter := must(b.Letters.Get(t.Context(), e.DeadLetter))
	if letter.Reason != messages.ReasonConflict || letter.ConflictsWith != "R1" || letter.StreamSeq != 2 {
		t.Errorf("letter: %+v", letter)
	}
	b.Settled()
	if n := len(b.Sim.RequestsTo(wxpaytest.EndpointRefundCreate)); n != 1 {
		t.Errorf("%d create calls", n)
	}
}

// A number that another system used with other amounts is seen when WeChat Pay's refund is read back.
func TestRefundReadBackWithOtherAmountsIsConflict(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Start()
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	b.End(messages.KindRefund, "R1")
	b.Settled()
	check(t, must(b.JS.Stream(t.Context(), b.Subjects.OutcomesStream())).Purge(t.Context())) // the ledger forgets, WeChat Pay does not
	b.ForgetEvents()
	b.Publish(messages.KindRefund, `{"out_refund_no":"R1","transaction_id":"TXR1","amount":{"refund":61,"total":100}}`)
	if e := b.End(messages.KindRefund, "seq-2"); e.Error == nil || e.Error.Reason != messages.ReasonConflict {
		t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
	}
	b.Settled()
}

// A definite, proven no is a dead letter that carries the command's bytes and WeChat Pay's answer; a corrected command with
// the same number is a new try.
func TestRejectedRefundIsADeadLetterAndCanBeCorrected(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 400, Code: "PARAM_ERROR", Message: "参数错误 商品已售完"})
	b.Start()
	body := consumertest.RefundBody("R1")
	seq := b.Publish(messages.KindRefund, body, "X-Mine", "kept", "Nats-Msg-Id", "m-1")
	e := b.End(messages.KindRefund, "R1")
	if e.Status != messages.StatusFailed || e.Error.Reason != messages.ReasonRejected || e.Error.Code != "PARAM_ERROR" || e.Error.HTTPStatus != 400 || e.Error.RequestID == "" {
		t.Fatalf("outcome: %+v %+v", e.Outcome, e.Error)
	}
	if want := fmt.Sprintf("1900000001.refund.R1.failed.%d", e.DeadLetter); e.Header.Get("ce-id") != want {
		t.Errorf("ce-id %q, want %q", e.Header.Get("ce-id"), want)
	}
	letter := must(b.Letters.Get(t.Context(), e.DeadLetter))
	if string(letter.Command) != body || letter.StreamSeq != seq || letter.Code != "PARAM_ERROR" || letter.Attempts != 1 ||
		letter.CommandID != "m-1" || letter.Subject != "wxpay.command.1900000001.refund" || letter.Original["X-Mine"][0] != "kept" {
		t.Errorf("letter: %+v", letter.DeadLetter)
	}
	if letter.Message != "参数错误 …" {
		t.Errorf("message %q repeats a value of the command", letter.Message)
	}
	b.Drained()

	b.Sim.ClearFaults()
	b.Publish(messages.KindRefund, `{"out_refund_no":"R1","transaction_id":"TXR1","amount":{"refund":50,"total":100}}`)
	b.Await("R1 accepted", func(e consumertest.Event) bool { return e.Key == "R1" && e.Status == messages.StatusAccepted })
	b.Drained()
	if got, want := b.Statuses(messages.KindRefund, "R1"), []messages.Status{messages.StatusFailed, messages.StatusAccepted}; !slices.Equal(got, want) {
		t.Errorf("statuses %v", got)
	}
}

// INVALID_REQUEST may be our own earlier attempt's doing: it is believed only when a query, a minute later, shows nothing.
func TestInvalidRequestIsNotBelievedBeforeAQuery(t *testing.T) {
	t.Parallel()
	for name, apply := range map[string]bool{"nothing there": false, "it exists": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Apply: apply, Answer: wxpaytest.AnswerRefusal, Status: 400, Code: "INVALID_REQUEST", Message: "超额"})
			b.Start()
			b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
			e := b.End(messages.KindRefund, "R1")
			if apply && e.Status != messages.StatusAccepted || !apply && e.Status != messages.StatusFailed {
				t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
			}
			// By then the answer is a minute old.
			if f := e.Error; !apply && (f.Reason != messages.ReasonRejected || f.Code != "INVALID_REQUEST" || f.Message != "超额" || f.HTTPStatus != 400 || f.RequestID == "") {
				t.Errorf("failure: %+v", f)
			}
			b.Settled()
			create := b.Sim.RequestsTo(wxpaytest.EndpointRefundCreate)
			query := b.Sim.RequestsTo(wxpaytest.EndpointRefundQuery)
			if len(create) != 1 || len(query) == 0 {
				t.Fatalf("%d create calls, %d queries", len(create), len(query))
			}
			if gap := query[len(query)-1].At.Sub(create[0].At); !apply && gap.Seconds() < 60 {
				t.Errorf("believed after %s", gap)
			}
		})
	}
}

// What was refused is the command, not its number: another with that number, after a person has removed the first, is tried.
func TestARefusalIsOfItsCommandOnly(t *testing.T) {
	t.Parallel()
	b := setupAt(t, 10) // it comes again after a minute: slow enough to take it away before that
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Times: 1, Answer: wxpaytest.AnswerRefusal, Status: 400, Code: "INVALID_REQUEST"})
	b.Start()
	refused := b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	b.Until("R1 handed back", func() bool { return len(b.Acks()) == 1 })
	check(t, must(b.JS.Stream(t.Context(), b.Subjects.CommandsStream())).DeleteMsg(t.Context(), refused))
	b.Publish(messages.KindRefund, `{"out_refund_no":"R1","transaction_id":"TXR1","amount":{"refund":50,"total":100}}`)
	if e := b.End(messages.KindRefund, "R1"); e.Status != messages.StatusAccepted || e.Refund.Amount.Refund != 50 {
		t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
	}
	b.Settled()
}

// Our own trouble empties no queue: the command waits and goes through when it is mended.
func TestNotEnoughWaitsAndKeepsTheNumber(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Sim.SetBalance(mchid, 0)
	b.Start()
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	check(t, b.Sim.AwaitRequests(t.Context(), wxpaytest.EndpointRefundCreate, 3)) // each one is a refusal
	b.Sim.SetBalance(mchid, 1000)
	if e := b.End(messages.KindRefund, "R1"); e.Status != messages.StatusAccepted || e.Attempts != 1 {
		t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
	}
	b.Settled()
}

// Tries run out: `exhausted` when WeChat Pay shows nothing, `unresolved` when it does not say.
func TestTriesRunOut(t *testing.T) {
	t.Parallel()
	for want, fault := range map[messages.Reason]wxpaytest.Fault{
		messages.ReasonExhausted:  {Endpoint: wxpaytest.EndpointRefundCreate, Times: -1, Answer: wxpaytest.Answer5xx},
		messages.ReasonUnresolved: {Times: -1, Apply: true, Answer: wxpaytest.AnswerForged},
	} {
		t.Run(string(want), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.Sim.Fault(fault)
			b.Start(func(o *consumer.Options) {
				if o.Retry.MaxAttempts = 3; want == messages.ReasonUnresolved { // else a busy machine might run out of age before it runs out of tries
					o.Retry.MaxAge = 10 * time.Minute
				}
			})
			b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
			e := b.End(messages.KindRefund, "R1")
			if e.Status != messages.StatusFailed || e.Error.Reason != want {
				t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
			}
			b.Settled()
		})
	}
}

// Each documented refusal of the create call, by v3 and by v2, from the simulator: a definite no ends as a dead letter with its
// code; whatever says "later", "perhaps" or "your setup" delays the command, which then goes through.
func TestEveryRefusalOfARefund(t *testing.T) {
	t.Parallel()
	type refusal struct {
		status int
		code   string
		ends   bool
	}
	for api, refusals := range map[string][]refusal{
		"v3": {
			{400, "PARAM_ERROR", true}, {400, "INVALID_REQUEST", true}, {400, "REFUND_FEE_MISMATCH", true}, {400, "TRADE_OVERDUE", true},
			{403, "USER_ACCOUNT_ABNORMAL", true}, {404, "RESOURCE_NOT_EXISTS", true}, {401, "SIGN_ERROR", false}, {403, "NOT_ENOUGH", false},
			{403, "NO_AUTH", false}, {404, "MCH_NOT_EXISTS", false}, {429, "FREQUENCY_LIMITED", false}, {500, "SYSTEM_ERROR", false},
			{503, "SERVICE_UNAVAILABLE", false},
		},
		"v2": {
			{200, "PARAM_ERROR", true}, {200, "INVALID_REQUEST", true}, {200, "REFUND_FEE_MISMATCH", true}, {200, "TRADE_OVERDUE", true},
			{200, "USER_ACCOUNT_ABNORMAL", true}, {200, "ORDERNOTEXIST", true}, {200, "INVALID_TRANSACTIONID", true}, {200, "ERROR", true},
			{200, "SYSTEMERROR", false}, {200, "BIZERR_NEED_RETRY", false}, {200, "FREQUENCY_LIMITED", false}, {200, "INVALID_REQ_TOO_MUCH", false},
			{200, "NOTENOUGH", false}, {200, "ORDER_NOT_READY", false}, {200, "SIGNERROR", false}, {200, "CERT_ERROR", false}, {200, "NOAUTH", false},
			{200, "APPID_NOT_EXIST", false}, {200, "MCHID_NOT_EXIST", false}, {200, "XML_FORMAT_ERROR", false}, {200, "REQUIRE_POST_METHOD", false},
		},
	} {
		for _, r := range refusals {
			t.Run(api+"/"+r.code, func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				endpoint, options := wxpaytest.EndpointRefundCreate, []consumertest.Option(nil)
				if api == "v2" {
					endpoint, options = wxpaytest.EndpointV2Refund, []consumertest.Option{b.V2}
				}
				times := 1
				if r.ends {
					times = -1
				}
				b.Sim.Fault(wxpaytest.Fault{Endpoint: endpoint, Times: times, Answer: wxpaytest.AnswerRefusal, Status: r.status, Code: r.code})
				b.Start(options...)
				b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
				e := b.End(messages.KindRefund, "R1")
				if r.ends && (e.Error == nil || e.Error.Reason != messages.ReasonRejected || e.Error.Code != r.code || e.Error.HTTPStatus != r.status) {
					t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
				}
				if !r.ends && e.Status != messages.StatusAccepted {
					t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
				}
				b.Settled()
			})
		}
	}
}

// Version 2 goes by transaction_id where both numbers of an order are sent, whatever out_trade_no says. Such a refund is the command's, and is
// told as it ends; so is one that is read back.
func TestTransactionIDNamesTheOrder(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]wxpaytest.Fault{
		"accepted": {Endpoint: wxpaytest.EndpointV2Refund, Apply: true}, "answer lost": {Endpoint: wxpaytest.EndpointV2Refund, Apply: true, Answer: wxpaytest.AnswerLost},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.Sim.AddOrder(wxpaytest.Order{MchID: mchid, TransactionID: "TX1", OutTradeNo: "ORDER-1", Total: 100})
			b.Sim.Fault(fault)
			b.Start(b.V2)
			b.Publish(messages.KindRefund, `{"out_refund_no":"R1","transaction_id":"TX1","out_trade_no":"ORDER-1-OLD","amount":{"refund":60,"total":100}}`)
			if e := b.End(messages.KindRefund, "R1"); e.Status != messages.StatusAccepted {
				t.Fatalf("outcome: %+v %+v", e.Outcome, e.Error)
			}
			check(t, b.Sim.Settle(mchid, "R1", "SUCCESS"))
			if e := b.becomes("R1", messages.StatusSucceeded); e.Refund.OutTradeNo != "ORDER-1" {
				t.Errorf("outcome: %+v", e.Refund)
			}
			b.Settled()
		})
	}
}

// A refusal that nobody has written down, to a refund that an earlier call has made, of which this worker knows nothing: the refund is asked
// about before its command is given up.
func TestUnknownRefusalIsNotBelievedBeforeAQuery(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]string{"unknown": "BIZ_ERR_NEED_RETRY", "none": "a-b"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupWith(t, consumertest.Config{Simulator: wxpaytest.Options{AllowQuickRepeat: true}})
			b.Start()
			b.Publish(messages.KindRefund, consumertest.RefundBody("R0")) // from here on it does not ask about new commands first
			b.End(messages.KindRefund, "R0")
			_, err := b.Client(mchid).CreateRefund(t.Context(), &wxpay.RefundRequest{
				TransactionID: "TXR1", OutRefundNo: "R1", Reason: "商品已售完", Amount: wxpay.RefundAmount{Refund: 60, Total: 100},
			})
			check(t, err)
			b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Answer: wxpaytest.AnswerRefusal, Status: 400, Code: code})
			b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
			if e := b.End(messages.KindRefund, "R1"); e.Status != messages.StatusAccepted {
				t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
			}
			b.Settled()
		})
	}
}

// A query that came too fast is asked again a minute later.
func TestThrottledReadBackWaitsAMinute(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Apply: true, Answer: wxpaytest.AnswerLost})
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundQuery, Answer: wxpaytest.Answer429})
	b.Start()
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	if e := b.End(messages.KindRefund, "R1"); e.Status != messages.StatusAccepted {
		t.Errorf("outcome: %+v %+v", e.Outcome, e.Error)
	}
	asked := b.Sim.RequestsTo(wxpaytest.EndpointRefundQuery)
	if gap := asked[1].At.Sub(asked[0].At); gap < time.Minute {
		t.Errorf("asked again after %s", gap)
	}
	b.Settled()
}

// transaction_id decides where it is known of both; out_trade_no is then not looked at.
func TestSameRefundGoesByTransactionID(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		want messages.RefundParams
		got  wxpay.Refund
		same bool
	}{
		{messages.RefundParams{TransactionID: "1", OutTradeNo: "A"}, wxpay.Refund{TransactionID: "1", OutTradeNo: "B"}, true},
		{messages.RefundParams{TransactionID: "1", OutTradeNo: "A"}, wxpay.Refund{TransactionID: "2", OutTradeNo: "A"}, false},
		{messages.RefundParams{TransactionID: "1"}, wxpay.Refund{TransactionID: "1", OutTradeNo: "B"}, true},
		{messages.RefundParams{OutTradeNo: "A"}, wxpay.Refund{TransactionID: "1", OutTradeNo: "B"}, false},
		{messages.RefundParams{OutTradeNo: "A"}, wxpay.Refund{TransactionID: "1", OutTradeNo: "A"}, true},
		{messages.RefundParams{TransactionID: "1", OutTradeNo: "A"}, wxpay.Refund{OutTradeNo: "B"}, false},
		{messages.RefundParams{OutTradeNo: "A"}, wxpay.Refund{TransactionID: "1"}, true},
	} {
		if got := consumer.SameRefund(&tt.want, &tt.got); got != tt.same {
			t.Errorf("%+v and %+v: %v", tt.want, tt.got, got)
		}
	}
}
