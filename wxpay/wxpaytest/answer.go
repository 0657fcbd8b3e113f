package wxpaytest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// parcel is an answer packed for the way: what is sent, and how.
type parcel struct {
	status    int
	body      []byte
	mediaType string
	v2        bool   // body holds the signature, headers hold none
	code      string // code or err_code of the answer; "" = none
	inner     string // last part of Request-ID
	unsigned  bool
	signer    signer // whose key it is, and what Wechatpay-Serial says
	age       time.Duration
	respell   func(signature string) string
	cut, lost bool
}

// proven: would a client that verifies believe it?
func (p *parcel) proven() bool {
	return !p.unsigned && p.age == 0 && p.respell == nil && !p.cut && !p.lost
}

// nothingHappened: does this answer tell the client for sure that a create was not executed? What it has
// to do with the minute between two submissions stands in spacing.go.
func (p *parcel) nothingHappened() bool {
	switch {
	case p.lost || p.cut:
		return false
	case p.v2:
		return p.proven() && p.code != "" && !mayBeExecuted[p.code]
	case p.status == http.StatusUnauthorized:
		return true
	}
	return p.proven() && p.status >= 400 && p.status < 500 && p.status != http.StatusTooManyRequests
}

// deliver sends the answer, in the way the script wants.
func (s *Server) deliver(w http.ResponseWriter, x *exchange, a answer) {
	p := s.pack(x, a)
	if !s.wait(x) {
		p.lost = true
	}
	s.books.conclude(x, p)
	if p.lost || p.cut && len(p.body) == 0 {
		// Nothing is told: neither a status nor, for a cut 204, a whole status line.
		s.nonces.lost(x.nonce)
		if p.cut && !p.lost {
			hijackHalf(w, p.status)
		}
		panic(http.ErrAbortHandler) // closes the connection without a byte
	}
	s.history.answered(x.seen, p.status, p.code)
	s.write(w, p)
}

// pack turns an answer and a fault into what is sent.
func (s *Server) pack(x *exchange, a answer) *parcel {
	if x.v2 != nil {
		return s.packV2(x, a)
	}
	p := &parcel{mediaType: "application/json; charset=utf-8"}
	p.signer = x.signer
	p.unsigned = x.merchant == nil // 401: no accepted signature, no signature
	if no := a.refusal; no != nil {
		p.refuse(no.status, no.code, no.message, no.detail)
		p.inner = innerCode(no.code, no.rule)
	} else {
		p.status = a.status
		if a.body != nil {
			p.body = encode(a.body)
		}
	}
	if x.fault != nil {
		p.suffer(x.fault)
	}
	return p
}

func (p *parcel) refuse(status int, code, message string, detail *refusalDetail) {
	if code != "PARAM_ERROR" && code != "INVALID_REQUEST" {
		detail = nil // Source: M:4012081709
	}
	p.status, p.code, p.inner = status, code, innerCode(code, "")
	p.body = encode(refusalBody{code, message, detail})
}

// suffer applies a fault's answer.
func (p *parcel) suffer(f *Fault) {
	switch f.Answer {
	case AnswerLost:
		p.lost = true
	case AnswerCutShort:
		p.cut = true
	case Answer429:
		p.refuse(http.StatusTooManyRequests, "FREQUENCY_LIMITED", "频率超限，请稍后重试", nil)
	case Answer5xx:
		p.refuse(http.StatusInternalServerError, "SYSTEM_ERROR", "系统异常，请稍后重试", nil)
	case Answer502HTML:
		p.turnPage(http.StatusBadGateway, "")
	case AnswerForged:
		p.respell = forge
	case AnswerProbe:
		p.respell = probe
	case AnswerStale:
		p.age = 10 * time.Minute
	case AnswerUnsigned:
		p.unsigned = true
	case AnswerUnknownSerial:
		if strings.HasPrefix(p.signer.serial, "PUB_KEY_ID_") {
			p.signer.serial = "PUB_KEY_ID_0199999999992026010100000000000099"
		} else {
			p.signer.serial = "4F4F4F4F4F4F4F4F4F4F4F4F4F4F4F4F4F4F4F4F"
		}
		p.respell = func(signature string) string { return signature }
	case Answer202:
		p.refuse(http.StatusAccepted, "ACCEPTED", "已受理，请使用原参数重复请求", nil)
	case AnswerRefusal:
		p.refuseAs(f)
	}
	p.unsigned = p.unsigned || f.Unsigned
}

func (p *parcel) refuseAs(f *Fault) {
	status, code, message := f.Status, f.Code, f.Message
	if status == 0 {
		status = http.StatusBadRequest
	}
	if code == "" {
		code = "INVALID_REQUEST"
	}
	if message == "" {
		message = code
	}
	p.refuse(status, code, message, nil)
	if status == http.StatusUnauthorized {
		p.unsigned = true
	}
}

// wait reports the arrival, holds and delays. It is false when there is nobody left to answer.
func (s *Server) wait(x *exchange) bool {
	f := x.fault
	if f == nil {
		return true
	}
	if f.Arrived != nil {
		select {
		case f.Arrived <- struct{}{}:
		case <-x.context.Done():
			return false
		case <-s.closing:
			return false
		}
	}
	if f.Hold != nil {
		select {
		case <-f.Hold:
		case <-x.context.Done():
			return false
		case <-s.closing:
			return false
		}
	}
	if f.Delay <= 0 && f.Answer != AnswerSlow {
		return true
	}
	var over <-chan time.Time // never, for AnswerSlow without Delay
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-over:
		return true
	case <-x.context.Done():
		return false
	case <-s.closing:
		return false
	}
}

// write signs and sends. Source: M:4013053420 (headers), M:4012081709 (Request-ID).
func (s *Server) write(w http.ResponseWriter, p *parcel) {
	h := w.Header()
	h.Set("Date", s.options.Now().UTC().Format(http.TimeFormat)) // net/http would write the real time
	if len(p.body) > 0 {
		h.Set("Content-Type", p.mediaType)
	}
	if !p.v2 {
		inner := p.inner
		if inner == "" {
			inner = "0"
		}
		h.Set("Request-ID", s.requestIDs.next()+"-"+inner)
	}
	if !p.v2 && !p.unsigned {
		timestamp := strconv.FormatInt(s.options.Now().Add(-p.age).Unix(), 10)
		nonce := randomHex(16)
		signature := signAnswer(p.signer.key, timestamp, nonce, p.body)
		if p.respell != nil {
			signature = p.respell(signature)
		}
		h.Set("Wechatpay-Timestamp", timestamp)
		h.Set("Wechatpay-Nonce", nonce)
		h.Set("Wechatpay-Signature", signature)
		h.Set("Wechatpay-Signature-Type", scheme)
		h.Set("Wechatpay-Serial", p.signer.serial)
	}
	body := p.body
	if len(body) > 0 {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	if p.cut {
		body = body[:len(body)/2]
	}
	w.WriteHeader(p.status)
	if len(body) > 0 {
		_, _ = w.Write(body) // a client that left is none of our business
	}
	if p.cut {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// hijackHalf sends half a status line and closes the connection.
func hijackHalf(w http.ResponseWriter, status int) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	line := fmt.Sprintf("HTTP/1.1 %d %s", status, http.StatusText(status))
	_, _ = conn.Write([]byte(line[:len(line)-3]))
	_ = conn.Close()
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("wxpaytest: encode answer: " + err.Error()) // our own types always encode
	}
	return b
}

// requestIDs makes identifiers of calls.
type requestIDs struct{ n atomic.Uint64 }

func (r *requestIDs) next() string { return fmt.Sprintf("08%016X", r.n.Add(1)) }
