// Package wxpaytest is a WeChat Pay (微信支付) for tests: two HTTPS hosts, one set of books for API v3 and
// API v2, and a judge that is stricter than production. It checks every signature for real, signs its answers, keeps money
// books that CheckBooks can be asked about, and has no dice: every hardship is scripted.
//
//	s := wxpaytest.New(t)
//	m := s.AddMerchant(wxpaytest.Merchant{MchID: "1900000001"})
//	s.AddOrder(wxpaytest.Order{MchID: m.MchID, TransactionID: "4200000001", Total: 100})
//	s.AddComplaint(wxpaytest.Complaint{ID: "C1", MchID: m.MchID, Orders: []string{"4200000001"}, FastRefund: true})
//
//	s.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Apply: true, Answer: wxpaytest.AnswerLost})
//	// … run the client against s.URL() and s.BackupURL(), trusting s.CertPool(), signing as m
//	//   (v2: with m.AppID, m.APIv2Key and the client certificate m.CertificatePEM, m.PrivateKeyPEM()) …
//	s.Settle(m.MchID, "R1", "SUCCESS")
//
//	if err := s.CheckBooks(); err != nil { … }            // what must never be
//	if v := s.Violations(); len(v) > 0 { … }              // what no correct client sends
//	if late := s.Overdue(); len(late) > 0 { … }           // complaints replied to or finished too late
//	if said := s.Replies("C1"); len(said) != 1 { … }      // what the user was told
//	if made := s.MediaBooks(m.MchID); len(made) != 1 { … } // pictures uploaded
//	if s.PeakRate(m.MchID, []wxpaytest.Endpoint{wxpaytest.EndpointRefundCreate}, time.Second) > 150 { … }
//
// Programs use Start and Close instead of New. The package shares no code with the client that it
// judges, so that one misreading of the documents cannot pass on both sides.
//
// # Answers
//
// Before its signature is accepted a request is answered 401 SIGN_ERROR, unsigned, and is not executed.
// After that every answer is signed, refusals and the empty body of a 204 included, with the key whose
// id is Credentials.PublicKeyID, or with a platform certificate: platform.go has the table of modes,
// RotatePlatformCertificate and RetirePlatformCertificate change what GET /v3/certificates lists. A merchant changes
// its own key with AddCertificate and RevokeCertificate.
//
// A v2 request is judged in three steps. The gateway answers with an unsigned page: POST /secapi/pay/refund
// without a client certificate ("400 No required SSL certificate was sent"), or with one that our CA did
// not issue ("400 The SSL certificate error"). The protocol answers return_code FAIL, unsigned, by HTTP 200:
// another merchant's certificate ("certificate not match"), not a POST, not XML as it should be, unknown
// mch_id, wrong sign. After that every answer is signed over every element that is not empty, with the
// request's sign_type, by HTTP 200, and refuses by err_code. Nothing that is refused is executed.
//
// Each refusal names its rule and the rule's source in Request.Refusal.
// Source marks: M:n = pay.weixin.qq.com/doc/v3/merchant/n, P:n = …/doc/v3/partner/n, V2M:n = …/doc/v2/merchant/n,
// V2P:n = …/doc/v2/partner/n, WIKI:x = pay.weixin.qq.com/wiki/doc/x, COMM:id = the forum at
// developers.weixin.qq.com/community, SKILLS = github.com/wechatpay-apiv3/wechatpay-skills, GO =
// github.com/wechatpay-apiv3/wechatpay-go.
//
// A refusal is either something that an honest user can run into (an unknown order, too much money, a
// number used before, a complaint decided before, an unknown picture), or a violation: something that no correct client
// sends. Violations are listed by Server.Violations.
//
// # Complaints
//
// docket.go has the table of states: what reply, complete, APPROVE, REJECT and the money of refunds do in each.
// UserContinues, UserReplies and PlatformServes are what others do. Each complaining of the user begins a Round,
// which owes a reply and an end by deadlines that Overdue watches; nothing is refused because it is late.
//
// A picture is uploaded first (EndpointImageUpload) and named by its media id in replies and rejections. Unless
// the books are open, only the merchant's own uploads may be named, and what AddMedia made known.
//
// # Faults
//
// A Fault says which requests it meets, whether their effect is applied (Apply), and what the client
// gets to see (Answer):
//
//	               v3                                           v2, by HTTP 200 unless said otherwise
//	Right          what the books say; with Hold the way        the same
//	               to stop a client in the middle of a call
//	Lost           the connection is closed without a byte      the same
//	Slow           the right answer after Delay;                the same
//	               without Delay never
//	CutShort       the connection is closed in the middle of    the same
//	               the body (of a 204: of the status line)
//	429            429 FREQUENCY_LIMITED, signed                err_code FREQUENCY_LIMITED, signed
//	5xx            500 SYSTEM_ERROR, signed                     err_code SYSTEMERROR, signed
//	502HTML        a gateway's page, unsigned                   the same, 502
//	Forged         the right answer; the signature decodes      the right answer, one digit of sign changed
//	               but does not fit
//	Probe          the right answer; the signature begins       as Forged: v2 has no probes
//	               with WECHATPAY/SIGNTEST/
//	Stale          the right answer, correctly signed ten       as Right: v2 answers bear no time, nothing
//	               minutes ago                                  about them can be stale
//	Unsigned       the right answer without Wechatpay-*         the right answer, sign left out
//	UnknownSerial  the right answer; Wechatpay-Serial names     the right answer, signed with another key
//	               a key that nobody has
//	202            202 "accepted for processing", signed,       err_code BIZERR_NEED_RETRY, signed: what v2
//	               without a refund in it                       has for "repeat the same"
//	Refusal        Status, Code, Message; signed unless         err_code Code, err_code_des Message, signed
//	               Unsigned or 401                              unless Unsigned; Status means nothing
//	ReturnFail     nothing                                      return_code FAIL with Message, unsigned,
//	               (a field of its own)                         whatever Answer would say (but for 502HTML)
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
//     merchant's public key. In certificate mode it may be left out: before the first download nothing is
//     known that it could name. The download itself is no exception to the rule that a serial that is
//     named must be valid: who names a void one there never hears of the new one.
//   - JSON: no unknown or duplicate fields, no empty strings, exact integer literals; the query: no
//     unknown or repeated parameters; everything percent-encoded that must be.
//   - Uploads: a form of exactly the parts meta and file, each with no headers but Content-Disposition and
//     Content-Type, nothing before or after, lines that end in CRLF; the file's own filename and type fit
//     meta and the picture; the picture begins as its extension says; sha256 in lower case, at most 128 bytes
//     of a filename that is no path. (2 MB are 2 MiB.)
//   - A media id that this merchant has not uploaded is refused PARAM_ERROR (which code is not documented).
//   - The list of complaints: at most 30 days, the first and the last counted. A second POST of a notification
//     URL, and PUT or DELETE without one, are refused (not documented).
//   - A decision carries the fields of its own action only (the vendor's own samples mix them and
//     production takes them: AllowMixedDecision).
//   - A refund submitted again within a minute is refused (AllowQuickRepeat turns that off), and a
//     violation, as are two refunds of one order within a minute, by v2 or v3, whichever of its numbers
//     they name. Excused is who could not know that two numbers are one order: no request and no proven
//     answer has named both. When a repeat is excused: see spacing.go.
//   - A re-entry must repeat reason, notify_url and funds_account too, not only order and amounts.
//   - amount.from and goods_detail (profit sharing) are unknown fields.
//   - v2: XML of at most 32 KiB as text/xml or application/xml; no directives, comments, instructions,
//     attributes, namespaces, nesting or text between elements; no element twice, none that is unknown
//     (op_user_id and device_info of old documents are); integers without sign or leading zeros; sign in
//     upper case; no query; refund_desc at most 80 bytes. Empty elements count as left out. A number that
//     v2 and v3 both use is one number, refund_desc, notify_url and refund_account compared in v3's words.
//
// # Not simulated
//
//   - Image download: a merchant's own uploads cannot be downloaded (COMM:00020ca612c4503f2161b5cb76a400), and users'
//     pictures there are none. Histories show a URL of each picture all the same.
//   - Notifications (the encrypted ones of v2 too; the URL for complaints is kept, never called), abnormal
//     refunds, immediate service, security/echo. Paths that do not exist here answer a signed 404 NOT_FOUND and
//     are a violation.
//   - Complaints: external links that are not enabled, satisfaction surveys, service orders, what the platform
//     itself says or refunds.
//   - Quotas: nothing is throttled unless the script says so. PeakRate counts.
//   - v2: a nonce_str may come again (v2 knows no replay); INVALID_TRANSACTIONID (an unknown transaction_id
//     is ORDERNOTEXIST, in a query REFUNDNOTEXIST), ORDER_NOT_READY, CERT_ERROR, SIGNERROR and the like as
//     err_code (a Fault can say them); queries of orders with more than 20 refunds, or paid long ago, are
//     answered like others.
//   - Gray changes of platform certificates by share: the request's serial decides alone.
//   - Discounts, profit sharing, other currencies, the time that money takes: refunds stay PROCESSING
//     until Settle, or end at their first query with Options.SettleAtOnce.
//   - Host names: certificates are for localhost, 127.0.0.1, ::1 and Options.Hostnames. TLS certificates,
//     the merchants' included, are valid by the real clock, platform certificates by Options.Now.
package wxpaytest
