package consumertest

import "fmt"

// ComplaintID is the complaint that the bodies below are about; the simulator, its books open, has any.
const ComplaintID = "200201820200101080076610000"

// Commands of every kind that carry no number of their own; RefundBody has one.
const (
	ReplyBody    = `{"id":"P1","complaint_id":"` + ComplaintID + `","complainted_mchid":"1900000001","response_content":"已与用户沟通解决"}`
	CompleteBody = `{"id":"C1","complaint_id":"` + ComplaintID + `","complainted_mchid":"1900000001"}`
	ApproveBody  = `{"id":"D1","complaint_id":"` + ComplaintID + `","action":"APPROVE","launch_refund_day":0,"remark":"已处理完成","metadata":{"agent":"7"},
		"reply":{"complainted_mchid":"1900000001","response_content":"已与用户沟通解决"},
		"refund":{"out_refund_no":"R1","transaction_id":"TX1","amount":{"refund":100,"total":100}}}`
	RejectBody = `{"id":"D2","complaint_id":"` + ComplaintID + `","action":"REJECT","reject_reason":"拒绝退款","reject_media_list":["MediaId"],"launch_refund_day":3}`
)

// RefundBody is a command that refunds 0.60 of an order of 1.00, each number of another order.
func RefundBody(outRefundNo string) string {
	return fmt.Sprintf(`{"out_refund_no":%q,"transaction_id":"TX%s","amount":{"refund":60,"total":100},"reason":"商品已售完","metadata":{"order":"42"}}`, outRefundNo, outRefundNo)
}
