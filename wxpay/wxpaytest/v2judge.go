package wxpaytest

import (
	"crypto/x509"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"
)

// A v2route is one row of the table of v2: a path and how its elements are read.
type v2route struct {
	endpoint    Endpoint
	path        string
	certificate bool // wants a client certificate
	read        func(f *v2form, subMchID string) operation
}

// Source: V2M:4011937624 (refund, with certificate), V2M:4011939577, V2M:4011986592 (query, without).
var v2routes = []v2route{
	{EndpointV2Refund, "/secapi/pay/refund", true, readV2Refund},
	{EndpointV2RefundQuery, "/pay/refundquery", false, readV2Query},
}

// findV2 tells the calls of v2 from all others.
func findV2(target string) *v2route {
	path, _, _ := strings.Cut(target, "?")
	for i := range v2routes {
		if v2routes[i].path == path {
			return &v2routes[i]
		}
	}
	return nil
}

// A v2call is what an answer needs to know of its request.
type v2call struct {
	signType           string
	subAppID, subMchID string
}

// judgeV2 decides whether a v2 request may be executed.
//
// The gateway comes first: without a client certificate, or with one that WeChat Pay's CA did not issue,
// it answers with a page. Then the protocol: what is wrong before a signature was accepted is answered
// return_code FAIL, unsigned. After that every answer is signed and refuses by err_code. Nothing that is
// refused is executed.
//
// Source of the pages: github.com/zwczou/weixin-python issue 88 (none), github.com/binarywang/weixin-java-pay-demo
// issue 60 (not theirs). Of FAIL for another merchant's certificate: github.com/supersheep/wechat-pay issue 43.
// The official table has an err_code CERT_ERROR too, which a Fault can script.
func (s *Server) judgeV2(x *exchange, route *v2route) (operation, *refusal) {
	x.v2 = &v2call{signType: signMD5}
	x.seen.Endpoint = route.endpoint
	elements, broken := decodeXML(x.body)
	x.seen.MchID, x.seen.ID = elements["mch_id"], elements["out_refund_no"]
	if no := x.checkGateway(route); no != nil {
		return nil, no
	}
	switch {
	case x.seen.Method != http.MethodPost:
		return nil, failV2("请使用post方法").because("REQUIRE_POST_METHOD (V2M:4011937624)")
	case broken != "":
		return nil, failV2("XML格式错误").because(broken)
	}
	m, no := s.authenticateV2(x, route, elements)
	if no != nil {
		return nil, no
	}
	x.merchant = m
	if no := x.checkV2Wire(); no != nil {
		return nil, no
	}
	f := readV2Form(elements)
	no = x.readV2Common(f)
	op := route.read(f, x.v2.subMchID)
	if wrong := f.end(); wrong != nil {
		return nil, wrong
	}
	return op, no
}

// checkGateway is what happens before anybody looks at the body.
func (x *exchange) checkGateway(route *v2route) *refusal {
	switch {
	case x.bodyError != nil:
		return gatewayPage(http.StatusBadRequest, "").
			because("the body did not arrive whole, or is larger than a megabyte")
	case !x.overTLS:
		return gatewayPage(http.StatusBadRequest, "The plain HTTP request was sent to HTTPS port").
			because("the request did not come over TLS (V2M:4011986592)").asViolation()
	case !route.certificate:
		return nil
	case x.certificate == nil:
		return gatewayPage(http.StatusBadRequest, "No required SSL certificate was sent").
			because("the call wants a client certificate (V2M:4011937624)").asViolation()
	}
	_, err := x.certificate.Verify(x509.VerifyOptions{
		Roots:       authority().pool(),
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		CurrentTime: time.Now(), // TLS goes by the real clock, at both ends
	})
	if err != nil {
		return gatewayPage(http.StatusBadRequest, "The SSL certificate error").
			because("the client certificate was not issued by WeChat Pay's CA, or is not valid now (V2M:4011986592)").asViolation()
	}
	return nil
}

// authenticateV2 accepts certificate and signature, or names what is wrong with them.
func (s *Server) authenticateV2(x *exchange, route *v2route, elements map[string]string) (*merchant, *refusal) {
	m := s.merchant(elements["mch_id"])
	if m == nil {
		return nil, failV2("商户号mch_id不存在").because("mch_id is missing or not known: MCHID_NOT_EXIST (V2M:4011937624)")
	}
	if route.certificate && !m.holds(x.certificate) {
		return nil, failV2("certificate not match").because("the client certificate is not the merchant's API certificate (V2M:4011986592, M:4024350132)")
	}
	switch signType := elements["sign_type"]; signType {
	case "", signMD5:
	case signHMAC:
		x.v2.signType = signHMAC
	default:
		return nil, failV2("签名类型错误").because("sign_type must be MD5 or HMAC-SHA256 (V2M:4011939577)")
	}
	if elements["sign"] == "" || elements["sign"] != signV2(x.v2.signType, m.apiV2Key, elements) {
		return nil, failV2("签名错误").because("sign does not fit the elements, the key and sign_type (WIKI:api/app/app.php?chapter=4_3)")
	}
	return m, nil
}

// checkV2Wire looks at what stands around the XML; production looks at none of it.
func (x *exchange) checkV2Wire() *refusal {
	if strings.Contains(x.seen.URL, "?") {
		return refuseV2("PARAM_ERROR", "参数错误").because("a v2 call has no query (stricter than production)").asViolation()
	}
	media, parameters, err := mime.ParseMediaType(x.header.Get("Content-Type"))
	charset, given := parameters["charset"]
	if err != nil || media != "text/xml" && media != "application/xml" || given && !strings.EqualFold(charset, "utf-8") {
		return refuseV2("PARAM_ERROR", "参数错误").because("Content-Type must be text/xml or application/xml, in UTF-8 (stricter than production)").asViolation()
	}
	return nil
}

const sourceV2 = "V2M:4011937624, V2P:4011984092"

// readV2Common reads what all calls have. What is wrong with the form is kept there; what a client
// cannot know is returned. Source: V2M:4011937624, V2P:4011984092.
func (x *exchange) readV2Common(f *v2form) *refusal {
	appID := f.text("appid", textRule{required: true, bytes: 32, source: sourceV2})
	f.text("mch_id", textRule{required: true, bytes: 32, charset: isDigit, source: sourceV2})
	f.text("nonce_str", textRule{required: true, bytes: 32, source: "WIKI:api/app/app.php?chapter=4_3"})
	f.text("sign", textRule{required: true, bytes: 64, source: sourceV2})
	f.text("sign_type", textRule{bytes: 32, source: sourceV2})
	x.v2.subAppID = f.text("sub_appid", textRule{bytes: 32, source: sourceV2})
	x.v2.subMchID = f.text("sub_mch_id", textRule{bytes: 32, charset: isDigit, source: sourceV2})
	switch {
	case appID != x.merchant.AppID:
		return refuseV2("APPID_NOT_EXIST", "APPID不存在").because("appid is not bound to mch_id (M:4013071200)")
	case !x.merchant.Provider && x.v2.subAppID != "":
		return refuseV2("PARAM_ERROR", "参数错误").because("sub_appid is for providers only (V2P:4011984092)")
	}
	return nil
}

// gatewayPage is the page of a gateway: unsigned, not XML.
func gatewayPage(status int, text string) *refusal {
	no := refuse(status, "", text)
	no.page = true
	return no
}

// pageText is what nginx would say.
func pageText(status int, text string) []byte {
	heading := fmt.Sprintf("%d %s", status, http.StatusText(status))
	title, line := heading, ""
	if text != "" {
		title, line = fmt.Sprintf("%d %s", status, text), "<center>"+text+"</center>\r\n"
	}
	return []byte("<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n" +
		"<center><h1>" + heading + "</h1></center>\r\n" + line + "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n")
}
