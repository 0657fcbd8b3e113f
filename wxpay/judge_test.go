package wxpay_test

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"wxpay-worker/wxpay"
	"wxpay-worker/wxpay/wxpaytest"
)

// These tests put the client before a judge that was written independently, from the same documents.

// judged returns a judge, and a client of one of its merchants, who has an order "O1" of 100 fen and a complaint "C1".
func judged(t *testing.T, options ...wxpaytest.Options) (*wxpaytest.Server, *wxpay.Client, *wxpaytest.Credentials) {
	t.Helper()
	s := wxpaytest.New(t, options...)
	m := s.AddMerchant(wxpaytest.Merchant{MchID: "1900000001"})
	s.AddOrder(wxpaytest.Order{MchID: m.MchID, TransactionID: "4200000001", OutTradeNo: "O1", Total: 100})
	s.AddComplaint(wxpaytest.Complaint{ID: "C1", MchID: m.MchID, Orders: []string{"4200000001"}, FastRefund: true})
	keys, err := wxpay.NewKeySet(m.PublicKeyID, map[string]*rsa.PublicKey{m.PublicKeyID: m.PublicKey})
	if err != nil {
		t.Fatal(err)
	}
	transport := wxpay.NewTransport(wxpay.TransportConfig{RootCAs: s.CertPool()})
	t.Cleanup(transport.CloseIdleConnections)
	c, err := wxpay.New(wxpay.Config{
		MchID: m.MchID, SerialNo: m.SerialNo, Signer: m.PrivateKey, Keys: keys,
		Hosts: []string{s.URL(), s.BackupURL()}, Transport: transport,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.CheckBooks(); err != nil {
			t.Error(err)
		}
		if v := s.Violations(); len(v) > 0 {
			t.Errorf("what no correct client sends:\n%s", strings.Join(v, "\n"))
		}
	})
	return s, c, m
}

func judgedRefund(number string) *wxpay.RefundRequest {
	return &wxpay.RefundRequest{
		TransactionID: "4200000001", OutTradeNo: "O1", OutRefundNo: number, Reason: `<"五" & 六>`, NotifyURL: "https://example.com/notify",
		Amount: wxpay.RefundAmount{Refund: 100, Total: 100},
	}
}

func TestJudgedLife(t *testing.T) {
	t.Parallel()
	s, c, m := judged(t)
	ctx := t.Context()
	today := int64(0)
	if err := c.RespondComplaint(ctx, "C1", &wxpay.ComplaintResponse{ComplaintedMchID: m.MchID, ResponseContent: "已与用户沟通解决"}); err != nil {
		t.Fatal(err)
	}
	if err := c.UpdateRefundProgress(ctx, "C1", &wxpay.RefundProgress{Action: "APPROVE", LaunchRefundDay: &today, Remark: "已处理完成"}); err != nil {
		t.Fatal(err)
	}
	const number = "A*1|b@c_-"
	if _, err := c.QueryRefund(ctx, number, ""); !errors.Is(err, &wxpay.Error{Code: "RESOURCE_NOT_EXISTS", HTTPStatus: 404}) {
		t.Fatal(err)
	}
	r, err := c.CreateRefund(ctx, judgedRefund(number))
	if err != nil || r.Status != wxpay.RefundProcessing || r.Amount.Refund != 100 || r.TransactionID != "4200000001" {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := s.Settle(m.MchID, number, wxpay.RefundSuccess); err != nil {
		t.Fatal(err)
	}
	if r, err = c.QueryRefund(ctx, number, ""); err != nil || r.Status != wxpay.RefundSuccess || r.SuccessTime == "" {
		t.Fatalf("%+v, %v", r, err)
	}
	complaint, err := c.Complaint(ctx, "C1")
	if err != nil || !complaint.ComplaintFullRefunded || len(complaint.ComplaintOrderInfo) != 1 || complaint.ComplaintOrderInfo[0].Amount != 100 {
		t.Fatalf("%+v, %v", complaint, err)
	}
	history, err := c.NegotiationHistory(ctx, "C1", 300, 0)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, e := range history.Data {
		seen[e.OperateType] = true
	}
	if history.TotalCount != len(history.Data) || !seen[wxpay.MerchantResponse] || !seen[wxpay.MerchantApproveRefund] {
		t.Errorf("%d entries of %d: %v", len(history.Data), history.TotalCount, seen)
	}
}

func TestJudgedComplete(t *testing.T) {
	t.Parallel()
	_, c, m := judged(t)
	err := c.CompleteComplaint(t.Context(), "C1", m.MchID) // before any reply
	if e, ok := errors.AsType[*wxpay.Error](err); !ok || !e.Proven || e.HTTPStatus != 400 {
		t.Fatal(err)
	}
	if err := c.RespondComplaint(t.Context(), "C1", &wxpay.ComplaintResponse{ComplaintedMchID: m.MchID, ResponseContent: "x"}); err != nil {
		t.Fatal(err)
	}
	if err := c.CompleteComplaint(t.Context(), "C1", m.MchID); err != nil {
		t.Fatal(err)
	}
	err = c.RespondComplaint(t.Context(), "C1", &wxpay.ComplaintResponse{ComplaintedMchID: "1900000002", ResponseContent: "x"})
	if e, ok := errors.AsType[*wxpay.Error](err); !ok || !e.Proven || !errors.Is(err, wxpay.ErrNoAuth) {
		t.Fatal(err)
	}
}

// TestJudgedFaults: every fault of the judge, with and without effect, on a writing call: what is claimed of it is true.
// TestJudgedHistories: whole histories are read, also where the page behind the last one holds nothing but limit and offset, and where
// WeChat Pay finds large pages too large.
func TestJudgedHistories(t *testing.T) {
	t.Parallel()
	for _, largest := range []int{0, 40} {
		s, c, _ := judged(t, wxpaytest.Options{LargestPage: largest})
		for range 299 {
			if err := s.UserReplies("C1"); err != nil {
				t.Fatal(err)
			}
		}
		all, err := wxpay.ReadHistory(func(limit, offset int) (*wxpay.NegotiationHistory, error) {
			return c.NegotiationHistory(t.Context(), "C1", limit, offset)
		})
		if err != nil || len(all) != 300 || all[0].OperateType != wxpay.UserCreateComplaint {
			t.Errorf("largest page %d: %d entries, %v", largest, len(all), err)
		}
	}
}

func TestJudgedFaults(t *testing.T) {
	t.Parallel()
	kinds := map[wxpaytest.Answer]string{
		wxpaytest.AnswerLost: "*wxpay.NoAnswerError", wxpaytest.AnswerSlow: "*wxpay.NoAnswerError",
		wxpaytest.AnswerCutShort: "*wxpay.NoAnswerError", wxpaytest.Answer202: "*wxpay.NoAnswerError",
		wxpaytest.Answer429: "*wxpay.Error", wxpaytest.Answer5xx: "*wxpay.Error", wxpaytest.Answer502HTML: "*wxpay.Error",
		wxpaytest.AnswerForged: "*wxpay.SignatureError", wxpaytest.AnswerProbe: "*wxpay.SignatureError",
		wxpaytest.AnswerStale: "*wxpay.SignatureError", wxpaytest.AnswerUnsigned: "*wxpay.SignatureError",
		wxpaytest.AnswerUnknownSerial: "*wxpay.SignatureError",
	}
	for answer, want := range kinds {
		for _, apply := range []bool{true, false} {
			t.Run(fmt.Sprintf("%v/%v", answer, apply), func(t *testing.T) {
				t.Parallel()
				s, c, m := judged(t)
				arrived := make(chan struct{}, 1)
				s.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Apply: apply, Answer: answer, Arrived: arrived})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if answer == wxpaytest.AnswerSlow {
					go func() {
						<-arrived
						cancel()
					}()
				}
				_, err := c.CreateRefund(ctx, judgedRefund("R1"))
				if got := fmt.Sprintf("%T", err); got != want {
					t.Fatalf("%s (%v), want %s", got, err, want)
				}
				if n, ok := errors.AsType[*wxpay.NoAnswerError](err); ok && !n.Sent {
					t.Errorf("%v, said to be not sent", err)
				}
				if e, ok := errors.AsType[*wxpay.Error](err); ok && e.Proven != (answer != wxpaytest.Answer502HTML) {
					t.Errorf("%v: proven %v", err, e.Proven)
				}
				if _, applied := s.Refund(m.MchID, "R1"); applied != apply || len(s.RequestsTo(wxpaytest.EndpointRefundCreate)) != 1 {
					t.Errorf("applied %v; %d requests", applied, len(s.RequestsTo(wxpaytest.EndpointRefundCreate)))
				}
				// Ask before repeating: the answer is proven, and it is the truth.
				r, err := c.QueryRefund(t.Context(), "R1", "")
				if e, ok := errors.AsType[*wxpay.Error](err); apply && (err != nil || r.OutRefundNo != "R1") ||
					!apply && (!ok || !e.Proven || !errors.Is(err, wxpay.ErrResourceNotExists)) {
					t.Errorf("read back: %v", err)
				}
			})
		}
	}
}

// TestJudgedHosts: with the primary host gone, the backup takes over within the same call.
func TestJudgedHosts(t *testing.T) {
	t.Parallel()
	s, c, _ := judged(t)
	if err := s.StopHost(true); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateRefund(t.Context(), judgedRefund("R1")); err != nil {
		t.Fatal(err)
	}
	if err := s.StopHost(false); err != nil {
		t.Fatal(err)
	}
	// The connection to the backup is in the pool and dead, unless that was noticed already: it may have been sent.
	_, err := c.QueryRefund(t.Context(), "R1", "")
	if _, ok := errors.AsType[*wxpay.NoAnswerError](err); !ok {
		t.Fatal(err)
	}
	if err := errors.Join(s.StartHost(true), s.StartHost(false)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.QueryRefund(t.Context(), "R1", ""); err != nil {
		t.Fatal(err)
	}
}

// TestJudgedClock: a merchant whose clock is wrong is told 401, unsigned, and nothing is executed.
func TestJudgedClock(t *testing.T) {
	t.Parallel()
	s := wxpaytest.New(t, wxpaytest.Options{Now: func() time.Time { return time.Now().Add(time.Hour) }})
	m := s.AddMerchant(wxpaytest.Merchant{MchID: "1900000001"})
	keys, err := wxpay.NewKeySet(m.PublicKeyID, map[string]*rsa.PublicKey{m.PublicKeyID: m.PublicKey})
	if err != nil {
		t.Fatal(err)
	}
	transport := wxpay.NewTransport(wxpay.TransportConfig{RootCAs: s.CertPool()})
	t.Cleanup(transport.CloseIdleConnections)
	c, err := wxpay.New(wxpay.Config{MchID: m.MchID, SerialNo: m.SerialNo, Signer: m.PrivateKey, Keys: keys, Hosts: []string{s.URL()}, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateRefund(t.Context(), judgedRefund("R1"))
	e, ok := errors.AsType[*wxpay.Error](err)
	if !ok || e.HTTPStatus != 401 || e.Proven || !errors.Is(err, wxpay.ErrSign) || !errors.Is(err, wxpay.ErrNoSignature) {
		t.Errorf("%v", err)
	}
	if len(s.Refunds()) != 0 {
		t.Error("executed")
	}
}
