package wxpay

import (
	"fmt"
	"testing"
)

// TestNoSuchRefund: from it a caller concludes that a refund was not made. Only what is proven, and documented to mean it, may say so.
func TestNoSuchRefund(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{&Error{HTTPStatus: 404, Code: "RESOURCE_NOT_EXISTS", Proven: true}, true},
		{&Error{HTTPStatus: 200, Code: "REFUNDNOTEXIST", Proven: true}, true},
		{fmt.Errorf("query: %w", &Error{HTTPStatus: 404, Code: "RESOURCE_NOT_EXISTS", Proven: true}), true},
		{&Error{HTTPStatus: 404, Code: "RESOURCE_NOT_EXISTS"}, false},
		{&Error{HTTPStatus: 200, Code: "REFUNDNOTEXIST"}, false},
		{&Error{HTTPStatus: 500, Code: "RESOURCE_NOT_EXISTS", Proven: true}, false},
		{&Error{HTTPStatus: 502, Code: "REFUNDNOTEXIST", Proven: true}, false},
		{&Error{HTTPStatus: 404, Code: "ORDERNOTEXIST", Proven: true}, false},
		{&Error{HTTPStatus: 404, Proven: true}, false},
		{&NoAnswerError{Sent: true}, false},
		{nil, false},
	} {
		if got := NoSuchRefund(tt.err); got != tt.want {
			t.Errorf("%v: %v", tt.err, got)
		}
	}
}
