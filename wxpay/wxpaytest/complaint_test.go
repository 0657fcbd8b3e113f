package wxpaytest_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"wxpay-worker/wxpay/wxpaytest"
)

func approve(id string) call {
	return post(complaintPath(id, "/update-refund-progress"), `{"action":"APPROVE","launch_refund_day":0,"remark":"已处理完成"}`)
}

func reject(id string) call {
	return post(complaintPath(id, "/update-refund-progress"), `{"action":"REJECT","reject_reason":"拒绝退款","reject_media_list":["MediaId"],"remark":"已处理完成"}`)
}

func respond(id, text string) call {
	return post(complaintPath(id, "/response"), fmt.Sprintf(`{"complainted_mchid":%q,"response_content":%q}`, mchid, text))
}

func finish(id string) call {
	return post(complaintPath(id, "/complete"), fmt.Sprintf(`{"complainted_mchid":%q}`, mchid))
}

func (b *bench) wantState(id, state string, last ...string) {
	b.t.Helper()
	book, ok := b.ComplaintBook(id)
	if !ok || book.State != state {
		b.t.Fatalf("complaint %s: %+v, want %s", id, book, state)
	}
	var types []string
	for _, e := range book.History {
		types = append(types, e.OperateType)
	}
	if len(types) < len(last) || !slices.Equal(types[len(types)-len(last):], last) {
		b.t.Fatalf("history of %s: %v, want it to end in %v", id, types, last)
	}
}

func (b *bench) detail(id string) (d struct {
	State    string   `json:"complaint_state"`
	Full     bool     `json:"complaint_full_refunded"`
	Waits    bool     `json:"incoming_user_response"`
	Times    int      `json:"user_complaint_times"`
	Problem  string   `json:"problem_type"`
	Tags     []string `json:"user_tag_list"`
	Phone    string   `json:"payer_phone"`
	Accused  string   `json:"complainted_mchid"`
	OpenID   string   `json:"payer_openid"`
	Apply    int      `json:"apply_refund_amount"`
	Served   bool     `json:"in_platform_service"`
	AtOnce   bool     `json:"need_immediate_service"`
	OrderIDs []struct {
		ID string `json:"transaction_id"`
	} `json:"complaint_order_info"`
}) {
	b.t.Helper()
	if err := json.Unmarshal(b.want(get(complaintPath(id, "")), 200, "").body, &d); err != nil {
		b.t.Fatal(err)
	}
	return d
}

func TestComplaintLife(t *testing.T) {
	b := setup(t)
	b.wantState("C1", "PENDING", "USER_CREATE_COMPLAINT")
	b.want(finish("C1"), 400, "INVALID_REQUEST") // not while PENDING
	b.want(respond("C1", "您好"), 204, "")
	b.wantState("C1", "PROCESSING", "MERCHANT_RESPONSE")
	b.want(respond("C1", "请稍候"), 204, "")
	b.want(finish("C1"), 204, "")
	b.wantState("C1", "PROCESSED", "MERCHANT_RESPONSE", "MERCHANT_CONFIRM_COMPLETE")
	b.want(finish("C1"), 400, "INVALID_REQUEST")
	b.want(approve("C1"), 400, "INVALID_REQUEST")
	if err := b.UserContinues("C1"); err != nil {
		t.Fatal(err)
	}
	b.wantState("C1", "PENDING", "USER_CONTINUE_COMPLAINT")
	if d := b.detail("C1"); d.Times != 2 || !d.Waits {
		t.Errorf("%+v", d)
	}
	b.want(respond("C1", "您好"), 204, "") // the same words in a new round are not a duplicate
	if d := b.detail("C1"); d.Waits || d.State != "PROCESSING" {
		t.Errorf("%+v", d)
	}
	b.want(reject("C1"), 204, "")
	b.wantState("C1", "PROCESSED", "MERCHANT_REFUSE_RERUND")
	b.wantBooks()
	b.wantViolations(0)
}

func TestApproveMovesNeitherMoneyNorState(t *testing.T) {
	b := setup(t)
	b.want(approve("C1"), 204, "")
	b.wantState("C1", "PENDING", "MERCHANT_APPROVE_REFUND")
	if len(b.Refunds()) != 0 {
		t.Errorf("%v", b.Refunds())
	}
}

func TestDecidedOnceARound(t *testing.T) {
	b := setup(t)
	b.want(approve("C1"), 204, "")
	for _, again := range []call{approve("C1"), reject("C1")} {
		if r := b.want(again, 400, "INVALID_REQUEST"); r.text("message") != "当前单据状态不支持操作, 请检查是否重复调用" {
			t.Errorf("%v", r)
		}
	}
	b.want(respond("C1", "您好"), 204, "")
	b.want(finish("C1"), 204, "")
	if err := b.UserContinues("C1"); err != nil {
		t.Fatal(err)
	}
	b.want(approve("C1"), 204, "")
	b.wantBooks()
}

func TestRejectNeedsNoReply(t *testing.T) {
	b := setup(t)
	b.want(reject("C1"), 204, "")
	b.wantState("C1", "PROCESSED", "MERCHANT_REFUSE_RERUND")
	book, _ := b.ComplaintBook("C1")
	last := book.History[len(book.History)-1]
	if last.OperateDetails != "拒绝退款" || !slices.Equal(last.Images, []string{"MediaId"}) || last.LogID == "" || last.Operator == "" {
		t.Errorf("%+v", last)
	}
}

func TestNotAFastRefund(t *testing.T) {
	b := setup(t)
	b.AddComplaint(wxpaytest.Complaint{ID: "C2", MchID: mchid})
	b.want(approve("C2"), 400, "PARAM_ERROR")
	b.want(respond("C2", "好"), 204, "")
	if d := b.detail("C2"); d.Problem == "REFUND" || len(d.Tags) != 0 {
		t.Errorf("%+v", d)
	}
	b.wantViolations(0)
}

func TestProcessedWhenTheMoneyArrives(t *testing.T) {
	b := setup(t)
	b.want(refund("R1", 60), 200, "")
	b.clock.forward(time.Minute)
	b.want(refund("R2", 40), 200, "")
	if d := b.detail("C1"); d.Full || d.State != "PENDING" {
		t.Errorf("accepted is not arrived: %+v", d)
	}
	if err := b.Settle(mchid, "R1", "SUCCESS"); err != nil {
		t.Fatal(err)
	}
	// Two refunds were started, the second made it a full one; the first arrived.
	b.wantState("C1", "PENDING", "COMPLAINT_PARTIAL_REFUNDED_SYSTEM_MESSAGE", "COMPLAINT_FULL_REFUNDED_SYSTEM_MESSAGE", "COMPLAINT_REFUND_RECEIVED_SYSTEM_MESSAGE")
	if err := b.Settle(mchid, "R2", "SUCCESS"); err != nil {
		t.Fatal(err)
	}
	b.wantState("C1", "PROCESSED", "COMPLAINT_REFUND_RECEIVED_SYSTEM_MESSAGE", "COMPLAINT_REFUND_RECEIVED_SYSTEM_MESSAGE")
	if d := b.detail("C1"); !d.Full || d.Apply != 100 || len(d.OrderIDs) != 1 || d.Phone == "" || d.OpenID == "" || d.Accused != "" {
		t.Errorf("%+v", d)
	}
	b.want(approve("C1"), 400, "INVALID_REQUEST") // refunded before it was approved
	b.wantBooks()
}

func TestApprovedRefundArrivesInPart(t *testing.T) {
	b := setup(t)
	b.want(approve("C1"), 204, "")
	b.want(refund("R1", 60), 200, "")
	if err := b.Settle(mchid, "R1", "SUCCESS"); err != nil {
		t.Fatal(err)
	}
	b.wantState("C1", "PROCESSED")
	if d := b.detail("C1"); d.Full {
		t.Errorf("%+v", d)
	}
}

func TestTwentyMessagesUntilTheUserAnswers(t *testing.T) {
	b := setup(t)
	for i := range 20 {
		b.want(respond("C1", fmt.Sprint("您好", i)), 204, "")
	}
	if r := b.want(respond("C1", "还在吗"), 400, "INVALID_REQUEST"); r.text("message") != "当前投诉单已达单次回复上限，请等待用户回复" {
		t.Errorf("%v", r)
	}
	if err := b.UserReplies("C1"); err != nil {
		t.Fatal(err)
	}
	if d := b.detail("C1"); !d.Waits {
		t.Errorf("%+v", d)
	}
	b.want(respond("C1", "还在吗"), 204, "")
	b.wantBooks()
}

func TestNotYourComplaint(t *testing.T) {
	b := setup(t)
	b.AddComplaint(wxpaytest.Complaint{ID: "C2", MchID: "1900000009"})
	b.want(get(complaintPath("C2", "")), 403, "NO_AUTH")
	b.want(get(complaintPath("C2", "/negotiation-historys")), 403, "NO_AUTH")
	b.want(approve("C2"), 403, "NO_AUTH")
	b.want(post(complaintPath("C1", "/response"), `{"complainted_mchid":"1900000009","response_content":"好"}`), 403, "NO_AUTH")
	b.want(post(complaintPath("C1", "/complete"), `{"complainted_mchid":"1900000009"}`), 403, "NO_AUTH")
	b.want(approve("C9"), 400, "PARAM_ERROR") // unknown
	b.wantState("C1", "PENDING", "USER_CREATE_COMPLAINT")
	b.wantViolations(0)
}

func TestHistoryPages(t *testing.T) {
	type page struct {
		Data []struct {
			Type    string `json:"operate_type"`
			Details string `json:"operate_details"`
			At      string `json:"operate_time"`
		}
		Limit, Offset int
		Total         *int `json:"total_count"`
	}
	read := func(b *bench, query string) (p page) {
		if err := json.Unmarshal(b.want(get(complaintPath("C1", "/negotiation-historys"+query)), 200, "").body, &p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, oldestFirst := range []bool{false, true} {
		b := setup(t, wxpaytest.Options{HistoryOldestFirst: oldestFirst})
		for i := range 4 {
			b.want(respond("C1", fmt.Sprint(i)), 204, "")
		}
		all := read(b, "")
		if all.Total == nil || *all.Total != 5 || len(all.Data) != 5 || all.Limit != 100 {
			t.Fatalf("%+v", all)
		}
		var joined page
		for offset := 0; offset < 6; offset += 2 {
			p := read(b, fmt.Sprintf("?limit=2&offset=%d", offset))
			if p.Limit != 2 || p.Offset != offset || (p.Total != nil) != (offset == 0) {
				t.Fatalf("%+v", p)
			}
			joined.Data = append(joined.Data, p.Data...)
		}
		if !slices.Equal(joined.Data, all.Data) {
			t.Errorf("pages %+v, whole %+v", joined, all)
		}
		if last := all.Data[4]; oldestFirst != (last.Type == "MERCHANT_RESPONSE" && last.Details == "3") {
			t.Errorf("order: %+v", all.Data)
		}
		if p := read(b, "?offset=99"); len(p.Data) != 0 {
			t.Errorf("%+v", p)
		}
	}
}

func TestCheckBooksFindsDuplicateReplies(t *testing.T) {
	b := setup(t)
	b.want(respond("C1", "您好"), 204, "")
	b.want(respond("C1", "您好"), 204, "") // WeChat Pay does not deduplicate
	if err := b.CheckBooks(); err == nil || !strings.Contains(err.Error(), "same reply twice") {
		t.Errorf("%v", err)
	}
}

// testingTB records what a test would be told.
type testingTB struct {
	testing.TB
	errors []string
	clean  []func()
}

func (t *testingTB) Helper()          {}
func (t *testingTB) Failed() bool     { return len(t.errors) > 0 }
func (t *testingTB) Cleanup(f func()) { t.clean = append(t.clean, f) }
func (t *testingTB) Logf(f string, a ...any) {
	t.errors = append(t.errors, "log: "+fmt.Sprintf(f, a...))
}
func (t *testingTB) Errorf(f string, a ...any) { t.errors = append(t.errors, fmt.Sprintf(f, a...)) }

func TestMisuseIsLoud(t *testing.T) {
	fake := &testingTB{TB: t}
	s := wxpaytest.New(fake)
	s.AddComplaint(wxpaytest.Complaint{ID: "C1", MchID: mchid})
	s.AddComplaint(wxpaytest.Complaint{ID: "C1", MchID: mchid})
	s.AddOrder(wxpaytest.Order{MchID: mchid})
	if s.UserContinues("C1") == nil || s.UserContinues("C9") == nil || s.UserReplies("C9") == nil {
		t.Error("no error")
	}
	if len(fake.errors) != 5 {
		t.Errorf("%q", fake.errors)
	}
	s.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundQuery, Answer: wxpaytest.Answer429})
	for _, f := range fake.clean {
		f()
	}
	if last := fake.errors[len(fake.errors)-1]; !strings.Contains(last, "RefundQuery apply=false answer=429") {
		t.Errorf("a failed test does not print its script: %q", last)
	}
}

// The requests printed in the vendor's documents (seeds).
func TestVendorSamples(t *testing.T) {
	const id = "200201820200101080076610000"
	const wikiReject = `{"action":"REJECT","launch_refund_day":3,"reject_reason":"拒绝退款","reject_media_list":["MediaId"],"remark":"已处理完成"}`
	const pageApprove = "{\n  \"action\" : \"APPROVE\",\n  \"launch_refund_day\" : 3,\n  \"reject_reason\" : \"拒绝退款\",\n  \"reject_media_list\" : [\n    \"aabbccdd\"\n  ],\n  \"remark\" : \"已处理完成\"\n}"
	const wikiReply = `{"complainted_mchid":"1900012181","response_content":"已与用户沟通解决","response_images":["MediaId"],"jump_url":"https://www.xxx.com/notify","jump_url_text":"查看订单详情","mini_program_jump_info":{"appid":"example_appid","path":"example_path","text":"example_text"}}`
	// The v2 refund sample, its values in the v3 call.
	const wikiRefund = `{"transaction_id":"1217752501201407033233368018","out_trade_no":"1217752501201407033233368018","out_refund_no":"1217752501201407033233368018","reason":"商品已售完","notify_url":"https://weixin.qq.com/notify/","funds_account":"AVAILABLE","amount":{"refund":100,"total":100,"currency":"CNY"}}`

	decide := complaintPath(id, "/update-refund-progress")
	for name, c := range map[string]struct {
		q            call
		strict, lax  int
		afterOmitted string // the body without the other action's fields: accepted by both
	}{
		"wiki REJECT":  {post(decide, wikiReject), 400, 204, strings.Replace(wikiReject, `"launch_refund_day":3,`, "", 1)},
		"page APPROVE": {post(decide, pageApprove), 400, 204, `{"action":"APPROVE","launch_refund_day":3,"remark":"已处理完成"}`},
		"wiki reply":   {post(complaintPath(id, "/response"), wikiReply), 204, 204, ""},
		"wiki refund":  {post(refunds, wikiRefund), 200, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			for mixed, want := range map[bool]int{false: c.strict, true: c.lax} {
				b := setup(t, wxpaytest.Options{OpenBooks: true, AllowMixedDecision: mixed})
				if r := b.do(c.q); r.status != want {
					t.Errorf("mixed %t: %v, want %d", mixed, r, want)
				}
				if c.afterOmitted != "" && !mixed {
					b.want(post(c.q.target, c.afterOmitted), 204, "")
				}
			}
		})
	}
}
