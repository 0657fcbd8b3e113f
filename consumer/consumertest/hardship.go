package consumertest

import "wxpay-worker/wxpay/wxpaytest"

// Hardships are the answers after which it is open what happened, or which must be ridden out.
var Hardships = []wxpaytest.Fault{
	{Answer: wxpaytest.AnswerLost}, {Answer: wxpaytest.AnswerCutShort}, {Answer: wxpaytest.Answer429}, {Answer: wxpaytest.Answer5xx},
	{Answer: wxpaytest.Answer502HTML}, {Answer: wxpaytest.AnswerSlow}, {Answer: wxpaytest.AnswerForged}, {Answer: wxpaytest.AnswerProbe},
	{Answer: wxpaytest.AnswerStale}, {Answer: wxpaytest.AnswerUnsigned}, {Answer: wxpaytest.AnswerUnknownSerial},
	{ReturnFail: true}, // v2 only
}
