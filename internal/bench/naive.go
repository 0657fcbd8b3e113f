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

	"wxpay-worker/internal/stored"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
)

// naiveQueue is its durable consumer.
const naiveQueue = "naive"

// runNaive is what one writes in an afternoon: a consumer that calls package wxpay for each command, publishes one outcome,
// awaits its confirmation, and acknowledges. It looks nothing up, follows nothing and loses its way at the first error.
//
// If it is careful it keeps what the worker promises of a refund that goes well, each by a round trip of its own: it asks for an outcome before
// it calls, has the refund followed before it says that it was accepted, and says so only if nobody else has.
func runNaive(dir, by, api, address, url string) error {
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
	carry := handle
	if by == byCareful {
		carry = handleCarefully
	}
	work := make(chan jetstream.Msg)
	var running sync.WaitGroup
	for range inFlight {
		running.Go(func() {
			for m := range work {
				if err := carry(ctx, client, js, m); err != nil && ctx.Err() == nil {
					fmt.Fprintf(os.Stderr, "%s: %v\n", by, err)
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
	command, err := commandIn(m)
	if err != nil {
		return err
	}
	outcome, err := refunded(ctx, client, command)
	if err != nil {
		return errors.Join(err, m.Nak())
	}
	if _, err := js.PublishMsg(ctx, outcome); err != nil {
		return errors.Join(err, m.Nak())
	}
	return m.Ack()
}

func handleCarefully(ctx context.Context, client refunds, js jetstream.JetStream, m jetstream.Msg) error {
	command, err := commandIn(m)
	if err != nil {
		return err
	}
	outcomes := subjects.OutcomeFilter(merchantID(0), messages.KindRefund, command.OutRefundNo)
	switch _, err := stored.Last(ctx, js.Conn(), subjects.OutcomesStream(), outcomes); {
	case err == nil:
		return m.Ack()
	case !errors.Is(err, stored.ErrNotFound):
		return errors.Join(err, m.Nak())
	}
	outcome, err := refunded(ctx, client, command)
	if err != nil {
		return errors.Join(err, m.Nak())
	}
	look := scheduled(subjects.SettlementAt(merchantID(0), command.OutRefundNo), subjects.SettlementDue(merchantID(0)), m.Data())
	if _, err := js.PublishMsg(ctx, look); err != nil {
		return errors.Join(err, m.Nak())
	}
	if _, err := js.PublishMsg(ctx, outcome, jetstream.WithExpectLastSequenceForSubject(0, outcomes)); err != nil {
		return errors.Join(err, m.Nak())
	}
	return m.Ack()
}

func commandIn(m jetstream.Msg) (*wxpay.RefundRequest, error) {
	var command wxpay.RefundRequest
	if err := json.Unmarshal(m.Data(), &command); err != nil {
		return nil, err
	}
	command.Amount.Currency = "CNY"
	return &command, nil
}

// refunded asks for a refund and returns the outcome to be published.
func refunded(ctx context.Context, client refunds, command *wxpay.RefundRequest) (*nats.Msg, error) {
	refund, err := client.CreateRefund(ctx, command)
	if err != nil {
		return nil, err
	}
	outcome, err := json.Marshal(&messages.Outcome{
		Kind: messages.KindRefund, MchID: merchantID(0), Key: command.OutRefundNo, Status: messages.StatusAccepted, At: time.Now(), Attempts: 1,
		Refund: &messages.Refund{
			RefundID: refund.RefundID, OutRefundNo: refund.OutRefundNo, TransactionID: refund.TransactionID, OutTradeNo: refund.OutTradeNo,
			Status: refund.Status, Channel: refund.Channel, Amount: messages.Amount(command.Amount),
		},
	})
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: subjects.Outcome(merchantID(0), messages.KindRefund, command.OutRefundNo, messages.StatusAccepted), Data: outcome}, nil
}
