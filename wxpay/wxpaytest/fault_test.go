package wxpaytest_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"wxpay-worker/wxpay/wxpaytest"
)

// Every answer, applied and not: what the client sees, what the books say.
func TestFaults(t *testing.T) {
	right := func(b *bench, r reply, err error) string {
		if err != nil || r.status != 200 || b.verify(r) != nil {
			return "a right, proven answer"
		}
		return ""
	}
	status := func(status int, code string, signed bool) func(*bench, reply, error) string {
		return func(b *bench, r reply, err error) string {
			if err != nil || r.status != status || r.code() != code || (b.verify(r) == nil) != signed {
				return fmt.Sprintf("%d %s, signed %t", status, code, signed)
			}
			return ""
		}
	}
	unproven := func(b *bench, r reply, err error) string {
		if err != nil || r.status != 200 || r.header.Get("Wechatpay-Signature") == "" || b.verify(r) == nil {
			return "200 with a signature that proves nothing"
		}
		return ""
	}
	for name, c := range map[string]struct {
		fault wxpaytest.Fault
		seen  int // Request.Status
		check func(*bench, reply, error) string
	}{
		"right": {wxpaytest.Fault{Answer: wxpaytest.AnswerRight}, 200, right},
		"slow":  {wxpaytest.Fault{Answer: wxpaytest.AnswerSlow, Delay: time.Millisecond}, 200, right},
		"lost": {wxpaytest.Fault{Answer: wxpaytest.AnswerLost}, 0, func(_ *bench, r reply, err error) string {
			if err == nil || r.status != 0 {
				return "no answer"
			}
			return ""
		}},
		"cut short": {wxpaytest.Fault{Answer: wxpaytest.AnswerCutShort}, 200, func(_ *bench, r reply, err error) string {
			if err == nil || r.status != 200 || len(r.body) == 0 {
				return "half an answer"
			}
			return ""
		}},
		"429":          {wxpaytest.Fault{Answer: wxpaytest.Answer429}, 429, status(429, "FREQUENCY_LIMITED", true)},
		"429 unsigned": {wxpaytest.Fault{Answer: wxpaytest.Answer429, Unsigned: true}, 429, status(429, "FREQUENCY_LIMITED", false)},
		"5xx":          {wxpaytest.Fault{Answer: wxpaytest.Answer5xx}, 500, status(500, "SYSTEM_ERROR", true)},
		"502":          {wxpaytest.Fault{Answer: wxpaytest.Answer502HTML}, 502, status(502, "", false)},
		"202":          {wxpaytest.Fault{Answer: wxpaytest.Answer202}, 202, status(202, "ACCEPTED", true)},
		"refusal": {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal, Status: 403, Code: "USER_ACCOUNT_ABNORMAL", Message: "用户账户异常"}, 403,
			status(403, "USER_ACCOUNT_ABNORMAL", true)},
		"refusal by default":  {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal}, 400, status(400, "INVALID_REQUEST", true)},
		"refusal unsigned":    {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal, Unsigned: true}, 400, status(400, "INVALID_REQUEST", false)},
		"refusal 401":         {wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal, Status: 401, Code: "SIGN_ERROR"}, 401, status(401, "SIGN_ERROR", false)},
		"unsigned":            {wxpaytest.Fault{Answer: wxpaytest.AnswerUnsigned}, 200, status(200, "", false)},
		"forged":              {wxpaytest.Fault{Answer: wxpaytest.AnswerForged}, 200, unproven},
		"stale":               {wxpaytest.Fault{Answer: wxpaytest.AnswerStale}, 200, unproven},
		"unknown serial":      {wxpaytest.Fault{Answer: wxpaytest.AnswerUnknownSerial}, 200, unproven},
		"any answer unsigned": {wxpaytest.Fault{Answer: wxpaytest.AnswerRight, Unsigned: true}, 200, status(200, "", false)},
		"probe": {wxpaytest.Fault{Answer: wxpaytest.AnswerProbe}, 200, func(b *bench, r reply, err error) string {
			signature := r.header.Get("Wechatpay-Signature")
			raw, decode := base64.StdEncoding.DecodeString(signature)
			if err != nil || !strings.HasPrefix(signature, "WECHATPAY/SIGNTEST/") || decode != nil || len(raw) != 256 || b.verify(r) == nil {
				return "a probe that decodes to 256 bytes"
			}
			return ""
		}},
	} {
		for _, apply := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s apply=%t", name, apply), func(t *testing.T) {
				b := setup(t)
				c.fault.Apply = apply
				b.Fault(c.fault)
				r, err := b.try(refund("R1", 10))
				if want := c.check(b, r, err); want != "" {
					t.Errorf("got %v %v, want %s", r, err, want)
				}
				if _, exists := b.Refund(mchid, "R1"); exists != apply {
					t.Errorf("refund exists: %t", exists)
				}
				seen := b.Requests()
				if len(seen) != 1 || seen[0].Applied != apply || seen[0].Fault == nil || seen[0].Status != c.seen || seen[0].Refusal != "" {
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

func TestNoContentSuffersToo(t *testing.T) {
	b := setup(t)
	b.Fault(wxpaytest.Fault{Answer: wxpaytest.AnswerForged, Apply: true})
	if r, err := b.try(respond("C1", "一")); err != nil || r.status != 204 || b.verify(r) == nil {
		t.Errorf("%v %v", r, err)
	}
	b.Fault(wxpaytest.Fault{Answer: wxpaytest.AnswerCutShort, Apply: true})
	if r, err := b.try(respond("C1", "二")); err == nil {
		t.Errorf("%v", r)
	}
	if list := b.Requests(); list[1].Status != 0 || !list[1].Applied {
		t.Errorf("%v", list)
	}
	b.wantState("C1", "PROCESSING", "MERCHANT_RESPONSE", "MERCHANT_RESPONSE")
}

func TestScriptIsOrdered(t *testing.T) {
	b := setup(t)
	b.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintDetail, Answer: wxpaytest.Answer5xx})
	b.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundQuery, ID: "R2", Answer: wxpaytest.Answer5xx})
	b.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundQuery, MchID: "1900000009", Answer: wxpaytest.Answer5xx})
	b.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundQuery, Skip: 1, Times: 2, Answer: wxpaytest.Answer429})
	b.Fault(wxpaytest.Fault{ID: "R1", MchID: mchid, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 403, Code: "NO_AUTH"})
	for i, want := range []int{403, 429, 429, 403, 403} {
		if r := b.do(get(refunds + "/R1")); r.status != want {
			t.Errorf("query %d: %v, want %d", i, r, want)
		}
	}
	b.want(get(refunds+"/R2"), 500, "SYSTEM_ERROR")
	b.want(get(refunds+"/R2"), 404, "RESOURCE_NOT_EXISTS")
	if left := b.FaultsLeft(); len(left) != 2 {
		t.Errorf("%v", left)
	}
	b.ClearFaults()
	b.want(get(refunds+"/R1"), 404, "RESOURCE_NOT_EXISTS")
}

// The judge comes first: a fault does not hide what is wrong with a request.
func TestFaultDoesNotHideAViolation(t *testing.T) {
	b := setup(t)
	b.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, ID: "R1", Answer: wxpaytest.Answer5xx, Apply: true})
	b.want(post(refunds, strings.Replace(refund("R1", 10).body, `"CNY"`, `"USD"`, 1)), 500, "SYSTEM_ERROR")
	b.wantViolations(1)
	if len(b.Refunds()) != 0 {
		t.Errorf("%v", b.Refunds())
	}
}

func TestArrivedAndHold(t *testing.T) {
	b := setup(t)
	arrived, hold := make(chan struct{}), make(chan struct{})
	b.Fault(wxpaytest.Fault{Apply: true, Arrived: arrived, Hold: hold})
	answered := make(chan reply, 1)
	go func() {
		r, _ := b.try(refund("R1", 10))
		answered <- r
	}()
	<-arrived
	if _, exists := b.Refund(mchid, "R1"); !exists {
		t.Error("arrived, but not applied")
	}
	if list := b.Requests(); len(list) != 1 || list[0].Status != 0 || !list[0].Applied {
		t.Errorf("%v", list)
	}
	select {
	case r := <-answered:
		t.Fatalf("not held: %v", r)
	default:
	}
	close(hold)
	if r := <-answered; r.status != 200 || b.Requests()[0].Status != 200 {
		t.Errorf("%v", r)
	}
}

// What waits ends when the client leaves, when its host stops and when the server closes.
func TestWaitsEnd(t *testing.T) {
	for name, fault := range map[string]wxpaytest.Fault{
		"slow":         {Answer: wxpaytest.AnswerSlow, Apply: true},
		"slow an hour": {Answer: wxpaytest.AnswerSlow, Delay: time.Hour, Apply: true},
		"hold":         {Hold: make(chan struct{}), Apply: true},
		"second value": {Arrived: make(chan struct{}), Apply: true},
	} {
		for _, end := range []string{"client leaves", "host stops", "server closes"} {
			t.Run(name+", "+end, func(t *testing.T) {
				b := setup(t)
				b.Fault(fault)
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				failed := make(chan error, 1)
				go func() {
					response, err := b.http.Do(b.request(refund("R1", 10)).WithContext(ctx))
					if err == nil {
						response.Body.Close()
					}
					failed <- err
				}()
				if err := b.AwaitRequests(t.Context(), "", 1); err != nil { // not Arrived, which may be what waits
					t.Fatal(err)
				}
				switch end {
				case "client leaves":
					leave()
				case "host stops":
					if err := b.StopHost(true); err != nil {
						t.Error(err)
					}
				case "server closes":
					b.Close()
				}
				if err := <-failed; err == nil {
					t.Error("answered")
				}
				b.Close() // waits for the handler
				if r := b.Requests()[0]; r.Status != 0 || !r.Applied {
					t.Errorf("%v", r)
				}
			})
		}
	}
}

func TestTwoHostsOneSetOfBooks(t *testing.T) {
	b := setup(t)
	onBackup := func(q call) call { q.hostBase = b.BackupURL(); return q }
	b.want(refund("R1", 10), 200, "")
	b.want(onBackup(get(refunds+"/R1")), 200, "")
	if list := b.Requests(); list[0].Host != "primary" || list[1].Host != "backup" {
		t.Errorf("%v", list)
	}
	for _, primary := range []bool{true, false} {
		stopped, running := get(refunds+"/R1"), onBackup(get(refunds+"/R1"))
		if !primary {
			stopped, running = running, stopped
		}
		before := b.URL() + b.BackupURL()
		if err := b.StopHost(primary); err != nil {
			t.Fatal(err)
		}
		if err := b.StopHost(primary); err != nil {
			t.Fatal(err)
		}
		if r, err := b.try(stopped); err == nil {
			t.Errorf("a stopped host answers %v", r)
		}
		b.want(running, 200, "")
		if err := b.StartHost(primary); err != nil {
			t.Fatal(err)
		}
		b.want(stopped, 200, "")
		if b.URL()+b.BackupURL() != before {
			t.Error("a host came back on another port")
		}
	}
	b.Close()
	b.Close()
	if b.StartHost(true) == nil {
		t.Error("a closed server starts a host")
	}
	if _, err := b.try(get(refunds + "/R1")); err == nil {
		t.Error("a closed server answers")
	}
}

func TestPlainHTTPIsNoWay(t *testing.T) {
	b := setup(t)
	response, err := http.Get(strings.Replace(b.URL(), "https", "http", 1) + refunds + "/R1")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 400 || len(b.Requests()) != 0 {
		t.Errorf("%v", response.Status)
	}
}
