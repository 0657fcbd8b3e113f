package consumer_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// buffer is a log that may be written to by many.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// No key, signature or text about a payer is in the log at any level, in an outcome, or in a dead letter's headers, whatever
// goes wrong.
func TestNoSecretLeaves(t *testing.T) {
	t.Parallel()
	b := setup(t)
	log := &buffer{}
	logger := logrus.New()
	logger.SetOutput(log)
	logger.SetLevel(logrus.TraceLevel)
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointUpdateRefundProgress, Answer: wxpaytest.AnswerRefusal, Status: 404, Code: "RESOURCE_NOT_EXISTS", Message: "关于 客户张三的电话 的答复"})
	for _, f := range consumertest.Hardships {
		if !f.ReturnFail {
			f.Apply = f.Answer != wxpaytest.Answer429
			b.Fault(f)
		}
	}
	b.Start(func(o *consumer.Options) { o.Log = logger })
	b.Publish(messages.KindReply, `{"id":"P1","complaint_id":"C1","complainted_mchid":"1900000001","response_content":"客户张三的电话"}`)
	b.Publish(messages.KindDecision, `{"id":"D1","complaint_id":"C2","action":"REJECT","reject_reason":"客户张三的电话","remark":"客户张三的电话"}`)
	b.Publish(messages.KindRefund, `{"out_refund_no":"R1","transaction_id":"TX1","amount":{"refund":1,"total":1},"reason":"客户张三的电话"}`)
	b.Publish(messages.KindRefund, `{"out_refund_no":"R2","transaction_id":"TX2","amount":{"refund":2,"total":1},"reason":"客户张三的电话"}`)
	b.End(messages.KindReply, "P1")
	failed := b.End(messages.KindDecision, "D1")
	b.End(messages.KindRefund, "R1")
	malformed := b.End(messages.KindRefund, "seq-4")
	b.Settled()

	var told strings.Builder
	log.mu.Lock()
	told.Write(log.b.Bytes())
	log.mu.Unlock()
	for _, e := range []consumertest.Event{failed, malformed} {
		for name, values := range must(b.Letters.Get(t.Context(), e.DeadLetter)).Headers() {
			told.WriteString(name + strings.Join(values, " "))
		}
	}
	for _, e := range b.Events() {
		told.Write(must(e.Encode()))
	}
	key := base64.StdEncoding.EncodeToString(b.Creds[mchid].PrivateKey.D.Bytes())[:40]
	secrets := []string{"张三", "WECHATPAY2-SHA256", "BEGIN", "signature=", key, b.Creds[mchid].APIv3Key}
	for _, r := range b.Sim.Requests() {
		if _, after, ok := strings.Cut(r.Header.Get("Authorization"), `signature="`); ok {
			secrets = append(secrets, after[:40])
		}
	}
	for _, secret := range secrets {
		if i := strings.Index(told.String(), secret); i >= 0 {
			t.Errorf("%.12s… shows: …%s…", secret, told.String()[max(0, i-80):min(told.Len(), i+20)])
		}
	}
}
