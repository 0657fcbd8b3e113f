package wxpaytest_test

import (
	"fmt"

	"wxpay-worker/wxpay/wxpaytest"
)

// A program runs the simulator with open books: whatever it is asked about exists.
func ExampleStart() {
	s, err := wxpaytest.Start(wxpaytest.Options{OpenBooks: true, SettleAtOnce: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	m := s.AddMerchant(wxpaytest.Merchant{MchID: "1900000001"})
	fmt.Println(m.MchID, m.PublicKeyID)
	fmt.Println(s.CheckBooks(), s.Violations())
	// Output:
	// 1900000001 PUB_KEY_ID_0119000000012026010100000000000001
	// <nil> []
}
