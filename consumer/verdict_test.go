package consumer

import (
	"errors"
	"fmt"
	"testing"

	"wxpay-worker/wxpay"
)

// Every row of the error tables has a verdict. The codes are spelled out here once more, by status, so that a slip of the
// table shows.
func TestVerdicts(t *testing.T) {
	type row struct {
		status                  int
		code                    string
		refund, complaint, read Verdict
	}
	for _, r := range []row{
		{400, "PARAM_ERROR", Rejected, Doubtful, Rejected},
		{400, "INVALID_REQUEST", Doubtful, Doubtful, Rejected},
		{400, "REFUND_FEE_MISMATCH", Doubtful, Rejected, Rejected},
		{400, "TRADE_OVERDUE", Rejected, Rejected, Rejected},
		{400, "NEVER_SEEN", Doubtful, Doubtful, Rejected},
		{400, "", Doubtful, Doubtful, Rejected},
		{401, "SIGN_ERROR", Hold, Hold, Hold},
		{403, "NOT_ENOUGH", Hold, Hold, Hold},
		{403, "USER_ACCOUNT_ABNORMAL", Rejected, Rejected, Rejected},
		{403, "NO_AUTH", Transient, Transient, Transient},
		{404, "MCH_NOT_EXISTS", Transient, Transient, Transient},
		{404, "RESOURCE_NOT_EXISTS", Rejected, Rejected, Rejected},
		{429, "FREQUENCY_LIMITED", Unknown, Transient, Transient},
		{429, "", Unknown, Transient, Transient},
		{400, "FREQUENCY_LIMITED", Unknown, Transient, Transient}, // orders over a month old: the code is not printed
		{500, "SYSTEM_ERROR", Unknown, Unknown, Unknown},
		{502, "", Unknown, Unknown, Unknown},
		{503, "SERVICE_UNAVAILABLE", Unknown, Unknown, Unknown},
		{302, "", Unknown, Unknown, Unknown},
	} {
		err := fmt.Errorf("wrapped: %w", &wxpay.Error{HTTPStatus: r.status, Code: r.code, Proven: true})
		for c, want := range map[call]Verdict{callRefund: r.refund, callComplaint: r.complaint, callRead: r.read} {
			if got := classify(c, err); got != want {
				t.Errorf("%d %s, call %d: %s, want %s", r.status, r.code, c, got, want)
			}
		}
		// Unproven, it ends nothing: only a 401 is what it says.
		unproven := classify(callRefund, &wxpay.Error{HTTPStatus: r.status, Code: r.code})
		if want := map[bool]Verdict{true: Hold, false: Unknown}[r.status == 401]; unproven != want {
			t.Errorf("%d %s unproven: %s, want %s", r.status, r.code, unproven, want)
		}
	}
	for code, want := range map[string][2]Verdict{ // v2: create, query
		"SYSTEMERROR": {Unknown, Unknown}, "BIZERR_NEED_RETRY": {Unknown, Unknown}, "FREQUENCY_LIMITED": {Transient, Transient},
		"INVALID_REQ_TOO_MUCH": {Unknown, Transient}, "NOTENOUGH": {Hold, Hold}, "TRADE_OVERDUE": {Rejected, Rejected},
		"USER_ACCOUNT_ABNORMAL": {Rejected, Rejected}, "ERROR": {Doubtful, Rejected}, "REFUND_FEE_MISMATCH": {Doubtful, Rejected},
		"ORDERNOTEXIST": {Rejected, Rejected}, "INVALID_TRANSACTIONID": {Rejected, Rejected}, "ORDER_NOT_READY": {Transient, Transient},
		"PARAM_ERROR": {Rejected, Rejected}, "INVALID_REQUEST": {Doubtful, Rejected}, "APPID_NOT_EXIST": {Transient, Transient},
		"MCHID_NOT_EXIST": {Transient, Transient}, "REQUIRE_POST_METHOD": {Transient, Transient}, "SIGNERROR": {Hold, Hold},
		"XML_FORMAT_ERROR": {Transient, Transient}, "CERT_ERROR": {Hold, Hold}, "NOAUTH": {Transient, Transient}, "REFUNDNOTEXIST": {Rejected, Rejected},
	} {
		err := &wxpay.Error{HTTPStatus: 200, Code: code, Proven: true}
		if create, query := classify(callRefund, err), classify(callRead, err); create != want[0] || query != want[1] {
			t.Errorf("v2 %s: %s and %s, want %s and %s", code, create, query, want[0], want[1])
		}
		if got := classify(callComplaint, &wxpay.Error{HTTPStatus: 400, Code: code, Proven: true}); got == Done || got == 0 {
			t.Errorf("%s to a complaint call: %s", code, got)
		}
		if got := classify(callRefund, &wxpay.Error{HTTPStatus: 200, Code: code}); got != Unknown {
			t.Errorf("v2 %s unproven: %s", code, got)
		}
	}
	if got := classify(callRefund, &wxpay.Error{HTTPStatus: 401, Cause: wxpay.ErrV2Status}); got != Unknown {
		t.Errorf("401 to a v2 call: %s", got)
	}
	for err, want := range map[error]Verdict{
		nil: Done, errors.New("KMS is away"): Hold, &wxpay.SigningError{}: Hold, &wxpay.ArgumentError{}: Malformed,
		&wxpay.NoAnswerError{}: Unreached, &wxpay.NoAnswerError{Sent: true}: Unknown, &wxpay.SignatureError{}: Unknown,
	} {
		if got := classify(callRefund, err); got != want {
			t.Errorf("%T: %s, want %s", err, got, want)
		}
	}
	if got := classify(callRead, fmt.Errorf("read: %w", wxpay.ErrHistoryTooLong)); got != Rejected {
		t.Errorf("a history that is too long: %s", got)
	}
}
