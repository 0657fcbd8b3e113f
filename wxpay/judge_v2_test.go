package wxpay_test

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"wxpay-worker/wxpay"
	"wxpay-worker/wxpay/wxpaytest"
)

// judgedV2 is judged for version 2. The clock stands still unless the test moves it.
func judgedV2(t *testing.T, change ...func(*wxpay.V2Config)) (*wxpaytest.Server, *wxpay.V2Client, *wxpaytest.Credentials) {
	t.Helper()
	s := wxpaytest.New(t)
	m := s.AddMerchant(wxpaytest.Merchant{MchID: "1900000001"})
	s.AddOrder(wxpaytest.Order{MchID: m.MchID, TransactionID: "4200000001", OutTradeNo: "O1-000001", Total: 100})
	transport := wxpay.NewTransport(wxpay.TransportConfig{RootCAs: s.CertPool()})
	t.Cleanup(transport.CloseIdleConnections)
	pair, err := tls.X509KeyPair(m.CertificatePEM, m.PrivateKeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	config := wxpay.V2Config{
		MchID: m.MchID, AppID: m.AppID, APIKey: []byte(m.APIv2Key), Certificate: pair, Hosts: []string{s.URL(), s.BackupURL()}, Transport: transport,
	}
	for _, f := range change {
		f(&config)
	}
	c, err := wxpay.NewV2(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.CheckBooks(); err != nil {
			t.Error(err)
		}
		if v := s.Violations(); len(v) > 0 {
			t.Errorf("what no correct client sends:\n%s", strings.Join(v, "\n"))
		}
	})
	return s, c, m
}

func judgedV2Refund(number string) *wxpay.RefundRequest {
	r := judgedRefund(number)
	r.OutTradeNo, r.FundsAccount = "O1-000001", "AVAILABLE"
	return r
}

func TestJudgedV2Life(t *testing.T) {
	t.Parallel()
	for _, by := range []wxpay.V2SignType{wxpay.V2HMACSHA256, wxpay.V2MD5} {
		for status, settled := range map[string]string{
			wxpay.RefundSuccess: wxpay.RefundSuccess, wxpay.RefundClosed: wxpay.RefundClosed, wxpay.RefundAbnormal: wxpay.RefundAbnormal,
		} {
			t.Run(fmt.Sprint(by, status), func(t *testing.T) {
				t.Parallel()
				s, c, m := judgedV2(t, func(c *wxpay.V2Config) { c.SignType = by })
				const number = "A*1|b@c_-"
				if _, err := c.QueryRefund(t.Context(), number, ""); !errors.Is(err, wxpay.ErrV2RefundNotExist) || !proven(err) {
					t.Fatal(err)
				}
				r, err := c.CreateRefund(t.Context(), judgedV2Refund(number))
				if err != nil || r.Status != wxpay.RefundProcessing || r.Amount.Refund != 100 || r.Amount.Total != 100 || r.TransactionID != "4200000001" {
					t.Fatalf("%+v, %v", r, err)
				}
				if err := s.Settle(m.MchID, number, settled); err != nil {
					t.Fatal(err)
				}
				r, err = c.QueryRefund(t.Context(), number, "")
				if err != nil || r.Status != status || r.OutRefundNo != number || r.OutTradeNo != "O1-000001" || r.Amount.Refund != 100 || r.Amount.Total != 100 {
					t.Fatalf("%+v, %v", r, err)
				}
				if at, err := time.Parse(time.RFC3339, r.SuccessTime); status == wxpay.RefundSuccess && (err != nil || time.Since(at).Abs() > time.Minute) {
					t.Errorf("success_time %q, %v", r.SuccessTime, err)
				}
				if shown := s.RequestsTo(wxpaytest.EndpointV2Refund)[0].ClientCertificate; shown != m.SerialNo {
					t.Errorf("certificate %q", shown)
				}
				if shown := s.RequestsTo(wxpaytest.EndpointV2RefundQuery)[0].ClientCertificate; shown != "" {
					t.Errorf("certificate %q was shown to a query", shown)
				}
			})
		}
	}
}

func proven(err error) bool {
	e, ok := errors.AsType[*wxpay.Error](err)
	return ok && e.Proven && e.HTTPStatus == 200
}

// TestJudgedV2Refusals: what the books refuse is proven, what the door refuses is not.
func TestJudgedV2Refusals(t *testing.T) {
	t.Parallel()
	s, c, m := judgedV2(t)
	s.SetBalance(m.MchID, 1)
	if _, err := c.CreateRefund(t.Context(), judgedV2Refund("R1")); !errors.Is(err, wxpay.ErrV2NotEnough) || !proven(err) {
		t.Error(err)
	}
	unknown := judgedV2Refund("R2")
	unknown.TransactionID, unknown.OutTradeNo = "4200000009", ""
	if _, err := c.CreateRefund(t.Context(), unknown); !errors.Is(err, wxpay.ErrV2OrderNotExist) || !proven(err) {
		t.Error(err)
	}
	for code, sentinel := range map[string]error{"CERT_ERROR": wxpay.ErrV2CertError, "TRADE_OVERDUE": wxpay.ErrTradeOverdue, "SYSTEMERROR": wxpay.ErrV2SystemError} {
		s.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointV2Refund, Answer: wxpaytest.AnswerRefusal, Code: code, Message: "m"})
		r := judgedV2Refund("R-" + code)
		r.TransactionID, r.OutTradeNo = "4200000009", ""
		if _, err := c.CreateRefund(t.Context(), r); !errors.Is(err, sentinel) || !proven(err) {
			t.Error(err)
		}
	}
}

// TestJudgedV2Credentials: a wrong key is told without a signature, so it is not proven; nothing is executed.
func TestJudgedV2Credentials(t *testing.T) {
	t.Parallel()
	s := wxpaytest.New(t)
	m := s.AddMerchant(wxpaytest.Merchant{MchID: "1900000001"})
	other := s.AddMerchant(wxpaytest.Merchant{MchID: "1900000002", PrivateKey: forgerPrivateKey(t)})
	s.AddOrder(wxpaytest.Order{MchID: m.MchID, TransactionID: "4200000001", OutTradeNo: "O1-000001", Total: 100})
	transport := wxpay.NewTransport(wxpay.TransportConfig{RootCAs: s.CertPool()})
	t.Cleanup(transport.CloseIdleConnections)
	for name, change := range map[string]func(*wxpay.V2Config){
		"another key":                    func(c *wxpay.V2Config) { c.APIKey = []byte(strings.Repeat("k", 32)) },
		"another merchant's certificate": func(c *wxpay.V2Config) { c.Certificate = pairOf(t, other) },
	} {
		config := wxpay.V2Config{MchID: m.MchID, AppID: m.AppID, APIKey: []byte(m.APIv2Key), Certificate: pairOf(t, m), Hosts: []string{s.URL()}, Transport: transport}
		change(&config)
		c, err := wxpay.NewV2(config)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.CreateRefund(t.Context(), judgedV2Refund("R1"))
		if e, ok := errors.AsType[*wxpay.Error](err); !ok || e.Proven || !errors.Is(err, wxpay.ErrV2Fail) || !errors.Is(err, wxpay.ErrNoSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(s.Refunds()) != 0 {
		t.Error("executed")
	}
}

func pairOf(t *testing.T, m *wxpaytest.Credentials) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(m.CertificatePEM, m.PrivateKeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func forgerPrivateKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(nil, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestJudgedV2Faults: every fault of the judge, with and without effect: what is claimed of it is true.
func TestJudgedV2Faults(t *testing.T) {
	t.Parallel()
	kinds := map[wxpaytest.Answer]string{
		wxpaytest.AnswerLost: "*wxpay.NoAnswerError", wxpaytest.AnswerSlow: "*wxpay.NoAnswerError", wxpaytest.AnswerCutShort: "*wxpay.NoAnswerError",
		wxpaytest.Answer202: "*wxpay.Error", wxpaytest.Answer429: "*wxpay.Error", wxpaytest.Answer5xx: "*wxpay.Error", wxpaytest.Answer502HTML: "*wxpay.Error",
		wxpaytest.AnswerForged: "*wxpay.SignatureError", wxpaytest.AnswerProbe: "*wxpay.SignatureError",
		wxpaytest.AnswerUnsigned: "*wxpay.SignatureError", wxpaytest.AnswerUnknownSerial: "*wxpay.SignatureError",
	}
	for answer, want := range kinds {
		for _, apply := range []bool{true, false} {
			for _, endpoint := range []wxpaytest.Endpoint{wxpaytest.EndpointV2Refund, wxpaytest.EndpointV2RefundQuery} {
				t.Run(fmt.Sprintf("%v/%v/%v", answer, apply, endpoint), func(t *testing.T) {
					t.Parallel()
					s, c, m := judgedV2(t)
					arrived := make(chan struct{}, 1)
					s.Fault(wxpaytest.Fault{Endpoint: endpoint, Apply: apply, Answer: answer, Arrived: arrived})
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if answer == wxpaytest.AnswerSlow {
						go func() {
							<-arrived
							cancel()
						}()
					}
					if endpoint == wxpaytest.EndpointV2RefundQuery {
						if apply {
							if _, err := c.CreateRefund(t.Context(), judgedV2Refund("R1")); err != nil {
								t.Fatal(err)
							}
						}
						_, err := c.QueryRefund(ctx, "R1", "")
						if got := fmt.Sprintf("%T", err); apply && got != want {
							t.Fatalf("%s (%v), want %s", got, err, want)
						}
						if !apply && (err == nil || proven(err) && !errors.Is(err, wxpay.ErrV2RefundNotExist) && answer != wxpaytest.Answer202 &&
							answer != wxpaytest.Answer429 && answer != wxpaytest.Answer5xx) {
							t.Fatal(err)
						}
					} else {
						_, err := c.CreateRefund(ctx, judgedV2Refund("R1"))
						if got := fmt.Sprintf("%T", err); got != want {
							t.Fatalf("%s (%v), want %s", got, err, want)
						}
						if n, ok := errors.AsType[*wxpay.NoAnswerError](err); ok && !n.Sent {
							t.Errorf("%v, said to be not sent", err)
						}
						if e, ok := errors.AsType[*wxpay.Error](err); ok && e.Proven != (answer != wxpaytest.Answer502HTML) {
							t.Errorf("%v: proven %v", err, e.Proven)
						}
						if len(s.RequestsTo(endpoint)) != 1 {
							t.Errorf("%d requests", len(s.RequestsTo(endpoint)))
						}
					}
					// Ask before repeating: the answer is proven, and it is the truth.
					_, applied := s.Refund(m.MchID, "R1")
					r, err := c.QueryRefund(t.Context(), "R1", "")
					if applied != apply || apply && (err != nil || r.OutRefundNo != "R1") || !apply && (!proven(err) || !errors.Is(err, wxpay.ErrV2RefundNotExist)) {
						t.Errorf("applied %v, read back: %v", applied, err)
					}
				})
			}
		}
	}
}

// TestJudgedV2ReturnFail: a return_code of FAIL says nothing for sure, even if the refund was taken.
func TestJudgedV2ReturnFail(t *testing.T) {
	t.Parallel()
	s, c, m := judgedV2(t)
	s.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointV2Refund, Apply: true, ReturnFail: true, Message: "系统繁忙"})
	_, err := c.CreateRefund(t.Context(), judgedV2Refund("R1"))
	if e, ok := errors.AsType[*wxpay.Error](err); !ok || e.Proven || e.Message != "系统繁忙" || !errors.Is(err, wxpay.ErrV2Fail) {
		t.Error(err)
	}
	if _, taken := s.Refund(m.MchID, "R1"); !taken {
		t.Error("not taken")
	}
}

func TestJudgedV2Provider(t *testing.T) {
	t.Parallel()
	s := wxpaytest.New(t)
	m := s.AddMerchant(wxpaytest.Merchant{MchID: "1900000001", Provider: true, SubMchIDs: []string{"1900000002"}})
	s.AddOrder(wxpaytest.Order{MchID: m.MchID, SubMchID: "1900000002", TransactionID: "4200000001", OutTradeNo: "O1-000001", Total: 100})
	transport := wxpay.NewTransport(wxpay.TransportConfig{RootCAs: s.CertPool()})
	t.Cleanup(transport.CloseIdleConnections)
	c, err := wxpay.NewV2(wxpay.V2Config{MchID: m.MchID, AppID: m.AppID, APIKey: []byte(m.APIv2Key), Certificate: pairOf(t, m), Hosts: []string{s.URL()}, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	r := judgedV2Refund("R1")
	r.SubMchID = "1900000002"
	if _, err := c.CreateRefund(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got, err := c.QueryRefund(t.Context(), "R1", "1900000002"); err != nil || got.Status != wxpay.RefundProcessing {
		t.Errorf("%+v, %v", got, err)
	}
	if v := s.Violations(); len(v) > 0 {
		t.Error(v)
	}
}

// TestJudgedV2Hosts: with the primary host gone, the backup takes over within the same call.
func TestJudgedV2Hosts(t *testing.T) {
	t.Parallel()
	s, c, _ := judgedV2(t)
	if err := s.StopHost(true); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateRefund(t.Context(), judgedV2Refund("R1")); err != nil {
		t.Fatal(err)
	}
	if got := s.RequestsTo(wxpaytest.EndpointV2Refund); len(got) != 1 || got[0].Host != "backup" {
		t.Errorf("%v", got)
	}
}

// TestJudgedCertificates: a merchant in certificate mode, through a rotation: nothing is refused, nothing is unproven.
func TestJudgedCertificates(t *testing.T) {
	t.Parallel()
	for _, migrating := range []bool{false, true} {
		t.Run(fmt.Sprint("migrating ", migrating), func(t *testing.T) {
			t.Parallel()
			now := time.Now()
			clock := func() time.Time { return now }
			s := wxpaytest.New(t, wxpaytest.Options{Now: clock})
			m := s.AddMerchant(wxpaytest.Merchant{MchID: "1900000001", PlatformCertificates: true, PublicKeyToo: migrating})
			transport := wxpay.NewTransport(wxpay.TransportConfig{RootCAs: s.CertPool()})
			t.Cleanup(transport.CloseIdleConnections)
			config := wxpay.Config{MchID: m.MchID, SerialNo: m.SerialNo, Signer: m.PrivateKey, Hosts: []string{s.URL()}, Transport: transport, Now: clock}
			source := wxpay.CertificatesConfig{Client: config, APIv3Key: []byte(m.APIv3Key), RootCAs: s.PlatformCAPool()}
			if migrating {
				source.PublicKeys = map[string]*rsa.PublicKey{m.PublicKeyID: m.PublicKey}
			}
			keys, err := wxpay.NewCertificates(source)
			if err != nil {
				t.Fatal(err)
			}
			config.Keys = keys
			c, err := wxpay.New(config)
			if err != nil {
				t.Fatal(err)
			}
			refund := func(number string) {
				t.Helper()
				s.AddOrder(wxpaytest.Order{MchID: m.MchID, OutTradeNo: "O-" + number, Total: 100})
				r := &wxpay.RefundRequest{OutTradeNo: "O-" + number, OutRefundNo: number, Amount: wxpay.RefundAmount{Refund: 100, Total: 100}}
				if _, err := c.CreateRefund(t.Context(), r); err != nil {
					t.Errorf("%s: %v", number, err)
				}
			}
			downloads := func(want int) {
				t.Helper()
				if got := len(s.RequestsTo(wxpaytest.EndpointCertificates)); got != want {
					t.Errorf("%d downloads, want %d", got, want)
				}
			}
			refund("R1")
			downloads(1)
			old := m.PlatformSerial()
			if want := map[bool]string{false: old, true: m.PublicKeyID}[migrating]; keys.Serial() != want || keys.Expires().Before(now.AddDate(4, 0, 0)) {
				t.Errorf("serial %s, expires %v", keys.Serial(), keys.Expires())
			}

			// A new certificate signs at once; the list is downloaded again because of its serial.
			now = now.Add(time.Minute)
			if err := s.RotatePlatformCertificate(m.MchID); err != nil {
				t.Fatal(err)
			}
			refund("R2")
			if !migrating {
				downloads(2)
				for _, serial := range []string{old, m.PlatformSerial()} {
					if _, err := keys.Key(t.Context(), serial); err != nil {
						t.Errorf("%s: %v", serial, err)
					}
				}
			}

			// The old one is void from one call to the next: what was downloaded before must not make a refund fail.
			if err := s.RetirePlatformCertificate(m.MchID); err != nil {
				t.Fatal(err)
			}
			refund("R3")
			now = now.Add(11 * time.Hour)
			refund("R4")
			if _, err := keys.Key(t.Context(), old); !errors.Is(err, wxpay.ErrUnknownSerial) {
				t.Errorf("the old one: %v", err)
			}
			if v := s.Violations(); len(v) > 0 {
				t.Errorf("what no correct client sends:\n%s", strings.Join(v, "\n"))
			}
			if err := s.CheckBooks(); err != nil {
				t.Error(err)
			}
		})
	}
}
