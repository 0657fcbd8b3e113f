package main

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"wxpay-worker/consumer"
	"wxpay-worker/wxpay"
)

// TestComplaintText: everything that is known of a complaint, as a person reads it.
func TestComplaintText(t *testing.T) {
	t.Parallel()
	v := &complaintView{MchID: "1900000001", Complaint: complaintFields{Complaint: wxpay.Complaint{
		ComplaintID: "200201820200101080076610000", ComplaintTime: "2026-11-19T23:59:59.120+08:00", ComplaintState: "PENDING",
		ComplaintDetail: "重复扣费", ComplaintedMchID: "1900012181", ProblemType: "REFUND", ProblemDescription: "不满意，电话13812345678",
		UserComplaintTimes: 1, ApplyRefundAmount: 12345, UserTagList: []string{"TRUSTED", "HIGH_RISK"},
		IncomingUserResponse: true, InPlatformService: true, NeedImmediateService: true, ComplaintFullRefunded: true,
		ComplaintOrderInfo: []wxpay.ComplaintOrder{{TransactionID: "4200000404201909069117582536", OutTradeNo: "123456789012345678", Amount: 12345}, {TransactionID: "42", Amount: 5}},
		ComplaintMediaList: wxpay.MediaList{{MediaType: "USER_COMPLAINT_IMAGE", MediaURL: []string{"https://a", "https://b"}}},
	}}, History: []wxpay.HistoryEntry{
		{OperateType: "USER_CREATE_COMPLAINT", Operator: "投诉人", OperateTime: "2026-11-19T23:59:59+08:00", OperateDetails: "重复扣费\r\n订单123456789012345678\x1b[2J\u202e，卡6222021234567890123"},
		{OperateType: "MERCHANT_RESPONSE", Operator: "商户", OperateTime: "2026-11-20T08:00:00Z", OperateDetails: "您好", ImageList: []string{"x"}, ComplaintMediaList: wxpay.MediaList{{MediaURL: []string{"x"}}}},
		{OperateType: "USER_CONTINUE_COMPLAINT", Operator: "投诉人", OperateTime: "yesterday", ComplaintMediaList: wxpay.MediaList{{MediaURL: []string{"x", "y"}}, {MediaURL: []string{"z"}}}},
		{OperateType: "SOMETHING_NEW\n"},
	}}
	var got strings.Builder
	v.text(&got, time.FixedZone("", -3600), time.Date(2026, 11, 20, 16, 0, 0, 0, time.UTC))
	const want = `complaint 200201820200101080076610000 of merchant 1900000001

state        PENDING: the user waits for a reply
made         2026-11-19 14:59:59 -01:00
deadline     reply before 2026-11-20 15:00:00 -01:00 (passed), finish before 2026-11-22 15:00:00 -01:00
round        1, the first
accused      1900012181
asks for     REFUND of 123.45 yuan
problem      不满意，电话*******5678
tags         TRUSTED, HIGH_RISK
order        123.45 yuan, transaction_id 4200000404201909069117582536, out_trade_no 123456789012345678
order        0.05 yuan, transaction_id 42
refunded     every order in full
user         waits for an answer to a message
staff        WeChat Pay's staff is on it: the user does not see the merchant's messages
service      wants immediate service
pictures     2 pictures
phone        not shown

      重复扣费

history, oldest first (4 entries)

  2026-11-19 14:59:59 -01:00  投诉人  complains
      重复扣费
      订单123456789012345678�[2J�，卡***************0123

  2026-11-20 07:00:00 -01:00  商户  replies
      您好
      (1 picture)

  round 2

  yesterday  投诉人  continues the complaint
      (3 pictures)

    ?  SOMETHING_NEW 
`
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

// TestDeadline: WeChat Pay's days are China's, whatever the complaint's offset; nothing is made up about later rounds.
func TestDeadline(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		made, state string
		times       int64
		now, want   string
	}{
		{"2026-11-19T16:00:00Z", "PENDING", 1, "2026-11-20T00:00:00Z", "reply before 2026-11-22 00:00:00 +08:00, finish before 2026-11-24 00:00:00 +08:00"},
		{"2026-11-19T15:59:59Z", "PENDING", 0, "2026-11-20T15:59:59Z", "reply before 2026-11-21 00:00:00 +08:00, finish before 2026-11-23 00:00:00 +08:00"},
		{"2026-12-30T12:00:00+08:00", "PROCESSING", 1, "2027-01-02T15:59:59Z", "finish before 2027-01-03 00:00:00 +08:00"},
		{"2026-12-30T12:00:00+08:00", "PROCESSING", 1, "2027-01-02T16:00:00Z", "finish before 2027-01-03 00:00:00 +08:00 (passed)"},
		{"2026-12-30T12:00:00+08:00", "PROCESSED", 1, "2027-01-02T16:00:00Z", ""},
		{"2026-12-30T12:00:00+08:00", "PENDING", 2, "2026-12-30T16:00:00Z", ""},
		{"", "PENDING", 1, "2026-12-30T16:00:00Z", ""},
	} {
		now, err := time.Parse(time.RFC3339, tt.now)
		if err != nil {
			t.Fatal(err)
		}
		c := &wxpay.Complaint{ComplaintTime: tt.made, ComplaintState: tt.state, UserComplaintTimes: tt.times}
		if got := deadline(c, beijing, now); got != tt.want {
			t.Errorf("%+v\ngot %q", tt, got)
		}
	}
}

func TestRefundText(t *testing.T) {
	t.Parallel()
	v := &refundView{MchID: "1900000001", SubMchID: "1900000002", Refund: wxpay.Refund{
		RefundID: "5030", OutRefundNo: "R|1", OutTradeNo: "T1", Channel: "ORIGINAL", UserReceivedAccount: "招商银行信用卡0403", Status: "ABNORMAL",
		CreateTime: "2026-11-19T23:59:59+08:00", Amount: wxpay.RefundAmountAnswer{Total: 100000, Refund: 99, PayerTotal: 90000, PayerRefund: 9},
	}}
	var got strings.Builder
	v.text(&got, beijing, time.Now())
	const want = `refund R|1 of merchant 1900000001

state        ABNORMAL: the payer's account does not take it: a person decides
amount       0.99 yuan of 1000.00 yuan
to the payer 0.09 yuan of 900.00 yuan paid
applied for  2026-11-19 23:59:59 +08:00
account      招商银行信用卡****
channel      ORIGINAL
refund_id    5030
order        out_trade_no T1
sub_mchid    1900000002
`
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

func TestYuan(t *testing.T) {
	t.Parallel()
	for fen, want := range map[int64]string{
		0: "0.00", 1: "0.01", 10: "0.10", 99: "0.99", 100: "1.00", -5: "-0.05", -105: "-1.05",
		9007199254740993: "90071992547409.93", math.MaxInt64: "92233720368547758.07", math.MinInt64: "-92233720368547758.08",
	} {
		if got := yuan(fen); got != want+" yuan" {
			t.Errorf("%d fen: %s", fen, got)
		}
	}
}

func TestMaskNumbers(t *testing.T) {
	t.Parallel()
	const openid = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"
	for text, want := range map[string]string{
		"我的电话13812345678，谢谢":      "我的电话*******5678，谢谢",
		"138 1234 5678":           "*********5678",
		"+86-138-1234-5678":       "+************5678",
		"010-12345678":            "********5678",
		"卡号6222021234567890123":   "卡号***************0123",
		"6222 0212 3456 7890 123": "******************* 123",
		"身份证11010519491231002X":   "身份证**************002X",
		"openid " + openid + "。":  "openid ************************eS6o。",
		// Amounts, dates and WeChat Pay's order numbers are what a complaint is about.
		"2026-11-21 08:00 付了100元":        "2026-11-21 08:00 付了100元",
		"4200000404201909069117582536":   "4200000404201909069117582536",
		"订单T13812345678":                 "订单T13812345678",
		"own 123456789012345678":         "own 123456789012345678",
		"1234567890 12345678901 1000000": "1234567890 12345678901 1000000",
	} {
		if got := maskNumbers(text, "123456789012345678"); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// TestExplain: what it means that WeChat Pay did not show something. Only what is proven is a no.
func TestExplain(t *testing.T) {
	t.Parallel()
	l := &inquiry{consumer.Merchant{MchID: "1"}}
	absent := &wxpay.Error{HTTPStatus: 404, Code: "RESOURCE_NOT_EXISTS", Message: "none", Proven: true}
	doubtful := *absent
	doubtful.Proven, doubtful.Cause = false, wxpay.ErrNoSignature
	for _, tt := range []struct {
		err  error
		want string
		code int
	}{
		{absent, "WeChat Pay does not have refund R of merchant 1 (perhaps): none: 404 RESOURCE_NOT_EXISTS", exitFailed},
		{&wxpay.Error{HTTPStatus: 200, Code: "REFUNDNOTEXIST", Proven: true}, "WeChat Pay does not have refund R of merchant 1 (perhaps): 200 REFUNDNOTEXIST", exitFailed},
		{&wxpay.Error{HTTPStatus: 403, Code: "NO_AUTH", Message: "no", Proven: true}, "WeChat Pay does not show refund R to merchant 1: no: 403 NO_AUTH", exitFailed},
		{&doubtful, "read refund R: 404 RESOURCE_NOT_EXISTS, unproven: no signature", exitFailed},
		{&wxpay.NoAnswerError{Op: "GET /x", Host: "https://h", Err: errors.New("timeout")}, "read refund R: GET /x: no answer from https://h, nothing sent: timeout", exitFailed},
		{&wxpay.ArgumentError{Op: "GET /x", Name: "out_refund_no", Rule: "wants digits"}, "out_refund_no: wants digits", exitUsage},
	} {
		err := l.explain(tt.err, "refund R", " (perhaps)")
		code := exitFailed
		if e, ok := errors.AsType[*exitError](err); ok {
			code = e.code
		}
		if err.Error() != tt.want || code != tt.code {
			t.Errorf("%v, exit %d; want %s, exit %d", err, code, tt.want, tt.code)
		}
	}
}
