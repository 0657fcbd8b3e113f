package main

import (
	"reflect"

	"wxpay-worker/messages"
)

// The flags of each kind of command. Their values are checked where all commands are: in package messages; those of pictures,
// which commands only refer to, in picture.go.

// commandFlags are the flags of one kind.
type commandFlags interface {
	// command is what the flags describe; nil if none were given.
	command(*pictures) (messages.Command, error)
}

// refundParams are the flags of a refund, alone or inside a decision.
type refundParams struct {
	OutRefundNo   string `placeholder:"NO" help:"The merchant's refund number; one number refunds once."`
	TransactionID string `name:"transaction-id" placeholder:"ID" help:"WeChat Pay's order number."`
	OutTradeNo    string `placeholder:"NO" help:"The merchant's order number; this or --transaction-id, or both."`
	Refund        int64  `placeholder:"FEN" help:"What goes back, in fen."`
	Total         int64  `placeholder:"FEN" help:"What the order was paid with, in fen."`
	Reason        string `placeholder:"TEXT" help:"Shown to the payer."`
	NotifyURL     string `name:"notify-url" placeholder:"URL" help:"Where WeChat Pay reports the end; the worker needs none."`
	FundsAccount  string `placeholder:"ACCOUNT" help:"AVAILABLE or UNSETTLED."`
	SubMchID      string `name:"sub-mchid" placeholder:"MCHID" help:"The sub-merchant, for service providers."`
}

func (f *refundParams) params() messages.RefundParams {
	return messages.RefundParams{
		OutRefundNo: f.OutRefundNo, TransactionID: f.TransactionID, OutTradeNo: f.OutTradeNo,
		Amount: messages.Amount{Refund: f.Refund, Total: f.Total},
		Reason: f.Reason, NotifyURL: f.NotifyURL, FundsAccount: f.FundsAccount, SubMchID: f.SubMchID,
	}
}

type refundFlags struct {
	refundParams
	ComplaintID string `name:"complaint-id" aliases:"complaint" placeholder:"ID" help:"The complaint that this settles; echoed in outcomes."`
}

// Run sends refunds.
func (f *refundFlags) Run(a *app, s *sendCmd) error { return s.send(a, messages.KindRefund, f) }

func (f *refundFlags) command(*pictures) (messages.Command, error) {
	if *f == (refundFlags{}) {
		return nil, nil
	}
	return &messages.RefundCommand{ComplaintID: f.ComplaintID, RefundParams: f.params()}, nil
}

type decisionFlags struct {
	ComplaintID     string   `name:"complaint-id" aliases:"complaint" placeholder:"ID" help:"The complaint."`
	Approve         bool     `xor:"action" help:"Approve; moves no money by itself (see the refund inside)."`
	Reject          string   `xor:"action" placeholder:"REASON" help:"Reject, for this reason."`
	LaunchRefundDay *int64   `placeholder:"DAYS" help:"With --approve: working days until the refund starts; 0 is today."`
	Picture         []string `sep:"none" placeholder:"FILE" help:"With --reject: a picture, JPG, BMP or PNG of at most 2 MiB, or one that is stored already, obj://BUCKET/NAME; may be repeated, up to 4."`
	MediaID         []string `name:"media-id" aliases:"reject-media" sep:"none" placeholder:"MEDIAID" help:"With --reject: a picture that WeChat Pay has already; may be repeated, up to 4 together with --picture."`
	Remark          string   `placeholder:"TEXT" help:"For WeChat Pay's service staff; the user does not see it."`

	Reply            string   `group:"reply" placeholder:"TEXT" help:"What the user reads."`
	ComplaintedMchID string   `group:"reply" name:"complainted-mchid" placeholder:"MCHID" help:"The accused merchant; a reply needs it."`
	ReplyPicture     []string `group:"reply" sep:"none" placeholder:"FILE" help:"A picture of the reply, as --picture."`
	ReplyMediaID     []string `group:"reply" name:"reply-media-id" sep:"none" placeholder:"MEDIAID" help:"A picture of the reply, as --media-id."`
	ReplyJumpURL     string   `group:"reply" name:"reply-jump-url" placeholder:"URL" help:"A link, together with --reply-jump-url-text."`
	ReplyJumpURLText string   `group:"reply" name:"reply-jump-url-text" placeholder:"TEXT" help:"What the user sees of the link."`

	Inside refundParams `embed:"" group:"refund"`
}

// Run sends decisions.
func (f *decisionFlags) Run(a *app, s *sendCmd) error { return s.send(a, messages.KindDecision, f) }

func (f *decisionFlags) command(p *pictures) (messages.Command, error) {
	if reflect.ValueOf(*f).IsZero() {
		return nil, nil
	}
	if f.Approve && len(f.Picture)+len(f.MediaID) > 0 {
		return nil, usageError("--picture, --media-id: expected with --reject (a reply's are --reply-picture, --reply-media-id)")
	}
	references, err := p.references("--picture", f.Picture)
	if err != nil {
		return nil, err
	}
	c := &messages.DecisionCommand{
		ComplaintID: f.ComplaintID, LaunchRefundDay: f.LaunchRefundDay,
		RejectReason: f.Reject, RejectMediaList: append(references, f.MediaID...), Remark: f.Remark,
	}
	switch {
	case f.Approve:
		c.Action = messages.ActionApprove
	case f.Reject != "":
		c.Action = messages.ActionReject
	}
	if c.Reply, err = f.reply(p); err != nil {
		return nil, err
	}
	if f.Inside != (refundParams{}) {
		refund := f.Inside.params()
		c.Refund = &refund
	}
	return c, nil
}

// reply is the one inside, nil if there is none.
func (f *decisionFlags) reply(p *pictures) (*messages.ReplyParams, error) {
	references, err := p.references("--reply-picture", f.ReplyPicture)
	if err != nil {
		return nil, err
	}
	r := &messages.ReplyParams{
		ComplaintedMchID: f.ComplaintedMchID, ResponseContent: f.Reply, ResponseImages: append(references, f.ReplyMediaID...),
		JumpURL: f.ReplyJumpURL, JumpURLText: f.ReplyJumpURLText,
	}
	if reflect.ValueOf(*r).IsZero() {
		return nil, nil
	}
	return r, nil
}

type replyFlags struct {
	ComplaintID      string   `name:"complaint-id" aliases:"complaint" placeholder:"ID" help:"The complaint."`
	ComplaintedMchID string   `name:"complainted-mchid" placeholder:"MCHID" help:"The accused merchant."`
	Content          string   `aliases:"text" placeholder:"TEXT" help:"What the user reads (also: --text)."`
	Picture          []string `sep:"none" placeholder:"FILE" help:"A picture, JPG, BMP or PNG of at most 2 MiB, or one that is stored already, obj://BUCKET/NAME; may be repeated, up to 4."`
	MediaID          []string `name:"media-id" aliases:"image" sep:"none" placeholder:"MEDIAID" help:"A picture that WeChat Pay has already; may be repeated, up to 4 together with --picture."`
	JumpURL          string   `name:"jump-url" placeholder:"URL" help:"A link, together with --jump-url-text."`
	JumpURLText      string   `name:"jump-url-text" placeholder:"TEXT" help:"What the user sees of the link."`
}

// Run sends replies.
func (f *replyFlags) Run(a *app, s *sendCmd) error { return s.send(a, messages.KindReply, f) }

func (f *replyFlags) command(p *pictures) (messages.Command, error) {
	if reflect.ValueOf(*f).IsZero() {
		return nil, nil
	}
	references, err := p.references("--picture", f.Picture)
	if err != nil {
		return nil, err
	}
	return &messages.ReplyCommand{ComplaintID: f.ComplaintID, ReplyParams: messages.ReplyParams{
		ComplaintedMchID: f.ComplaintedMchID, ResponseContent: f.Content, ResponseImages: append(references, f.MediaID...),
		JumpURL: f.JumpURL, JumpURLText: f.JumpURLText,
	}}, nil
}

type completeFlags struct {
	ComplaintID      string `name:"complaint-id" aliases:"complaint" placeholder:"ID" help:"The complaint."`
	ComplaintedMchID string `name:"complainted-mchid" placeholder:"MCHID" help:"The accused merchant."`
}

// Run sends completions.
func (f *completeFlags) Run(a *app, s *sendCmd) error { return s.send(a, messages.KindComplete, f) }

func (f *completeFlags) command(*pictures) (messages.Command, error) {
	if *f == (completeFlags{}) {
		return nil, nil
	}
	return &messages.CompleteCommand{ComplaintID: f.ComplaintID, ComplaintedMchID: f.ComplaintedMchID}, nil
}
