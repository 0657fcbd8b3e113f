package consumer_test

import (
	"crypto"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// The quota holds for the whole lane, whatever waits: complaint calls never exceed theirs in any minute, and what waits for
// it is not given up.
func TestComplaintQuotaHolds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Start(func(o *consumer.Options) {
		o.Merchants[0].Quota.Complaints = consumer.Rate{N: 60, Per: time.Minute}
		o.AckWait = 20 * time.Minute
	})
	const replies = 150
	for i := range replies {
		b.Publish(messages.KindReply, fmt.Sprintf(`{"id":"P%d","complaint_id":"C%d","complainted_mchid":"1900000001","response_content":"您好"}`, i, i))
	}
	for i := range replies {
		b.End(messages.KindReply, fmt.Sprintf("P%d", i))
	}
	b.Settled()
	if n := b.Sim.PeakRate(mchid, []wxpaytest.Endpoint{wxpaytest.EndpointComplaintResponse}, time.Minute); n > 60 {
		t.Errorf("%d calls in a minute", n)
	}
}

// A server that has lost its leader may give a lane to another worker at once, while the first still has commands that wait for
// NATS. When they go on it makes no calls with them: the other has the whole quota by then.
func TestQuotaHoldsWhenALaneIsTakenFromALivingWorker(t *testing.T) {
	t.Parallel()
	b := setupAt(t, 10)
	const perWindow, window = 50, 10 * time.Second // a second here
	quota := func(o *consumer.Options) {
		o.Merchants[0].Quota.Refunds = consumer.Rate{N: perWindow, Per: window}
	}
	for i := range 4 * perWindow {
		b.Publish(messages.KindRefund, fmt.Sprintf(`{"out_refund_no":"R%[1]d","transaction_id":"TX%[1]d","amount":{"refund":1,"total":1}}`, i))
	}
	g := consumertest.NewGate("refund.R7.") // its look-up in the ledger
	first := b.StartVia(g, quota)
	<-g.Shut
	b.Start(quota)
	check(t, must(b.JS.Stream(t.Context(), b.Subjects.CommandsStream())).UnpinConsumer(t.Context(), "refund-"+mchid, "worker"))
	finishWithin(b, 4*perWindow, first, g.Open, consumer.Rate{N: perWindow, Per: window})
}

// finishWithin lets the first worker go on once the other, which has taken the lane, calls at full pace. Every refund ends, and the two together
// keep the quota.
func finishWithin(b *bench, refunds int, first *consumertest.Worker, open chan struct{}, quota consumer.Rate) {
	b.T.Helper()
	b.Until("the other calls at full pace", func() bool { return len(b.Events()) > quota.N+10 })
	close(open)
	for i := range refunds {
		b.End(messages.KindRefund, fmt.Sprintf("R%d", i))
	}
	check(b.T, first.Stop())
	b.Settled()
	if n := b.Sim.PeakRate(mchid, []wxpaytest.Endpoint{wxpaytest.EndpointRefundCreate}, quota.Per); n > quota.N {
		b.T.Errorf("%d calls in %s", n, quota.Per)
	}
}

// gatedSigner makes no signatures while it is shut.
type gatedSigner struct {
	crypto.Signer
	mu    sync.Mutex
	shut  bool          // guarded by mu
	asked chan struct{} // one value for each signature that it was asked for while it was shut
	open  chan struct{}
}

func (s *gatedSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s.mu.Lock()
	shut := s.shut
	s.mu.Unlock()
	if shut {
		select {
		case s.asked <- struct{}{}:
		case <-s.open:
		}
		<-s.open
	}
	return s.Signer.Sign(random, digest, opts)
}

// The same while the first waits for signatures: what was signed too late is not sent.
func TestQuotaHoldsWhenALaneIsTakenFromAWorkerThatSigns(t *testing.T) {
	t.Parallel()
	b := setupAt(t, 10)
	const perWindow, window = 50, 10 * time.Second // a second here
	publish := func(from, to int) {
		for i := from; i < to; i++ {
			b.Publish(messages.KindRefund, fmt.Sprintf(`{"out_refund_no":"R%[1]d","transaction_id":"TX%[1]d","amount":{"refund":1,"total":1}}`, i))
		}
	}
	signer := &gatedSigner{Signer: b.Creds[mchid].PrivateKey, asked: make(chan struct{}, perWindow), open: make(chan struct{})}
	quota := func(o *consumer.Options) {
		o.Concurrency, o.Merchants[0].Quota.Refunds = perWindow, consumer.Rate{N: perWindow, Per: window}
	}
	first := b.Start(quota, func(o *consumer.Options) {
		o.Merchants[0].Refunds = b.ClientBy(mchid, signer)
		o.Settlement.First = o.Settlement.Max // looks ask for signatures, too
	})
	publish(0, 1)
	b.End(messages.KindRefund, "R0") // what comes now is provably new: it is not asked about first
	signer.mu.Lock()
	signer.shut = true
	signer.mu.Unlock()
	publish(1, 4*perWindow)
	for range perWindow / 2 {
		<-signer.asked
	}
	b.Start(quota)
	check(t, must(b.JS.Stream(t.Context(), b.Subjects.CommandsStream())).UnpinConsumer(t.Context(), "refund-"+mchid, "worker"))
	finishWithin(b, 4*perWindow, first, signer.open, consumer.Rate{N: perWindow, Per: window})
}
