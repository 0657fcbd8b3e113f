package wxpaytest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"wxpay-worker/wxpay/wxpaytest"
)

// Every answer of v2, applied and not: what the client sees, what the books say.
func TestV2Faults(t *testing.T) {
	type check = func(v2 *v2caller, q v2call, r v2reply, err error) string
	result := func(code string, proven bool) check {
		return func(v2 *v2caller, q v2call, r v2reply, err error) string {
			if err != nil || r.status != 200 || r.fields["return_code"] != "SUCCESS" || r.fields["err_code"] != code ||
				(r.fields["result_code"] == "FAIL") != (code != "") || (v2.verify(q, r) == nil) != proven {
				return fmt.Sprintf("err_code %q, proven %t", code, proven)
			}
			return ""
		}
	}
	spoiled := func(v2 *v2caller, q v2call, r v2reply, err error) string {
		if want := result("", false)(v2, q, r, err); want != "" || len(r.fields["sign"]) != 64 || r.fields["refund_id"] == "" {
			return "the right answer with a sign that does not fit"
		}
		return ""
	}
	unsigned := func(v2 *v2caller, q v2call, r v2reply, err error) string {
		_, signed := r.fields["sign"]
		if want := result("", false)(v2, q, r, err); want != "" || signed || r.fields["refund_id"] == "" {
			return "the right answer without a sign"
		}
		return ""
	}
	fails := func(text string) check {
		return func(v2 *v2caller, q v2call, r v2reply, err error) string {
			if err != nil || r.status != 200 || len(r.fields) != 2 || r.fields["return_code"] != "FAIL" || r.fields["return_msg"] != text {
				return "return_code FAIL " + text
			}
			return ""
		}
	}
	for name, c := range map[string]struct {
		fault wxpaytest.Fault
		seen  string // Request.Status and Code
		check check
	}{
		"right":          {wxpaytest.Fault{Answer: wxpaytest.AnswerRight}, "200 ", result("", true)},
		"slow":           {wxpaytest.Fault{Answer: wxpaytest.AnswerSlow, Delay: time.Millisecond}, "200 ", result("", true)},
		"stale":          {wxpaytest.Fault{Answer: wxpaytest.AnswerStale}, "200 ", result("", true)},
		"forged":         {wxpaytest.Fault{Answer: wxpaytest.AnswerForged}, "200 ", spoiled},
		"probe":          {wxpaytest.Fault{Answer: wxpaytest.AnswerProbe}, "200 ", spoiled},
		"unknown serial": {wxpaytest.Fault{Answer: wxpaytest.AnswerUnknownSerial}, "200 ", spoiled},
		"unsigned":       {wxpaytest.Fault{Answer: wxpaytest.AnswerUnsigned}, "200 ", unsigned},
		"any unsigned":   {wxpaytest.Fault{Unsigned: true}, "200 ", unsigned},
		"429":            {wxpaytest.Fault{Answer: wxpaytest.Answer429}, "200 FREQUENCY_LIMITED", result("FREQUENCY_LIMITED", true)},
		"429 unsigned":   {wxpaytest.Fault{Answer: wxpaytest.Answer429, Unsigned: true}, "200 FREQUENCY_LIMITED", result("FREQUENCY_LIMITED", false)},
		"5xx":            {wxpaytest.Fault{Answer: wxpaytest.Answer5xx}, "200 SYSTEMERROR", result("SYSTEMERROR", true)},
		"202":            {wxpaytest.Fault{Answer: wxpaytest.Answer202}, "200 BIZERR_NEED_RETRY", result("BIZERR_NEED_RETRY", true)},
		"refusal":        {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal, Status: 403, Code: "USER_ACCOUNT_ABNORMAL"}, "200 USER_ACCOUNT_ABNORMAL", result("USER_ACCOUNT_ABNORMAL", true)},
		"refusal by default": {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal}, "200 INVALID_REQUEST",
			result("INVALID_REQUEST", true)},
		"refusal unsigned": {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal, Code: "SIGNERROR", Unsigned: true}, "200 SIGNERROR", result("SIGNERROR", false)},
		"FAIL":             {wxpaytest.Fault{ReturnFail: true}, "200 FAIL", fails("系统繁忙，请稍后再试")},
		"FAIL with a text": {wxpaytest.Fault{ReturnFail: true, Answer: wxpaytest.Answer5xx, Message: "签名错误"}, "200 FAIL", fails("签名错误")},
		"502": {wxpaytest.Fault{Answer: wxpaytest.Answer502HTML}, "502 ", func(_ *v2caller, _ v2call, r v2reply, err error) string {
			if err != nil || r.status != 502 || !strings.Contains(string(r.body), "<title>502 Bad Gateway</title>") {
				return "a page"
			}
			return ""
		}},
		"FAIL behind a gateway": {wxpaytest.Fault{ReturnFail: true, Answer: wxpaytest.Answer502HTML}, "502 ", func(_ *v2caller, _ v2call, r v2reply, _ error) string {
			if r.status != 502 || r.fields != nil {
				return "a page"
			}
			return ""
		}},
		"lost": {wxpaytest.Fault{Answer: wxpaytest.AnswerLost}, "0 ", func(_ *v2caller, _ v2call, r v2reply, err error) string {
			if err == nil || r.status != 0 {
				return "no answer"
			}
			return ""
		}},
		"cut short": {wxpaytest.Fault{Answer: wxpaytest.AnswerCutShort}, "200 ", func(_ *v2caller, _ v2call, r v2reply, err error) string {
			if err == nil || r.status != 200 || len(r.body) == 0 {
				return "half an answer"
			}
			return ""
		}},
	} {
		for _, apply := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s apply=%t", name, apply), func(t *testing.T) {
				b := setup(t)
				v2 := b.v2()
				c.fault.Apply, c.fault.Endpoint, c.fault.MchID, c.fault.ID = apply, wxpaytest.EndpointV2Refund, mchid, "R1"
				b.Fault(c.fault)
				q := v2.refund("R1", 10)
				r, err := v2.try(q)
				if want := c.check(v2, q, r, err); want != "" {
					t.Errorf("got %v %v, want %s", r, err, want)
				}
				if _, exists := b.Refund(mchid, "R1"); exists != apply {
					t.Errorf("refund exists: %t", exists)
				}
				seen := b.Requests()
				if len(seen) != 1 || seen[0].Applied != apply || seen[0].Fault == nil || seen[0].Refusal != "" ||
					fmt.Sprintf("%d %s", seen[0].Status, seen[0].Code) != c.seen {
					t.Errorf("record: %v", seen)
				}
				if left := b.FaultsLeft(); len(left) != 0 {
					t.Errorf("left: %v", left)
				}
				b.wantViolations(0)
			})
		}
	}
}

// The judge comes first in v2 too, and an answer that cannot be signed stays unsigned.
func TestV2FaultDoesNotHideAViolation(t *testing.T) {
	b := setup(t)
	v2 := b.v2()
	b.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointV2Refund, Apply: true, Times: 3, Answer: wxpaytest.Answer5xx})
	v2.want(v2.refund("R1", 10, "refund_fee_type", "USD"), "SYSTEMERROR")
	bad := v2.refund("R1", 10)
	bad.key = "wrong"
	if r, err := v2.try(bad); err != nil || r.fields["err_code"] != "SYSTEMERROR" || r.fields["sign"] != "" {
		t.Errorf("%v %v", r, err)
	}
	bad = v2.refund("R1", 10)
	bad.client = v2.plain
	if r, err := v2.try(bad); err != nil || r.fields["err_code"] != "SYSTEMERROR" || r.fields["sign"] != "" {
		t.Errorf("%v %v", r, err)
	}
	b.wantViolations(3)
	if len(b.Refunds()) != 0 {
		t.Errorf("%v", b.Refunds())
	}
}

// Forging what is not signed leaves it as it is.
func TestV2FaultOnUnsignedAnswers(t *testing.T) {
	b := setup(t)
	v2 := b.v2()
	for _, answer := range []wxpaytest.Answer{wxpaytest.AnswerForged, wxpaytest.AnswerUnknownSerial, wxpaytest.AnswerUnsigned, wxpaytest.AnswerStale} {
		b.Fault(wxpaytest.Fault{Answer: answer, Times: 2})
		q := v2.query("out_refund_no", "R1")
		q.key = "wrong"
		v2.wantFail(q)
		none := v2.refund("R1", 1)
		none.client = v2.plain
		v2.wantPage(none, 400, "No required SSL certificate was sent")
	}
}

// ReturnFail means nothing to v3.
func TestReturnFailIsOfV2(t *testing.T) {
	b := setup(t)
	b.Fault(wxpaytest.Fault{ReturnFail: true, Apply: true})
	b.want(refund("R1", 10), 200, "")
}

func TestV2OnBothHosts(t *testing.T) {
	b := setup(t)
	v2 := b.v2()
	q := v2.refund("R1", 10)
	q.host = b.BackupURL()
	v2.want(q, "")
	v2.want(v2.query("out_refund_no", "R1"), "")
	if list := b.Requests(); list[0].Host != "backup" || list[1].Host != "primary" {
		t.Errorf("%v", list)
	}
}
