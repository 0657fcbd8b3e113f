package wxpay

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const refusalBody = `{"code":"NOT_ENOUGH","message":"基本账户余额不足","detail":{"field":"/amount/refund","value":"PAYER-13800000000","issue":"too much","location":"body"}}`

// TestAnswers: what each kind of answer becomes, whatever the endpoint. Every row is one way an answer can be.
func TestAnswers(t *testing.T) {
	t.Parallel()
	probe := "WECHATPAY/SIGNTEST/" + strings.Repeat("A", 325)
	good, refused := signed(200, refundBody), signed(403, refusalBody)
	tests := []struct {
		name   string
		answer []byte
		want   error // compared by facts, see sameError; nil = a refund
	}{
		{"right", good.bytes(), nil},
		{"right, after 299 s", good.sign(platformKey(), testSerial, -299*time.Second).bytes(), nil},
		{"right, of another type", good.with("Wechatpay-Signature-Type", "?").bytes(), nil},

		// A 2xx that is not proven.
		{"unsigned", reply{status: 200, body: refundBody}.bytes(), &SignatureError{HTTPStatus: 200, Err: ErrNoSignature}},
		{"no timestamp", good.with("Wechatpay-Timestamp", "").bytes(), &SignatureError{HTTPStatus: 200, Serial: testSerial, Err: ErrNoSignature}},
		{"no nonce", good.with("Wechatpay-Nonce", "").bytes(), &SignatureError{HTTPStatus: 200, Serial: testSerial, Err: ErrNoSignature}},
		{"no signature", good.with("Wechatpay-Signature", "").bytes(), &SignatureError{HTTPStatus: 200, Serial: testSerial, Err: ErrNoSignature}},
		{"no serial", good.with("Wechatpay-Serial", "").bytes(), &SignatureError{HTTPStatus: 200, Err: ErrNoSignature}},
		{"forged", good.sign(forgerKey(), testSerial, 0).bytes(), &SignatureError{HTTPStatus: 200, Serial: testSerial, Err: ErrBadSignature}},
		{"altered", good.withBody(strings.Replace(refundBody, "PROCESSING", "SUCCESS", 1)).bytes(), &SignatureError{HTTPStatus: 200, Serial: testSerial, Err: ErrBadSignature}},
		{"not Base64", good.with("Wechatpay-Signature", "!").bytes(), &SignatureError{HTTPStatus: 200, Serial: testSerial, Err: ErrBadSignature}},
		{"probe", good.with("Wechatpay-Signature", probe).bytes(), &SignatureError{HTTPStatus: 200, Serial: testSerial, Err: ErrBadSignature}},
		{"stale, exactly 300 s", good.sign(platformKey(), testSerial, -300*time.Second).bytes(), &SignatureError{HTTPStatus: 200, Serial: testSerial, Err: ErrClockSkew}},
		{"from the future", good.sign(platformKey(), testSerial, 300*time.Second).bytes(), &SignatureError{HTTPStatus: 200, Serial: testSerial, Err: ErrClockSkew}},
		{"stale by altering", good.with("Wechatpay-Timestamp", "1").bytes(), &SignatureError{HTTPStatus: 200, Serial: testSerial, Err: ErrBadSignature}},
		{"unknown serial", good.sign(platformKey(), "PUB_KEY_ID_9", 0).bytes(), &SignatureError{HTTPStatus: 200, Serial: "PUB_KEY_ID_9", Err: ErrUnknownSerial}},
		{"serial that is none", good.sign(platformKey(), "a b\"", 0).bytes(), &SignatureError{HTTPStatus: 200, Err: ErrUnknownSerial}},

		// A 2xx that is proven, and of no use.
		{"202", signed(202, "").bytes(), &NoAnswerError{Sent: true, HTTPStatus: 202, Err: ErrAccepted}},
		{"202 unsigned", reply{status: 202}.bytes(), &NoAnswerError{Sent: true, HTTPStatus: 202, Err: ErrAccepted}},
		{"200 empty", signed(200, "").bytes(), &NoAnswerError{Sent: true, HTTPStatus: 200, Err: ErrUnusable}},
		{"200 not JSON", signed(200, "<html>").bytes(), &NoAnswerError{Sent: true, HTTPStatus: 200, Err: ErrUnusable}},
		{"200 other JSON", signed(200, "[]").bytes(), &NoAnswerError{Sent: true, HTTPStatus: 200, Err: ErrUnusable}},
		{"200 without refund_id", signed(200, strings.Replace(refundBody, `"refund_id"`, `"refund_xx"`, 1)).bytes(), &NoAnswerError{Sent: true, HTTPStatus: 200, Err: ErrUnusable}},
		{"200 without status", signed(200, strings.Replace(refundBody, `"status"`, `"statux"`, 1)).bytes(), &NoAnswerError{Sent: true, HTTPStatus: 200, Err: ErrUnusable}},
		{"200 of another refund", signed(200, strings.Replace(refundBody, "1217752501201407033233368018", "1217752501201407033233368019", 1)).bytes(), &NoAnswerError{Sent: true, HTTPStatus: 200, Err: ErrUnusable}},
		{"204 for a refund", signed(204, "").bytes(), &NoAnswerError{Sent: true, HTTPStatus: 204, Err: ErrUnusable}},

		// Refusals, proven and not.
		{"refused", refused.bytes(), &Error{HTTPStatus: 403, Code: "NOT_ENOUGH", Message: "基本账户余额不足", Proven: true, Detail: Detail{"/amount/refund", "too much", "body"}}},
		{"refused, unsigned", reply{status: 403, body: refusalBody}.bytes(), &Error{HTTPStatus: 403, Code: "NOT_ENOUGH", Message: "基本账户余额不足", Cause: ErrNoSignature, Detail: Detail{"/amount/refund", "too much", "body"}}},
		{"refused, forged", refused.sign(forgerKey(), testSerial, 0).bytes(), &Error{HTTPStatus: 403, Code: "NOT_ENOUGH", Message: "基本账户余额不足", Cause: ErrBadSignature, Detail: Detail{"/amount/refund", "too much", "body"}}},
		{"refused, stale", refused.sign(platformKey(), testSerial, -time.Hour).bytes(), &Error{HTTPStatus: 403, Code: "NOT_ENOUGH", Message: "基本账户余额不足", Cause: ErrClockSkew, Detail: Detail{"/amount/refund", "too much", "body"}}},
		{"401", reply{status: 401, body: `{"code":"SIGN_ERROR","message":"错误的签名"}`}.bytes(), &Error{HTTPStatus: 401, Code: "SIGN_ERROR", Message: "错误的签名", Cause: ErrNoSignature}},
		{"404", signed(404, `{"code":"RESOURCE_NOT_EXISTS"}`).bytes(), &Error{HTTPStatus: 404, Code: "RESOURCE_NOT_EXISTS", Proven: true}},
		{"429", signed(429, `{"code":"FREQUENCY_LIMITED"}`).bytes(), &Error{HTTPStatus: 429, Code: "FREQUENCY_LIMITED", Proven: true}},
		{"500", signed(500, `{"code":"SYSTEM_ERROR"}`).bytes(), &Error{HTTPStatus: 500, Code: "SYSTEM_ERROR", Proven: true}},
		{"500 unsigned", reply{status: 500, body: `{"code":"SYSTEM_ERROR"}`}.bytes(), &Error{HTTPStatus: 500, Code: "SYSTEM_ERROR", Cause: ErrNoSignature}},
		{"502 HTML", reply{status: 502, body: "<html><title>502 Bad Gateway</title>"}.bytes(), &Error{HTTPStatus: 502, Cause: ErrNoSignature}},
		{"400 HTML, signed", signed(400, "<html>").bytes(), &Error{HTTPStatus: 400, Proven: true}},
		{"400, a code that is none", signed(400, `{"code":"not a code","message":"m"}`).bytes(), &Error{HTTPStatus: 400, Message: "m", Proven: true}},
		{"400, a code too long", signed(400, `{"code":"`+strings.Repeat("A", 65)+`"}`).bytes(), &Error{HTTPStatus: 400, Proven: true}},
		{"400, an odd detail", signed(400, `{"detail":["x"],"code":"PARAM_ERROR"}`).bytes(), &Error{HTTPStatus: 400, Code: "PARAM_ERROR", Proven: true}},
		{"400, null", signed(400, `null`).bytes(), &Error{HTTPStatus: 400, Proven: true}},
		{"400, a long message in several lines", signed(400, `{"code":"PARAM_ERROR","message":"a\nb\u0085`+strings.Repeat("错", 300)+`"}`).bytes(), &Error{HTTPStatus: 400, Code: "PARAM_ERROR", Message: "a b " + strings.Repeat("错", 169), Proven: true}},
		{"302", reply{status: 302}.with("Location", testHost+"/v3/elsewhere").bytes(), &Error{HTTPStatus: 302, Cause: ErrNoSignature}},
		{"308", reply{status: 308}.with("Location", testHost+"/v3/elsewhere").bytes(), &Error{HTTPStatus: 308, Cause: ErrNoSignature}},

		// No whole answer.
		{"closed after reading", nil, &NoAnswerError{Sent: true, Err: io.EOF}},
		{"cut short in the head", cut(good.bytes(), len(good.bytes())-60), &NoAnswerError{Sent: true, Err: io.ErrUnexpectedEOF}},
		{"cut short in the body", cut(good.bytes(), 10), &NoAnswerError{Sent: true, HTTPStatus: 200, Err: io.ErrUnexpectedEOF}},
		{"refusal cut short", cut(refused.bytes(), 10), &NoAnswerError{Sent: true, HTTPStatus: 403, Err: io.ErrUnexpectedEOF}},
		{"garbage", []byte("PAYER-13800000000 is no HTTP\r\n\r\n"), &NoAnswerError{Sent: true, Err: nil}},
		{"too large", signed(200, refundBody+strings.Repeat(" ", maxBody)).bytes(), &NoAnswerError{Sent: true, HTTPStatus: 200, Err: ErrTooLarge}},
		{"too large, length unknown", chunked(200, strings.Repeat(" ", maxBody+1)), &NoAnswerError{Sent: true, HTTPStatus: 200, Err: ErrTooLarge}},
		{"too large a page", reply{status: 502, body: strings.Repeat("x", maxBody+1)}.bytes(), &NoAnswerError{Sent: true, HTTPStatus: 502, Err: ErrTooLarge}},
		{"as large as can be", signed(200, refundBody+strings.Repeat(" ", maxBody-len(refundBody))).bytes(), nil},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(request) []byte { return tc.answer })
			c := newTestClient(t, s)
			_, err := c.CreateRefund(t.Context(), refundRequest())
			if diff := sameError(err, tc.want); diff != "" {
				t.Errorf("create: %s", diff)
			}
			if n := len(s.received()); n != 1 {
				t.Errorf("one call made %d requests", n)
			}
			_, err = c.QueryRefund(t.Context(), refundRequest().OutRefundNo, "")
			if diff := sameError(err, tc.want); diff != "" {
				t.Errorf("query: %s", diff)
			}
			err = c.UpdateRefundProgress(t.Context(), seedComplaint, &RefundProgress{Action: "APPROVE"})
			want := tc.want
			if u := (*NoAnswerError)(nil); errors.As(want, &u) && errors.Is(u.Err, ErrUnusable) {
				want = nil // a proven 2xx is all that a decision needs
			}
			if diff := sameError(err, want); diff != "" {
				t.Errorf("decide: %s", diff)
			}
		})
	}
}

// sameError compares the facts of two errors and says how they differ.
func sameError(got, want error) string {
	if want == nil || got == nil {
		if got == want {
			return ""
		}
		return fmt.Sprintf("%v, want %v", got, want)
	}
	is := func(got, want error) bool { return want == nil || errors.Is(got, want) }
	same := false
	switch want := want.(type) {
	case *Error:
		got, ok := errors.AsType[*Error](got)
		same = ok && got.HTTPStatus == want.HTTPStatus && got.Code == want.Code && got.Message == want.Message &&
			got.Detail == want.Detail && got.Proven == want.Proven && (got.Cause == nil) == (want.Cause == nil) &&
			is(got.Cause, want.Cause) && (got.Proven || errors.Is(got.Cause, ErrClockSkew)) == !got.At.IsZero() &&
			(!got.Proven || got.At.Equal(testNow))
	case *NoAnswerError:
		got, ok := errors.AsType[*NoAnswerError](got)
		same = ok && got.Sent == want.Sent && got.HTTPStatus == want.HTTPStatus && is(got.Err, want.Err)
	case *SignatureError:
		got, ok := errors.AsType[*SignatureError](got)
		same = ok && got.HTTPStatus == want.HTTPStatus && got.Serial == want.Serial && is(got.Err, want.Err)
	}
	if same {
		return ""
	}
	return fmt.Sprintf("%#v, want %#v", got, want)
}

// cut removes the last n bytes; the server closes the connection after it.
func cut(answer []byte, n int) []byte {
	return bytes.Replace(answer[:len(answer)-n], []byte("Keep-Alive"), []byte("close"), 1)
}

func chunked(status int, body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %d OK\r\nConnection: Keep-Alive\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", status, len(body), body)
}

// TestAmountsInAnswers: a refund of other amounts is not the one that was asked for. One that was just accepted may go without saying them;
// of one that is read back they must be known, since by them a caller tells whose it is.
func TestAmountsInAnswers(t *testing.T) {
	t.Parallel()
	for amount, want := range map[string]struct{ create, query error }{
		`"total":3,"refund":3`:         {},
		`"total":3,"refund":2`:         {create: ErrUnusable},
		`"total":4,"refund":3`:         {create: ErrUnusable},
		`"total":3,"refund":-3`:        {create: ErrUnusable, query: ErrUnusable},
		`"total":3`:                    {query: ErrUnusable},
		`"refund":3`:                   {query: ErrUnusable},
		`"total":3,"refund":null`:      {query: ErrUnusable},
		`"total":3e0,"refund":3`:       {create: ErrUnusable, query: ErrUnusable},
		`"total":"3","refund":3`:       {create: ErrUnusable, query: ErrUnusable},
		`"total":3.0,"refund":3`:       {create: ErrUnusable, query: ErrUnusable},
		`"total":3,"refund":3,"x":1e2`: {},
	} {
		c := newTestClient(t, serve(t, always(signed(200, strings.Replace(refundBody, `"total":3,"refund":3`, amount, 1)))))
		r, err := c.CreateRefund(t.Context(), refundRequest())
		if !errors.Is(err, want.create) || err == nil && (r.Amount.Refund != 3 || r.Amount.Total != 3) {
			t.Errorf("%s, create: %+v, %v", amount, r, err)
		}
		if r, err := c.QueryRefund(t.Context(), refundRequest().OutRefundNo, ""); !errors.Is(err, want.query) {
			t.Errorf("%s, query: %+v, %v", amount, r, err)
		}
	}
}

// TestOtherAnswersThatAreNone: what only the complaint's answers can be.
func TestOtherAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{}`, `{"complaint_id":"C2","complaint_state":"PENDING"}`, `{"complaint_id":"C1"}`} {
		c := newTestClient(t, serve(t, always(signed(200, body))))
		if _, err := c.Complaint(t.Context(), "C1"); !errors.Is(err, ErrUnusable) {
			t.Errorf("complaint %s: %v", body, err)
		}
	}
	for body, want := range map[string]struct{ first, second error }{
		`{}`: {ErrUnusable, ErrUnusable}, `[]`: {ErrUnusable, ErrUnusable}, `{"limit":1}`: {ErrUnusable, ErrUnusable}, `{"data":{}}`: {ErrUnusable, ErrUnusable},
		`{"total_count":0}`: {}, `{"data":[]}`: {}, `{"data":[],"total_count":0,"limit":1,"offset":0}`: {},
		`{"limit":1,"offset":1}`: {ErrUnusable, nil}, `{"limit":1,"offset":0}`: {ErrUnusable, ErrUnusable},
		`{"total_count":2}`: {ErrUnusable, ErrUnusable}, `{"data":[],"total_count":1}`: {ErrUnusable, nil}, // entries that it does not show
	} {
		c := newTestClient(t, serve(t, always(signed(200, body))))
		if page, err := c.NegotiationHistory(t.Context(), "C1", 1, 0); !errors.Is(err, want.first) || err == nil && len(page.Data) > 0 {
			t.Errorf("history %s: %v", body, err)
		}
		if page, err := c.NegotiationHistory(t.Context(), "C1", 1, 1); !errors.Is(err, want.second) || err == nil && len(page.Data) > 0 {
			t.Errorf("history %s, second page: %v", body, err)
		}
	}
}

// TestErrorFacts: what errors say of themselves and how they are found.
func TestErrorFacts(t *testing.T) {
	t.Parallel()
	c := newTestClient(t, serve(t, always(signed(404, `{"code":"RESOURCE_NOT_EXISTS","message":"记录不存在"}`))))
	_, err := c.QueryRefund(t.Context(), "R1", "")
	const text = "GET /v3/refund/domestic/refunds/{out_refund_no}: 404 RESOURCE_NOT_EXISTS (request id 08E7A8CDB80610F10218-268447840)"
	if err.Error() != text {
		t.Errorf("%s\nwant\n%s", err, text)
	}
	wrapped := fmt.Errorf("query: %w", err)
	if !errors.Is(wrapped, ErrResourceNotExists) || errors.Is(wrapped, ErrParam) {
		t.Error("the sentinel is not found by its code")
	}
	if !errors.Is(wrapped, &Error{Code: "RESOURCE_NOT_EXISTS", HTTPStatus: 404}) || errors.Is(wrapped, &Error{Code: "RESOURCE_NOT_EXISTS", HTTPStatus: 400}) {
		t.Error("the sentinel's status is not compared")
	}
	unproven := &Error{HTTPStatus: 502, Cause: ErrNoSignature}
	if !errors.Is(unproven, ErrNoSignature) || unproven.Error() != "502 without a code, unproven: no signature" {
		t.Error(unproven)
	}
	for err, want := range map[error]string{
		ErrNotEnough: "NOT_ENOUGH",
		&NoAnswerError{Op: "GET /x", Host: "https://h", Err: io.EOF}:                                                   "GET /x: no answer from https://h, nothing sent: EOF",
		&NoAnswerError{Op: "GET /x", Host: "https://h", Sent: true, HTTPStatus: 202, RequestID: "r", Err: ErrAccepted}: "GET /x: no usable answer from https://h (202): taken for processing, not processed yet (request id r)",
		&SignatureError{Op: "GET /x", HTTPStatus: 200, Serial: "S", RequestID: "r", Err: ErrBadSignature}:              "GET /x: 200 is not proven: wrong signature (serial S) (request id r)",
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
}

// TestSlow: the attempt's own timeout, the caller's deadline and the caller's cancellation, all after the server has
// read the request.
func TestSlow(t *testing.T) {
	t.Parallel()
	setup := func(t *testing.T) (s *server, reading <-chan struct{}) {
		read, release := make(chan struct{}, 1), make(chan struct{})
		s = serve(t, func(request) []byte {
			read <- struct{}{}
			<-release
			return nil
		})
		t.Cleanup(func() { close(release) }) // before the server's own cleanup, which waits
		return s, read
	}
	check := func(t *testing.T, err, want error) {
		t.Helper()
		var n *NoAnswerError
		if !errors.As(err, &n) || !n.Sent || n.HTTPStatus != 0 || !errors.Is(err, want) {
			t.Errorf("%#v, want Sent, %v", err, want)
		}
	}
	t.Run("timeout", func(t *testing.T) {
		t.Parallel()
		s, _ := setup(t)
		c := newTestClient(t, s, func(c *Config) { c.Timeout = 100 * time.Millisecond })
		_, err := c.CreateRefund(t.Context(), refundRequest())
		check(t, err, context.DeadlineExceeded)
	})
	t.Run("deadline", func(t *testing.T) {
		t.Parallel()
		s, _ := setup(t)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := newTestClient(t, s).CreateRefund(ctx, refundRequest())
		check(t, err, context.DeadlineExceeded)
	})
	t.Run("cancelled, with a cause", func(t *testing.T) {
		t.Parallel()
		s, reading := setup(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("drained")
		go func() {
			<-reading
			cancel(cause)
		}()
		_, err := newTestClient(t, s).CreateRefund(ctx, refundRequest())
		check(t, err, context.Canceled)
		check(t, err, cause)
	})
	t.Run("in the body", func(t *testing.T) {
		t.Parallel()
		sent := make(chan struct{})
		s := serve(t, nil)
		c := newTestClient(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		answer := signed(200, refundBody).bytes()
		head := bytes.Index(answer, []byte("\r\n\r\n")) + 10
		c.transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer[:head])), r)
			resp.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(resp.Body, readerFunc(func([]byte) (int, error) { close(sent); <-ctx.Done(); return 0, ctx.Err() })), resp.Body}
			return resp, err
		})
		go func() { <-sent; cancel() }()
		_, err := c.CreateRefund(ctx, refundRequest())
		var n *NoAnswerError
		if !errors.As(err, &n) || !n.Sent || n.HTTPStatus != 200 {
			t.Errorf("%#v", err)
		}
	})
}

// TestNothingSent: the failures after which nothing can have happened.
func TestNothingSent(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	dial := func(f func(context.Context) (net.Conn, error)) func(*Config) {
		return func(c *Config) {
			c.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return f(ctx) }
		}
	}
	tests := []struct {
		name   string
		ctx    context.Context
		change func(*Config)
		want   func(error) bool
	}{
		{"connection refused", t.Context(), dial(func(context.Context) (net.Conn, error) { return net.Dial("tcp4", closed.Addr().String()) }),
			func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }},
		{"name not found", t.Context(), dial(func(context.Context) (net.Conn, error) {
			return nil, &net.DNSError{Err: "no such host", Name: "api.mch.weixin.qq.com", IsNotFound: true}
		}), func(err error) bool { _, ok := errors.AsType[*net.DNSError](err); return ok }},
		{"unknown authority", t.Context(), func(c *Config) { c.Transport.(*http.Transport).TLSClientConfig.RootCAs = nil },
			func(err error) bool { _, ok := errors.AsType[*tls.CertificateVerificationError](err); return ok }},
		{"another's certificate", t.Context(), func(c *Config) { c.Transport.(*http.Transport).TLSClientConfig.ServerName = "example.org" },
			func(err error) bool { _, ok := errors.AsType[*tls.CertificateVerificationError](err); return ok }},
		{"timeout while connecting", t.Context(), func(c *Config) {
			dial(func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() })(c)
			c.Timeout = 50 * time.Millisecond
		}, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
		{"cancelled before", ended, func(*Config) {}, func(err error) bool { return errors.Is(err, context.Canceled) }},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, always(signed(200, refundBody)))
			_, err := newTestClient(t, s, tc.change).CreateRefund(tc.ctx, refundRequest())
			var n *NoAnswerError
			if !errors.As(err, &n) || n.Sent || n.HTTPStatus != 0 || n.Host != testHost || !tc.want(err) {
				t.Errorf("%v (%#v)", err, n)
			}
			if len(s.received()) != 0 {
				t.Error("a request was sent")
			}
		})
	}
}

// TestSentIsNeverDenied interrupts calls anywhere between dialing and the answer, and compares what the errors say with
// what the server received. When it interrupts is left to chance, what must hold then is not.
func TestSentIsNeverDenied(t *testing.T) {
	t.Parallel()
	s := serve(t, func(r request) []byte {
		var asked RefundRequest
		if err := json.Unmarshal([]byte(r.body), &asked); err != nil {
			t.Error(err)
		}
		return signed(200, strings.Replace(refundBody, "1217752501201407033233368018", asked.OutRefundNo, 1)).bytes()
	})
	c := newTestClient(t, s, func(c *Config) { c.Signer = fastSigner{merchantKey().Public()} })
	denied := map[string]bool{}
	unsent, lost := 0, 0
	for i := range 600 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%60)*25*time.Microsecond)
		r := refundRequest()
		r.OutRefundNo = fmt.Sprint("R", i)
		if i%2 == 0 { // a new connection
			c.transport.(*http.Transport).CloseIdleConnections()
		}
		_, err := c.CreateRefund(ctx, r)
		cancel()
		if n, ok := errors.AsType[*NoAnswerError](err); ok && !n.Sent {
			denied[`"`+r.OutRefundNo+`"`] = true
			unsent++
		} else if err != nil {
			lost++
		}
	}
	c.transport.(*http.Transport).CloseIdleConnections()
	s.settle()
	for _, r := range s.received() {
		for number := range denied {
			if strings.Contains(r.body, number) {
				t.Errorf("refund %s was received, and said to be not sent", number)
			}
		}
	}
	t.Logf("%d not sent, %d lost, %d received", unsent, lost, len(s.received()))
}

// fastSigner signs nothing: it leaves the time to the network.
type fastSigner struct{ public crypto.PublicKey }

func (s fastSigner) Public() crypto.PublicKey { return s.public }
func (fastSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return make([]byte, 256), nil
}

// TestStrangersTransport: one that does not report what it does proves nothing by failing.
func TestStrangersTransport(t *testing.T) {
	t.Parallel()
	c := newTestClient(t, nil, func(c *Config) {
		c.Transport = roundTripper(func(*http.Request) (*http.Response, error) { return nil, io.ErrClosedPipe })
	})
	_, err := c.CreateRefund(t.Context(), refundRequest())
	if n, ok := errors.AsType[*NoAnswerError](err); !ok || !n.Sent {
		t.Errorf("%#v", err)
	}
}

// TestDeadConnection: a connection from the pool that turns out dead. What http.Transport does with a POST then decides
// whether a refund or a reply may go out twice.
func TestDeadConnection(t *testing.T) {
	t.Parallel()
	post := func(c *Client, ctx context.Context) error {
		return c.RespondComplaint(ctx, seedComplaint, &ComplaintResponse{ComplaintedMchID: "1", ResponseContent: "x"})
	}
	get := func(c *Client, ctx context.Context) error {
		_, err := c.QueryRefund(ctx, refundRequest().OutRefundNo, "")
		return err
	}
	tests := []struct {
		name     string
		call     func(*Client, context.Context) error
		write    func(net.Conn, []byte) (int, error) // of the dead connection
		received int                                 // by the server, after the first
		sent     bool                                // of the error; only if nothing was received
	}{
		{"POST, no byte written: sent once, on a new connection", post, writeNothing, 1, false},
		{"POST, written: not sent again", post, writeIntoTheVoid, 0, true},
		{"GET, written: sent again", get, writeIntoTheVoid, 1, false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(r request) []byte {
				if r.http.Method == http.MethodGet {
					return signed(200, refundBody).bytes()
				}
				return signed(204, "").bytes()
			})
			c := newTestClient(t, s)
			var dead atomic.Bool
			var dials atomic.Int32
			transport := c.transport.(*http.Transport)
			dial := transport.DialContext
			transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := dial(ctx, network, addr)
				if err == nil && dials.Add(1) == 1 {
					conn = &dyingConn{conn, &dead, tc.write}
				}
				return conn, err
			}
			if err := tc.call(c, t.Context()); err != nil {
				t.Fatal(err)
			}
			dead.Store(true)
			err := tc.call(c, t.Context())
			if got := len(s.received()) - 1; got != tc.received {
				t.Errorf("the server received %d requests, want %d", got, tc.received)
			}
			if tc.received == 1 {
				if err != nil || dials.Load() != 2 {
					t.Errorf("%v, %d connections", err, dials.Load())
				}
				return
			}
			if n, ok := errors.AsType[*NoAnswerError](err); !ok || n.Sent != tc.sent {
				t.Errorf("%#v", err)
			}
		})
	}
}

// TestInterruptedWrite: the call is given up after the request has left, while its write has not returned yet.
func TestInterruptedWrite(t *testing.T) {
	t.Parallel()
	var writing atomic.Bool
	interrupted, over := false, make(chan struct{})
	release := sync.OnceFunc(func() { close(over) })
	s := serve(t, func(request) []byte {
		if interrupted {
			<-over
		}
		interrupted = true
		return signed(204, "").bytes()
	})
	t.Cleanup(release)
	c := newTestClient(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	transport := c.transport.(*http.Transport)
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return &dyingConn{conn, &writing, func(conn net.Conn, b []byte) (int, error) {
			writing.Store(false)
			_, err := conn.Write(b)
			cancel()
			if err == nil {
				_, err = conn.Read(make([]byte, 1)) // until the transport closes it
			}
			return 0, errors.Join(err, net.ErrClosed)
		}}, err
	}
	if err := c.CompleteComplaint(t.Context(), seedComplaint, "1"); err != nil { // the handshake is over
		t.Fatal(err)
	}
	writing.Store(true)
	err := c.CompleteComplaint(ctx, seedComplaint, "1")
	release()
	s.settle()
	if n, ok := errors.AsType[*NoAnswerError](err); !ok || !n.Sent || !errors.Is(err, context.Canceled) || len(s.received()) != 2 {
		t.Errorf("%#v, %d requests", err, len(s.received()))
	}
}

// dyingConn is a connection whose writes go to write once it is dead.
type dyingConn struct {
	net.Conn
	dead  *atomic.Bool
	write func(net.Conn, []byte) (int, error)
}

func (c *dyingConn) Write(b []byte) (int, error) {
	if c.dead.Load() {
		return c.write(c.Conn, b)
	}
	return c.Conn.Write(b)
}

func writeNothing(net.Conn, []byte) (int, error) { return 0, syscall.EPIPE }

func writeIntoTheVoid(conn net.Conn, b []byte) (int, error) {
	conn.Close() // what a reset does: the bytes are taken, the answer never comes
	return len(b), nil
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// askedKeys is a KeySource that can learn one key, and counts what it is asked for.
type askedKeys struct {
	serial string
	asked  []string
	err    error
}

func (k *askedKeys) Key(_ context.Context, serial string) (*rsa.PublicKey, error) {
	k.asked = append(k.asked, serial)
	return &platformKey().PublicKey, k.err
}
func (k *askedKeys) Serial() string { return k.serial }

type emptyKeys struct{}

func (emptyKeys) Key(context.Context, string) (*rsa.PublicKey, error) { return nil, nil }
func (emptyKeys) Serial() string                                      { return "" }

func TestLearningKeySource(t *testing.T) {
	t.Parallel()
	errDownload := errors.New("no certificates to be had")
	for _, failure := range []error{nil, errDownload} {
		keys := &askedKeys{serial: "OLD", err: failure}
		s := serve(t, always(signed(200, refundBody).sign(platformKey(), "NEW", 0)))
		_, err := newTestClient(t, s, func(c *Config) { c.Keys = keys }).CreateRefund(t.Context(), refundRequest())
		if !errors.Is(err, failure) || len(keys.asked) != 1 || keys.asked[0] != "NEW" {
			t.Errorf("%v, asked for %q", err, keys.asked)
		}
		if got := s.received()[0].http.Header.Get("Wechatpay-Serial"); got != "OLD" {
			t.Errorf("Wechatpay-Serial: %q", got)
		}
	}

	// A source that returns nothing at all knows nothing.
	c := newTestClient(t, serve(t, always(signed(200, refundBody))), func(c *Config) { c.Keys = emptyKeys{} })
	if _, err := c.CreateRefund(t.Context(), refundRequest()); !errors.Is(err, ErrUnknownSerial) {
		t.Error(err)
	}

	// What is no serial is not worth a download.
	keys := &askedKeys{serial: "OLD"}
	for _, junk := range []string{"a b", "../x", strings.Repeat("A", maxToken+1)} {
		c := newTestClient(t, serve(t, always(signed(200, refundBody).sign(platformKey(), junk, 0))), func(c *Config) { c.Keys = keys })
		if _, err := c.CreateRefund(t.Context(), refundRequest()); !errors.Is(err, ErrUnknownSerial) || len(keys.asked) != 0 {
			t.Errorf("%v, asked for %q", err, keys.asked)
		}
	}
}
