package main

import "wxpay-worker/messages"

// The flags of each kind of command. Their values are checked where all commands are: in package messages.

type refundFlags struct {
	OutRefundNo   string `placeholder:"NO" help:"The merchant's refund number; one number refunds once."`
	TransactionID string `name:"transaction-id" placeholder:"ID" help:"WeChat Pay's order number."`
	OutTradeNo    string `placeholder:"NO" help:"The merchant's order number; this or --transaction-id, or both."`
	Refund        int64  `placeholder:"FEN" help:"What goes back, in fen."`
	Total         int64  `placeholder:"FEN" help:"What the order was paid with, in fen."`
	Reason        string `placeholder:"TEXT" help:"Shown to the payer."`
	NotifyURL     string `name:"notify-url" placeholder:"URL" help:"Where WeChat Pay reports the end; the worker needs none."`
	FundsAccount  string `placeholder:"ACCOUNT" help:"AVAILABLE or UNSETTLED."`
	SubMchID      string `name:"sub-mchid" placeholder:"MCHID" help:"The sub-merchant, for service providers."`
	ComplaintID   string `name:"complaint-id" placeholder:"ID" help:"The complaint that this settles; echoed in outcomes."`
}

// Run sends refunds.
func (f *refundFlags) Run(a *app, s *sendCmd) error {
	return s.send(a, messages.KindRefund, f.command())
}

func (f *refundFlags) command() messages.Command {
	if *f == (refundFlags{}) {
		return nil
	}
	return &messages.RefundCommand{ComplaintID: f.ComplaintID, RefundParams: messages.RefundParams{
		OutRefundNo: f.OutRefundNo, TransactionID: f.TransactionID, OutTradeNo: f.OutTradeNo,
		Amount: messages.Amount{Refund: f.Refund, Total: f.Total},
		Reason: f.Reason, NotifyURL: f.NotifyURL, FundsAccount: f.FundsAccount, SubMchID: f.SubMchID,
	}}
}

type decisionFlags struct {
	ComplaintID     string   `name:"complaint-id" placeholder:"ID" help:"The complaint."`
	Approve         bool     `xor:"action" help:"Approve; moves no money by itself (a refund inside needs --file)."`
	Reject          string   `xor:"action" placeholder:"REASON" help:"Reject, for this reason."`
	LaunchRefundDay *int64   `placeholder:"DAYS" help:"With --approve: working days until the refund starts; 0 is today."`
	RejectMedia     []string `sep:"none" placeholder:"MEDIAID" help:"With --reject: uploaded pictures; may be repeated."`
	Remark          string   `placeholder:"TEXT" help:"For WeChat Pay's service staff."`
}

// Run sends decisions.
func (f *decisionFlags) Run(a *app, s *sendCmd) error {
	return s.send(a, messages.KindDecision, f.command())
}

func (f *decisionFlags) command() messages.Command {
	if f.ComplaintID == "" && !f.Approve && f.Reject == "" && f.LaunchRefundDay == nil && f.RejectMedia == nil && f.Remark == "" {
		return nil
	}
	c := &messages.DecisionCommand{
		ComplaintID: f.ComplaintID, LaunchRefundDay: f.LaunchRefundDay,
		RejectReason: f.Reject, RejectMediaList: f.RejectMedia, Remark: f.Remark,
	}
	switch {
	case f.Approve:
		c.Action = messages.ActionApprove
	case f.Reject != "":
		c.Action = messages.ActionReject
	}
	return c
}

type replyFlags struct {
	ComplaintID      string   `name:"complaint-id" placeholder:"ID" help:"The complaint."`
	ComplaintedMchID string   `name:"complainted-mchid" placeholder:"MCHID" help:"The accused merchant."`
	Content          string   `placeholder:"TEXT" help:"What the user reads."`
	Image            []string `sep:"none" placeholder:"MEDIAID" help:"Uploaded pictures; may be repeated."`
	JumpURL          string   `name:"jump-url" placeholder:"URL" help:"A link, together with --jump-url-text."`
	JumpURLText      string   `name:"jump-url-text" placeholder:"TEXT" help:"What the user sees of the link."`
}

// Run sends replies.
func (f *replyFlags) Run(a *app, s *sendCmd) error { return s.send(a, messages.KindReply, f.command()) }

func (f *replyFlags) command() messages.Command {
	if f.ComplaintID == "" && f.ComplaintedMchID == "" && f.Content == "" && f.Image == nil && f.JumpURL == "" && f.JumpURLText == "" {
		return nil
	}
	return &messages.ReplyCommand{ComplaintID: f.ComplaintID, ReplyParams: messages.ReplyParams{
		ComplaintedMchID: f.ComplaintedMchID, ResponseContent: f.Content, ResponseImages: f.Image,
		JumpURL: f.JumpURL, JumpURLText: f.JumpURLText,
	}}
}

type completeFlags struct {
	ComplaintID      string `name:"complaint-id" placeholder:"ID" help:"The complaint."`
	ComplaintedMchID string `name:"complainted-mchid" placeholder:"MCHID" help:"The accused merchant."`
}

// Run sends completions.
func (f *completeFlags) Run(a *app, s *sendCmd) error {
	return s.send(a, messages.KindComplete, f.command())
}

func (f *completeFlags) command() messages.Command {
	if *f == (completeFlags{}) {
		return nil
	}
	return &messages.CompleteCommand{ComplaintID: f.ComplaintID, ComplaintedMchID: f.ComplaintedMchID}
}
