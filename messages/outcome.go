package messages

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"time"
)

// Outcome is one event in the life of a command.
type Outcome struct {
	// ID is the command's id, "" for a refund that has none.
	ID    string `json:"id,omitempty"`
	Kind  Kind   `json:"kind"`
	MchID string `json:"mchid"`
	// Key is Command.Key, <decision's id>:reply, or SeqKey; unescaped.
	Key    string `json:"key"`
	Status Status `json:"status"`
	// Final is Status.Final; Encode sees to it.
	Final bool `json:"final"`
	// At is when the worker knew, written in UTC with milliseconds.
	At time.Time `json:"at"`
	// Attempts counts deliveries that sent at least one writing call, as far as known.
	Attempts    int               `json:"attempts"`
	ComplaintID string            `json:"complaint_id,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	// Refund is set only for refunds, as WeChat Pay describes them.
	Refund *Refund `json:"refund,omitempty"`
	// Error and DeadLetter, the sequence of the dead letter, are set only with StatusFailed.
	Error      *Failure `json:"error,omitempty"`
	DeadLetter uint64   `json:"dead_letter,omitempty"`
}

// Refund is what WeChat Pay says of a refund. Texts are WeChat Pay's own, in the words of API v3 also for a merchant who refunds by v2;
// "" is what it did not say.
//
// Source: 申请退款 and 查询单笔退款, https://pay.weixin.qq.com/doc/v3/merchant/4013071036 and
// https://pay.weixin.qq.com/doc/v3/merchant/4013071041, read 2026-08
type Refund struct {
	RefundID      string `json:"refund_id,omitempty"` // WeChat Pay's number of the refund
	OutRefundNo   string `json:"out_refund_no"`
	TransactionID string `json:"transaction_id,omitempty"`
	OutTradeNo    string `json:"out_trade_no,omitempty"`
	Status        string `json:"status,omitempty"`  // SUCCESS, CLOSED, PROCESSING or ABNORMAL
	Channel       string `json:"channel,omitempty"` // ORIGINAL, BALANCE, OTHER_BALANCE, OTHER_BANKCARD
	// UserReceivedAccount is where the money went. It is payer data: it goes into outcomes, and nowhere else.
	UserReceivedAccount string `json:"user_received_account,omitempty"`
	SuccessTime         string `json:"success_time,omitempty"` // RFC 3339, by API v2 too; only with SUCCESS
	Amount              Amount `json:"amount"`
}

// Failure is why a command failed.
type Failure struct {
	Reason Reason `json:"reason"`
	// Code is WeChat Pay's code, "" if the command was not refused by WeChat Pay.
	Code string `json:"code,omitempty"`
	// Message is for people; pass it through BoundMessage.
	Message    string `json:"message,omitempty"`
	HTTPStatus int    `json:"http_status,omitempty"`
	// RequestID is WeChat Pay's Request-ID of the refusal.
	RequestID string `json:"request_id,omitempty"`
	// ConflictsWith is, with ReasonConflict, the key that another command holds.
	ConflictsWith string `json:"conflicts_with,omitempty"`
}

// EventID is the ce-id: <mchid>.<kind>.<key>.<status>, and for a failed one .<dead letter's sequence> after it, because a command
// that is sent again may fail again.
func (o *Outcome) EventID() string {
	id := join(o.MchID, string(o.Kind), o.Key, string(o.Status))
	if o.Status == StatusFailed {
		id = join(id, strconv.FormatUint(o.DeadLetter, 10))
	}
	return id
}

// Encode writes the event's body: fields in declared order, keys of metadata sorted, no HTML escaping, no null.
func (o *Outcome) Encode() ([]byte, error) {
	out := *o
	out.Final = o.Status.Final()
	out.At = wireTime(o.At)
	return encodeJSON(&out)
}

// DecodeOutcome reads an event's body. Fields it does not know are ignored: a newer worker may write them. The error is a
// *MalformedError.
func DecodeOutcome(data []byte) (*Outcome, error) {
	o := new(Outcome)
	err := json.Unmarshal(data, o)
	if err == nil && bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return o, nil
	}
	// Errors of encoding/json may quote values; of them, only the place and the type are passed on.
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && t.Field != "" {
		return nil, &MalformedError{Field: t.Field, Expected: "a value of type " + t.Type.String()}
	}
	return nil, &MalformedError{Field: "outcome", Expected: "one JSON object as the contract describes it"}
}

// Headers returns the event's CloudEvents attributes (binary mode) and its Content-Type in a fresh map, to which the caller may
// add.
//
// Source: CloudEvents 1.0.2 and its NATS protocol binding, https://github.com/cloudevents/spec/tree/v1.0.2/cloudevents, 2022-02
func (o *Outcome) Headers(s Subjects) Header {
	return Header{
		HeaderSpecVersion: {"1.0"},
		HeaderEventID:     {headerValue(o.EventID())},
		HeaderSource:      {"/" + s.Prefix + "/" + o.MchID},
		HeaderType:        {join(s.Prefix, string(o.Kind), string(o.Status))},
		HeaderEventKey:    {headerValue(o.Key)},
		HeaderTime:        {formatTime(o.At)},
		HeaderContentType: {"application/json"},
	}
}

// wireTime is the form in which times are written: UTC, cut to milliseconds. Cutting, not rounding, never names a later moment
// than the one that was.
func wireTime(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// formatTime writes a header's time in RFC 3339.
func formatTime(t time.Time) string { return wireTime(t).Format(time.RFC3339Nano) }
