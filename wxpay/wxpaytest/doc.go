// Package wxpaytest is a WeChat Pay (微信支付) for tests: two HTTPS hosts, one set of books, and a judge
// that is stricter than production. It checks every signature for real, signs its answers, keeps money
// books that CheckBooks can be asked about, and has no dice: every hardship is scripted.
//
//	s := wxpaytest.New(t)
//	m := s.AddMerchant(wxpaytest.Merchant{MchID: "1900000001"})
//	s.AddOrder(wxpaytest.Order{MchID: m.MchID, TransactionID: "4200000001", Total: 100})
//	s.AddComplaint(wxpaytest.Complaint{ID: "C1", MchID: m.MchID, Orders: []string{"4200000001"}, FastRefund: true})
//
//	s.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Apply: true, Answer: wxpaytest.AnswerLost})
//	// … run the client against s.URL() and s.BackupURL(), trusting s.CertPool(), signing as m …
//	s.Settle(m.MchID, "R1", "SUCCESS")
//
//	if err := s.CheckBooks(); err != nil { … }            // what must never be
//	if v := s.Violations(); len(v) > 0 { … }              // what no correct client sends
//
// Programs use Start and Close instead of New. The package shares no code with the client that it
// judges, so that one misreading of the documents cannot pass on both sides.
//
// # Answers
//
// Before its signature is accepted a request is answered 401 SIGN_ERROR, unsigned, and is not executed.
// After that every answer is signed, refusals and the empty body of a 204 included, with the key whose
// id is Credentials.PublicKeyID. Each refusal names its rule and the rule's source in Request.Refusal.
// Source marks: M:n = pay.weixin.qq.com/doc/v3/merchant/n, P:n = …/doc/v3/partner/n, COMM:id = the forum
// at developers.weixin.qq.com/community, SKILLS = github.com/wechatpay-apiv3/wechatpay-skills.
//
// A refusal is either something that an honest user can run into (an unknown order, too much money, a
// number used before, a complaint decided before), or a violation: something that no correct client
// sends. Violations are listed by Server.Violations.
//
// # Faults
//
// A Fault says which requests it meets, whether their effect is applied (Apply), and what the client
// gets to see (Answer):
//
//	Right          what the books say; with Hold the way to stop a client in the middle of a call
//	Lost           the connection is closed without a byte
//	Slow           the right answer after Delay; without Delay never
//	CutShort       the connection is closed in the middle of the body (of a 204: of the status line)
//	429            429 FREQUENCY_LIMITED, signed
//	5xx            500 SYSTEM_ERROR, signed
//	502HTML        a gateway's page, unsigned
//	Forged         the right answer; the signature decodes but does not fit
//	Probe          the right answer; the signature begins with WECHATPAY/SIGNTEST/
//	Stale          the right answer, correctly signed ten minutes ago
//	Unsigned       the right answer without Wechatpay-* headers
//	UnknownSerial  the right answer; Wechatpay-Serial names a key that nobody has
//	202            202 "accepted for processing", signed, without a refund in it
//	Refusal        Status, Code, Message; signed unless Unsigned or 401
//
// Faults are taken in the order in which they were scripted. The judge comes first: a request that breaks a
// rule is refused and listed whatever the script says. Waiting faults end when the client leaves, when
// its host is stopped and when the server is closed.
//
// # Stricter than production
//
//   - Authorization: five items, each once, no others; nonce of 16 to 64 plain characters, never seen
//     before with that timestamp. A replay is refused 401. (A GET that Go's transport repeats by itself
//     after a connection died without a byte is let pass.)
//   - Accept must be application/json alone; Wechatpay-Serial must be on every call and name the
//     merchant's public key.
//   - JSON: no unknown or duplicate fields, no empty strings, exact integer literals; the query: no
//     unknown or repeated parameters; everything percent-encoded that must be.
//   - A decision carries the fields of its own action only (the vendor's own samples mix them and
//     production takes them: AllowMixedDecision).
//   - A refund submitted again within a minute is refused (AllowQuickRepeat turns that off), and a
//     violation, as are two refunds of one order within a minute, unless one of them names it by
//     transaction_id only and the other by out_trade_no only. When a repeat is excused: see spacing.go.
//   - A re-entry must repeat reason, notify_url and funds_account too, not only order and amounts.
//   - amount.from and goods_detail (profit sharing) are unknown fields.
//
// # Not simulated
//
//   - API v2 (XML, mutual TLS), platform certificates (every merchant is in public-key mode, so
//     GET /v3/certificates answers 404), image upload and download, notifications, abnormal refunds, the
//     list of complaints, immediate service, security/echo. Paths that do not exist here answer a
//     signed 404 NOT_FOUND and are a violation.
//   - Quotas: nothing is throttled unless the script says so. Request.At allows to count.
//   - Discounts, profit sharing, other currencies, the time that money takes: refunds stay PROCESSING
//     until Settle, or end at their first query with Options.SettleAtOnce.
//   - Host names: certificates are for localhost, 127.0.0.1, ::1 and Options.Hostnames.
package wxpaytest
