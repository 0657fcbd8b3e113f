package messages

import "maps"

// Command is what a merchant asks for: a *RefundCommand, *DecisionCommand, *ReplyCommand or *CompleteCommand.
type Command interface {
	// Kind says which of the four it is.
	Kind() Kind
	// Base gives access to the fields that all commands share.
	Base() *Common
	// Key is the command's identity among its merchant's commands of the same kind, unescaped: a refund's out_refund_no,
	// else the id.
	Key() string
	// Digest is the lower-case hex SHA-256 of what is sent to WeChat Pay, after defaults. It covers neither id, mchid and
	// metadata nor what this command does not send: a refund's complaint_id, the fields of a decision's other action. Two
	// commands with the same key and digest are one command; digests stay the same across releases.
	Digest() string
	// Complaint is the complaint_id, or "" if there is none.
	Complaint() string
	// Validate reports the first rule of the contract that the command breaks as a *MalformedError, or nil. It does not
	// compare mchid with a subject.
	Validate() error
}

// Common is what every command may carry. None of it is sent to WeChat Pay.
type Common struct {
	// ID is the publisher's name for the command, 1–64 printable ASCII characters (0x20–0x7E). Required for decision, reply and
	// complete, whose key it is; where the body has none, DecodeCommand takes it from the headers.
	ID string `json:"id,omitempty"`
	// MchID is the merchant number, 1–32 digits. Optional: the subject names the merchant, and both must agree.
	MchID string `json:"mchid,omitempty"`
	// Metadata comes back in every outcome. At most 16 entries; keys are not empty, values may be.
	Metadata map[string]string `json:"metadata,omitempty"`
}

// Base implements Command.
func (c *Common) Base() *Common { return c }

// Amount is money of a refund, in fen (1/100 CNY).
type Amount struct {
	// Refund is what goes back this time, 1 … Total.
	Refund int64 `json:"refund"`
	// Total is what the order was paid with, discounts included: the same in every partial refund of one order.
	Total int64 `json:"total"`
	// Currency is CNY, the default and the only one.
	Currency string `json:"currency,omitempty"`
}

// RefundParams is what a refund asks of WeChat Pay; a decision may hold one. Whether it goes out as API v2 or v3 is the merchant's
// configuration.
//
// Source: 申请退款, https://pay.weixin.qq.com/doc/v3/merchant/4013071036 (v3) and https://pay.weixin.qq.com/doc/v2/merchant/4011937624
// (v2), read 2026-08
type RefundParams struct {
	// OutRefundNo is the merchant's number of the refund and its identity: one number refunds once, however often it is sent.
	// 1–64 bytes of 0–9 A–Z a–z _ - | * @. Required.
	OutRefundNo string `json:"out_refund_no,omitempty"`
	// TransactionID is WeChat Pay's number of the order, 1–32 digits or letters. It or OutTradeNo is required; both may be given
	// and both are sent.
	TransactionID string `json:"transaction_id,omitempty"`
	// OutTradeNo is the merchant's number of the order, 1–32 bytes of 0–9 A–Z a–z _ - | * @.
	OutTradeNo string `json:"out_trade_no,omitempty"`
	Amount     Amount `json:"amount"`
	// Reason is shown to the payer. At most 80 bytes, which is 26 Han characters.
	Reason string `json:"reason,omitempty"`
	// NotifyURL is where WeChat Pay reports the refund's end: an absolute http or https URL without query or fragment, at most 256
	// bytes. The worker needs none.
	NotifyURL string `json:"notify_url,omitempty"`
	// FundsAccount is where the money comes from: AVAILABLE or UNSETTLED; empty leaves it to WeChat Pay.
	FundsAccount string `json:"funds_account,omitempty"`
	// SubMchID is the merchant in whose name a service provider refunds, 1–32 digits.
	SubMchID string `json:"sub_mchid,omitempty"`
}

// RefundCommand refunds an order.
type RefundCommand struct {
	Common
	RefundParams
	// ComplaintID is the complaint this refund settles, 1–64 of 0–9 A–Z a–z _ -. Optional; echoed in outcomes, not sent.
	ComplaintID string `json:"complaint_id,omitempty"`
}

// Kind implements Command.
func (c *RefundCommand) Kind() Kind { return KindRefund }

// Key implements Command.
func (c *RefundCommand) Key() string { return c.OutRefundNo }

// Complaint implements Command.
func (c *RefundCommand) Complaint() string { return c.ComplaintID }

// MiniProgramJumpInfo is a link into a mini program below a reply. All three are required. WeChat Pay publishes no lengths: the
// bounds are ours.
type MiniProgramJumpInfo struct {
	AppID string `json:"appid,omitempty"` // at most 64 characters
	Path  string `json:"path,omitempty"`  // with its query, at most 1024 characters
	Text  string `json:"text,omitempty"`  // what the user sees, at most 64 characters
}

// ReplyParams is a message to the complaining user; a decision may hold one.
//
// Source: 提交回复, https://pay.weixin.qq.com/doc/v3/merchant/4012467254, read 2026-08
type ReplyParams struct {
	// ComplaintedMchID is the accused merchant, 1–64 digits; the name keeps WeChat Pay's spelling. Required.
	ComplaintedMchID string `json:"complainted_mchid,omitempty"`
	// ResponseContent is the message, 1–500 characters. Required.
	ResponseContent string `json:"response_content,omitempty"`
	// ResponseImages are at most 4 pictures: media_ids of uploaded images, each 1–512 bytes, or references to objects that the
	// worker uploads, obj://BUCKET/NAME (ParsePictureRef).
	ResponseImages []string `json:"response_images,omitempty"`
	// JumpURL is an absolute https URL of at most 512 bytes, only together with JumpURLText.
	JumpURL string `json:"jump_url,omitempty"`
	// JumpURLText is what the user sees of JumpURL, at most 10 characters.
	JumpURLText         string               `json:"jump_url_text,omitempty"`
	MiniProgramJumpInfo *MiniProgramJumpInfo `json:"mini_program_jump_info,omitempty"`
}

// ReplyCommand says something to the complaining user.
type ReplyCommand struct {
	Common
	// ComplaintID is 1–64 of 0–9 A–Z a–z _ -. Required.
	ComplaintID string `json:"complaint_id,omitempty"`
	ReplyParams
}

// Kind implements Command.
func (c *ReplyCommand) Kind() Kind { return KindReply }

// Key implements Command.
func (c *ReplyCommand) Key() string { return c.ID }

// Complaint implements Command.
func (c *ReplyCommand) Complaint() string { return c.ComplaintID }

// Action is the verdict on a complaint that asks for a refund.
type Action string

// The actions.
const (
	ActionApprove Action = "APPROVE" // the merchant will refund; no money moves by this alone
	ActionReject  Action = "REJECT"  // the merchant will not; the complaint is processed at once
)

// DecisionCommand approves or rejects the refund a complaint asks for. Fields of the other action are checked and not sent.
//
// Source: 更新退款审批结果, https://pay.weixin.qq.com/doc/v3/merchant/4012467256, 2025-09-01
type DecisionCommand struct {
	Common
	// ComplaintID is 1–64 of 0–9 A–Z a–z _ -. Required.
	ComplaintID string `json:"complaint_id,omitempty"`
	// Action is ActionApprove or ActionReject. Required.
	Action Action `json:"action,omitempty"`
	// LaunchRefundDay goes with APPROVE: within how many working days the refund will be started. 0 is today and is sent; nil is
	// not. At most 365, a bound of ours.
	LaunchRefundDay *int64 `json:"launch_refund_day,omitempty"`
	// RejectReason goes with REJECT, at most 200 characters.
	RejectReason string `json:"reject_reason,omitempty"`
	// RejectMediaList goes with REJECT: at most 4 pictures, as in ResponseImages.
	RejectMediaList []string `json:"reject_media_list,omitempty"`
	// Remark is for WeChat Pay's service staff, at most 200 characters.
	Remark string `json:"remark,omitempty"`
	// Reply is sent before the decision.
	Reply *ReplyParams `json:"reply,omitempty"`
	// Refund, with APPROVE only, becomes a refund command once the approval is proven.
	Refund *RefundParams `json:"refund,omitempty"`
}

// Kind implements Command.
func (c *DecisionCommand) Kind() Kind { return KindDecision }

// Key implements Command.
func (c *DecisionCommand) Key() string { return c.ID }

// Complaint implements Command.
func (c *DecisionCommand) Complaint() string { return c.ComplaintID }

// ReplyStep returns the decision's reply as a command of its own, or nil if it has none. Its id is <decision's id>:reply, which
// may be longer than the id of a published command may be: it was validated with its decision, not by itself.
func (c *DecisionCommand) ReplyStep() *ReplyCommand {
	if c.Reply == nil {
		return nil
	}
	return &ReplyCommand{
		Common:      Common{ID: c.ID + ":reply", Metadata: maps.Clone(c.Metadata)},
		ComplaintID: c.ComplaintID,
		ReplyParams: *c.Reply,
	}
}

// RefundStep returns the decision's refund as a command of its own, or nil if it has none. It has the digest of the same refund
// published alone, and no id: its number is its identity.
func (c *DecisionCommand) RefundStep() *RefundCommand {
	if c.Refund == nil {
		return nil
	}
	return &RefundCommand{
		Common:       Common{Metadata: maps.Clone(c.Metadata)},
		RefundParams: *c.Refund,
		ComplaintID:  c.ComplaintID,
	}
}

// CompleteCommand reports a complaint as finished.
//
// Source: 反馈处理完成, https://pay.weixin.qq.com/doc/v3/merchant/4012467255, read 2026-08
type CompleteCommand struct {
	Common
	// ComplaintID is 1–64 of 0–9 A–Z a–z _ -. Required.
	ComplaintID string `json:"complaint_id,omitempty"`
	// ComplaintedMchID is the accused merchant, 1–64 digits. Required.
	ComplaintedMchID string `json:"complainted_mchid,omitempty"`
}

// Kind implements Command.
func (c *CompleteCommand) Kind() Kind { return KindComplete }

// Key implements Command.
func (c *CompleteCommand) Key() string { return c.ID }

// Complaint implements Command.
func (c *CompleteCommand) Complaint() string { return c.ComplaintID }

// newCommand returns an empty command, or nil for a kind that is not one of Kinds.
func newCommand(k Kind) Command {
	switch k {
	case KindRefund:
		return new(RefundCommand)
	case KindDecision:
		return new(DecisionCommand)
	case KindReply:
		return new(ReplyCommand)
	case KindComplete:
		return new(CompleteCommand)
	}
	return nil
}
