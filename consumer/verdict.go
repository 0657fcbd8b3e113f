package consumer

import (
	"errors"
	"net/http"

	"wxpay-worker/wxpay"
)

// Verdict is what the answer to a call, or its absence, tells us.
type Verdict int

const (
	// Done: a proven success. The zero Verdict is none: what is not in a table must not read as a success.
	Done Verdict = iota + 1
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

var verdictNames = [...]string{"none", "done", "unreached", "transient", "unknown", "doubtful", "rejected", "malformed", "hold"}

// String is the verdict's name in logs.
func (v Verdict) String() string { return verdictNames[v] }

// call is the family of calls whose answers are judged alike.
type call int

const (
	callRefund    call = iota // create a refund: deduplicated by its number, accepted before it is carried out
	callComplaint             // change a complaint: nothing is deduplicated
	callRead                  // query or read back: changes nothing
)

// classify says what the answer to a call means. It is the only place that decides it.
//
// An unproven answer can delay a command and never end it: a refusal without a valid signature says nothing, except that a
// 401 is never signed and always means "not executed" for that request.
//
// Source: WeChat Pay, 错误码和错误提示, pay.weixin.qq.com/doc/v3/merchant/4012081717 (what a status means, and that 429 leaves a refund
// open); 退款状态变更, …/4014959631; 签名与验签常见问题, pay.weixin.qq.com/doc/global/v3/zh/4012354982 (401), 2026-08.
func classify(c call, err error) Verdict {
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
	case errors.Is(err, wxpay.ErrHistoryTooLong):
		return Rejected // of a read: one complaint's trouble, and for good
	case errors.Is(err, errHistorySlow):
		return Transient // likewise, but others may use less of the quota the next time
	}
	return Hold // the request could not be signed: ours to mend
}

// judgement is what a proven refusal with a code means, by the family of the call.
type judgement struct {
	refund, complaint, read Verdict
	// ours: it may be the merchant's setup and not the command. It counts for the command, and holds the lane when three
	// different commands in a row meet it.
	ours bool
}

// judgements is every documented code, of v3 and (in the second half) of v2's err_code. A code that is not here is a no of which nobody
// knows whether an earlier call of ours has caused it; so is any 4xx without one. "After any answer other than 200, query first."
//
// Source: WeChat Pay, the error tables of each call, whose pages package wxpay names beside its methods; and what comes in practice:
// pay.weixin.qq.com/doc/v3/merchant/4013071200 (refunds), …/4016111664 (complaints); the rule: …/4014959631, 2026-08.
var judgements = map[string]judgement{
	"PARAM_ERROR":           {Rejected, Doubtful, Rejected, false}, // complaints: also "not a fast-refund complaint", where the state decides
	"INVALID_REQUEST":       {Doubtful, Doubtful, Rejected, false}, // "exceeds the refundable amount", "already called": perhaps by us
	"REFUND_FEE_MISMATCH":   {Doubtful, Rejected, Rejected, false}, // other amounts under this number: the query shows whose
	"SIGN_ERROR":            {Hold, Hold, Hold, false},
	"NOT_ENOUGH":            {Hold, Hold, Hold, false}, // nothing is recorded; the same number goes through after topping up
	"NO_AUTH":               {Transient, Transient, Transient, true},
	"MCH_NOT_EXISTS":        {Transient, Transient, Transient, true},
	"USER_ACCOUNT_ABNORMAL": {Rejected, Rejected, Rejected, false},
	"RESOURCE_NOT_EXISTS":   {Rejected, Rejected, Rejected, false}, // on create the order, on query the refund
	"TRADE_OVERDUE":         {Rejected, Rejected, Rejected, false},
	"FREQUENCY_LIMITED":     {Unknown, Transient, Transient, false}, // refunds: "in acceptance", elsewhere not accepted
	"SYSTEM_ERROR":          {Unknown, Unknown, Unknown, false},
	"SERVICE_UNAVAILABLE":   {Unknown, Unknown, Unknown, false},

	"SYSTEMERROR":           {refund: Unknown, read: Unknown},
	"BIZERR_NEED_RETRY":     {refund: Unknown, read: Unknown},
	"INVALID_REQ_TOO_MUCH":  {refund: Unknown, read: Transient}, // blocked for a while: a minute, as after any unknown
	"NOTENOUGH":             {refund: Hold, read: Hold},
	"ERROR":                 {refund: Doubtful, read: Rejected}, // "business error, read the text"
	"ORDER_NOT_READY":       {refund: Transient, read: Transient},
	"ORDERNOTEXIST":         {refund: Rejected, read: Rejected},
	"REFUNDNOTEXIST":        {refund: Rejected, read: Rejected},
	"INVALID_TRANSACTIONID": {refund: Rejected, read: Rejected},
	"APPID_NOT_EXIST":       {refund: Transient, read: Transient, ours: true},
	"MCHID_NOT_EXIST":       {refund: Transient, read: Transient, ours: true},
	"NOAUTH":                {refund: Transient, read: Transient, ours: true}, // also the refund IP allow-list
	"REQUIRE_POST_METHOD":   {refund: Transient, read: Transient, ours: true},
	"XML_FORMAT_ERROR":      {refund: Transient, read: Transient, ours: true},
	"SIGNERROR":             {refund: Hold, read: Hold},
	"CERT_ERROR":            {refund: Hold, read: Hold},
}

func classifyAnswer(c call, e *wxpay.Error) Verdict {
	switch {
	case e.HTTPStatus == http.StatusUnauthorized && !errors.Is(e, wxpay.ErrV2Status): // key, serial or clock: v3 does not execute it
		return Hold
	case !e.Proven, e.HTTPStatus >= 500, e.HTTPStatus >= 300 && e.HTTPStatus < 400:
		return Unknown
	case e.HTTPStatus == http.StatusOK && e.Code == "FREQUENCY_LIMITED":
		return Transient // v2 says that it was not accepted
	case e.HTTPStatus == http.StatusTooManyRequests:
		e = &wxpay.Error{Code: "FREQUENCY_LIMITED"}
	}
	j := judgements[e.Code]
	verdict := map[call]Verdict{callRefund: j.refund, callComplaint: j.complaint, callRead: j.read}[c]
	switch {
	case verdict != 0:
		return verdict
	case c == callRead:
		return Rejected
	}
	return Doubtful // a code that nobody has written down, or not for this call
}

// throttled reports whether WeChat Pay asks for fewer calls.
func throttled(e *wxpay.Error) bool {
	return e.HTTPStatus == http.StatusTooManyRequests || e.Code == "FREQUENCY_LIMITED" || e.Code == "INVALID_REQ_TOO_MUCH"
}

// ours reports whether an answer may be about the merchant's setup and not about the command.
func ours(err error) bool {
	var e *wxpay.Error
	return errors.As(err, &e) && judgements[e.Code].ours
}

// ourFault reports whether the error of a read is due to the merchant's setup, or may be: nothing is given up over that. For a sub-merchant's
// refund a missing permission does not count, since it may be the sub-merchant's own and last for ever.
func ourFault(err error, subMchID string) bool {
	return err != nil && (classify(callRead, err) == Hold || ours(err) && subMchID == "")
}

// itsOwn reports whether what went wrong with a read is that of what was asked about, or of its sub-merchant: a proven no, which others of the
// merchant need not meet.
func itsOwn(err error, subMchID string) bool {
	return classify(callRead, err) == Rejected || ours(err) && subMchID != ""
}

// notEnough reports whether a refund was refused for want of money.
func notEnough(err error) bool {
	return errors.Is(err, wxpay.ErrNotEnough) || errors.Is(err, wxpay.ErrV2NotEnough)
}
