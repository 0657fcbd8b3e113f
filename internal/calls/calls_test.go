package calls_test

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"wxpay-worker/consumer"
	"wxpay-worker/internal/calls"
	"wxpay-worker/wxpay"
	"wxpay-worker/wxpay/wxpaytest"
)

const mchid = "1900000001"

// ear remembers what it was told.
type ear struct {
	mu    sync.Mutex
	began int
	ended []told // guarded by mu, as began
}

type told struct {
	calls.Call
	calls.Answer
}

type mark struct{}

func (e *ear) BeginCall(ctx context.Context, c calls.Call) context.Context {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.began++
	return context.WithValue(ctx, mark{}, c)
}

func (e *ear) EndCall(ctx context.Context, c calls.Call, a calls.Answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ctx.Value(mark{}) != c {
		a.Code = "ended with another's context"
	}
	e.ended = append(e.ended, told{c, a})
}

func (e *ear) last() told { return e.ended[len(e.ended)-1] }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// clients are a merchant's, for these hosts.
func clients(t *testing.T, sim *wxpaytest.Server, c *wxpaytest.Credentials, hosts ...string) (*wxpay.Client, *wxpay.V2Client) {
	t.Helper()
	keys := must(wxpay.NewKeySet(c.PublicKeyID, map[string]*rsa.PublicKey{c.PublicKeyID: c.PublicKey}))
	transport := wxpay.NewTransport(wxpay.TransportConfig{RootCAs: sim.CertPool()})
	v3 := must(wxpay.New(wxpay.Config{MchID: c.MchID, SerialNo: c.SerialNo, Signer: c.PrivateKey, Keys: keys, Hosts: hosts, Transport: transport}))
	pair := must(tls.X509KeyPair(c.CertificatePEM, c.PrivateKeyPEM()))
	v2 := must(wxpay.NewV2(wxpay.V2Config{MchID: c.MchID, AppID: c.AppID, APIKey: []byte(c.APIv2Key), Certificate: pair, Hosts: hosts, Transport: transport}))
	return v3, v2
}

// everyCall makes each call that lanes make, and returns the errors.
func everyCall(ctx context.Context, r consumer.Refunds, r2 consumer.Refunds, c consumer.Complaints) (errs []error) {
	note := func(_ any, err error) { errs = append(errs, err) }
	request := &wxpay.RefundRequest{OutTradeNo: "ORDER1", OutRefundNo: "REFUND1", Amount: wxpay.RefundAmount{Refund: 1, Total: 100}}
	note(r.CreateRefund(ctx, request))
	note(r.QueryRefund(ctx, "REFUND1", ""))
	request.OutRefundNo, request.OutTradeNo = "REFUND2", "ORDER2"
	note(r2.CreateRefund(ctx, request))
	note(r2.QueryRefund(ctx, "REFUND2", ""))
	note(c.UploadImage(ctx, "a.bmp", []byte("BM")))
	note(nil, c.RespondComplaint(ctx, "C1", &wxpay.ComplaintResponse{ComplaintedMchID: mchid, ResponseContent: "x"}))
	note(nil, c.CompleteComplaint(ctx, "C1", mchid))
	note(nil, c.UpdateRefundProgress(ctx, "C2", &wxpay.RefundProgress{Action: "REJECT", RejectReason: "x"}))
	note(c.Complaint(ctx, "C1"))
	note(c.NegotiationHistory(ctx, "C1", 10, 0))
	return errs
}

// Every call is told by the name that wxpay's errors have for it, by v3 and by v2, and what nobody answered is told as such.
func TestEveryCallIsToldByItsName(t *testing.T) {
	t.Parallel()
	sim := wxpaytest.New(t, wxpaytest.Options{OpenBooks: true})
	dead := must(net.Listen("tcp", "127.0.0.1:0"))
	address := "https://" + dead.Addr().String()
	must(0, dead.Close())
	v3, v2 := clients(t, sim, sim.AddMerchant(wxpaytest.Merchant{MchID: mchid}), address)
	heard := &ear{}
	errs := everyCall(t.Context(), calls.Refunds(v3, mchid, heard), calls.Refunds(v2, mchid, heard), calls.Complaints(v3, mchid, heard))
	if len(heard.ended) != len(errs) || heard.began != len(errs) {
		t.Fatalf("%d calls, %d begun, %d ended", len(errs), heard.began, len(heard.ended))
	}
	for i, err := range errs {
		var noAnswer *wxpay.NoAnswerError
		if !errors.As(err, &noAnswer) {
			t.Errorf("call %d: %v", i, err)
			continue
		}
		if c := heard.ended[i]; c.Endpoint.String() != noAnswer.Op || c.Code != "unreached" || c.Host != address || c.MchID != mchid || c.Took <= 0 {
			t.Errorf("told %+v of %s", c, noAnswer.Op)
		}
	}
	reads := []string{"GET ", "POST /pay/refundquery", "POST /v3/merchant-service/images/upload"}
	for _, c := range heard.ended {
		isRead := slices.ContainsFunc(reads, func(r string) bool { return strings.HasPrefix(c.Endpoint.String(), r) })
		if c.Writes == isRead {
			t.Errorf("%s: writes %v", c.Endpoint, c.Writes)
		}
	}
}

// What came of a call is one of a bounded number of words: WeChat Pay's code only if it is proven.
func TestWhatCameOfACall(t *testing.T) {
	t.Parallel()
	sim := wxpaytest.New(t, wxpaytest.Options{OpenBooks: true})
	v3, v2 := clients(t, sim, sim.AddMerchant(wxpaytest.Merchant{MchID: mchid}), sim.URL())
	heard := &ear{}
	r, r2, c := calls.Refunds(v3, mchid, heard), calls.Refunds(v2, mchid, heard), calls.Complaints(v3, mchid, heard)
	for i, err := range everyCall(t.Context(), r, r2, c) {
		want := map[string]int{"GET": 200, "POST": 200}[heard.ended[i].Method]
		if strings.Contains(heard.ended[i].Template, "complaints-v2/") && heard.ended[i].Method == "POST" {
			want = 204
		}
		if err != nil || heard.ended[i].Code != "OK" || heard.ended[i].HTTPStatus != want {
			t.Errorf("%s: %v, told %+v", heard.ended[i].Endpoint, err, heard.ended[i].Answer)
		}
	}
	for i, tt := range []struct {
		fault wxpaytest.Fault
		want  string
	}{
		{wxpaytest.Fault{Answer: wxpaytest.AnswerRefusal, Status: 403, Code: "NOT_ENOUGH"}, "NOT_ENOUGH"},
		{wxpaytest.Fault{Answer: wxpaytest.AnswerUnsigned}, "unproven_200"},
		{wxpaytest.Fault{Answer: wxpaytest.AnswerForged}, "unproven_200"},
		{wxpaytest.Fault{Answer: wxpaytest.AnswerLost}, "no_answer"},
		{wxpaytest.Fault{Answer: wxpaytest.Answer429}, "FREQUENCY_LIMITED"},
		{wxpaytest.Fault{Answer: wxpaytest.Answer502HTML}, "unproven_502"},
	} {
		tt.fault.Endpoint = wxpaytest.EndpointRefundCreate
		sim.Fault(tt.fault)
		_, err := r.CreateRefund(t.Context(), &wxpay.RefundRequest{OutTradeNo: "O3", OutRefundNo: fmt.Sprint("R3-", i), Amount: wxpay.RefundAmount{Refund: 1, Total: 100}})
		if told := heard.last(); err == nil || told.Code != tt.want {
			t.Errorf("%v: %v, told %+v", tt.fault.Answer, err, told.Answer)
		}
	}
	if _, err := r.QueryRefund(t.Context(), "not a number!", ""); err == nil || heard.last().Code != "invalid" {
		t.Errorf("invalid: %v, told %+v", err, heard.last())
	}
}

// A lane asks a client which requests it can carry; one that is told of says the same.
func TestWhatAClientCarriesShows(t *testing.T) {
	t.Parallel()
	sim := wxpaytest.New(t, wxpaytest.Options{})
	v3, v2 := clients(t, sim, sim.AddMerchant(wxpaytest.Merchant{MchID: mchid}), sim.URL())
	type carrier interface {
		Carries(*wxpay.RefundRequest) error
	}
	if _, limited := calls.Refunds(v3, mchid, &ear{}).(carrier); limited {
		t.Error("version 3 carries all")
	}
	c, limited := calls.Refunds(v2, mchid, &ear{}).(carrier)
	if !limited {
		t.Fatal("version 2 does not")
	}
	if err := c.Carries(&wxpay.RefundRequest{OutRefundNo: "R1", OutTradeNo: "short", Amount: wxpay.RefundAmount{Refund: 1, Total: 1}}); err == nil {
		t.Error("a short order number was carried")
	}
}

// panics is a client with a mistake.
type panics struct{ consumer.Refunds }

func (panics) QueryRefund(context.Context, string, string) (*wxpay.Refund, error) { panic("x") }

// A call that panics ends, too.
func TestAPanicEndsTheCall(t *testing.T) {
	t.Parallel()
	heard := &ear{}
	func() {
		defer func() { _ = recover() }()
		_, _ = calls.Refunds(panics{}, mchid, heard).QueryRefund(t.Context(), "R1", "")
	}()
	if heard.began != 1 || len(heard.ended) != 1 || heard.last().Code != "panicked" {
		t.Errorf("%d begun, ended %+v", heard.began, heard.ended)
	}
}
