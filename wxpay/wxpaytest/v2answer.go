package wxpaytest

import "net/http"

// A v2reply is an answer of v2 before it is written.
type v2reply struct {
	failed           bool // return_code FAIL, nothing else is said
	returnMsg        string
	errCode, errText string    // result_code FAIL; "" = SUCCESS
	elements         []element // besides those that every answer has
}

// packV2 turns an answer and a fault into what is sent.
func (s *Server) packV2(x *exchange, a answer) *parcel {
	p := &parcel{v2: true, status: http.StatusOK, mediaType: "text/xml; charset=utf-8", unsigned: x.merchant == nil}
	r := v2reply{returnMsg: "OK"}
	if no := a.refusal; no == nil {
		r.elements = a.body.([]element)
	} else if no.page {
		p.turnPage(no.status, no.message)
	} else if no.code == "" {
		r.failed, r.returnMsg = true, no.message
	} else {
		r.refuse(no.code, no.message)
	}
	key := ""
	if x.merchant != nil {
		key = x.merchant.apiV2Key
	}
	if f := x.fault; f != nil {
		key = p.sufferV2(&r, f, key)
	}
	if p.body == nil {
		p.body = r.write(p, x, key)
	}
	return p
}

func (r *v2reply) refuse(errCode, text string) {
	*r = v2reply{returnMsg: "OK", errCode: errCode, errText: text}
}

func (p *parcel) turnPage(status int, text string) {
	p.status, p.code, p.mediaType, p.unsigned = status, "", "text/html", true
	p.body = pageText(status, text)
}

// sufferV2 applies a fault's answer and returns the key to sign with. The table is in doc.go.
func (p *parcel) sufferV2(r *v2reply, f *Fault, key string) string {
	switch f.Answer {
	case AnswerLost:
		p.lost = true
	case AnswerCutShort:
		p.cut = true
	case Answer502HTML:
		p.turnPage(http.StatusBadGateway, "")
	case Answer429:
		p.refuseV2(r, "FREQUENCY_LIMITED", "频率限制，请稍后重试")
	case Answer5xx:
		p.refuseV2(r, "SYSTEMERROR", "接口返回错误")
	case Answer202:
		p.refuseV2(r, "BIZERR_NEED_RETRY", "退款业务流程错误，需要商户触发重试来解决")
	case AnswerRefusal:
		code, text := f.Code, f.Message
		if code == "" {
			code = "INVALID_REQUEST"
		}
		if text == "" {
			text = code
		}
		p.refuseV2(r, code, text)
	case AnswerForged, AnswerProbe:
		p.respell = forgeV2
	case AnswerUnknownSerial:
		key = "00000000000000000000000000000000"
		p.respell = func(sign string) string { return sign }
	case AnswerUnsigned:
		p.unsigned = true
	}
	p.unsigned = p.unsigned || f.Unsigned
	if f.ReturnFail && f.Answer != Answer502HTML {
		p.body, p.status, p.mediaType = nil, http.StatusOK, "text/xml; charset=utf-8"
		*r = v2reply{failed: true, returnMsg: f.Message}
		if f.Message == "" {
			r.returnMsg = "系统繁忙，请稍后再试"
		}
	}
	return key
}

// refuseV2 takes the place of whatever the answer was.
func (p *parcel) refuseV2(r *v2reply, errCode, text string) {
	p.body, p.status, p.mediaType = nil, http.StatusOK, "text/xml; charset=utf-8"
	r.refuse(errCode, text)
}

// write spells the answer. Every element that is not empty is signed, with the request's sign_type; a
// return_code FAIL has no sign. Source: WIKI:api/app/app.php?chapter=4_3; that a FAIL has none is not documented.
func (r *v2reply) write(p *parcel, x *exchange, key string) []byte {
	if r.failed {
		p.unsigned, p.code = true, "FAIL"
		return encodeXML([]element{{"return_code", "FAIL"}, {"return_msg", r.returnMsg}})
	}
	elements := []element{{"return_code", "SUCCESS"}, {"return_msg", r.returnMsg}}
	if m := x.merchant; m != nil {
		elements = append(elements, element{"appid", m.AppID}, element{"mch_id", m.MchID},
			element{"sub_appid", x.v2.subAppID}, element{"sub_mch_id", x.v2.subMchID})
	}
	elements = append(elements, element{"nonce_str", randomHex(16)})
	place := len(elements) // of sign: in the middle, as the documents' samples have it
	if p.code = r.errCode; r.errCode == "" {
		elements = append(elements, element{"result_code", "SUCCESS"})
	} else {
		elements = append(elements, element{"result_code", "FAIL"}, element{"err_code", r.errCode}, element{"err_code_des", r.errText})
	}
	elements = append(elements, r.elements...)
	if p.unsigned {
		return encodeXML(elements)
	}
	return encodeXML(r.sign(elements, place, p, x.v2.signType, key))
}

func (r *v2reply) sign(elements []element, place int, p *parcel, signType, key string) []element {
	values := map[string]string{}
	for _, e := range elements {
		values[e.name] = e.value
	}
	sign := signV2(signType, key, values)
	if p.respell != nil {
		sign = p.respell(sign)
	}
	signed := append([]element{}, elements[:place]...)
	signed = append(signed, element{"sign", sign})
	return append(signed, elements[place:]...)
}

// mayBeExecuted are the err_codes after which a refund may exist, or after which a minute must pass.
// Source: V2M:4011937624. FREQUENCY_LIMITED is not one of them: in v2 it says "not accepted".
var mayBeExecuted = map[string]bool{"SYSTEMERROR": true, "BIZERR_NEED_RETRY": true, "INVALID_REQ_TOO_MUCH": true}
