package wxpay

import "errors"

// Codes of version 2 (err_code), found with errors.Is like those of v3, in an *Error whose HTTPStatus is 200. Codes that
// both versions spell alike are the sentinels of error.go: ErrTradeOverdue, ErrUserAccountAbnormal, ErrRefundFeeMismatch,
// ErrFrequencyLimited, ErrParam, ErrInvalidRequest. To tell the versions apart compare the status as well:
// errors.Is(err, &Error{Code: "FREQUENCY_LIMITED", HTTPStatus: 200}).
//
// Source: 申请退款, https://pay.weixin.qq.com/doc/v2/merchant/4011937624; 查询退款, https://pay.weixin.qq.com/doc/v2/merchant/4011939577
var (
	ErrV2SystemError          error = &Error{Code: "SYSTEMERROR"}
	ErrV2NeedRetry            error = &Error{Code: "BIZERR_NEED_RETRY"}
	ErrV2TooManyInvalid       error = &Error{Code: "INVALID_REQ_TOO_MUCH"}
	ErrV2NotEnough            error = &Error{Code: "NOTENOUGH"}
	ErrV2BusinessError        error = &Error{Code: "ERROR"}
	ErrV2OrderNotExist        error = &Error{Code: "ORDERNOTEXIST"}
	ErrV2RefundNotExist       error = &Error{Code: "REFUNDNOTEXIST"}
	ErrV2InvalidTransactionID error = &Error{Code: "INVALID_TRANSACTIONID"}
	ErrV2OrderNotReady        error = &Error{Code: "ORDER_NOT_READY"}
	ErrV2AppIDNotExist        error = &Error{Code: "APPID_NOT_EXIST"}
	ErrV2MchIDNotExist        error = &Error{Code: "MCHID_NOT_EXIST"}
	ErrV2RequirePost          error = &Error{Code: "REQUIRE_POST_METHOD"}
	ErrV2SignError            error = &Error{Code: "SIGNERROR"}
	ErrV2XMLFormat            error = &Error{Code: "XML_FORMAT_ERROR"}
	ErrV2CertError            error = &Error{Code: "CERT_ERROR"}
	ErrV2NoAuth               error = &Error{Code: "NOAUTH"}

	// ErrV2Fail is a return_code of FAIL that came without an err_code. It is never proven.
	ErrV2Fail error = &Error{Code: "FAIL"}
)

// Why an answer of version 2 is not proven, besides ErrNoSignature and ErrBadSignature; found in Error.Cause.
var (
	// ErrV2Status: it is not 200. Version 2 puts its errors into XML, so this is not its voice.
	ErrV2Status = errors.New("not an answer of version 2, whose status is always 200")
	// ErrV2ReturnCode: return_code is FAIL although the signature is good. It means that the call was not understood, and
	// says nothing of the refund.
	ErrV2ReturnCode = errors.New("return_code is FAIL")
)
