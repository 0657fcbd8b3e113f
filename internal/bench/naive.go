package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
)

// naiveQueue is its durable consumer.
const naiveQueue = "naive"

// runNaive is what one writes in an afternoon: a consumer that calls package wxpay for each command, publishes one outcome,
// awaits its confirmation, and acknowledges. It looks nothing up, follows nothing and loses its way at the first error.
func runNaive(dir, api, address, url string) error {
	files, err := readInstallation(dir)
	if err != nil {
		return err
	}
	client, err := files.client(api, merchantID(0), address)
	if err != nil {
		return err
	}
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := untilInputEnds()
	defer cancel()
	queue, err := js.CreateOrUpdateConsumer(ctx, subjects.CommandsStream(), jetstream.ConsumerConfig{
		Durable: naiveQueue, FilterSubject: subjects.Command(merchantID(0), messages.KindRefund), AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		return err
	}
	work := make(chan jetstream.Msg)
	var running sync.WaitGroup
	for range inFlight {
		running.Go(func() {
			for m := range work {
				if err := handle(ctx, client, js, m); err != nil && ctx.Err() == nil {
					fmt.Fprintln(os.Stderr, "naive:", err)
				}
			}
		})
	}
	consuming, err := queue.Consume(func(m jetstream.Msg) { work <- m }, jetstream.PullMaxMessages(2*inFlight))
	if err != nil {
		return err
	}
	<-ctx.Done()
	consuming.Stop()
	<-consuming.Closed()
	close(work)
	running.Wait()
	return nil
}

func handle(ctx context.Context, client refunds, js jetstream.JetStream, m jetstream.Msg) error {
	var command wxpay.RefundRequest
	if err := json.Unmarshal(m.Data(), &command); err != nil {
		return err
	}
	command.Amount.Currency = "CNY"
	refund, err := client.CreateRefund(ctx, &command)
	if err != nil {
		return errors.Join(err, m.Nak())
	}
	outcome, err := json.Marshal(&messages.Outcome{
		Kind: messages.KindRefund, MchID: merchantID(0), Key: command.OutRefundNo, Status: messages.StatusAccepted, At: time.Now(), Attempts: 1,
		Refund: &messages.Refund{
			RefundID: refund.RefundID, OutRefundNo: refund.OutRefundNo, TransactionID: refund.TransactionID, OutTradeNo: refund.OutTradeNo,
			Status: refund.Status, Channel: refund.Channel, Amount: messages.Amount(command.Amount),
		},
	})
	if err != nil {
		return err
	}
	subject := subjects.Outcome(merchantID(0), messages.KindRefund, command.OutRefundNo, messages.StatusAccepted)
	if _, err := js.Publish(ctx, subject, outcome); err != nil {
		return errors.Join(err, m.Nak())
	}
	return m.Ack()
}
