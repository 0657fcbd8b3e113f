package consumer

import (
	"errors"
	"net/http"

	"wxpay-worker/wxpay"
)

// Verdict is what the answer to a call, or its absence, tells us.
type Verdict int

const (
	// Done: a proven success.
	Done Verdict = iota
	// Unreached: nothing left this machine; nothing happened. Not an attempt.
	Unreached
	// Transient: a proven "not now"; nothing happened.
	Transient
	// Unknown: it may have happened. Read back before repeating.
	Unknown
	// Doubtful: a proven refusal that an earlier call of ours may have caused. Not believed before a read-back confirms it.
	Doubtful
	// Rejected: a proven, definite no.
	Rejected
	// Malformed: the request cannot be made at all; nothing was sent.
	Malformed
	// Hold: our own setup or purse is wrong. The command is innocent and waits; not an attempt.
	Hold
)

var verdictNames = [...]string{"done", "unreached", "transient", "unknown", "doubtful", "rejected", "malformed", "hold"}

// String is the verdict's name in logs.
func (v Verdict) String() string { return verdictNames[v] }

// call is the family of calls whose answers are judged alike.
type call int

const (
	callRefund    call = iota // create a refund: deduplicated by its number, accepted before it is carried out
	callComplaint             // change a complaint: nothing is deduplicated
	callRead                  // query or read back: changes nothing
)

// Classify says what the answer to a call means. It is the only place that decides it.
//
// An unproven answer can delay a command and never end it: a refusal without a valid signature says nothing, except that a
// 401 is never signed and always means "not executed" for that request.
//
// Source: shared facts, sections 4, 4h and 5; WeChat Pay, 申请退款 error codes, pay.weixin.qq.com/doc/v3/merchant/4013071036,
// 错误码 pay.weixin.qq.com/doc/v3/merchant/4012081717 and 4014959631, 2026-08.
func Classify(c call, err error) Verdict {
	if err == nil {
		return Done
	}
	var (
		answer   *wxpay.Error
		noAnswer *wxpay.NoAnswerError
		forged   *wxpay.SignatureError
		argument *wxpay.ArgumentError
	)
	switch {
	case errors.As(err, &noAnswer):
		if noAnswer.Sent {
			return Unknown
		}
		return Unreached
	case errors.As(err, &forged):
		return Unknown // a discarded answer does not mean "not executed"
	case errors.As(err, &answer):
		return classifyAnswer(c, answer)
	case errors.As(err, &argument):
		return Malformed
	}
	return Hold // the request could not be signed: ours to mend
}

func classifyAnswer(c call, e *wxpay.Error) Verdict {
	switch {
	case e.HTTPStatus == http.StatusUnauthorized: // SIGN_ERROR: key, serial or clock; signed or not, it was not executed
		return Hold
	case !e.Proven, e.HTTPStatus >= 500, e.HTTPStatus < 400:
		return Unknown
	case throttled(e):
		if c == callRefund {
			return Unknown // "in acceptance": query, or repeat the same more slowly
		}
		return Transient
	case errors.Is(e, wxpay.ErrNotEnough): // a refusal: nothing is recorded, the same number goes through after topping up
		return Hold
	case errors.Is(e, wxpay.ErrNoAuth): // the complaint of somebody else, or a permission that an operator can grant
		return Transient
	case errors.Is(e, wxpay.ErrInvalidRequest) && c != callRead:
		return Doubtful // an earlier call of ours may be the reason: "exceeds the refundable amount", "already called"
	case errors.Is(e, wxpay.ErrParam) && c == callComplaint:
		return Doubtful // "not a fast-refund complaint" comes under this code too: the complaint's state decides
	}
	return Rejected
}

// throttled reports whether WeChat Pay asks for fewer calls.
func throttled(e *wxpay.Error) bool {
	return errors.Is(e, wxpay.ErrFrequencyLimited) || e.HTTPStatus == http.StatusTooManyRequests
}
