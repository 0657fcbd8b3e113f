package wxpaytest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"wxpay-worker/wxpay/wxpaytest"
)

func TestRefundLife(t *testing.T) {
	b := setup(t)
	r := b.want(refund("R1", 100), 200, "")
	if r.text("status") != "PROCESSING" || r.text("success_time") != "" || r.text("out_trade_no") != "T1" || r.text("refund_id") == "" {
		t.Fatalf("create: %v", r)
	}
	if q := b.want(get(refunds+"/R1"), 200, ""); q.text("status") != "PROCESSING" || q.text("refund_id") != r.text("refund_id") {
		t.Fatalf("query: %v", q)
	}
	if err := b.Settle(mchid, "R1", "SUCCESS"); err != nil {
		t.Fatal(err)
	}
	q := b.want(get(refunds+"/R1"), 200, "")
	if _, err := time.Parse(time.RFC3339, q.text("success_time")); err != nil || q.text("status") != "SUCCESS" {
		t.Fatalf("query: %v", q)
	}
	book, ok := b.Refund(mchid, "R1")
	if !ok || book.Amount != 100 || book.Total != 100 || book.Creates != 1 || book.TransactionID != "4200000001" || len(b.Refunds()) != 1 {
		t.Fatalf("book: %+v", book)
	}
	b.wantBooks()
	b.wantViolations(0)
}

func TestReentryAnswersTheSameRefund(t *testing.T) {
	b := setup(t)
	first := b.want(refund("R1", 60), 200, "")
	b.clock.forward(time.Minute)
	second := b.want(refund("R1", 60), 200, "")
	if first.text("refund_id") != second.text("refund_id") || len(b.Refunds()) != 1 {
		t.Fatalf("%v\n%v", first, second)
	}
	// The order under its other number is the same order.
	b.clock.forward(time.Minute)
	b.want(post(refunds, `{"out_trade_no":"T1","out_refund_no":"R1","amount":{"refund":60,"total":100,"currency":"CNY"}}`), 200, "")
	// After CLOSED: the closed refund, never a new one.
	if err := b.Settle(mchid, "R1", "CLOSED"); err != nil {
		t.Fatal(err)
	}
	b.clock.forward(time.Minute)
	if r := b.want(refund("R1", 60), 200, ""); r.text("status") != "CLOSED" {
		t.Fatalf("%v", r)
	}
	if book, _ := b.Refund(mchid, "R1"); book.Creates != 4 {
		t.Errorf("creates: %d", book.Creates)
	}
	b.wantViolations(0)
}

// One case per rule of money; none is a violation: an honest user can get there.
func TestRefusedMoney(t *testing.T) {
	const twin = `{"transaction_id":"4200000001","out_refund_no":"R1","amount":{"refund":60,"total":100,"currency":"CNY"}%s}`
	for name, c := range map[string]struct {
		q      call
		status int
		code   string
	}{
		"same number other amount": {refund("R1", 59), 400, "INVALID_REQUEST"},
		"same number other total":  {post(refunds, strings.Replace(refund("R1", 60).body, `"total":100`, `"total":99`, 1)), 400, "INVALID_REQUEST"},
		"same number other order":  {post(refunds, strings.Replace(refund("R1", 60).body, `4200000001`, `4200000002`, 1)), 400, "INVALID_REQUEST"},
		"same number other reason": {post(refunds, fmt.Sprintf(twin, `,"reason":"x"`)), 400, "INVALID_REQUEST"},
		"same number other notify": {post(refunds, fmt.Sprintf(twin, `,"notify_url":"https://a.b/c"`)), 400, "INVALID_REQUEST"},
		"over the rest":            {refund("R2", 41), 400, "INVALID_REQUEST"},
		"other total":              {post(refunds, strings.Replace(refund("R2", 10).body, `"total":100`, `"total":99`, 1)), 400, "INVALID_REQUEST"},
		"unknown order":            {post(refunds, strings.Replace(refund("R2", 10).body, `4200000001`, `4299`, 1)), 404, "RESOURCE_NOT_EXISTS"},
		"another merchant's order": {post(refunds, strings.Replace(refund("R2", 10).body, `4200000001`, `4200000003`, 1)), 400, "INVALID_REQUEST"},
		"numbers of two orders":    {post(refunds, strings.Replace(refund("R2", 10).body, `"4200000001"`, `"4200000001","out_trade_no":"T2"`, 1)), 400, "INVALID_REQUEST"},
		"older than 365 days":      {post(refunds, strings.Replace(refund("R2", 10).body, `4200000001`, `4200000004`, 1)), 400, "TRADE_OVERDUE"},
		"sub_mchid on direct":      {post(refunds, strings.Replace(refund("R2", 10).body, `{`, `{"sub_mchid":"1",`, 1)), 400, "PARAM_ERROR"},
		"sub_mchid in query":       {get(refunds + "/R1?sub_mchid=1"), 400, "PARAM_ERROR"},
		"refund unknown to query":  {get(refunds + "/R2"), 404, "RESOURCE_NOT_EXISTS"},
	} {
		t.Run(name, func(t *testing.T) {
			b := setup(t)
			b.AddOrder(wxpaytest.Order{MchID: mchid, TransactionID: "4200000002", OutTradeNo: "T2", Total: 100})
			b.AddOrder(wxpaytest.Order{MchID: "1900000009", TransactionID: "4200000003", Total: 100})
			b.AddOrder(wxpaytest.Order{MchID: mchid, TransactionID: "4200000004", Total: 100, PaidAt: b.clock.now().Add(-365*24*time.Hour - time.Second)})
			b.want(refund("R1", 60), 200, "")
			b.clock.forward(time.Minute)
			b.want(c.q, c.status, c.code)
			if len(b.Refunds()) != 1 {
				t.Errorf("refunds: %v", b.Refunds())
			}
			if r := b.Requests()[1]; r.Refusal == "" || r.Applied || r.Status != c.status {
				t.Errorf("record: %v", r)
			}
			b.wantViolations(0)
			b.wantBooks()
		})
	}
}

func TestInnerCodeOfOtherParameters(t *testing.T) {
	b := setup(t)
	b.want(refund("R1", 60), 200, "")
	r := b.want(refund("R1", 59), 400, "INVALID_REQUEST")
	if id := r.header.Get("Request-ID"); !strings.HasSuffix(id, "-268498688") {
		t.Errorf("Request-ID %q", id)
	}
}

func TestBalanceTooLow(t *testing.T) {
	b := setup(t)
	b.SetBalance(mchid, 50)
	b.want(refund("R1", 60), 403, "NOT_ENOUGH")
	b.want(get(refunds+"/R1"), 404, "RESOURCE_NOT_EXISTS") // nothing is recorded
	b.SetBalance(mchid, 60)
	b.want(refund("R1", 60), 200, "") // same number, at once: not a violation, the refusal was definite
	b.clock.forward(time.Minute)
	b.want(refund("R2", 10), 403, "NOT_ENOUGH") // the purse is empty now
	if err := b.Settle(mchid, "R1", "CLOSED"); err != nil {
		t.Fatal(err)
	}
	b.want(refund("R2", 10), 200, "") // the money came back
	b.wantViolations(0)
	b.wantBooks()
}

func TestAtMostFiftyPartialRefunds(t *testing.T) {
	b := setup(t)
	for i := range 50 {
		b.want(refund(fmt.Sprintf("R%d", i), 1), 200, "")
		b.clock.forward(time.Minute)
	}
	b.want(refund("R50", 1), 400, "INVALID_REQUEST")
	b.wantViolations(0)
	b.wantBooks()
}

// P:4013080629: within a minute only the first submission succeeds.
func TestQuickRepeat(t *testing.T) {
	b := setup(t)
	b.want(refund("R1", 10), 200, "")
	b.clock.forward(59 * time.Second)
	if r := b.want(refund("R1", 10), 400, "INVALID_REQUEST"); r.text("message") != "申请退款金额超过订单可退金额" {
		t.Errorf("%v", r)
	}
	b.wantViolations(1)
	b.clock.forward(time.Second) // 60 s after the first: answered, but too early after the second
	b.want(refund("R1", 10), 200, "")
	b.wantViolations(2)
	b.clock.forward(time.Minute)
	b.want(refund("R1", 10), 200, "")
	b.wantViolations(2)
	if len(b.Refunds()) != 1 {
		t.Errorf("refunds: %v", b.Refunds())
	}
}

func TestQuickRepeatAllowed(t *testing.T) {
	b := setup(t, wxpaytest.Options{AllowQuickRepeat: true})
	b.want(refund("R1", 10), 200, "")
	b.want(refund("R1", 10), 200, "")
	b.want(refund("R2", 10), 200, "")
	b.wantViolations(0)
}

// Which earlier answers excuse a repeat within the minute.
func TestRepeatAfter(t *testing.T) {
	for name, c := range map[string]struct {
		fault   wxpaytest.Fault
		excused bool
		again   int // status of the repeat
	}{
		"proven refusal":              {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal, Status: 403, Code: "NOT_ENOUGH"}, true, 200},
		"proven INVALID_REQUEST":      {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal}, true, 200},
		"401":                         {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal, Status: 401, Code: "SIGN_ERROR"}, true, 200},
		"unsigned refusal":            {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal, Unsigned: true}, false, 200},
		"refusal, but applied":        {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal, Apply: true}, false, 400},
		"429":                         {wxpaytest.Fault{Answer: wxpaytest.Answer429}, false, 200},
		"429 applied":                 {wxpaytest.Fault{Answer: wxpaytest.Answer429, Apply: true}, false, 400},
		"500":                         {wxpaytest.Fault{Answer: wxpaytest.Answer5xx}, false, 200},
		"502":                         {wxpaytest.Fault{Answer: wxpaytest.Answer502HTML}, false, 200},
		"202":                         {wxpaytest.Fault{Answer: wxpaytest.Answer202}, false, 200},
		"lost":                        {wxpaytest.Fault{Answer: wxpaytest.AnswerLost}, false, 200},
		"lost, but applied":           {wxpaytest.Fault{Answer: wxpaytest.AnswerLost, Apply: true}, false, 400},
		"forged":                      {wxpaytest.Fault{Answer: wxpaytest.AnswerForged, Apply: true}, false, 400},
		"right":                       {wxpaytest.Fault{Answer: wxpaytest.AnswerRight, Apply: true}, false, 400},
		"refused for its parameters":  {wxpaytest.Fault{ID: "other"}, true, 200},
		"refused before it got there": {wxpaytest.Fault{ID: "header"}, true, 200},
	} {
		t.Run(name, func(t *testing.T) {
			b := setup(t)
			first := refund("R1", 10)
			switch c.fault.ID {
			case "other": // over the rest: a definite no
				b.want(refund("R0", 95), 200, "")
				b.clock.forward(time.Minute)
				b.want(first, 400, "INVALID_REQUEST")
				if err := b.Settle(mchid, "R0", "CLOSED"); err != nil {
					t.Fatal(err)
				}
			case "header":
				first.serial = "00"
				b.want(first, 401, "SIGN_ERROR")
				first.serial = ""
			default:
				b.Fault(c.fault)
				_, _ = b.try(first)
			}
			before := len(b.Violations())
			b.clock.forward(30 * time.Second)
			r := b.do(first)
			if r.status != c.again {
				t.Errorf("repeat: %v, want %d", r, c.again)
			}
			if excused := len(b.Violations()) == before; excused != c.excused {
				t.Errorf("excused: %t, want %t: %q", excused, c.excused, b.Violations())
			}
			b.wantBooks()
		})
	}
}

func TestRefundsOfOneOrderWithinAMinute(t *testing.T) {
	b := setup(t)
	b.want(refund("R1", 10), 200, "")
	b.clock.forward(59 * time.Second)
	b.want(refund("R2", 10), 200, "") // executed: the documents do not say that it is refused
	b.wantViolations(1)
	b.clock.forward(time.Minute)
	b.want(refund("R3", 10), 200, "")
	b.wantViolations(1) // more in TestSpacingGoesByTheOrder
}

func TestQueryLag(t *testing.T) {
	b := setup(t, wxpaytest.Options{QueryLag: 10 * time.Second})
	b.want(refund("R1", 10), 200, "")
	b.want(get(refunds+"/R1"), 404, "RESOURCE_NOT_EXISTS")
	b.clock.forward(10 * time.Second)
	b.want(get(refunds+"/R1"), 200, "")
}

func TestSettleAtOnce(t *testing.T) {
	b := setup(t, wxpaytest.Options{SettleAtOnce: true})
	if r := b.want(refund("R1", 10), 200, ""); r.text("status") != "PROCESSING" {
		t.Errorf("create: %v", r)
	}
	if r := b.want(get(refunds+"/R1"), 200, ""); r.text("status") != "SUCCESS" {
		t.Errorf("query: %v", r)
	}
}

func TestSettleWays(t *testing.T) {
	for _, c := range []struct {
		from, to string
		allowed  bool
	}{
		{"", "SUCCESS", true}, {"", "CLOSED", true}, {"", "ABNORMAL", true}, {"", "PROCESSING", false}, {"", "DONE", false},
		{"ABNORMAL", "SUCCESS", true}, {"ABNORMAL", "CLOSED", false},
		{"SUCCESS", "CLOSED", false}, {"SUCCESS", "ABNORMAL", false}, {"CLOSED", "SUCCESS", false},
	} {
		b := setup(t)
		b.want(refund("R1", 10), 200, "")
		if c.from != "" {
			if err := b.Settle(mchid, "R1", c.from); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Settle(mchid, "R1", c.to); (err == nil) != c.allowed {
			t.Errorf("%s → %s: %v", c.from, c.to, err)
		}
	}
	if err := setup(t).Settle(mchid, "R9", "SUCCESS"); err == nil {
		t.Error("settled a refund that does not exist")
	}
}

func TestProvider(t *testing.T) {
	const provider, sub = "1900000100", "1900000101"
	s := wxpaytest.New(t)
	creds := s.AddMerchant(wxpaytest.Merchant{MchID: provider, Provider: true, SubMchIDs: []string{sub}})
	s.AddOrder(wxpaytest.Order{MchID: provider, SubMchID: sub, TransactionID: "4300", OutTradeNo: "P1", Total: 100})
	s.AddOrder(wxpaytest.Order{MchID: provider, SubMchID: "1900000102", TransactionID: "4301", Total: 100})
	s.SetBalance(sub, 30)
	c := newCaller(t, s, creds, time.Now)
	create := func(no, sub, order string, fen int) call {
		if sub != "" {
			sub = `"sub_mchid":"` + sub + `",`
		}
		return post(refunds, fmt.Sprintf(`{%s"transaction_id":%q,"out_refund_no":%q,"amount":{"refund":%d,"total":100,"currency":"CNY"}}`, sub, order, no, fen))
	}
	c.want(create("R1", "", "4300", 10), 400, "PARAM_ERROR")
	c.want(create("R1", "1900000102", "4301", 10), 403, "NO_AUTH")
	c.want(create("R1", sub, "4301", 10), 400, "INVALID_REQUEST")
	c.want(create("R1", sub, "4300", 31), 403, "NOT_ENOUGH")
	c.want(create("R1", sub, "4300", 30), 200, "")
	c.want(get(refunds+"/R1"), 400, "PARAM_ERROR")
	c.want(get(refunds+"/R1?sub_mchid=1900000102"), 403, "NO_AUTH")
	c.want(get(refunds+"/R1?sub_mchid="+sub), 200, "")
	if list := s.Violations(); len(list) != 0 {
		t.Errorf("violations: %q", list)
	}

	s.AddComplaint(wxpaytest.Complaint{ID: "C1", MchID: provider, ComplaintedMchID: sub})
	if r := c.want(get(complaintPath("C1", "")), 200, ""); r.text("complainted_mchid") != sub {
		t.Errorf("%v", r)
	}
	c.want(post(complaintPath("C1", "/response"), `{"complainted_mchid":"`+provider+`","response_content":"好"}`), 403, "NO_AUTH")
	c.want(post(complaintPath("C1", "/response"), `{"complainted_mchid":"`+sub+`","response_content":"好"}`), 204, "")
}

func TestOpenBooks(t *testing.T) {
	b := setup(t, wxpaytest.Options{OpenBooks: true})
	b.want(post(refunds, `{"out_trade_no":"NEW","out_refund_no":"R1","amount":{"refund":60,"total":100,"currency":"CNY"}}`), 200, "")
	b.clock.forward(time.Minute)
	b.want(post(refunds, `{"out_trade_no":"NEW","out_refund_no":"R2","amount":{"refund":41,"total":100,"currency":"CNY"}}`), 400, "INVALID_REQUEST")
	b.want(post(refunds, `{"transaction_id":"42NEW","out_trade_no":"NEW2","out_refund_no":"R3","amount":{"refund":1,"total":1,"currency":"CNY"}}`), 200, "")
	b.want(post(complaintPath("200201820200101080076610000", "/update-refund-progress"), `{"action":"APPROVE","launch_refund_day":0}`), 204, "")
	b.want(post(complaintPath("X", "/response"), `{"complainted_mchid":"1900012181","response_content":"好"}`), 204, "")
	b.want(post(complaintPath("X", "/complete"), `{"complainted_mchid":"1900012182"}`), 403, "NO_AUTH") // learned from the reply
	b.want(get(refunds+"/R9"), 404, "RESOURCE_NOT_EXISTS")
	b.wantViolations(0)
	b.wantBooks()
}

// Whatever comes at once, an order is never refunded beyond what was paid, a number never twice.
func TestMoneyUnderConcurrency(t *testing.T) {
	b := setup(t)
	b.SetBalance(mchid, 90)
	for i := range 40 { // some answers are lost, applied or not
		b.Fault(wxpaytest.Fault{Skip: i % 3, Apply: i%2 == 0, Answer: wxpaytest.AnswerLost})
	}
	var wait sync.WaitGroup
	for worker := range 8 {
		wait.Go(func() {
			for i := range 20 {
				if worker%2 == 0 {
					_, _ = b.try(refund(fmt.Sprintf("R%d", i), 7))
				} else {
					q := refund(fmt.Sprintf("R%d", i), 7)
					q.hostBase = b.BackupURL()
					_, _ = b.try(q)
				}
			}
		})
	}
	wait.Wait()
	b.wantBooks()
	var sum int64
	for _, r := range b.Refunds() {
		sum += r.Amount
	}
	if sum != 84 { // twelve times 7: the most that 90 fen pay for
		t.Errorf("refunded %d", sum)
	}
	applied := 0
	for _, r := range b.Requests() {
		if r.Applied {
			applied++
		}
	}
	if applied != len(b.Refunds()) {
		t.Errorf("%d requests applied, %d refunds", applied, len(b.Refunds()))
	}
}

func TestAnswersHoldNewFields(t *testing.T) {
	b := setup(t)
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b.want(refund("R1", 10), 200, "").body, &fields); err != nil || fields["wxpaytest_new_field"] == nil {
		t.Errorf("%v %v", fields, err)
	}
}
