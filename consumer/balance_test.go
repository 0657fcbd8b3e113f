package consumer_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
	"wxpay-worker/wxpay/wxpaytest"
)

// census notes which worker made which merchant's last call.
type census struct {
	mu   sync.Mutex
	last map[string]string // worker by merchant; guarded by mu
}

func (c *census) of(worker string) (merchants int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.last {
		if w == worker {
			merchants++
		}
	}
	return merchants
}

type counted struct {
	consumer.Refunds
	note func()
}

func (c counted) CreateRefund(ctx context.Context, r *wxpay.RefundRequest) (*wxpay.Refund, error) {
	c.note()
	return c.Refunds.CreateRefund(ctx, r)
}

// as has a worker's calls counted under its name.
func (c *census) as(worker string) consumertest.Option {
	return func(o *consumer.Options) {
		for i, m := range o.Merchants {
			o.Merchants[i].Refunds = counted{m.Refunds, func() {
				c.mu.Lock()
				c.last[m.MchID] = worker
				c.mu.Unlock()
			}}
		}
	}
}

// A lane whose commands all wait for their next try stays where they are known: another worker would have to let them wait anew.
func TestALaneThatOnlyWaitsIsNotGivenUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, id := range []string{"1900000002", "1900000003", "1900000004"} {
		b.Merchant(id)
	}
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointRefundCreate, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 403, Code: "NO_AUTH"})
	patient := func(o *consumer.Options) { o.Retry.Initial, o.Retry.Max = 24*time.Hour, 24*time.Hour } // 7 minutes here
	b.Start(patient)
	for id := range b.Creds {
		b.PublishFor(id, messages.KindRefund, consumertest.RefundBody("R1"))
	}
	b.Until("all handed back", func() bool {
		return len(slices.DeleteFunc(b.Acks(), func(ack string) bool { return !strings.HasPrefix(ack, "-NAK") })) == len(b.Creds)
	})
	looks := must(b.NC.SubscribeSync("$JS.API.CONSUMER.LIST.>"))
	for range 5 { // by then it has noticed that nothing is in flight
		must(looks.NextMsg(consumertest.Patience))
	}
	unpins := must(b.NC.SubscribeSync("$JS.API.CONSUMER.UNPIN.>"))
	b.Start(patient)
	for range 10 { // two workers look, several times each
		must(looks.NextMsg(consumertest.Patience))
	}
	if n, _, err := unpins.Pending(); err != nil || n > 0 {
		t.Errorf("%d lanes given up, %v", n, err)
	}
}

// Busy lanes are spread over the workers when one joins, without losing or doubling anything, and come back when it leaves.
func TestBusyLanesAreSpread(t *testing.T) {
	t.Parallel()
	b := setup(t)
	merchants := []string{mchid, "1900000002", "1900000003", "1900000004"}
	for _, id := range merchants[1:] {
		b.Merchant(id)
	}
	c := &census{last: map[string]string{}}
	b.Start(c.as("first"))
	n := 0
	round := func() { // one refund of each merchant: its lane stays busy
		n++
		for _, id := range merchants {
			b.PublishFor(id, messages.KindRefund, fmt.Sprintf(`{"out_refund_no":"R%d","transaction_id":"%sTX%d","amount":{"refund":1,"total":1}}`, n, id, n))
		}
		for _, id := range merchants {
			b.Await("accepted", func(e consumertest.Event) bool {
				return e.MchID == id && e.Key == fmt.Sprintf("R%d", n) && e.Status == messages.StatusAccepted
			})
		}
	}
	until := func(what string, fits func() bool) {
		t.Helper()
		for limit := time.Now().Add(consumertest.Patience); !fits(); round() {
			if time.Now().After(limit) {
				t.Fatalf("never seen: %s: %v", what, c.last)
			}
		}
	}
	round()
	if c.of("first") != 4 {
		t.Fatalf("served by %v", c.last)
	}
	second := b.Start(c.as("second"))
	until("two lanes each", func() bool { return c.of("first") == 2 && c.of("second") == 2 })
	for range 20 {
		round()
	}
	if c.of("first") != 2 || c.of("second") != 2 {
		t.Errorf("the lanes did not stay: %v", c.last)
	}
	check(t, second.Stop())
	until("all lanes back", func() bool { return c.of("first") == 4 })
	b.Settled()
}
