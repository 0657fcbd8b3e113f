package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// TestDLQLive: what WeChat Pay knows of a refund, a complaint, and a decision, by now; texts about the payer stay out of it.
func TestDLQLive(t *testing.T) {
	t.Parallel()
	i := install(t, "")
	i.work(t)
	reply := `{"id":"P1","complaint_id":"c1","complainted_mchid":"1","response_content":"CANARY 您好"}`
	run(t, exitDone, aRefund("R1"), "send", "refund", "-c", i.config, "--mchid", mchid, "--wait")
	run(t, exitDone, reply, "send", "reply", "-c", i.config, "--mchid", mchid, "--wait")
	run(t, exitDone, `{"id":"P2","complaint_id":"c1","complainted_mchid":"1","response_content":"CANARY 2"}`, "send", "reply", "-c", i.config, "--mchid", mchid, "--wait")
	i.letters(t,
		aRefundLetter(messages.ReasonUnresolved, "R1"),
		aRefundLetter(messages.ReasonUnresolved, "R2"),
		aLetter(messages.KindRefund, messages.ReasonUnresolved, "R1", strings.Replace(aRefund("R1"), `"refund":1,"total":1`, `"refund":1,"total":2`, 1)),
		aLetter(messages.KindReply, messages.ReasonUnresolved, "P1", reply),
		aLetter(messages.KindDecision, messages.ReasonUnresolved, "D1", `{"id":"D1","complaint_id":"c1","action":"APPROVE","refund":`+aRefund("R2")+`}`),
		aLetter(messages.KindComplete, messages.ReasonMalformed, "seq-6", `{"complaint_id":"c1","nonsense":1}`),
		aLetter(messages.KindReply, messages.ReasonMalformed, "seq-7", `nothing`),
	)
	liveOf := func(seq string) (live string) {
		t.Helper()
		text := run(t, exitDone, "", "dlq", "show", seq, "--live", "-c", i.config).out.String()
		_, after, _ := strings.Cut(text, "\nAt WeChat Pay now\n")
		live, _, _ = strings.Cut(after, "\nHeaders\n")
		if strings.Contains(live, canary) || strings.Contains(live, "重复扣费") || strings.Contains(live, "185") {
			t.Errorf("%s shows a text: %s", seq, live)
		}
		return live
	}
	for seq, want := range map[string][]string{
		"1": {"refund R1: SUCCESS, refund_id "},
		"2": {"refund R2: there is none."},
		"3": {"refund R1: SUCCESS", "ITS AMOUNT OR ORDER IS NOT THAT OF THE COMMAND"},
		"4": {"complaint c1: PROCESSING", "MERCHANT_RESPONSE  (9 characters)  <- the text of this command's reply\n", "MERCHANT_RESPONSE  (8 characters)\n"},
		"5": {"complaint c1: PROCESSING", "refund R2: there is none."},
		"6": {"complaint c1: PROCESSING"},
	} {
		got := liveOf(seq)
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %q in\n%s", seq, w, got)
			}
		}
	}
	var o struct {
		Live struct {
			Complaint struct {
				State   string `json:"complaint_state"`
				History []struct {
					Type string `json:"operate_type"`
					Same bool   `json:"same_as_command"`
				}
			}
		}
	}
	text := run(t, exitDone, "", "dlq", "show", "4", "--live", "-c", i.config, "-o", "json").out.String()
	if err := json.Unmarshal([]byte(text), &o); err != nil || o.Live.Complaint.State != "PROCESSING" || len(o.Live.Complaint.History) != 3 || !o.Live.Complaint.History[1].Same || o.Live.Complaint.History[2].Same {
		t.Errorf("got %s, %v", text, err)
	}
	if r := run(t, exitFailed, "", "dlq", "show", "7", "--live", "-c", i.config); !strings.Contains(r.err.String(), "names no refund or complaint that WeChat Pay could be asked about") || !strings.Contains(r.out.String(), "Dead letter 7") {
		t.Errorf("got %s%s", r.out, r.err)
	}
}

// TestDLQLiveNeedsAConfiguration: nobody can be asked without keys, and what goes wrong is said without hiding the letter.
func TestDLQLiveNeedsAConfiguration(t *testing.T) {
	t.Parallel()
	i := install(t, "")
	i.streams(t, 10)
	i.letters(t, aRefundLetter(messages.ReasonUnresolved, "R1"))
	if r := run(t, exitUsage, "", "dlq", "show", "1", "--live", "--nats", i.url); !strings.Contains(r.err.String(), "--live: expected a configuration (--config FILE) with merchant "+mchid) || r.out.String() != "" {
		t.Errorf("got %s%s", r.out, r.err)
	}
	i.sim.Fault(wxpaytest.Fault{Times: -1, Answer: wxpaytest.AnswerForged})
	if r := run(t, exitFailed, "", "dlq", "show", "1", "--live", "-c", i.config); !strings.Contains(r.err.String(), "ask WeChat Pay about the refund: ") || !strings.Contains(r.out.String(), "Dead letter 1") || strings.Contains(r.out.String(), "At WeChat Pay now\n  refund") {
		t.Errorf("got %s%s", r.out, r.err)
	}
	if err := os.Remove(filepath.Join(i.dir, mchid+"_key.pem")); err != nil {
		t.Fatal(err)
	}
	if r := run(t, exitUsage, "", "dlq", "show", "1", "--live", "-c", i.config); !strings.Contains(r.err.String(), "merchants[0].private_key_file: expected a readable file") {
		t.Errorf("got %s", r.err)
	}
}
