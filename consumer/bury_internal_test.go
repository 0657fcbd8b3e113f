package consumer

import (
	"encoding/json"
	"strings"
	"testing"

	"wxpay-worker/messages"
)

// Whatever a refusal repeats of what the command says of the payer, no part of it is in the message that is kept.
func TestAMessageRepeatsNoValue(t *testing.T) {
	t.Parallel()
	const phone = "13800138000"
	quoted := func(s string) string {
		q, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(q)
	}
	for name, c := range map[string]struct{ remark, reply, message string }{
		"as it is":           {"", "张先生 " + phone, "张先生 " + phone + " 含敏感词"},
		"one within another": {"张先生", "张先生 " + phone, "张先生 " + phone + " 含敏感词"},
		"in one line":        {"", "张先生\n" + phone, "张先生 " + phone + " 含敏感词"},
		"quoted":             {"", "张先生 \"" + phone + "\"\n", "值 " + quoted("张先生 \""+phone+"\"\n") + " 含敏感词"},
		"cut":                {"", phone + strings.Repeat("已与用户沟通解决", 40), "值 " + phone + strings.Repeat("已与用户沟通解决", 9)},
		"cut short":          {"", phone + " 您好", "值 " + phone + " 您"},
	} {
		body := `{"id":"D1","remark":` + quoted(c.remark) + `,"reply":{"response_content":` + quoted(c.reply) + `}}`
		for range 20 { // the values of a command come in any order
			if got := messages.BoundMessage(withoutValues(c.message, []byte(body))); strings.Contains(got, phone) || strings.Contains(got, "沟通") {
				t.Fatalf("%s: %s", name, got)
			}
		}
	}
	if got := withoutValues("商户 1900000001 无权限", []byte(`{"id":"D1","reply":{"response_content":"您好"}}`)); got != "商户 1900000001 无权限" {
		t.Errorf("a message that repeats nothing became %q", got)
	}
}
