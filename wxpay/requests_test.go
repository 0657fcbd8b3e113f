package wxpay

import (
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/requests anew; read the difference before you keep it")

// calls are all endpoints, each with what WeChat Pay's documents (and the seeds of this project) print as an example.
var calls = []struct {
	name string // of the golden file
	// vector is the case of v3_request_signing.json that this very call must come to, signature included.
	vector string
	answer reply
	call   func(context.Context, *Client) (any, error)
	want   any
}{
	{
		name: "refund_create", vector: "v3_refund_create", answer: signedLater(200, refundBody),
		call: func(ctx context.Context, c *Client) (any, error) { return c.CreateRefund(ctx, refundRequest()) },
		want: &Refund{
			RefundID: "50000000382019052709732678859", OutRefundNo: "1217752501201407033233368018",
			TransactionID: "4200000404201909069117582536", OutTradeNo: "T1", Channel: "ORIGINAL",
			UserReceivedAccount: "招商银行信用卡0403", CreateTime: "2020-12-01T16:18:12+08:00", Status: RefundProcessing,
			FundsAccount: "AVAILABLE", Amount: RefundAmountAnswer{Total: 3, Refund: 3, PayerTotal: 2, PayerRefund: 1, Currency: "CNY"},
		},
	},
	{
		name: "refund_create_everything", answer: signedLater(200, strings.NewReplacer(
			"1217752501201407033233368018", "A*1|b@c_-", `"total":3,"refund":3`, `"total":9007199254740993,"refund":1`).Replace(refundBody)),
		call: func(ctx context.Context, c *Client) (any, error) {
			r, err := c.CreateRefund(ctx, &RefundRequest{
				SubMchID: "1900000109", TransactionID: "4200000404201909069117582536", OutTradeNo: "T1", OutRefundNo: "A*1|b@c_-",
				Reason: `<五> & "六"`, NotifyURL: "https://example.com/a", FundsAccount: "AVAILABLE",
				Amount: RefundAmount{Refund: 1, Total: 9007199254740993},
			})
			return r.OutRefundNo, err
		},
		want: "A*1|b@c_-",
	},
	{
		name: "refund_query_partner", vector: "v3_refund_query_partner", answer: signedLater(200, refundBody),
		call: func(ctx context.Context, c *Client) (any, error) {
			r, err := c.QueryRefund(ctx, "1217752501201407033233368018", "1900000109")
			return r.Status, err
		},
		want: RefundProcessing,
	},
	{
		name: "refund_query_escaped", vector: "out_refund_no_with_reserved_chars_encoded",
		answer: signedLater(200, strings.ReplaceAll(refundBody, "1217752501201407033233368018", "RF-2024|01*@_x")),
		call: func(ctx context.Context, c *Client) (any, error) {
			r, err := c.QueryRefund(ctx, "RF-2024|01*@_x", "")
			return r.OutRefundNo, err
		},
		want: "RF-2024|01*@_x",
	},
	{
		name: "complaint_approve_today", vector: "complaint_update_refund_progress_approve", answer: signedLater(204, ""),
		call: func(ctx context.Context, c *Client) (any, error) {
			return nil, c.UpdateRefundProgress(ctx, seedComplaint, &RefundProgress{Action: "APPROVE", LaunchRefundDay: ptr(int64(0)), Remark: "已处理完成"})
		},
	},
	{
		name: "complaint_reject", vector: "complaint_update_refund_progress_reject", answer: signedLater(204, ""),
		call: func(ctx context.Context, c *Client) (any, error) {
			return nil, c.UpdateRefundProgress(ctx, seedComplaint, &RefundProgress{Action: "REJECT", RejectReason: "拒绝退款", RejectMediaList: []string{"aabbccdd"}})
		},
	},
	{
		name: "complaint_reject_seed", answer: signedLater(204, ""), // seeds/000
		call: func(ctx context.Context, c *Client) (any, error) {
			return nil, c.UpdateRefundProgress(ctx, seedComplaint, &RefundProgress{
				Action: "REJECT", LaunchRefundDay: ptr(int64(3)), RejectReason: "拒绝退款", RejectMediaList: []string{"MediaId"}, Remark: "已处理完成",
			})
		},
	},
	{
		name: "complaint_approve_seed", answer: signedLater(204, ""), // seeds/002
		call: func(ctx context.Context, c *Client) (any, error) {
			return nil, c.UpdateRefundProgress(ctx, seedComplaint, &RefundProgress{
				Action: "APPROVE", LaunchRefundDay: ptr(int64(3)), RejectReason: "拒绝退款", RejectMediaList: []string{"aabbccdd"}, Remark: "已处理完成",
			})
		},
	},
	{
		name: "complaint_response", vector: "complaint_response", answer: signedLater(204, ""),
		call: func(ctx context.Context, c *Client) (any, error) {
			return nil, c.RespondComplaint(ctx, seedComplaint, &ComplaintResponse{ComplaintedMchID: "1900007291", ResponseContent: "已与用户沟通解决"})
		},
	},
	{
		name: "complaint_response_seed", answer: signedLater(204, ""), // seeds/003
		call: func(ctx context.Context, c *Client) (any, error) {
			return nil, c.RespondComplaint(ctx, seedComplaint, &ComplaintResponse{
				ComplaintedMchID: "1900012181", ResponseContent: "已与用户沟通解决", ResponseImages: []string{"MediaId"},
				JumpURL: "https://www.xxx.com/notify", JumpURLText: "查看订单详情",
				MiniProgramJumpInfo: &MiniProgramJumpInfo{AppID: "example_appid", Path: "example_path", Text: "example_text"},
			})
		},
	},
	{
		name: "complaint_complete", vector: "complaint_complete", answer: signedLater(204, ""),
		call: func(ctx context.Context, c *Client) (any, error) {
			return nil, c.CompleteComplaint(ctx, seedComplaint, "1900007291")
		},
	},
	{
		name: "image_upload", answer: signedLater(200, uploadBody), // its signature: TestVectorMultipart
		call: func(ctx context.Context, c *Client) (any, error) {
			return c.UploadImage(ctx, "小票.jpeg", []byte("\xff\xd8\xff<&>"))
		},
		want: "file752398_7983424",
	},
	{
		name: "complaint_detail", vector: "complaint_detail",
		answer: signedLater(200, `{"complaint_id":"200201820200101080076610000","complaint_time":"2020-01-01T08:00:00.000+08:00",
			"complaint_detail":"反馈一个重复扣费的问题","complaint_state":"PENDING","payer_phone":"sGdNeTHMQGlxCWiUyHu6XNO9",
			"complaint_order_info":[{"transaction_id":"4200000404201909069117582536","out_trade_no":"T1","amount":3}],
			"complaint_full_refunded":true,"incoming_user_response":true,"problem_description":"不满意","user_complaint_times":2,
			"complaint_media_list":[{"media_type":"USER_COMPLAINT_IMAGE","media_url":["https://api.mch.weixin.qq.com/v3/merchant-service/images/x"]}],
			"problem_type":"REFUND","apply_refund_amount":3,"user_tag_list":["TRUSTED"],"in_platform_service":true,
			"need_immediate_service":true,"service_order_info":[{"state":"DOING"}]}`),
		call: func(ctx context.Context, c *Client) (any, error) { return c.Complaint(ctx, seedComplaint) },
		want: &Complaint{
			ComplaintID: seedComplaint, ComplaintTime: "2020-01-01T08:00:00.000+08:00", ComplaintDetail: "反馈一个重复扣费的问题",
			ComplaintState: ComplaintPending, ProblemType: "REFUND", ProblemDescription: "不满意", ComplaintFullRefunded: true,
			IncomingUserResponse: true, InPlatformService: true, NeedImmediateService: true, UserComplaintTimes: 2,
			ApplyRefundAmount: 3, UserTagList: []string{"TRUSTED"},
			ComplaintOrderInfo: []ComplaintOrder{{"4200000404201909069117582536", "T1", 3}},
			ComplaintMediaList: MediaList{{"USER_COMPLAINT_IMAGE", []string{"https://api.mch.weixin.qq.com/v3/merchant-service/images/x"}}},
			PayerPhone:         "sGdNeTHMQGlxCWiUyHu6XNO9",
		},
	},
	{
		name: "complaint_history",
		answer: signedLater(200, `{"data":[
			{"log_id":"300285320210322170000071077","operator":"商户","operate_time":"2015-05-20T13:29:35.120+08:00",
			 "operate_type":"MERCHANT_REFUSE_RERUND","operate_details":"拒绝","image_list":["https://qpic.cn/xxx"],
			 "complaint_media_list":{"media_type":"OPERATION_IMAGE","media_url":["https://x"]}},
			{"log_id":"2","operate_type":"USER_CONTINUE_COMPLAINT","complaint_media_list":"?"}],
			"limit":50,"offset":100,"total_count":102}`),
		call: func(ctx context.Context, c *Client) (any, error) {
			return c.NegotiationHistory(ctx, seedComplaint, 50, 100)
		},
		want: &NegotiationHistory{Limit: 50, Offset: 100, TotalCount: 102, Data: []HistoryEntry{
			{
				LogID: "300285320210322170000071077", Operator: "商户", OperateTime: "2015-05-20T13:29:35.120+08:00",
				OperateType: MerchantRefuseRefund, OperateDetails: "拒绝", ImageList: []string{"https://qpic.cn/xxx"},
				ComplaintMediaList: MediaList{{"OPERATION_IMAGE", []string{"https://x"}}},
			},
			{LogID: "2", OperateType: UserContinueComplaint},
		}},
	},
}

const seedComplaint = "200201820200101080076610000"

// signedLater is a genuine answer, signed when it is used: the keys are made on first use.
func signedLater(status int, body string) reply { return reply{status: status, body: body} }

// TestRequests compares every byte of every endpoint's request, and shows that a genuine answer is read.
func TestRequests(t *testing.T) {
	t.Parallel()
	var vectors struct {
		Cases []struct{ Name, Method, URL, Body, Authorization string }
	}
	readJSON("testdata/v3_request_signing.json", &vectors)
	for _, tc := range calls {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, always(signed(tc.answer.status, tc.answer.body)))
			got, err := tc.call(t.Context(), newTestClient(t, s))
			if err != nil || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%v\n%+v, want\n%+v", err, got, tc.want)
			}
			received := s.received()
			if len(received) != 1 {
				t.Fatalf("%d requests", len(received))
			}

			golden := filepath.Join("testdata", "requests", tc.name+".txt")
			if *update {
				os.MkdirAll(filepath.Dir(golden), 0o755)
				if err := os.WriteFile(golden, []byte(received[0].raw), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || received[0].raw != string(want) {
				t.Errorf("%v: the request is\n%s\nwant\n%s", err, received[0].raw, want)
			}

			for _, v := range vectors.Cases {
				if v.Name == tc.vector {
					got := received[0]
					if got.http.Method != v.Method || got.uri != v.URL || got.body != v.Body || got.http.Header.Get("Authorization") != v.Authorization {
						t.Errorf("not the official example %s:\n%s", v.Name, got.raw)
					}
					return
				}
			}
			if tc.vector != "" {
				t.Errorf("no vector %s", tc.vector)
			}
		})
	}
}

// TestRequestsAreSigned verifies the signature over what a server really received, for each endpoint.
func TestRequestsAreSigned(t *testing.T) {
	t.Parallel()
	for _, tc := range calls {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, always(signed(tc.answer.status, tc.answer.body)))
			c := newTestClient(t, s)
			c.nonce = newNonce
			for range 2 {
				if _, err := tc.call(t.Context(), c); err != nil {
					t.Fatal(err)
				}
			}
			nonces := map[string]bool{}
			for _, got := range s.received() {
				_, list, _ := strings.Cut(got.http.Header.Get("Authorization"), " ")
				auth := map[string]string{}
				for item := range strings.SplitSeq(list, ",") {
					name, value, _ := strings.Cut(item, "=")
					auth[name] = strings.Trim(value, `"`)
				}
				line := strings.Fields(strings.SplitN(got.raw, "\r\n", 2)[0])
				covered := got.body
				if form, err := readUpload(got); err == nil {
					covered = form.meta
				}
				text := line[0] + "\n" + line[1] + "\n" + auth["timestamp"] + "\n" + auth["nonce_str"] + "\n" + covered + "\n"
				if err := verifyText(&merchantKey().PublicKey, []byte(text), auth["signature"]); err != nil {
					t.Errorf("%v: %s", err, got.raw)
				}
				for _, forbidden := range []string{"null", `\u0026`, `\u003c`} {
					if strings.Contains(got.body, forbidden) {
						t.Errorf("body holds %s: %s", forbidden, got.body)
					}
				}
				if n := auth["nonce_str"]; len(n) != 32 || nonces[n] {
					t.Errorf("nonce %q", n)
				}
				nonces[auth["nonce_str"]] = true
			}
		})
	}
}

// TestArguments: what would lead to another endpoint, or to another merchant's question, is not sent.
func TestArguments(t *testing.T) {
	t.Parallel()
	s := serve(t, always(signed(200, refundBody)))
	c := newTestClient(t, s)
	ctx := t.Context()
	long := strings.Repeat("a", 65)
	for _, bad := range []string{"", "..", "a/b", "a?b", "a b", "a%2fb", "退", long} {
		_, err1 := c.CreateRefund(ctx, &RefundRequest{OutRefundNo: bad})
		_, err2 := c.QueryRefund(ctx, bad, "")
		_, err3 := c.Complaint(ctx, bad)
		_, err4 := c.NegotiationHistory(ctx, bad, 1, 0)
		for i, err := range []error{
			err1, err2, err3, err4, c.UpdateRefundProgress(ctx, bad, &RefundProgress{}),
			c.RespondComplaint(ctx, bad, &ComplaintResponse{}), c.CompleteComplaint(ctx, bad, "1"),
		} {
			var arg *ArgumentError
			if !errors.As(err, &arg) || bad != "" && strings.Contains(err.Error(), bad) && bad != ".." && bad != "a b" {
				t.Errorf("%q, %d: %v", bad, i, err)
			}
		}
	}
	_, err1 := c.QueryRefund(ctx, "R1", "1&x=2")
	_, err2 := c.NegotiationHistory(ctx, "C1", 0, 0)
	_, err3 := c.NegotiationHistory(ctx, "C1", 301, 0)
	_, err4 := c.NegotiationHistory(ctx, "C1", 1, -1)
	err5 := c.UpdateRefundProgress(ctx, "C1", nil)
	for i, err := range []error{err1, err2, err3, err4, err5} {
		if arg := (*ArgumentError)(nil); !errors.As(err, &arg) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if n := len(s.received()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

// brokenSigner is a KMS that is away.
type brokenSigner struct{ crypto.Signer }

var errKMS = errors.New("kms: unavailable")

func (brokenSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, errKMS }

func TestSigningError(t *testing.T) {
	t.Parallel()
	s := serve(t, always(signed(200, refundBody)))
	c := newTestClient(t, s, func(c *Config) { c.Signer = brokenSigner{merchantKey()} })
	_, err := c.CreateRefund(t.Context(), refundRequest())
	var e *SigningError
	if !errors.As(err, &e) || !errors.Is(err, errKMS) || len(s.received()) != 0 {
		t.Errorf("%v, %d requests", err, len(s.received()))
	}
}

// namelessKeys is a KeySource that has nothing to ask for yet.
type namelessKeys struct{ KeySource }

func (namelessKeys) Serial() string { return "" }

func TestNoSerialToAskFor(t *testing.T) {
	t.Parallel()
	s := serve(t, always(signed(200, refundBody)))
	c := newTestClient(t, s, func(c *Config) { c.Keys = namelessKeys{c.Keys} })
	if _, err := c.CreateRefund(t.Context(), refundRequest()); err != nil {
		t.Fatal(err)
	}
	if _, sent := s.received()[0].http.Header[http.CanonicalHeaderKey("Wechatpay-Serial")]; sent {
		t.Error("an empty Wechatpay-Serial was sent")
	}
}

// TestSerialThatIsNone: a KeySource that names something else must not write headers.
func TestSerialThatIsNone(t *testing.T) {
	t.Parallel()
	s := serve(t, always(signed(200, refundBody)))
	c := newTestClient(t, s, func(c *Config) { c.Keys = &askedKeys{serial: "A\r\nX: y"} })
	_, err := c.CreateRefund(t.Context(), refundRequest())
	if _, ok := errors.AsType[*SigningError](err); !ok || len(s.received()) != 0 {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	small, err := rsa.GenerateKey(nil, 1024)
	if err != nil {
		t.Log(err) // newer Go refuses to make one; then there is nothing to refuse here
	}
	cases := map[string]func(*Config){
		"MchID":            func(c *Config) { c.MchID = "19000x" },
		"MchID none":       func(c *Config) { c.MchID = "" },
		"SerialNo":         func(c *Config) { c.SerialNo = "40:8B" },
		"SerialNo injects": func(c *Config) { c.SerialNo = "A\",x=\"" },
		"Signer":           func(c *Config) { c.Signer = nil },
		"Keys":             func(c *Config) { c.Keys = nil },
		"Hosts none":       func(c *Config) { c.Hosts = nil },
		"Timeout":          func(c *Config) { c.Timeout = -1 },
		"UserAgent":        func(c *Config) { c.UserAgent = "a\r\nb" },
	}
	for _, host := range []string{
		"api.mch.weixin.qq.com", "http://api.mch.weixin.qq.com", "https://user:pw@api.mch.weixin.qq.com", "https://a/v3",
		"https://a?x=1", "https://[::1]", "ftp://a", "https://", "",
	} {
		cases["Hosts["+"0] "+host] = func(c *Config) { c.Hosts = []string{host} }
	}
	if small != nil {
		cases["Signer small"] = func(c *Config) { c.Signer = small }
	}
	for name, change := range cases {
		config := Config{MchID: "1", SerialNo: "AB", Signer: merchantKey(), Keys: namelessKeys{}, Hosts: []string{testHost}}
		if _, err := New(config); err != nil {
			t.Fatal(err)
		}
		change(&config)
		field, _, _ := strings.Cut(name, " ")
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), field+":") || strings.Contains(err.Error(), "pw") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, host := range []string{"https://api.mch.weixin.qq.com/", "http://127.0.0.1:8080", "http://localhost:1", "https://10.0.0.1:8443"} {
		if _, err := New(Config{MchID: "1", SerialNo: "AB", Signer: merchantKey(), Keys: namelessKeys{}, Hosts: []string{host}}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// signerWith tells when a signature has been made.
type signerWith struct {
	crypto.Signer
	signed func()
}

func (s signerWith) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	defer s.signed()
	return s.Signer.Sign(random, digest, opts)
}

// TestBeforeSending: whoever loses the right to a call while it is being signed can keep it from being sent, to any host.
func TestBeforeSending(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	for _, at := range []int{1, 2} { // the host before which the right is lost
		s := serve(t, always(signed(200, refundBody)))
		var signatures, asked int
		c := newTestClient(t, s, func(c *Config) {
			c.Signer = signerWith{merchantKey(), func() { signatures++ }}
			c.Hosts = []string{"https://127.0.0.1:1", testHost} // nobody listens at the first
		})
		ctx := BeforeSending(t.Context(), func(context.Context) error {
			if asked++; signatures == 1 && asked == at {
				return lost
			}
			return nil
		})
		_, err := c.CreateRefund(ctx, refundRequest())
		if n, ok := errors.AsType[*NoAnswerError](err); !ok || n.Sent || !errors.Is(err, lost) {
			t.Errorf("before host %d: %v", at, err)
		}
		if n := len(s.received()); n != 0 || asked != at {
			t.Errorf("before host %d: asked %d times, %d requests", at, asked, n)
		}
	}
}
