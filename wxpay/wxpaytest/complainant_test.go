package wxpaytest_test

import (
	"slices"
	"testing"
	"time"

	"wxpay-worker/wxpay/wxpaytest"
)

// While the platform serves, what the merchant says is recorded, and the user does not see it.
func TestPlatformServes(t *testing.T) {
	b := setup(t)
	b.want(respond("C1", "一"), 204, "")
	if err := b.PlatformServes("C1", true); err != nil {
		t.Fatal(err)
	}
	if d := b.detail("C1"); !d.Served {
		t.Errorf("%+v", d)
	}
	b.want(respond("C1", "二"), 204, "")
	b.want(approve("C1"), 204, "") // not a message
	if err := b.PlatformServes("C1", false); err != nil {
		t.Fatal(err)
	}
	b.want(respond("C1", "三"), 204, "")
	b.wantState("C1", "PROCESSING", "MERCHANT_RESPONSE", "USER_APPLY_PLATFORM_SERVICE", "MERCHANT_RESPONSE",
		"MERCHANT_APPROVE_REFUND", "PLATFORM_SERVICE_FINISHED", "MERCHANT_RESPONSE")
	book, _ := b.ComplaintBook("C1")
	var invisible []string
	for _, e := range book.History {
		if e.Invisible {
			invisible = append(invisible, e.OperateDetails)
		}
	}
	if !slices.Equal(invisible, []string{"二"}) || book.InPlatformService || b.detail("C1").Served {
		t.Errorf("%q %+v", invisible, book)
	}
	if said := b.Replies("C1"); len(said) != 3 || said[0].Invisible || !said[1].Invisible || said[2].Invisible {
		t.Errorf("%+v", said)
	}
	b.wantBooks()
}

func TestKindsOfComplaints(t *testing.T) {
	b := setup(t)
	for id, c := range map[string]struct {
		add     wxpaytest.Complaint
		problem string
		tags    []string
		decide  string // code of a decision
	}{
		"K1": {wxpaytest.Complaint{FastRefund: true}, "REFUND", []string{"TRUSTED"}, ""},
		"K2": {wxpaytest.Complaint{FastRefund: true, ProblemType: "REFUND", UserTags: []string{"HIGH_RISK", "TRUSTED"}}, "REFUND", []string{"HIGH_RISK", "TRUSTED"}, ""},
		"K3": {wxpaytest.Complaint{ProblemType: "REFUND", UserTags: []string{"TRUSTED"}}, "REFUND", []string{"TRUSTED"}, ""},
		"K4": {wxpaytest.Complaint{ProblemType: "REFUND", UserTags: []string{"HIGH_RISK"}}, "REFUND", []string{"HIGH_RISK"}, "PARAM_ERROR"},
		"K5": {wxpaytest.Complaint{UserTags: []string{"TRUSTED"}}, "SERVICE_NOT_WORK", []string{"TRUSTED"}, "PARAM_ERROR"},
		"K6": {wxpaytest.Complaint{ProblemType: "OTHERS"}, "OTHERS", nil, "PARAM_ERROR"},
	} {
		c.add.ID, c.add.MchID, c.add.Orders, c.add.NeedImmediateService = id, mchid, []string{"4200000001"}, id == "K6"
		b.AddComplaint(c.add)
		d := b.detail(id)
		if d.Problem != c.problem || !slices.Equal(d.Tags, c.tags) || (d.Apply == 100) != (c.problem == "REFUND") || d.AtOnce != (id == "K6") {
			t.Errorf("%s: %+v", id, d)
		}
		status := 204
		if c.decide != "" {
			status = 400
		}
		b.want(approve(id), status, c.decide)
		b.want(respond(id, "您好"), 204, "")
	}
	b.wantViolations(0)

	fake := &testingTB{TB: t}
	s := wxpaytest.New(fake)
	defer s.Close()
	for _, c := range []wxpaytest.Complaint{
		{FastRefund: true, ProblemType: "OTHERS"}, {ProblemType: "refund"}, {UserTags: []string{"VIP"}}, {ID: "C 1"},
	} {
		if c.MchID = mchid; c.ID == "" {
			c.ID = "C1"
		}
		s.AddComplaint(c)
	}
	s.AddMedia(mchid, "")
	s.AddMedia("", "m")
	s.AddMedia(mchid, "m", "m")
	if _, known := s.ComplaintBook("C1"); known || len(fake.errors) != 7 {
		t.Errorf("%q", fake.errors)
	}
	if s.PlatformServes("C1", true) == nil {
		t.Error("no error")
	}
	s.AddComplaint(wxpaytest.Complaint{ID: "C1", MchID: mchid})
	if s.PlatformServes("C1", false) == nil {
		t.Error("no error")
	}
}

// A complaint about two orders is refunded when both are; two complaints about one order both hear of it.
func TestOrdersAndComplaints(t *testing.T) {
	b := setup(t)
	b.AddComplaint(wxpaytest.Complaint{ID: "C2", MchID: mchid, Orders: []string{"4200000001", "4200000002"}, FastRefund: true})
	b.AddOrder(wxpaytest.Order{MchID: mchid, TransactionID: "4200000002", Total: 50})
	if d := b.detail("C2"); d.Apply != 150 || len(d.OrderIDs) != 2 {
		t.Errorf("%+v", d)
	}
	const started, part, there = "COMPLAINT_FULL_REFUNDED_SYSTEM_MESSAGE", "COMPLAINT_PARTIAL_REFUNDED_SYSTEM_MESSAGE", "COMPLAINT_REFUND_RECEIVED_SYSTEM_MESSAGE"
	settle := func(no string) {
		t.Helper()
		if err := b.Settle(mchid, no, "SUCCESS"); err != nil {
			t.Fatal(err)
		}
	}
	b.want(refund("R1", 100), 200, "")
	settle("R1")
	b.wantState("C1", "PROCESSED", started, there)
	b.wantState("C2", "PENDING", part, there)
	if d := b.detail("C2"); d.Full {
		t.Errorf("%+v", d)
	}
	b.want(approve("C1"), 400, "INVALID_REQUEST")
	b.want(approve("C2"), 204, "")
	b.want(respond("C2", "您好"), 204, "")
	b.want(post(refunds, `{"transaction_id":"4200000002","out_refund_no":"R2","amount":{"refund":50,"total":50,"currency":"CNY"}}`), 200, "")
	b.wantState("C2", "PROCESSING", started)
	b.wantState("C1", "PROCESSED", started, there) // not its order
	settle("R2")
	b.wantState("C2", "PROCESSED", started, there)
	if d := b.detail("C2"); !d.Full {
		t.Errorf("%+v", d)
	}
	b.wantBooks()
}

// Once all is refunded the user can leave messages, the merchant can answer them, and nothing else happens.
// By v2 as by v3: by any route.
func TestAfterAFullRefund(t *testing.T) {
	for route, pay := range map[string]func(b *bench){
		"v3": func(b *bench) { b.want(refund("R1", 100), 200, "") },
		"v2": func(b *bench) {
			v2 := b.v2()
			v2.want(v2.refund("R1", 100, "transaction_id", "4200000001"), "")
		},
	} {
		t.Run(route, func(t *testing.T) {
			user := &testingTB{TB: t} // asks for what is not possible
			b := setup(user)
			defer func() {
				for _, end := range user.clean {
					end()
				}
			}()
			pay(b)
			b.want(approve("C1"), 204, "") // started is not refunded
			if err := b.Settle(mchid, "R1", "SUCCESS"); err != nil {
				t.Fatal(err)
			}
			if !b.detail("C1").Full || b.UserContinues("C1") == nil || len(user.errors) != 1 {
				t.Errorf("the user continues: %q", user.errors)
			}
			if err := b.UserReplies("C1"); err != nil {
				t.Fatal(err)
			}
			if d := b.detail("C1"); !d.Waits || d.State != "PROCESSED" || d.Times != 1 {
				t.Errorf("%+v", d)
			}
			b.want(respond("C1", "不客气"), 204, "")
			b.want(approve("C1"), 400, "INVALID_REQUEST")
			b.want(finish("C1"), 400, "INVALID_REQUEST")
			b.wantState("C1", "PROCESSED", "USER_RESPONSE", "MERCHANT_RESPONSE")
			b.wantBooks()
		})
	}
}

// A refund that never arrives leaves the complaint as it is, and the user may go on.
func TestARefundThatIsClosed(t *testing.T) {
	b := setup(t)
	b.want(approve("C1"), 204, "")
	b.want(refund("R1", 100), 200, "")
	if err := b.Settle(mchid, "R1", "CLOSED"); err != nil {
		t.Fatal(err)
	}
	b.wantState("C1", "PENDING", "MERCHANT_APPROVE_REFUND", "COMPLAINT_FULL_REFUNDED_SYSTEM_MESSAGE")
	b.want(respond("C1", "抱歉"), 204, "")
	b.want(finish("C1"), 204, "")
	if err := b.UserContinues("C1"); err != nil {
		t.Fatal(err)
	}
	b.want(approve("C1"), 204, "") // a new round, a new decision
	b.clock.forward(time.Minute)
	b.want(refund("R2", 100), 200, "")
	if err := b.Settle(mchid, "R2", "SUCCESS"); err != nil {
		t.Fatal(err)
	}
	b.wantState("C1", "PROCESSED", "COMPLAINT_FULL_REFUNDED_SYSTEM_MESSAGE", "COMPLAINT_REFUND_RECEIVED_SYSTEM_MESSAGE")
	b.wantBooks()
}
