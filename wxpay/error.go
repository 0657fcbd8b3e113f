package wxpay

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"
	"unique"
)

// Bounds of what an error keeps of an answer. An answer may be anything, an error travels far.
const (
	maxCode    = 64
	maxMessage = 512
	maxDetail  = 256
	maxToken   = 128 // request ids and serials
)

// Error is a refusal or a failure that was answered: in version 3 any status that is not 2xx; in version 2, which answers
// everything with 200, a result_code or return_code of FAIL with HTTPStatus 200, and any status that is not 200. So it is an
// Error that says "no", not HTTPStatus.
//
// Code and HTTPStatus are what a program branches on, and only together with Proven: an unproven refusal may come from
// anybody on the way (a proxy, a gateway, an attacker). It may delay a command, it must never end one. In version 3 a
// 401 is the one answer that WeChat Pay itself does not sign; it means that the request was not executed. Version 2 knows no
// 401 (ErrV2Status), and does not sign a return_code of FAIL.
//
// Source: 签名与验签常见问题, https://pay.weixin.qq.com/doc/global/v3/zh/4012354982, 2025-01
type Error struct {
	Op         string // method and endpoint, e.g. "POST /v3/refund/domestic/refunds"
	HTTPStatus int
	Code       string // [A-Z_0-9]{1,64}; empty when the body did not hold one (a gateway's HTML page)
	Message    string // for people, at most 512 bytes, control characters replaced. Never branch on it, it may hold anything
	RequestID  string // WeChat Pay's name for this call; what its support asks for
	Detail     Detail // with PARAM_ERROR and INVALID_REQUEST; each part may be empty

	Proven bool      // the answer's signature was verified
	At     time.Time // WeChat Pay's clock when it answered, second precision; zero unless Proven or with ErrClockSkew, and in version 2, which signs no time
	Date   time.Time // what the answer's Date header says; unsigned, so good for people only. Zero if there is none
	Cause  error     // why it is unproven (ErrNoSignature, ErrBadSignature, ErrClockSkew, ErrUnknownSerial, ErrV2Status, …), nil when proven
}

// Detail says which part of the request was refused. What the API calls detail.value, the refused value itself, is never
// kept: it may be payer data.
type Detail struct {
	Field    string // a JSON pointer for bodies, a name otherwise
	Issue    string // for people
	Location string // body, url or query
}

// Codes as sentinels: errors.Is(err, ErrNotEnough) holds for every *Error with that code, proven or not.
// Source: the error tables of each endpoint, and 错误码和错误提示, https://pay.weixin.qq.com/doc/v3/merchant/4012081717
var (
	ErrParam               error = &Error{Code: "PARAM_ERROR"}
	ErrInvalidRequest      error = &Error{Code: "INVALID_REQUEST"}
	ErrSign                error = &Error{Code: "SIGN_ERROR"}
	ErrNotEnough           error = &Error{Code: "NOT_ENOUGH"}
	ErrUserAccountAbnormal error = &Error{Code: "USER_ACCOUNT_ABNORMAL"}
	ErrNoAuth              error = &Error{Code: "NO_AUTH"}
	ErrMchNotExists        error = &Error{Code: "MCH_NOT_EXISTS"}
	ErrResourceNotExists   error = &Error{Code: "RESOURCE_NOT_EXISTS"}
	ErrFrequencyLimited    error = &Error{Code: "FREQUENCY_LIMITED"}
	ErrSystem              error = &Error{Code: "SYSTEM_ERROR"}
	ErrServiceUnavailable  error = &Error{Code: "SERVICE_UNAVAILABLE"}
	ErrTradeOverdue        error = &Error{Code: "TRADE_OVERDUE"}
	ErrRefundFeeMismatch   error = &Error{Code: "REFUND_FEE_MISMATCH"}
)

// NoSuchRefund reports whether a query, of either version, has provably found no refund under the number: 404 RESOURCE_NOT_EXISTS, or
// REFUNDNOTEXIST. Within a minute after a CreateRefund that says nothing (QueryRefund).
func NoSuchRefund(err error) bool {
	e, answered := errors.AsType[*Error](err)
	return answered && e.Proven && (e.HTTPStatus == http.StatusNotFound && e.Code == "RESOURCE_NOT_EXISTS" || e.HTTPStatus == http.StatusOK && e.Code == "REFUNDNOTEXIST")
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Op != "" {
		b.WriteString(e.Op + ": ")
	}
	if e.HTTPStatus != 0 {
		fmt.Fprintf(&b, "%d ", e.HTTPStatus)
	}
	switch {
	case e.Code != "":
		b.WriteString(e.Code)
	default:
		b.WriteString("without a code")
	}
	if e.Cause != nil {
		b.WriteString(", unproven: " + e.Cause.Error())
	}
	return b.String() + requestIDText(e.RequestID)
}

// Is reports whether target is an *Error with the same Code, and with the same HTTPStatus unless target's is 0.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && (t.HTTPStatus == 0 || t.HTTPStatus == e.HTTPStatus)
}

// Unwrap returns Cause, so that errors.Is(err, ErrNoSignature) works on an unproven refusal.
func (e *Error) Unwrap() error { return e.Cause }

// NoAnswerError says that no usable answer came.
//
// Sent=false is a promise: no byte of the request has left this machine, so nothing has happened; it is given only for
// name resolution, connecting, the TLS handshake, a context that ended before writing, a KeySource that is not ready, and a no of
// BeforeSending's function. Sent=true is a doubt: it may have happened, ask before repeating. errors.Is finds context.Canceled and
// context.DeadlineExceeded through it.
type NoAnswerError struct {
	Op         string // method and endpoint
	Host       string // the host that was tried last
	Sent       bool
	HTTPStatus int    // of an answer that began but is of no use: cut short, over 1 MiB, not decodable, not about what was asked, 202 (v3); else 0
	RequestID  string // of that answer, if it had one
	Err        error
}

func (e *NoAnswerError) Error() string {
	s := e.Op + ": no answer from " + e.Host
	if e.HTTPStatus != 0 {
		s = fmt.Sprintf("%s: no usable answer from %s (%d)", e.Op, e.Host, e.HTTPStatus)
	}
	if !e.Sent {
		s += ", nothing sent"
	}
	return s + ": " + e.Err.Error() + requestIDText(e.RequestID)
}

func (e *NoAnswerError) Unwrap() error { return e.Err }

// SignatureError says that a 2xx came which is not proven to be WeChat Pay's: forged, altered, stale, signed with an
// unknown key, or one of the wrong signatures that WeChat Pay sends on purpose to see whether merchants check. The
// answer is discarded. Discarding an answer does not undo the call: it may have happened, ask before repeating.
//
// Source: 签名探测流量, https://pay.weixin.qq.com/doc/v3/merchant/4013053249
type SignatureError struct {
	Op         string // method and endpoint
	HTTPStatus int
	RequestID  string
	Serial     string    // what the answer claims to be signed with; empty when absent or not a serial at all
	At         time.Time // the signed time; only with ErrClockSkew, where the signature itself is good
	Err        error     // ErrNoSignature, ErrBadSignature, ErrClockSkew, ErrUnknownSerial, or what the KeySource returned
}

func (e *SignatureError) Error() string {
	s := fmt.Sprintf("%s: %d is not proven: %v", e.Op, e.HTTPStatus, e.Err)
	if e.Serial != "" {
		s += " (serial " + e.Serial + ")"
	}
	return s + requestIDText(e.RequestID)
}

func (e *SignatureError) Unwrap() error { return e.Err }

// Why an answer is not proven.
var (
	ErrNoSignature   = errors.New("no signature")
	ErrBadSignature  = errors.New("wrong signature")
	ErrClockSkew     = errors.New("signed more than 5 minutes from now")
	ErrUnknownSerial = errors.New("signed with an unknown key")
	// ErrNoCertificates: Certificates could not be downloaded for now, so it is open whether the key is known.
	ErrNoCertificates = errors.New("no platform certificates")
)

// Why an answer that came is no answer; found in a NoAnswerError.
var (
	ErrAccepted = errors.New("taken for processing, not processed yet") // 202
	ErrTooLarge = errors.New("larger than 1 MiB")
	ErrUnusable = errors.New("not an answer to this request") // not JSON (v2: XML), fields missing, another refund's or complaint's
)

// SigningError says that the request could not be signed, or its answer could not have been verified: the key, the KMS behind
// it, or the KeySource failed. Nothing was sent. No other command of this merchant will fare better until that is mended.
type SigningError struct {
	Op  string // method and endpoint
	Err error
}

func (e *SigningError) Error() string { return e.Op + ": sign request: " + e.Err.Error() }

func (e *SigningError) Unwrap() error { return e.Err }

// ArgumentError says that the call was not made because an argument cannot go into a request. Nothing was sent, and the
// same arguments will never do. Its text names the argument and the rule, not the value.
type ArgumentError struct {
	Op   string // method and endpoint
	Name string // the API's name of the argument, e.g. "out_refund_no"
	Rule string
}

func (e *ArgumentError) Error() string { return e.Op + ": " + e.Name + " " + e.Rule }

func requestIDText(id string) string {
	if id == "" {
		return ""
	}
	return " (request id " + id + ")"
}

// newError reads a refusal. It never fails: whatever the body is, the status stays visible.
func newError(op string, a *answer) *Error {
	// Unmarshal fills what fits and reports what does not, so that an odd detail does not cost the code. The value of
	// detail is not declared here and so is never decoded.
	var body struct {
		Code    string
		Message string
		Detail  Detail
	}
	_ = json.Unmarshal(a.body, &body)
	e := &Error{
		Op: op, HTTPStatus: a.status, RequestID: a.requestID,
		Message: once(bounded(body.Message, maxMessage)),
		Detail: Detail{
			Field:    bounded(body.Detail.Field, maxDetail),
			Issue:    bounded(body.Detail.Issue, maxDetail),
			Location: bounded(body.Detail.Location, maxDetail),
		},
	}
	if isCode(body.Code) {
		e.Code = once(body.Code)
	}
	return e
}

// once returns s in a copy that all errors with that text share: callers keep errors for as long as commands are in back-off, and a hundred
// thousand commands may have been refused in the same words.
func once(s string) string { return unique.Make(s).Value() }

func isCode(s string) bool {
	return all(s, maxCode, func(c byte) bool { return c >= 'A' && c <= 'Z' || c == '_' || isDigit(c) })
}

// isToken says whether s may be repeated in texts: request ids, serials, key ids.
func isToken(s string) bool {
	return all(s, maxToken, func(c byte) bool { return isAlnum(c) || c == '_' || c == '-' })
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isAlnum(c byte) bool { return isDigit(c) || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' }

// all says whether s is 1 to limit bytes, each of which is ok.
func all(s string, limit int, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return len(s) > 0 && len(s) <= limit
}

// bounded returns s as one line of valid UTF-8 of at most limit bytes.
func bounded(s string, limit int) string {
	if len(s) > 4*limit { // do not map what will be cut anyway
		s = s[:4*limit]
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// transportError shows what went wrong without repeating what the peer sent: net/http quotes malformed status lines and
// headers in its errors. The original stays within reach of errors.Is and errors.As.
type transportError struct {
	text string
	err  error
}

func (e *transportError) Error() string { return e.text }
func (e *transportError) Unwrap() error { return e.err }

func newTransportError(err error, sent bool) error {
	text := "malformed answer"
	var (
		netErr net.Error
		alert  tls.AlertError
		record tls.RecordHeaderError
		remote *net.OpError
		errno  syscall.Errno
	)
	switch {
	case errors.Is(err, context.Canceled):
		text = "canceled"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		text = "timeout"
		if !sent {
			text = "timeout before the request was written: " + bounded(err.Error(), maxDetail)
		}
	case !sent: // nobody has answered yet: this is the resolver's, the dialer's or the TLS handshake's own text
		text = bounded(err.Error(), maxDetail)
	case errors.As(err, &errno):
		text = errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		text = "connection closed"
	case errors.As(err, &remote) && remote.Op == "remote error": // an alert, in Go's words: a client certificate that is refused
		text = "TLS refused: " + bounded(remote.Err.Error(), maxDetail)
	case errors.As(err, &alert), errors.As(err, &record):
		text = "TLS failed"
	case errors.Is(err, ErrTooLarge):
		text = ErrTooLarge.Error()
	}
	return &transportError{text, err}
}
