package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"wxpay-worker/wxpay"
)

// runBare is the least that can be: inFlight goroutines that call package wxpay and verify the answer. No queue, no outcome.
func runBare(dir, api, address string) error {
	files, err := readInstallation(dir)
	if err != nil {
		return err
	}
	client, err := files.client(api, merchantID(0), address)
	if err != nil {
		return err
	}
	ctx, cancel := untilInputEnds()
	defer cancel()
	var running sync.WaitGroup
	for i := range inFlight {
		running.Go(func() {
			for n := i; ctx.Err() == nil; n += inFlight {
				number := refundNumber(storyPaid, n)
				if _, err := client.CreateRefund(ctx, refundOf(number)); err != nil && ctx.Err() == nil {
					fmt.Fprintln(os.Stderr, "bare:", err)
				}
			}
		})
	}
	running.Wait()
	return nil
}

// refundNumber says when it was made, so that the answering side can tell how long its command took to get there.
func refundNumber(story string, n int) string {
	return fmt.Sprintf("%s-%d-%d", story, time.Now().UnixNano(), n)
}

func refundOf(number string) *wxpay.RefundRequest {
	return &wxpay.RefundRequest{OutRefundNo: number, OutTradeNo: orderOf(number), Reason: "商品已售完", Amount: wxpay.RefundAmount{Refund: 100, Total: 100, Currency: "CNY"}}
}

// untilInputEnds is the life of a helper: as long as whoever started it holds its standard input open.
func untilInputEnds() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // ends with the input
		defer cancel()
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		}
	}()
	return ctx, cancel
}
