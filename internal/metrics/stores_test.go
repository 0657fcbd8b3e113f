package metrics

import (
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/sirupsen/logrus"

	"wxpay-worker/consumer"
	"wxpay-worker/dlq"
	"wxpay-worker/internal/natstest"
	"wxpay-worker/messages"
)

// A server that does not answer costs a scrape its bound of time and what is asked there, and nothing else. (One that denies a
// subject does not answer.)
func TestASilentServerDoesNotHoldAScrape(t *testing.T) {
	t.Parallel()
	conf := filepath.Join(t.TempDir(), "nats.conf")
	text := "jetstream {}\nauthorization { users = [{user: u, password: p, permissions: {publish: {deny: [\"$JS.API.>\"]}}}] }\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(natstest.StartFile(t, conf), nats.UserInfo("u", "p"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	subjects := messages.Subjects{Prefix: "wxpay"}
	letters, err := dlq.New(nc, subjects)
	if err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	c, err := consumer.New(consumer.Options{
		Conn: nc, Subjects: subjects, DeadLetters: letters, Log: log, Merchants: []consumer.Merchant{{MchID: "1900000001"}},
		Concurrency: 1, AckWait: time.Minute, PinnedTTL: 15 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	m := New(Build{})
	if err := m.Watch(c, nc, subjects); err != nil {
		t.Fatal(err)
	}
	began, answer := time.Now(), httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if took := time.Since(began); took < askTime/2 || took > 30*time.Second { // the first: it did ask
		t.Errorf("the scrape took %s", took)
	}
	body := answer.Body.String()
	for _, there := range []string{"wxpay_scrape_complete 0", "wxpay_nats_connected 1", `wxpay_lane_ready{family="refund",lane="refund-1900000001",mchid="1900000001"} 0`} {
		if !strings.Contains(body, there) {
			t.Errorf("no %q", there)
		}
	}
	for _, unknown := range []string{"wxpay_orphan_commands ", "wxpay_settlement_backlog ", "wxpay_dead_letters_stored{", "wxpay_lane_waiting{"} {
		if strings.Contains(body, "\n"+unknown) {
			t.Errorf("%q, which nobody can know", unknown)
		}
	}
}

// Why a lane is held comes by way of the server, where anybody may have written it: it must not make labels without bound.
func TestHoldReasonsAreBounded(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]string{
		"": "", "HTTP 403 NOT_ENOUGH": "HTTP 403 NOT_ENOUGH", "HTTP 502": "HTTP 502", "no answer": "no answer",
		"requests cannot be signed": "requests cannot be signed", "answers whose signature cannot be verified": "answers whose signature cannot be verified",
		"paid by 张三": "other", "HTTP 403 NOT_ENOUGH\nx": "other", "HTTP 403 " + strings.Repeat("A", 65): "other",
	} {
		if got := holdReason(reason); got != want {
			t.Errorf("%q is told as %q", reason, got)
		}
	}
}
