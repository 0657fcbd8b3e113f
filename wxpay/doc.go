// Package wxpay calls WeChat Pay (微信支付) for a merchant: refunds, complaints and their pictures of APIv3, and refunds of
// version 2.
//
// It promises:
//   - Every call is made once. It is repeated, on the next host, only when no byte of it has left this machine. (A GET is
//     also repeated when a connection from the pool turns out dead; asking twice does no harm.)
//   - What is signed is what is sent: the escaped path and query and the body, byte for byte; of an uploaded picture its
//     name and digest.
//   - An answer is believed only when its signature is verified, refusals included. An unproven 2xx is an error.
//   - Errors say what is known, and whether something may have happened. They hold no keys, signatures, bodies or payer
//     data, and nothing here logs.
//
// It does not: retry, wait, keep to quotas, judge the contents of commands (package messages does), or decide what an
// error means for a command (package consumer does). No error text is ever branched upon.
//
// # Errors
//
//	error              an answer came                        it may have happened
//	*ArgumentError     nothing was sent: the arguments       no
//	*SigningError      nothing was sent: key, KMS            no
//	*NoAnswerError     none that is of use                   Sent says
//	*Error             a no; Proven says whether genuine     by code and status; unproven: yes, but for v3's 401
//	*SignatureError    a yes, not proven                     yes
//
// A no is any status but 2xx in version 3. Version 2 says it in XML: HTTPStatus is 200 then, and the code decides alone.
//
// All are found with errors.As; errors.Is compares codes (ErrNotEnough, …), reasons of disbelief (ErrBadSignature, …) and
// context errors.
//
// # Use
//
//	keys, err := wxpay.NewKeySet("PUB_KEY_ID_…", map[string]*rsa.PublicKey{"PUB_KEY_ID_…": publicKey})
//	client, err := wxpay.New(wxpay.Config{
//		MchID: "1900000001", SerialNo: "408B07E7…", Signer: privateKey, Keys: keys,
//		Hosts:     []string{"https://api.mch.weixin.qq.com", "https://api2.mch.weixin.qq.com"},
//		Transport: transport, // one NewTransport for all merchants
//	})
//	refund, err := client.CreateRefund(ctx, &wxpay.RefundRequest{
//		OutTradeNo: "T1", OutRefundNo: "R1", Amount: wxpay.RefundAmount{Refund: 100, Total: 100},
//	})
//
// A merchant without public keys verifies by certificates, which are downloaded:
//
//	keys, err := wxpay.NewCertificates(wxpay.CertificatesConfig{Client: config, APIv3Key: apiV3Key, RootCAs: tenpay})
//	go keys.Run(ctx)
//	config.Keys = keys
//
// Refunds by version 2 have the same methods, requests, answers and errors:
//
//	client, err := wxpay.NewV2(wxpay.V2Config{
//		MchID: "1900000001", AppID: "wx…", APIKey: apiKey, Certificate: pair, Hosts: hosts, Transport: transport,
//	})
//
// The examples run.
package wxpay
