package wxpay_test

import (
	"context"
	"errors"
	"fmt"

	"wxpay-worker/wxpay"
)

// A refund is applied for once; what came of it decides whether to ask, to repeat or to give up.
func ExampleClient_CreateRefund() {
	client, err := wxpay.New(wxpay.ForExamples(200, `{"refund_id":"5030","out_refund_no":"R20261121-0001","status":"PROCESSING"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	refund, err := client.CreateRefund(context.Background(), &wxpay.RefundRequest{
		OutTradeNo: "T1", OutRefundNo: "R20261121-0001", Reason: "商品已售完",
		Amount: wxpay.RefundAmount{Refund: 100, Total: 100},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(refund.RefundID, refund.Status)
	// Output: 5030 PROCESSING
}

// A refusal ends a command only if it is proven.
func ExampleError() {
	client, err := wxpay.New(wxpay.ForExamples(404, `{"code":"RESOURCE_NOT_EXISTS","message":"退款单不存在"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = client.QueryRefund(context.Background(), "R20261121-0001", "")
	if refusal, ok := errors.AsType[*wxpay.Error](err); ok && refusal.Proven && errors.Is(err, wxpay.ErrResourceNotExists) {
		fmt.Println("no such refund:", refusal.Message)
	}
	fmt.Println(err)
	// Output:
	// no such refund: 退款单不存在
	// GET /v3/refund/domestic/refunds/{out_refund_no}: 404 RESOURCE_NOT_EXISTS (request id 08E7A8CDB80610F10218-268447840)
}

// Whether something may have happened is a fact of the error, not of its text.
func ExampleNoAnswerError() {
	mayHaveHappened := func(err error) bool {
		if n, ok := errors.AsType[*wxpay.NoAnswerError](err); ok {
			return n.Sent
		}
		_, unproven := errors.AsType[*wxpay.SignatureError](err)
		return unproven
	}
	client, err := wxpay.New(wxpay.ForExamples(202, ""))
	if err != nil {
		fmt.Println(err)
		return
	}
	err = client.CompleteComplaint(context.Background(), "200201820200101080076610000", "1900012181")
	fmt.Println(mayHaveHappened(err), errors.Is(err, wxpay.ErrAccepted))

	ended, cancel := context.WithCancel(context.Background())
	cancel()
	err = client.CompleteComplaint(ended, "200201820200101080076610000", "1900012181")
	fmt.Println(mayHaveHappened(err), errors.Is(err, context.Canceled))
	// Output:
	// true true
	// false true
}

// 0 days means today, and is sent; nil is not.
func ExampleClient_UpdateRefundProgress() {
	client, err := wxpay.New(wxpay.ForExamples(204, ""))
	if err != nil {
		fmt.Println(err)
		return
	}
	today := int64(0)
	fmt.Println(client.UpdateRefundProgress(context.Background(), "200201820200101080076610000", &wxpay.RefundProgress{
		Action: "APPROVE", LaunchRefundDay: &today,
	}))
	// Output: <nil>
}

// Version 2 signs the parameters that are not empty.
func ExampleSignV2() {
	fmt.Println(wxpay.SignV2(map[string]string{
		"appid": "wxd930ea5d5a258f4f", "mch_id": "10000100", "device_info": "1000", "body": "test", "nonce_str": "ibuaiVcKdpRxkhJA",
	}, "192006250b4c09247ec02edce69f6a2d", wxpay.V2MD5))
	// Output: 9A0A8659F005D6984697E2CA0A9CF3B7
}
