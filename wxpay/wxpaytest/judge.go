package wxpaytest

import (
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
)

// judge decides whether a request may be executed. It knows the merchants, not the books.
//
// Everything that is wrong before the signature is accepted is answered 401 SIGN_ERROR, unsigned and
// not executed; everything after it is signed. Source: WIKI:apiv3_partner/wechatpay/wechatpay3_3.shtml.
func (s *Server) judge(x *exchange) (op operation, no *refusal) {
	if route := findV2(x.seen.URL); route != nil {
		return s.judgeV2(x, route)
	}
	if x.bodyError != nil {
		// A client that was killed while it sent; nothing can be said of it, and it hears no answer.
		return nil, refuse(http.StatusBadRequest, "INVALID_REQUEST", "请求不完整").
			because("the body did not arrive whole, or is larger than a megabyte (an upload: four)")
	}
	if !x.overTLS {
		return nil, refuse(http.StatusBadRequest, "INVALID_REQUEST", "请使用HTTPS").
			because("the request did not come over TLS (M:4012081709)").asViolation()
	}
	route, id, q, badTarget := find(s.routes, x.seen.Method, x.seen.URL)
	if route != nil {
		x.seen.Endpoint, x.seen.ID = route.endpoint, id
	}
	switch {
	case x.seen.Endpoint == EndpointRefundCreate:
		x.seen.ID = peekID(x.body)
	case route != nil && route.readForm != nil:
		if x.form = takeApart(x.header, x.body); x.form != nil {
			x.seen.ID = x.form.peekDigest()
		}
	}
	if rule := s.authenticate(x); rule != "" {
		return nil, refuse(http.StatusUnauthorized, "SIGN_ERROR", "签名错误").because(rule).asViolation()
	}
	if no := s.checkHeaders(x, route); no != nil {
		return nil, no
	}
	if badTarget != nil {
		return nil, badTarget
	}
	if (x.seen.Method == http.MethodGet || x.seen.Method == http.MethodDelete) && len(x.body) > 0 {
		return nil, refuse(http.StatusBadRequest, "PARAM_ERROR", "参数错误").
			because("a GET or DELETE carries no body (M:4012365334)").asViolation()
	}
	if route.readForm != nil {
		return route.readForm(q, x.form)
	}
	return route.read(q, x.body, id)
}

// authenticate accepts the signature or names the rule that it breaks.
// Source: M:4012072670 (causes of SIGN_ERROR).
func (s *Server) authenticate(x *exchange) (rule string) {
	a, rule := parseAuthorization(x.header)
	x.seen.MchID = a.mchID
	if rule != "" {
		return rule
	}
	skew := x.seen.At.Sub(time.Unix(a.timestamp, 0))
	if skew > window+time.Second-1 || skew < -window {
		return "timestamp must be within 5 minutes of the clock (M:4012072670)"
	}
	m := s.merchant(a.mchID)
	if m == nil {
		return "mchid is not known (M:4012072670)"
	}
	key := m.keyOf(a.serialNo)
	if key == nil {
		return "serial_no is not that of the merchant's API certificate (M:4012365345, M:4012072670)"
	}
	if !a.verify(key, x.seen.Method, x.seen.URL, x.signedBody()) {
		if x.form != nil {
			return "the signature does not fit method, URL, timestamp, nonce and the text of the part meta (M:4012365335)"
		}
		return "the signature does not fit method, URL, timestamp, nonce and body (M:4012365334)"
	}
	use, fresh := s.nonces.use(a, x.seen.Method)
	if !fresh {
		return "nonce_str was used before with this timestamp: the request is a replay (stricter than production)"
	}
	x.nonce, x.merchant = use, m
	x.signer, x.serialRight = m.signerFor(x.header.Values("Wechatpay-Serial"))
	return ""
}

// signedBody is what the signature covers of the body: all of it, or of a form the part meta.
func (x *exchange) signedBody() []byte {
	if x.form != nil {
		return x.form.signed()
	}
	return x.body
}

// checkHeaders looks at the headers besides Authorization. Source: the page that each rule names, and M:4012081709.
func (s *Server) checkHeaders(x *exchange, route *route) *refusal {
	if x.header.Get("Accept") == "" || x.header.Get("User-Agent") == "" {
		return refuse(http.StatusBadRequest, "INVALID_REQUEST", "Http头缺少Accept或User-Agent").
			because("Accept and User-Agent are required (M:4016111664)").asViolation()
	}
	if accept := x.header.Values("Accept"); len(accept) != 1 || accept[0] != "application/json" {
		return refuse(http.StatusBadRequest, "INVALID_REQUEST", "Http头Accept错误").
			because("Accept must be application/json (M:4012467251; stricter than production)").asViolation()
	}
	switch isForm := route != nil && route.readForm != nil; {
	case isForm && x.form == nil:
		return refuse(http.StatusBadRequest, "INVALID_REQUEST", "Http头Content-Type错误").
			because("Content-Type must be multipart/form-data with a boundary (M:4012467250)").asViolation()
	case !isForm && len(x.body) > 0 && !isJSON(x.header.Get("Content-Type")):
		return refuse(http.StatusBadRequest, "INVALID_REQUEST", "Http头Content-Type错误").
			because("Content-Type must be application/json where there is a body (M:4012467256)").asViolation()
	}
	return x.checkSerial()
}

// checkSerial looks at Wechatpay-Serial. Source: M:4013053279, M:4012154180.
func (x *exchange) checkSerial() *refusal {
	if x.serialRight {
		return nil
	}
	no := refuse(http.StatusBadRequest, "PARAM_ERROR", "平台证书序列号Wechatpay-Serial错误")
	m, named := x.merchant, x.header.Values("Wechatpay-Serial")
	switch {
	case m.platform == nil:
		return no.because("Wechatpay-Serial must be the merchant's public key id (M:4012154180, M:4013053279; required always: stricter than production)").asViolation()
	case len(named) == 1 && m.platform.wasListed(named[0]):
		return no.because("Wechatpay-Serial names a platform certificate that is void by now (M:4013053279)") // a client learns that here
	}
	return no.because("Wechatpay-Serial must name a platform certificate of the merchant, or be left out (M:4013053279, M:4012154180)").asViolation()
}

func isJSON(contentType string) bool {
	media, parameters, err := mime.ParseMediaType(contentType)
	if err != nil || media != "application/json" {
		return false
	}
	for name, value := range parameters {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return false
		}
	}
	return true
}

// readAll reads the body to its end, which net/http needs to notice a client that leaves.
func readAll(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	most := int64(maxBody)
	if path, _, _ := strings.Cut(r.RequestURI, "?"); path == uploadPath {
		most = maxUpload
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, most))
}

// peekID finds the number of a refund before the body is judged: for the record and the script only.
func peekID(body []byte) string {
	values, no := decodeObject(body)
	if no != nil {
		return ""
	}
	id, _ := values["out_refund_no"].(string)
	return id
}
