package wxpaytest

import "net/url"

// Complaint calls that write, as they look on the wire. What they do to a complaint is in docket.go.

// complaintIDRule: string(64). Source: M:4012467256; the character set is stricter than production.
var complaintIDRule = textRule{bytes: 64, charset: func(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c == '-'
}}

// readComplaint is what all complaint calls begin with.
func readComplaint(q query, id string) *refusal {
	if issue := complaintIDRule.check(id); issue != "" {
		return badURL("complaint_id: "+issue, sourceDecision)
	}
	return q.end()
}

// mediaRule of media_id. Source: M:4012467250 (string(512)).
func mediaRule(source string) textRule { return textRule{bytes: 512, source: source} }

// decision is POST …/update-refund-progress.
type decision struct {
	id              string
	approve         bool
	launchRefundDay int64
	rejectReason    string
	rejectMedia     []string
}

const sourceDecision = "M:4012467256"

// readDecision reads the body. Only the fields of the chosen action may be sent, unless mixed.
// Source: M:4012467256; COMM:000c42954683506f18401c7c168c00.
func readDecision(mixed bool) func(query, []byte, string) (operation, *refusal) {
	return func(q query, body []byte, id string) (operation, *refusal) {
		if no := readComplaint(q, id); no != nil {
			return nil, no
		}
		f, no := readForm(body)
		if no != nil {
			return nil, no
		}
		action := f.text("action", textRule{required: true, oneOf: []string{"APPROVE", "REJECT"}, source: sourceDecision})
		d := decision{id: id, approve: action == "APPROVE"}
		var hasDay, hasMedia bool
		d.launchRefundDay, hasDay = f.integer("launch_refund_day", false, 0, sourceDecision)
		d.rejectReason = f.text("reject_reason", textRule{chars: 200, source: sourceDecision})
		d.rejectMedia, hasMedia = f.list("reject_media_list", 4, mediaRule(sourceDecision))
		f.text("remark", textRule{chars: 200, source: sourceDecision})
		const other = "belongs to the other action (" + sourceDecision + "; stricter than production)"
		switch {
		case mixed:
		case d.approve && d.rejectReason != "":
			f.bad("reject_reason", "", other)
		case d.approve && hasMedia:
			f.bad("reject_media_list", "", other)
		case action == "REJECT" && hasDay:
			f.bad("launch_refund_day", "", other)
		}
		return d, f.end()
	}
}

// response is POST …/response.
type response struct {
	id, complaintedMchID, content string
	images                        []string
}

const sourceResponse = "M:4012467254"

// readResponse reads the body. Source: M:4012467254; 500 characters now, 200 on older pages.
func readResponse(q query, body []byte, id string) (operation, *refusal) {
	if no := readComplaint(q, id); no != nil {
		return nil, no
	}
	f, no := readForm(body)
	if no != nil {
		return nil, no
	}
	r := response{
		id:               id,
		complaintedMchID: f.text("complainted_mchid", textRule{required: true, bytes: 64, source: sourceResponse}),
		content:          f.text("response_content", textRule{required: true, chars: 500, source: sourceResponse}),
	}
	r.images, _ = f.list("response_images", 4, mediaRule(sourceResponse))
	link := f.text("jump_url", textRule{bytes: 512, source: sourceResponse})
	text := f.text("jump_url_text", textRule{chars: 10, source: sourceResponse})
	if u, err := url.Parse(link); link != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		f.bad("jump_url", "", "must be an HTTPS URL ("+sourceResponse+")")
	}
	if (link == "") != (text == "") {
		f.bad("jump_url", "", "jump_url and jump_url_text: both or none ("+sourceResponse+")")
	}
	if app := f.object("mini_program_jump_info", false, sourceResponse); app != nil {
		for _, name := range []string{"appid", "path", "text"} { // no limit is documented
			app.text(name, textRule{required: true, source: sourceResponse})
		}
		app.end()
	}
	return r, f.end()
}

// complete is POST …/complete.
type complete struct{ id, complaintedMchID string }

// readComplete reads the body. Source: M:4012467255.
func readComplete(q query, body []byte, id string) (operation, *refusal) {
	if no := readComplaint(q, id); no != nil {
		return nil, no
	}
	f, no := readForm(body)
	if no != nil {
		return nil, no
	}
	c := complete{id, f.text("complainted_mchid", textRule{required: true, bytes: 64, source: "M:4012467255"})}
	return c, f.end()
}
