package messages

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
)

// digest collects what a command sends to WeChat Pay as lines "name:length:value". A field that is not sent leaves no line, so a
// field that a later release adds changes no digest of a command without it. Digests are stored with outcomes and compared for
// as long as those are kept: names and order below are frozen, and a golden test pins them.
type digest []byte

func newDigest(k Kind) digest {
	d := make(digest, 0, 512)
	d.text("kind", string(k))
	return d
}

// text adds a field. An empty string is an absent field. The length keeps a value from imitating the lines after it.
func (d *digest) text(name, value string) {
	if value == "" {
		return
	}
	b := append(*d, name...)
	b = append(b, ':')
	b = strconv.AppendInt(b, int64(len(value)), 10)
	b = append(b, ':')
	b = append(b, value...)
	*d = append(b, '\n')
}

// number adds a field for which zero has a meaning.
func (d *digest) number(name string, n int64) { d.text(name, strconv.FormatInt(n, 10)) }

// list adds one line for each entry, in order.
func (d *digest) list(name string, values []string) {
	for i, v := range values {
		d.text(name+"["+strconv.Itoa(i)+"]", v)
	}
}

func (d *digest) refund(prefix string, p *RefundParams) {
	d.text(prefix+"out_refund_no", p.OutRefundNo)
	d.text(prefix+"transaction_id", p.TransactionID)
	d.text(prefix+"out_trade_no", p.OutTradeNo)
	d.number(prefix+"amount.refund", p.Amount.Refund)
	d.number(prefix+"amount.total", p.Amount.Total)
	d.text(prefix+"amount.currency", currencyOrDefault(p.Amount.Currency))
	d.text(prefix+"reason", p.Reason)
	d.text(prefix+"notify_url", p.NotifyURL)
	d.text(prefix+"funds_account", p.FundsAccount)
	d.text(prefix+"sub_mchid", p.SubMchID)
}

func (d *digest) reply(prefix string, p *ReplyParams) {
	d.text(prefix+"complainted_mchid", p.ComplaintedMchID)
	d.text(prefix+"response_content", p.ResponseContent)
	d.list(prefix+"response_images", p.ResponseImages)
	d.text(prefix+"jump_url", p.JumpURL)
	d.text(prefix+"jump_url_text", p.JumpURLText)
	if m := p.MiniProgramJumpInfo; m != nil {
		d.text(prefix+"mini_program_jump_info.appid", m.AppID)
		d.text(prefix+"mini_program_jump_info.path", m.Path)
		d.text(prefix+"mini_program_jump_info.text", m.Text)
	}
}

func (d *digest) sum() string {
	h := sha256.Sum256(*d)
	return hex.EncodeToString(h[:])
}

// Digest implements Command.
func (c *RefundCommand) Digest() string {
	d := newDigest(KindRefund)
	d.refund("", &c.RefundParams)
	return d.sum()
}

// Digest implements Command.
func (c *DecisionCommand) Digest() string {
	d := newDigest(KindDecision)
	d.text("complaint_id", c.ComplaintID)
	d.text("action", string(c.Action))
	switch c.Action {
	case ActionApprove:
		if c.LaunchRefundDay != nil {
			d.number("launch_refund_day", *c.LaunchRefundDay)
		}
	case ActionReject:
		d.text("reject_reason", c.RejectReason)
		d.list("reject_media_list", c.RejectMediaList)
	}
	d.text("remark", c.Remark)
	if c.Reply != nil {
		d.reply("reply.", c.Reply)
	}
	if c.Refund != nil {
		d.refund("refund.", c.Refund)
	}
	return d.sum()
}

// Digest implements Command.
func (c *ReplyCommand) Digest() string {
	d := newDigest(KindReply)
	d.text("complaint_id", c.ComplaintID)
	d.reply("", &c.ReplyParams)
	return d.sum()
}

// Digest implements Command.
func (c *CompleteCommand) Digest() string {
	d := newDigest(KindComplete)
	d.text("complaint_id", c.ComplaintID)
	d.text("complainted_mchid", c.ComplaintedMchID)
	return d.sum()
}
