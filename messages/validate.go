package messages

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of the contract that WeChat Pay does not set.
const (
	maxIDBytes         = 64
	maxMetadataEntries = 16
	// maxLaunchRefundDay keeps typing errors out; WeChat Pay names no bound. A complaint is to be finished within three days.
	maxLaunchRefundDay = 365
)

// rules collects the first rule that a command breaks. Each method checks one rule, of a field whose path it is given, and does
// nothing once another has failed. prefix is the path of the object whose fields are checked: "", "reply." or "refund.".
type rules struct {
	prefix string
	err    *MalformedError
}

// must states that a field keeps a rule. expected never holds the field's value.
func (r *rules) must(ok bool, field, expected string) {
	if !ok && r.err == nil {
		r.err = &MalformedError{Field: r.prefix + field, Expected: expected}
	}
}

// result avoids an error interface that holds a nil pointer.
func (r *rules) result() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

// in checks the fields of a nested object.
func (r *rules) in(object string, check func()) {
	outer := r.prefix
	r.prefix += object + "."
	check()
	r.prefix = outer
}

// Validate implements Command.
func (c *RefundCommand) Validate() error {
	var r rules
	r.common(&c.Common, false)
	r.refund(&c.RefundParams)
	if c.ComplaintID != "" {
		r.complaintID(c.ComplaintID)
	}
	return r.result()
}

// Validate implements Command.
func (c *DecisionCommand) Validate() error {
	var r rules
	r.common(&c.Common, true)
	r.complaintID(c.ComplaintID)
	r.must(c.Action == ActionApprove || c.Action == ActionReject, "action", "APPROVE or REJECT")
	if d := c.LaunchRefundDay; d != nil {
		r.must(0 <= *d && *d <= maxLaunchRefundDay, "launch_refund_day", "an integer from 0 to 365")
	}
	r.text("reject_reason", c.RejectReason, 200)
	r.pictures("reject_media_list", c.RejectMediaList)
	r.text("remark", c.Remark, 200)
	if c.Reply != nil {
		r.in("reply", func() { r.reply(c.Reply) })
	}
	if c.Refund != nil {
		r.must(c.Action != ActionReject, "refund", "no refund unless action is APPROVE")
		r.in("refund", func() { r.refund(c.Refund) })
	}
	return r.result()
}

// Validate implements Command.
func (c *ReplyCommand) Validate() error {
	var r rules
	r.common(&c.Common, true)
	r.complaintID(c.ComplaintID)
	r.reply(&c.ReplyParams)
	return r.result()
}

// Validate implements Command.
func (c *CompleteCommand) Validate() error {
	var r rules
	r.common(&c.Common, true)
	r.complaintID(c.ComplaintID)
	r.complaintedMchID(c.ComplaintedMchID)
	return r.result()
}

func (r *rules) common(c *Common, idRequired bool) {
	if c.ID != "" || idRequired {
		r.must(validID(c.ID), "id", "1 to 64 printable ASCII characters, in the body or in the header "+HeaderCommandID)
	}
	if c.MchID != "" {
		r.must(ValidMchID(c.MchID), "mchid", "1 to 32 digits")
	}
	if fault := metadataFault(c.Metadata); fault != "" {
		r.must(false, "metadata", fault)
	}
}

// metadataFault returns what was expected of metadata that breaks a rule, or "".
func metadataFault(m map[string]string) string {
	if len(m) > maxMetadataEntries {
		return "at most 16 entries"
	}
	for k, v := range m {
		if k == "" {
			return "keys that are not empty"
		}
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return "UTF-8"
		}
	}
	return ""
}

// refund checks what goes to the refund API.
//
// Source: 申请退款, https://pay.weixin.qq.com/doc/v3/merchant/4013071036, read 2026-08
func (r *rules) refund(p *RefundParams) {
	r.must(len(p.OutRefundNo) <= 64 && all(p.OutRefundNo, isNumberByte), "out_refund_no", "1 to 64 characters of 0-9 A-Z a-z _ - | * @")
	r.must(p.TransactionID != "" || p.OutTradeNo != "", "transaction_id", "it or out_trade_no")
	if p.TransactionID != "" {
		r.must(len(p.TransactionID) <= 32 && all(p.TransactionID, isAlphanumeric), "transaction_id", "1 to 32 digits or letters")
	}
	if p.OutTradeNo != "" {
		r.must(len(p.OutTradeNo) <= 32 && all(p.OutTradeNo, isNumberByte), "out_trade_no", "1 to 32 characters of 0-9 A-Z a-z _ - | * @")
	}
	r.must(p.Amount.Refund > 0, "amount.refund", "a positive integer, in fen")
	r.must(p.Amount.Total > 0, "amount.total", "a positive integer, in fen")
	r.must(p.Amount.Refund <= p.Amount.Total, "amount.refund", "at most amount.total")
	r.must(currencyOrDefault(p.Amount.Currency) == currencyCNY, "amount.currency", "CNY")
	// Bytes, not characters: unlike the texts of complaints.
	r.must(len(p.Reason) <= 80, "reason", "at most 80 bytes")
	r.sendable("reason", p.Reason)
	if p.NotifyURL != "" {
		r.must(validNotifyURL(p.NotifyURL), "notify_url", "an absolute http or https URL of at most 256 bytes, without query or fragment")
	}
	if p.FundsAccount != "" {
		r.must(slices.Contains(fundsAccounts, p.FundsAccount), "funds_account", strings.Join(fundsAccounts, " or "))
	}
	if p.SubMchID != "" {
		r.must(ValidMchID(p.SubMchID), "sub_mchid", "1 to 32 digits")
	}
}

var fundsAccounts = []string{"AVAILABLE", "UNSETTLED"}

// reply checks a message to the user.
//
// Source: 提交回复, https://pay.weixin.qq.com/doc/v3/merchant/4012467254, read 2026-08
func (r *rules) reply(p *ReplyParams) {
	r.complaintedMchID(p.ComplaintedMchID)
	r.must(p.ResponseContent != "", "response_content", "1 to 500 characters")
	r.text("response_content", p.ResponseContent, 500)
	r.pictures("response_images", p.ResponseImages)
	r.must(p.JumpURL != "" || p.JumpURLText == "", "jump_url", "it together with jump_url_text, or neither")
	r.must(p.JumpURL == "" || p.JumpURLText != "", "jump_url_text", "it together with jump_url, or neither")
	if p.JumpURL != "" {
		r.must(validJumpURL(p.JumpURL), "jump_url", "an absolute https URL of at most 512 bytes")
	}
	r.text("jump_url_text", p.JumpURLText, 10)
	if m := p.MiniProgramJumpInfo; m != nil {
		r.in("mini_program_jump_info", func() {
			r.must(m.AppID != "", "appid", "1 to 64 characters")
			r.text("appid", m.AppID, 64)
			r.must(m.Path != "", "path", "1 to 1024 characters")
			r.text("path", m.Path, 1024)
			r.must(m.Text != "", "text", "1 to 64 characters")
			r.text("text", m.Text, 64)
		})
	}
}

func (r *rules) complaintID(id string) {
	r.must(validComplaintID(id), "complaint_id", "1 to 64 characters of 0-9 A-Z a-z _ -")
}

// validComplaintID reports whether id can be the number of a complaint, which becomes a part of a URL's path.
func validComplaintID(id string) bool { return len(id) <= 64 && all(id, isTokenByte) }

// complaintedMchID: 64 is what the complaint endpoints print, although merchant numbers elsewhere have at most 32.
// Source: 反馈处理完成, https://pay.weixin.qq.com/doc/v3/merchant/4012467255, read 2026-08
func (r *rules) complaintedMchID(id string) {
	r.must(len(id) <= 64 && all(id, isDigit), "complainted_mchid", "1 to 64 digits")
}

// pictures checks a list of pictures: media_ids, or references to objects.
// Source: 商户上传反馈图片, https://pay.weixin.qq.com/doc/v3/merchant/4012467250 (media_id string(512)), read 2026-08
func (r *rules) pictures(field string, pictures []string) {
	r.must(len(pictures) <= 4, field, "at most 4 entries")
	for i, picture := range pictures {
		at := field + "[" + strconv.Itoa(i) + "]"
		if bucket, _, isRef := ParsePictureRef(picture); isRef {
			r.must(bucket != "", at, "obj://BUCKET/NAME")
			continue
		}
		r.must(0 < len(picture) && len(picture) <= 512, at, "a media_id of 1 to 512 bytes, or obj://BUCKET/NAME")
		r.sendable(at, picture)
	}
}

// text checks a text that is sent to WeChat Pay and counted in characters.
func (r *rules) text(field, s string, limit int) {
	if len(s) > limit { // otherwise it cannot have more characters
		r.must(utf8.RuneCountInString(s) <= limit, field, "at most "+strconv.Itoa(limit)+" characters")
	}
	r.sendable(field, s)
}

// sendable checks that WeChat Pay can read a text: 4-byte characters, emoji among them, are unsupported in v2 and in v3. Control
// characters are refused because neither XML (v2) can carry them nor a user read them.
// Source: API rules, https://pay.weixin.qq.com/doc/v3/merchant/4012081709, read 2026-08
func (r *rules) sendable(field, s string) {
	for i, c := range s {
		if c < utf8.RuneSelf && c >= ' ' && c != 0x7f {
			continue
		}
		r.must(c <= 0xffff, field, "no characters of 4 bytes in UTF-8 (emoji, rare Han)")
		r.must(!unicode.IsControl(c) || c == '\t' || c == '\n' || c == '\r', field, "no control characters other than tab, LF and CR")
		if c == utf8.RuneError {
			_, size := utf8.DecodeRuneInString(s[i:])
			r.must(size > 1, field, "UTF-8")
		}
	}
}

// validID reports whether s can be a command's id.
func validID(s string) bool { return len(s) <= maxIDBytes && all(s, isPrintableASCII) }

func isPrintableASCII(c byte) bool { return 0x20 <= c && c <= 0x7e }

// isNumberByte reports whether c may stand in a merchant's number of a refund or an order.
func isNumberByte(c byte) bool { return isTokenByte(c) || c == '|' || c == '*' || c == '@' }

const currencyCNY = "CNY"

// currencyOrDefault applies the contract's default.
func currencyOrDefault(currency string) string {
	if currency == "" {
		return currencyCNY
	}
	return currency
}

// validNotifyURL: WeChat Pay calls it back as it is, so it must be reachable without query or login.
// Source: 支付通知 API, https://pay.weixin.qq.com/doc/v3/merchant/4012075420, read 2026-08
func validNotifyURL(s string) bool {
	return len(s) <= 256 && !strings.ContainsAny(s, "?#") && validURL(s, "http", "https")
}

func validJumpURL(s string) bool { return len(s) <= 512 && validURL(s, "https") }

// validURL reports whether s is an absolute URL with a host, without a login, in printable ASCII without spaces.
func validURL(s string, schemes ...string) bool {
	if !all(s, func(c byte) bool { return isPrintableASCII(c) && c != ' ' }) {
		return false
	}
	u, err := url.Parse(s)
	return err == nil && slices.Contains(schemes, u.Scheme) && u.Hostname() != "" && u.User == nil
}
