package consumer_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
)

// A schedule that falls due while the store is full does not fire, also when there is room again: the refund is followed all the
// same.
func TestARefundIsFollowedAfterTheStoreWasFull(t *testing.T) {
	t.Parallel()
	conf := filepath.Join(t.TempDir(), "nats.conf")
	check(t, os.WriteFile(conf, []byte("jetstream {max_file_store: 4MB}\n"), 0o600))
	b := setupWith(t, consumertest.Config{NATS: natstest.StartFile(t, conf)})
	b.Start(func(o *consumer.Options) { o.Settlement.First = time.Hour }) // 18 s here: time to fill the store
	b.Publish(messages.KindRefund, consumertest.RefundBody("R1"))
	b.becomes("R1", messages.StatusAccepted)
	b.Drained()
	check(t, b.Sim.Settle(mchid, "R1", "SUCCESS"))

	junk := must(b.JS.CreateStream(t.Context(), jetstream.StreamConfig{Name: "JUNK", Subjects: []string{"junk"}}))
	for size := 256 << 10; size > 0; size /= 2 { // to the last byte
		for {
			if _, err := b.JS.Publish(t.Context(), "junk", make([]byte, size)); err != nil {
				break
			}
		}
	}
	settlements := must(b.JS.Stream(t.Context(), b.Subjects.SettlementsStream()))
	schedule := must(settlements.GetLastMsgForSubject(t.Context(), b.Subjects.SettlementAt(mchid, "R1")))
	time.Sleep(time.Until(schedule.Time.Add(b.Clock.Wall(90 * time.Minute)))) // it is due, at the latest, after a fifth more than an hour
	check(t, junk.Purge(t.Context()))
	check(t, b.JS.DeleteStream(t.Context(), "JUNK"))
	b.becomes("R1", messages.StatusSucceeded)
	b.Settled()
}
