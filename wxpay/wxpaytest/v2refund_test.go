package wxpaytest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"wxpay-worker/wxpay/wxpaytest"
)

func TestV2RefundLife(t *testing.T) {
	for _, signType := range []string{"", "MD5", "HMAC-SHA256"} {
		t.Run(signType, func(t *testing.T) {
			b := setup(t)
			v2 := b.v2()
			q := v2.refund("R1", 40, "sign_type", signType, "refund_desc", "商品<已>售完&", "refund_fee_type", "CNY",
				"refund_account", "REFUND_SOURCE_RECHARGE_FUNDS", "notify_url", "https://example.com/n")
			r := v2.want(q, "")
			for name, want := range map[string]string{"transaction_id": "4200000010", "out_trade_no": "T-0010", "out_refund_no": "R1",
				"refund_fee": "40", "total_fee": "100", "cash_fee": "100", "appid": b.creds.AppID, "mch_id": mchid} {
				if r[name] != want {
					t.Errorf("%s: %q, want %q", name, r[name], want)
				}
			}
			if r["refund_id"] == "" || r["nonce_str"] == "" || r["wxpaytest_new_field"] == "" {
				t.Errorf("%v", r)
			}
			s := v2.want(v2.query("sign_type", signType, "out_refund_no", "R1"), "")
			if s["refund_status_0"] != "PROCESSING" || s["refund_id_0"] != r["refund_id"] || s["refund_fee_0"] != "40" ||
				s["refund_count"] != "1" || s["refund_success_time_0"] != "" || s["total_refund_count"] != "" ||
				s["refund_account_0"] != "REFUND_SOURCE_RECHARGE_FUNDS" {
				t.Errorf("%v", s)
			}
			if err := b.Settle(mchid, "R1", "SUCCESS"); err != nil {
				t.Fatal(err)
			}
			s = v2.want(v2.query("out_refund_no", "R1"), "")
			// The clock stands at 2027-01-15T08:00:00Z; v2 writes Chinese time without a zone.
			if s["refund_status_0"] != "SUCCESS" || s["refund_success_time_0"] != "2027-01-15 16:00:00" || s["refund_recv_accout_0"] != "支付用户零钱" {
				t.Errorf("%v", s)
			}
			list := b.Requests()
			if r := list[0]; r.Endpoint != wxpaytest.EndpointV2Refund || r.ID != "R1" || r.MchID != mchid || !r.Applied ||
				r.ClientCertificate != b.creds.SerialNo || r.Status != 200 || r.Code != "" {
				t.Errorf("%v", r)
			}
			if r := list[1]; r.Endpoint != wxpaytest.EndpointV2RefundQuery || r.ID != "R1" || r.ClientCertificate != "" {
				t.Errorf("%v", r)
			}
			b.wantBooks()
			b.wantViolations(0)
		})
	}
}

func TestV2Statuses(t *testing.T) {
	for v3, want := range map[string]string{"SUCCESS": "SUCCESS", "CLOSED": "REFUNDCLOSE", "ABNORMAL": "CHANGE"} {
		b := setup(t)
		v2 := b.v2()
		v2.want(v2.refund("R1", 40), "")
		if err := b.Settle(mchid, "R1", v3); err != nil {
			t.Fatal(err)
		}
		if s := v2.want(v2.query("out_refund_no", "R1"), ""); s["refund_status_0"] != want {
			t.Errorf("%s: %v", v3, s)
		}
	}
}

// One set of books: what one API did the other one sees.
func TestV2AndV3ShareTheBooks(t *testing.T) {
	b := setup(t)
	v2 := b.v2()
	r := v2.want(v2.refund("R1", 40, "refund_desc", "x", "refund_account", "REFUND_SOURCE_UNSETTLED_FUNDS"), "")
	if q := b.want(get(refunds+"/R1"), 200, ""); q.text("refund_id") != r["refund_id"] || q.text("funds_account") != "UNSETTLED" {
		t.Errorf("%v", q)
	}
	create := func(no string, amount int, rest string) call {
		return post(refunds, fmt.Sprintf(`{"transaction_id":"4200000010","out_refund_no":%q,"amount":{"refund":%d,"total":100,"currency":"CNY"}%s}`, no, amount, rest))
	}
	b.clock.forward(time.Minute)
	// The same number through the other API is the same refund.
	if again := b.want(create("R1", 40, `,"reason":"x","funds_account":"UNSETTLED"`), 200, ""); again.text("refund_id") != r["refund_id"] {
		t.Errorf("%v", again)
	}
	b.want(create("R2", 61, ""), 400, "INVALID_REQUEST")
	b.want(create("R2", 60, ""), 200, "")
	b.clock.forward(time.Minute)
	v2.want(v2.refund("R2", 60), "")
	v2.want(v2.refund("R3", 1), "INVALID_REQUEST") // nothing is left
	if s := v2.want(v2.query("out_refund_no", "R2"), ""); s["refund_status_0"] != "PROCESSING" || s["refund_account_0"] != "REFUND_SOURCE_UNSETTLED_FUNDS" {
		t.Errorf("%v", s)
	}
	if len(b.Refunds()) != 2 {
		t.Errorf("%v", b.Refunds())
	}
	b.wantBooks()
	b.wantViolations(0)
}

// One case per rule of money; none is a violation: an honest user can get there.
func TestV2RefusedMoney(t *testing.T) {
	for name, c := range map[string]struct {
		pairs []string
		code  string
	}{
		"same number other amount": {[]string{"out_refund_no", "R1", "refund_fee", "59"}, "INVALID_REQUEST"},
		"same number other total":  {[]string{"out_refund_no", "R1", "refund_fee", "60", "total_fee", "99"}, "INVALID_REQUEST"},
		"same number other order":  {[]string{"out_refund_no", "R1", "refund_fee", "60", "transaction_id", "4200000001"}, "INVALID_REQUEST"},
		"same number other desc":   {[]string{"out_refund_no", "R1", "refund_fee", "60", "refund_desc", "x"}, "INVALID_REQUEST"},
		"over the rest":            {[]string{"refund_fee", "41"}, "INVALID_REQUEST"},
		"other total":              {[]string{"total_fee", "99"}, "INVALID_REQUEST"},
		"unknown transaction":      {[]string{"transaction_id", "4299"}, "ORDERNOTEXIST"},
		"unknown order":            {[]string{"transaction_id", "", "out_trade_no", "T-9999"}, "ORDERNOTEXIST"},
		"another merchant's order": {[]string{"transaction_id", "4200000003"}, "INVALID_REQUEST"},
		"older than 365 days":      {[]string{"transaction_id", "4200000004"}, "TRADE_OVERDUE"},
		"balance too low":          {[]string{"transaction_id", "4200000001", "refund_fee", "40"}, "NOTENOUGH"},
		"other appid":              {[]string{"appid", "wx0000000000000000"}, "APPID_NOT_EXIST"},
		"sub_mch_id on direct":     {[]string{"sub_mch_id", "1"}, "PARAM_ERROR"},
		"sub_appid on direct":      {[]string{"sub_appid", "wx1"}, "PARAM_ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			b := setup(t)
			v2 := b.v2()
			b.AddOrder(wxpaytest.Order{MchID: "1900000009", TransactionID: "4200000003", Total: 100})
			b.AddOrder(wxpaytest.Order{MchID: mchid, TransactionID: "4200000004", Total: 100, PaidAt: b.clock.now().Add(-365*24*time.Hour - time.Second)})
			b.SetBalance(mchid, 99)
			v2.want(v2.refund("R1", 60), "")
			b.clock.forward(time.Minute)
			v2.want(v2.refund("R2", 10, c.pairs...), c.code)
			if len(b.Refunds()) != 1 {
				t.Errorf("refunds: %v", b.Refunds())
			}
			if r := b.Requests()[1]; r.Refusal == "" || r.Applied || r.Status != 200 || r.Code != c.code {
				t.Errorf("record: %v", r)
			}
			b.wantViolations(0)
			b.wantBooks()
		})
	}
}

// Other amounts have a second code, on paper. It is for both APIs.
func TestRefundFeeMismatch(t *testing.T) {
	b := setup(t, wxpaytest.Options{RefundFeeMismatch: true})
	v2 := b.v2()
	v2.want(v2.refund("R1", 60), "")
	v2.want(v2.refund("R1", 59), "REFUND_FEE_MISMATCH")
	v2.want(v2.refund("R2", 1, "total_fee", "99"), "REFUND_FEE_MISMATCH")
	v2.want(v2.refund("R1", 60, "transaction_id", "4200000001"), "INVALID_REQUEST")
	b.want(refund("R3", 10), 200, "")
	b.want(refund("R3", 11), 400, "REFUND_FEE_MISMATCH")
	b.wantViolations(0)
}

func TestV2ReentryAnswersTheSameRefund(t *testing.T) {
	b := setup(t)
	v2 := b.v2()
	first := v2.want(v2.refund("R1", 60), "")
	b.clock.forward(time.Minute)
	if again := v2.want(v2.refund("R1", 60, "transaction_id", "", "out_trade_no", "T-0010"), ""); again["refund_id"] != first["refund_id"] {
		t.Errorf("%v", again)
	}
	b.clock.forward(59 * time.Second)
	if r := v2.want(v2.refund("R1", 60), "INVALID_REQUEST"); r["err_code_des"] != "申请退款金额超过订单可退金额" {
		t.Errorf("%v", r)
	}
	b.wantViolations(1)
	if len(b.Refunds()) != 1 {
		t.Errorf("%v", b.Refunds())
	}
}

// Source: V2M:4011937624.
func TestV2TransactionIDWins(t *testing.T) {
	b := setup(t)
	v2 := b.v2()
	b.AddOrder(wxpaytest.Order{MchID: mchid, TransactionID: "4200000011", Total: 100})
	if r := v2.want(v2.refund("R1", 10, "out_trade_no", "T-9999"), ""); r["out_trade_no"] != "T-0010" {
		t.Errorf("%v", r)
	}
	// An order without a number of its own learns one, unless that is another order's.
	if r := v2.want(v2.refund("R2", 10, "transaction_id", "4200000011", "out_trade_no", "T-0010"), ""); r["out_trade_no"] != "" {
		t.Errorf("%v", r)
	}
	b.clock.forward(time.Minute)
	if r := v2.want(v2.refund("R3", 10, "transaction_id", "4200000011", "out_trade_no", "T-0011"), ""); r["out_trade_no"] != "T-0011" {
		t.Errorf("%v", r)
	}
	if s := v2.want(v2.query("out_refund_no", "R2"), ""); s["transaction_id"] != "4200000011" || s["out_trade_no"] != "T-0011" {
		t.Errorf("%v", s)
	}
	b.wantViolations(0)
}

// What a re-entry claims of its order is neither learned nor repeated.
func TestReentryTeachesNothing(t *testing.T) {
	b := setup(t)
	b.AddOrder(wxpaytest.Order{MchID: mchid, TransactionID: "4200000011", Total: 100})
	const create = `{"transaction_id":"4200000011",%s"out_refund_no":"R1","amount":{"refund":1,"total":100,"currency":"CNY"}}`
	b.want(post(refunds, fmt.Sprintf(create, "")), 200, "")
	b.clock.forward(time.Minute)
	if r := b.want(post(refunds, fmt.Sprintf(create, `"out_trade_no":"T9",`)), 200, ""); r.text("out_trade_no") != "" {
		t.Errorf("%v", r)
	}
}

func TestV2QueryByEachNumber(t *testing.T) {
	b := setup(t)
	v2 := b.v2()
	var ids []string
	for i := range 12 {
		ids = append(ids, v2.want(v2.refund(fmt.Sprintf("R%d", i), 1), "")["refund_id"])
		b.clock.forward(time.Minute)
	}
	if s := v2.want(v2.query("refund_id", ids[3], "out_refund_no", "R5", "transaction_id", "4299"), ""); s["out_refund_no_0"] != "R3" || s["refund_count"] != "1" {
		t.Errorf("refund_id comes first: %v", s)
	}
	if s := v2.want(v2.query("out_refund_no", "R5", "transaction_id", "4299", "out_trade_no", "T-9999"), ""); s["out_refund_no_0"] != "R5" {
		t.Errorf("out_refund_no comes second: %v", s)
	}
	for _, by := range [][]string{{"transaction_id", "4200000010", "out_trade_no", "T-9999"}, {"out_trade_no", "T-0010"}} {
		s := v2.want(v2.query(by...), "")
		if s["refund_count"] != "10" || s["total_refund_count"] != "12" || s["out_refund_no_9"] != "R9" || s["out_refund_no_10"] != "" {
			t.Errorf("%v: %v", by, s)
		}
		s = v2.want(v2.query(append(by, "offset", "10")...), "")
		if s["refund_count"] != "2" || s["out_refund_no_1"] != "R11" {
			t.Errorf("%v: %v", by, s)
		}
		v2.want(v2.query(append(by, "offset", "12")...), "PARAM_ERROR")
	}
	for _, nothing := range [][]string{{"out_refund_no", "R99"}, {"refund_id", "1"}, {"transaction_id", "4200000001"}, {"transaction_id", "4299"}, {"out_trade_no", "T-9999"}} {
		v2.want(v2.query(nothing...), "REFUNDNOTEXIST")
	}
	b.wantViolations(0)
}

func TestV2QuerySeesNothingOfOthers(t *testing.T) {
	b := setup(t)
	v2 := b.v2()
	id := v2.want(v2.refund("R1", 10), "")["refund_id"]
	other := newV2Caller(t, b.Server, b.AddMerchant(wxpaytest.Merchant{MchID: "1900000002"}))
	for _, by := range [][]string{{"refund_id", id}, {"out_refund_no", "R1"}, {"transaction_id", "4200000010"}, {"out_trade_no", "T-0010"}} {
		other.want(other.query(by...), "REFUNDNOTEXIST")
	}
}

func TestV2QueryLagAndSettleAtOnce(t *testing.T) {
	b := setup(t, wxpaytest.Options{QueryLag: 10 * time.Second, SettleAtOnce: true})
	v2 := b.v2()
	v2.want(v2.refund("R1", 10), "")
	v2.want(v2.query("out_refund_no", "R1"), "REFUNDNOTEXIST")
	v2.want(v2.query("transaction_id", "4200000010"), "REFUNDNOTEXIST")
	b.clock.forward(10 * time.Second)
	if s := v2.want(v2.query("out_refund_no", "R1"), ""); s["refund_status_0"] != "SUCCESS" {
		t.Errorf("%v", s)
	}
}

func TestV2Provider(t *testing.T) {
	const provider, sub = "1900000100", "1900000101"
	s := wxpaytest.New(t)
	v2 := newV2Caller(t, s, s.AddMerchant(wxpaytest.Merchant{MchID: provider, Provider: true, SubMchIDs: []string{sub}, AppID: "wxprovider"}))
	s.AddOrder(wxpaytest.Order{MchID: provider, SubMchID: sub, TransactionID: "4300", OutTradeNo: "P-0001", Total: 100})
	s.SetBalance(sub, 30)
	create := func(amount int, pairs ...string) v2call {
		return v2.refund("R1", amount, append([]string{"transaction_id", "4300"}, pairs...)...)
	}
	v2.want(create(10), "PARAM_ERROR")
	v2.want(create(10, "sub_mch_id", "1900000102"), "NOAUTH")
	v2.want(create(31, "sub_mch_id", sub), "NOTENOUGH")
	if r := v2.want(create(30, "sub_mch_id", sub, "sub_appid", "wxsub"), ""); r["sub_mch_id"] != sub || r["sub_appid"] != "wxsub" || r["appid"] != "wxprovider" {
		t.Errorf("%v", r)
	}
	v2.want(v2.query("out_refund_no", "R1"), "PARAM_ERROR")
	v2.want(v2.query("out_refund_no", "R1", "sub_mch_id", "1900000102"), "NOAUTH")
	v2.want(v2.query("out_refund_no", "R1", "sub_mch_id", sub), "")
	v2.want(v2.query("out_trade_no", "P-0001", "sub_mch_id", sub), "")
	if list := s.Violations(); len(list) != 0 {
		t.Errorf("%q", list)
	}
}

// In open books an order comes to be with the numbers that name it.
func TestV2OpenBooks(t *testing.T) {
	b := setup(t, wxpaytest.Options{OpenBooks: true})
	v2 := b.v2()
	v2.want(v2.refund("R1", 60, "transaction_id", "42NEW", "out_trade_no", "NEW-01"), "")
	b.clock.forward(time.Minute)
	v2.want(v2.refund("R2", 41, "transaction_id", "", "out_trade_no", "NEW-01"), "INVALID_REQUEST")
	v2.want(v2.refund("R2", 40, "transaction_id", "", "out_trade_no", "NEW-01"), "")
	b.wantViolations(0)
	b.wantBooks()
}

// Two refunds of one order within a minute: by order identity, in either API, under either number.
func TestSpacingGoesByTheOrder(t *testing.T) {
	v3 := func(no, number string) call {
		return post(refunds, fmt.Sprintf(`{%s,"out_refund_no":%q,"amount":{"refund":1,"total":100,"currency":"CNY"}}`, number, no))
	}
	const byTransaction, byTrade = `"transaction_id":"4200000010"`, `"out_trade_no":"T-0010"`
	for name, c := range map[string]struct {
		first      func(b *bench, v2 *v2caller)
		second     func(b *bench, v2 *v2caller)
		violations int
	}{
		"v2 then v3": {
			func(b *bench, v2 *v2caller) { v2.want(v2.refund("R1", 1), "") },
			func(b *bench, v2 *v2caller) { b.want(v3("R2", byTransaction), 200, "") }, 1},
		"v3 then v2": {
			func(b *bench, v2 *v2caller) { b.want(v3("R1", byTransaction), 200, "") },
			func(b *bench, v2 *v2caller) { v2.want(v2.refund("R2", 1), "") }, 1},
		"the answer told the other number": {
			func(b *bench, v2 *v2caller) { b.want(v3("R1", byTransaction), 200, "") },
			func(b *bench, v2 *v2caller) { b.want(v3("R2", byTrade), 200, "") }, 1},
		"an answer that was lost told nothing": {
			func(b *bench, v2 *v2caller) {
				b.Fault(wxpaytest.Fault{Apply: true, Answer: wxpaytest.AnswerLost})
				_, _ = b.try(v3("R1", byTransaction))
			},
			func(b *bench, v2 *v2caller) { b.want(v3("R2", byTrade), 200, "") }, 0},
		"an answer that is forged told nothing": {
			func(b *bench, v2 *v2caller) {
				b.Fault(wxpaytest.Fault{Apply: true, Answer: wxpaytest.AnswerForged})
				_, _ = v2.try(v2.refund("R1", 1))
			},
			func(b *bench, v2 *v2caller) { b.want(v3("R2", byTrade), 200, "") }, 0},
		"a query told it": {
			func(b *bench, v2 *v2caller) {
				b.Fault(wxpaytest.Fault{Apply: true, Answer: wxpaytest.AnswerLost})
				_, _ = b.try(v3("R1", byTransaction))
				b.want(get(refunds+"/R1"), 200, "")
			},
			func(b *bench, v2 *v2caller) { b.want(v3("R2", byTrade), 200, "") }, 1},
		"a v2 query told it": {
			func(b *bench, v2 *v2caller) {
				b.Fault(wxpaytest.Fault{Apply: true, Answer: wxpaytest.AnswerLost})
				_, _ = b.try(v3("R1", byTransaction))
				v2.want(v2.query("out_refund_no", "R1"), "")
			},
			func(b *bench, v2 *v2caller) { b.want(v3("R2", byTrade), 200, "") }, 1},
		"the second one names both": {
			func(b *bench, v2 *v2caller) {
				b.Fault(wxpaytest.Fault{Apply: true, Answer: wxpaytest.AnswerLost})
				_, _ = b.try(v3("R1", byTransaction))
			},
			func(b *bench, v2 *v2caller) { b.want(v3("R2", byTransaction+","+byTrade), 200, "") }, 1},
		"a request named both before": {
			func(b *bench, v2 *v2caller) {
				b.Fault(wxpaytest.Fault{Times: 2, Apply: true, Answer: wxpaytest.AnswerLost})
				_, _ = b.try(v3("R0", byTransaction+","+byTrade))
				b.clock.forward(time.Minute)
				_, _ = b.try(v3("R1", byTransaction))
			},
			func(b *bench, v2 *v2caller) { b.want(v3("R2", byTrade), 200, "") }, 1},
		"a v2 request named both before": {
			func(b *bench, v2 *v2caller) {
				b.Fault(wxpaytest.Fault{Times: 2, Apply: true, Answer: wxpaytest.AnswerLost})
				_, _ = v2.try(v2.refund("R0", 1, "out_trade_no", "T-0010"))
				b.clock.forward(time.Minute)
				_, _ = b.try(v3("R1", byTransaction))
			},
			func(b *bench, v2 *v2caller) { b.want(v3("R2", byTrade), 200, "") }, 1},
		"a re-entry told it": {
			func(b *bench, v2 *v2caller) {
				b.Fault(wxpaytest.Fault{Apply: true, Answer: wxpaytest.AnswerLost})
				_, _ = b.try(v3("R0", byTransaction))
				b.clock.forward(time.Minute)
				b.want(v3("R0", byTransaction), 200, "")
				b.Fault(wxpaytest.Fault{Apply: true, Answer: wxpaytest.AnswerLost})
				_, _ = b.try(v3("R1", byTransaction))
			},
			func(b *bench, v2 *v2caller) { b.want(v3("R2", byTrade), 200, "") }, 1},
		"not the last one, but the one before": {
			func(b *bench, v2 *v2caller) {
				b.Fault(wxpaytest.Fault{Times: 2, Apply: true, Answer: wxpaytest.AnswerLost})
				_, _ = b.try(v3("R0", byTransaction))
				_, _ = b.try(v3("R1", byTrade))
			},
			func(b *bench, v2 *v2caller) { b.want(v3("R2", byTransaction), 200, "") }, 1},
		"a v2 call with a second number that is not the order's": {
			func(b *bench, v2 *v2caller) {
				b.Fault(wxpaytest.Fault{Apply: true, Answer: wxpaytest.AnswerLost})
				_, _ = v2.try(v2.refund("R1", 1, "out_trade_no", "T-9999"))
			},
			func(b *bench, v2 *v2caller) { b.want(v3("R2", byTrade), 200, "") }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := setup(t)
			v2 := b.v2()
			c.first(b, v2)
			b.clock.forward(59 * time.Second)
			b.wantViolations(0)
			c.second(b, v2)
			b.wantViolations(c.violations)
			if c.violations > 0 && !strings.Contains(b.Violations()[0], "another refund of the same order") {
				t.Error(b.Violations())
			}
		})
	}
}

// The same number again within the minute, through the other API: refused, and a violation.
func TestQuickRepeatAcrossTheAPIs(t *testing.T) {
	b := setup(t)
	v2 := b.v2()
	v2.want(v2.refund("R1", 1), "")
	b.clock.forward(59 * time.Second)
	b.want(post(refunds, `{"transaction_id":"4200000010","out_refund_no":"R1","amount":{"refund":1,"total":100,"currency":"CNY"}}`), 400, "INVALID_REQUEST")
	b.wantViolations(1)
}

// Which earlier answers of v2 excuse a repeat within the minute.
func TestV2RepeatAfter(t *testing.T) {
	for name, c := range map[string]struct {
		fault   wxpaytest.Fault
		excused bool
		again   string // err_code of the repeat
	}{
		"proven refusal":         {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal, Code: "NOTENOUGH"}, true, ""},
		"proven INVALID_REQUEST": {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal}, true, ""},
		"unsigned refusal":       {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal, Unsigned: true}, false, ""},
		"refusal, but applied":   {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal, Apply: true}, false, "INVALID_REQUEST"},
		"FREQUENCY_LIMITED":      {wxpaytest.Fault{Answer: wxpaytest.Answer429}, true, ""},
		"SYSTEMERROR":            {wxpaytest.Fault{Answer: wxpaytest.Answer5xx}, false, ""},
		"BIZERR_NEED_RETRY":      {wxpaytest.Fault{Answer: wxpaytest.Answer202}, false, ""},
		"INVALID_REQ_TOO_MUCH":   {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal, Code: "INVALID_REQ_TOO_MUCH"}, false, ""},
		"return_code FAIL":       {wxpaytest.Fault{ReturnFail: true}, false, ""},
		"502":                    {wxpaytest.Fault{Answer: wxpaytest.Answer502HTML}, false, ""},
		"forged refusal is 200":  {wxpaytest.Fault{Answer: wxpaytest.AnswerForged, Apply: true}, false, "INVALID_REQUEST"},
		"lost":                   {wxpaytest.Fault{Answer: wxpaytest.AnswerLost}, false, ""},
		"cut short":              {wxpaytest.Fault{Answer: wxpaytest.AnswerCutShort}, false, ""},
		"right":                  {wxpaytest.Fault{Apply: true}, false, "INVALID_REQUEST"},
	} {
		t.Run(name, func(t *testing.T) {
			b := setup(t)
			v2 := b.v2()
			b.Fault(c.fault)
			_, _ = v2.try(v2.refund("R1", 10))
			b.clock.forward(30 * time.Second)
			v2.want(v2.refund("R1", 10), c.again)
			if excused := len(b.Violations()) == 0; excused != c.excused {
				t.Errorf("excused: %t, want %t: %q", excused, c.excused, b.Violations())
			}
			b.wantBooks()
		})
	}
}
