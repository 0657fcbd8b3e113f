// Package calls tells others of every call that is made at WeChat Pay: which, for whom, how long it took, and what came of it.
//
// It stands between the lanes and their clients and changes nothing on the way. Nothing that it tells is secret or a payer's:
// no body, no URL that is filled in, no text of an answer.
//
//	m.Refunds = calls.Refunds(client, "1900000001", observer)
package calls

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"wxpay-worker/consumer"
	"wxpay-worker/wxpay"
)

// Observer is told of calls. Its methods must return at once and may be called by many goroutines.
type Observer interface {
	// BeginCall is told of a call that is about to be made. The call is made with the context that it returns.
	BeginCall(ctx context.Context, c Call) context.Context
	// EndCall is told what came of it, with the context that BeginCall returned. Every BeginCall has its EndCall.
	EndCall(ctx context.Context, c Call, a Answer)
}

// Call is one call of a client: up to one HTTP exchange with each host, and more than one only if nothing was sent in the first.
type Call struct {
	MchID string
	Endpoint
}

// Endpoint is one API of WeChat Pay, as its documents write it.
type Endpoint struct {
	Method, Template string
	Writes           bool // whether it changes something
	success          int  // the status that WeChat Pay documents for it
}

// String is how wxpay's errors name it (their Op).
func (e Endpoint) String() string { return e.Method + " " + e.Template }

// The endpoints that lanes use. Source: those of package wxpay.
var (
	createRefund = Endpoint{http.MethodPost, "/v3/refund/domestic/refunds", true, http.StatusOK}
	queryRefund  = Endpoint{http.MethodGet, "/v3/refund/domestic/refunds/{out_refund_no}", false, http.StatusOK}

	createRefundV2 = Endpoint{http.MethodPost, "/secapi/pay/refund", true, http.StatusOK}
	queryRefundV2  = Endpoint{http.MethodPost, "/pay/refundquery", false, http.StatusOK}

	updateRefundProgress = Endpoint{http.MethodPost, complaint + "/update-refund-progress", true, http.StatusNoContent}
	respondComplaint     = Endpoint{http.MethodPost, complaint + "/response", true, http.StatusNoContent}
	completeComplaint    = Endpoint{http.MethodPost, complaint + "/complete", true, http.StatusNoContent}
	complaintDetail      = Endpoint{http.MethodGet, complaint, false, http.StatusOK}
	negotiationHistory   = Endpoint{http.MethodGet, complaint + "/negotiation-historys", false, http.StatusOK}
	uploadImage          = Endpoint{http.MethodPost, "/v3/merchant-service/images/upload", false, http.StatusOK}
)

const complaint = "/v3/merchant-service/complaints-v2/{complaint_id}"

// Answer is what came of a call.
type Answer struct {
	Took time.Duration
	// Code is one of a bounded number of words: OK; WeChat Pay's own code, in upper case, if the answer proves to be its; or one of
	// ours, in lower case: http_<status> for a refusal that is proven and has no code, unproven_<status>, no_answer (it may have
	// happened), unreached (nothing was sent), invalid (it cannot be sent), unsigned (it could not be signed), panicked.
	Code       string
	HTTPStatus int    // 0 if there was no answer; after a success the one that WeChat Pay documents
	RequestID  string // "" after a success
	Host       string // that gave no answer, "" if there was one
}

// OK reports whether the call succeeded.
func (a Answer) OK() bool { return a.Code == success }

const success = "OK"

// judge reads what came of a call.
func judge(e Endpoint, err error) Answer {
	var (
		answer   *wxpay.Error
		noAnswer *wxpay.NoAnswerError
		forged   *wxpay.SignatureError
		argument *wxpay.ArgumentError
	)
	switch {
	case err == nil:
		return Answer{Code: success, HTTPStatus: e.success}
	case errors.As(err, &noAnswer):
		code := "unreached"
		if noAnswer.Sent {
			code = "no_answer"
		}
		return Answer{Code: code, HTTPStatus: noAnswer.HTTPStatus, RequestID: noAnswer.RequestID, Host: noAnswer.Host}
	case errors.As(err, &forged):
		return Answer{Code: status("unproven", forged.HTTPStatus), HTTPStatus: forged.HTTPStatus, RequestID: forged.RequestID}
	case errors.As(err, &answer):
		a := Answer{Code: answer.Code, HTTPStatus: answer.HTTPStatus, RequestID: answer.RequestID}
		if !answer.Proven { // anybody may have made its code up
			a.Code = status("unproven", a.HTTPStatus)
		} else if a.Code == "" {
			a.Code = status("http", a.HTTPStatus)
		}
		return a
	case errors.As(err, &argument):
		return Answer{Code: "invalid"}
	}
	return Answer{Code: "unsigned"}
}

func status(what string, code int) string { return fmt.Sprintf("%s_%03d", what, code) }

// watch makes a call and tells of it.
func watch[A any](ctx context.Context, o Observer, mchid string, e Endpoint, call func(context.Context) (A, error)) (A, error) {
	c := Call{MchID: mchid, Endpoint: e}
	ctx = o.BeginCall(ctx, c)
	began := time.Now()
	ended := false
	defer func() {
		if !ended { // it panicked; whoever recovers finds no call without an end
			o.EndCall(ctx, c, Answer{Took: time.Since(began), Code: "panicked"})
		}
	}()
	got, err := call(ctx)
	ended = true
	a := judge(e, err)
	a.Took = time.Since(began)
	o.EndCall(ctx, c, a)
	return got, err
}

// Refunds returns next, telling o of its calls. What else next can do that lanes ask for, the result can too.
func Refunds(next consumer.Refunds, mchid string, o Observer) consumer.Refunds {
	r := refunds{next, mchid, o, createRefund, queryRefund}
	if v2, ok := next.(*wxpay.V2Client); ok {
		r.create, r.query = createRefundV2, queryRefundV2
		return limitedRefunds{r, v2}
	}
	if limited, ok := next.(carrier); ok {
		return limitedRefunds{r, limited}
	}
	return r
}

type refunds struct {
	next          consumer.Refunds
	mchid         string
	o             Observer
	create, query Endpoint
}

func (r refunds) CreateRefund(ctx context.Context, request *wxpay.RefundRequest) (*wxpay.Refund, error) {
	return watch(ctx, r.o, r.mchid, r.create, func(ctx context.Context) (*wxpay.Refund, error) { return r.next.CreateRefund(ctx, request) })
}

func (r refunds) QueryRefund(ctx context.Context, outRefundNo, subMchID string) (*wxpay.Refund, error) {
	return watch(ctx, r.o, r.mchid, r.query, func(ctx context.Context) (*wxpay.Refund, error) {
		return r.next.QueryRefund(ctx, outRefundNo, subMchID)
	})
}

// carrier is a client that cannot carry every request; a lane asks for it.
type carrier interface {
	Carries(*wxpay.RefundRequest) error
}

type limitedRefunds struct {
	refunds
	carrier
}

// Complaints returns next, telling o of its calls.
func Complaints(next consumer.Complaints, mchid string, o Observer) consumer.Complaints {
	return complaints{next, mchid, o}
}

type complaints struct {
	next  consumer.Complaints
	mchid string
	o     Observer
}

// write is watch for the calls that answer nothing.
func (c complaints) write(ctx context.Context, e Endpoint, call func(context.Context) error) error {
	_, err := watch(ctx, c.o, c.mchid, e, func(ctx context.Context) (struct{}, error) { return struct{}{}, call(ctx) })
	return err
}

func (c complaints) UpdateRefundProgress(ctx context.Context, complaintID string, p *wxpay.RefundProgress) error {
	return c.write(ctx, updateRefundProgress, func(ctx context.Context) error { return c.next.UpdateRefundProgress(ctx, complaintID, p) })
}

func (c complaints) RespondComplaint(ctx context.Context, complaintID string, r *wxpay.ComplaintResponse) error {
	return c.write(ctx, respondComplaint, func(ctx context.Context) error { return c.next.RespondComplaint(ctx, complaintID, r) })
}

func (c complaints) CompleteComplaint(ctx context.Context, complaintID, complaintedMchID string) error {
	return c.write(ctx, completeComplaint, func(ctx context.Context) error {
		return c.next.CompleteComplaint(ctx, complaintID, complaintedMchID)
	})
}

func (c complaints) Complaint(ctx context.Context, complaintID string) (*wxpay.Complaint, error) {
	return watch(ctx, c.o, c.mchid, complaintDetail, func(ctx context.Context) (*wxpay.Complaint, error) { return c.next.Complaint(ctx, complaintID) })
}

func (c complaints) NegotiationHistory(ctx context.Context, complaintID string, limit, offset int) (*wxpay.NegotiationHistory, error) {
	return watch(ctx, c.o, c.mchid, negotiationHistory, func(ctx context.Context) (*wxpay.NegotiationHistory, error) {
		return c.next.NegotiationHistory(ctx, complaintID, limit, offset)
	})
}

func (c complaints) UploadImage(ctx context.Context, filename string, image []byte) (mediaID string, err error) {
	return watch(ctx, c.o, c.mchid, uploadImage, func(ctx context.Context) (string, error) { return c.next.UploadImage(ctx, filename, image) })
}
