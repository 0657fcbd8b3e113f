package messages

import (
	"slices"
	"strings"
	"testing"
)

func TestNewSubjects(t *testing.T) {
	for _, good := range []string{"wxpay", "A-b_9", strings.Repeat("x", 32)} {
		if s, err := NewSubjects(good); err != nil || s.Prefix != good {
			t.Errorf("%q: %+v, %v", good, s, err)
		}
	}
	for _, bad := range []string{"", "a.b", "a b", "*", ">", "$JS", "é", strings.Repeat("x", 33)} {
		_, err := NewSubjects(bad)
		checkMalformed(t, err, "prefix", "1 to 32 characters of A-Z a-z 0-9 _ -")
	}
}

// TestSubjects pins the names, which are a public contract.
func TestSubjects(t *testing.T) {
	s := Subjects{"wxpay"}
	for got, want := range map[string]string{
		s.CommandsStream():                                 "WXPAY_COMMANDS",
		s.OutcomesStream():                                 "WXPAY_OUTCOMES",
		s.DeadLettersStream():                              "WXPAY_DEADLETTERS",
		s.SettlementsStream():                              "WXPAY_SETTLEMENTS",
		s.AllSchedules():                                   "wxpay.settlement.at.>",
		s.MediaStream():                                    "WXPAY_MEDIA",
		s.AllMedia():                                       "wxpay.media.>",
		s.Media("19", "0a"):                                "wxpay.media.19.0a",
		s.OutcomesOf("19", KindRefund):                     "wxpay.outcome.19.refund.>",
		s.AllOutcomes():                                    "wxpay.outcome.>",
		s.AllDeadLetters():                                 "wxpay.deadletter.>",
		s.Command("19", KindRefund):                        "wxpay.command.19.refund",
		s.Command("19", KindDecision):                      "wxpay.command.19.complaint.decision",
		s.Command("19", KindReply):                         "wxpay.command.19.complaint.reply",
		s.Command("19", KindComplete):                      "wxpay.command.19.complaint.complete",
		s.Outcome("19", KindRefund, "A*1", StatusAccepted): "wxpay.outcome.19.refund.A=2A1.accepted",
		s.Outcome("19", KindReply, "D-1:reply", StatusStarted):           "wxpay.outcome.19.reply.D-1=3Areply.started",
		s.OutcomeFilter("19", KindRefund, "A*1"):                         "wxpay.outcome.19.refund.A=2A1.*",
		s.DeadLetter("19", KindDecision, ReasonMalformed, SeqKey(17)):    "wxpay.deadletter.19.decision.malformed.seq-17",
		s.DeadLetterFilter("19", KindComplete, "C 1"):                    "wxpay.deadletter.19.complete.*.C=201",
		s.DeadLettersOf("", "", "", ""):                                  "wxpay.deadletter.*.*.*.*",
		s.DeadLettersOf("19", "", ReasonPoison, "C 1"):                   "wxpay.deadletter.19.*.poison.C=201",
		s.DeadLettersOf(">", "*", "", ""):                                "wxpay.deadletter.=3E.=2A.*.*",
		Subjects{"Shop-1"}.CommandsStream():                              "SHOP-1_COMMANDS",
		Subjects{"Shop-1"}.Outcome("1", KindRefund, "R", StatusAbnormal): "Shop-1.outcome.1.refund.R.abnormal",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	want := []string{"wxpay.command.*.refund", "wxpay.command.*.complaint.decision", "wxpay.command.*.complaint.reply", "wxpay.command.*.complaint.complete"}
	if got := s.CommandPatterns(); !slices.Equal(got, want) {
		t.Errorf("CommandPatterns() = %v, want %v", got, want)
	}
}

var keys = []string{"R1", "a-b_c", "A*1|2@3", "D 1:reply", "~", "=", "=2A", "seq-1", "Ünï", "\x00\xff", "a.b.*.>"}

func TestParseSubjectsIsInverse(t *testing.T) {
	s := Subjects{"wxpay"}
	for _, k := range Kinds {
		if m, kind, ok := s.ParseCommand(s.Command("1900000001", k)); !ok || m != "1900000001" || kind != k {
			t.Errorf("ParseCommand %s: %s %s %v", k, m, kind, ok)
		}
		for _, key := range keys {
			for _, st := range statuses {
				subject := s.Outcome("1900000001", k, key, st)
				if m, kind, got, status, ok := s.ParseOutcome(subject); !ok || m != "1900000001" || kind != k || got != key || status != st {
					t.Errorf("ParseOutcome(%s) = %s %s %q %s %v", subject, m, kind, got, status, ok)
				}
			}
			for _, r := range Reasons {
				subject := s.DeadLetter("1900000001", k, r, key)
				if m, kind, reason, got, ok := s.ParseDeadLetter(subject); !ok || m != "1900000001" || kind != k || got != key || reason != r {
					t.Errorf("ParseDeadLetter(%s) = %s %s %s %q %v", subject, m, kind, reason, got, ok)
				}
			}
		}
	}
}

func TestParseSubjectsRefuses(t *testing.T) {
	s := Subjects{"wxpay"}
	for _, subject := range []string{
		"", "wxpay", "wxpay.command", "wxpay.command.19", "wxpay.command.19.", "wxpay.command..refund", "wxpay.command.19.complaint", "wxpay.command.19.decision",
		"wxpay.command.19.complaint.refund", "wxpay.command.19.complaint.refunds", "wxpay.command.19.refund.x", "wxpay.command.19.Refund", "wxpay.command.*.refund",
		"wxpay.command.x.refund", "wxpay.outcome.19.refund", "other.command.19.refund", "wxpayx.command.19.refund", "wxpay.commands.19.refund",
		"wxpay.command." + strings.Repeat("1", 33) + ".refund",
	} {
		if m, k, ok := s.ParseCommand(subject); ok || m != "" || k != "" {
			t.Errorf("ParseCommand(%q) = %q %q %v", subject, m, k, ok)
		}
	}
	for _, subject := range []string{
		"", "wxpay.outcome.19.refund.R", "wxpay.outcome.19.refund.R.failed.x", "wxpay.outcome.19.refund..failed", "wxpay.outcome.x.refund.R.failed",
		"wxpay.outcome.19.refunds.R.failed", "wxpay.outcome.19.refund.R.done", "wxpay.outcome.19.refund.R.*", "wxpay.outcome.19.refund.A*1.failed",
		"wxpay.outcome.19.refund.A=2a1.failed", "other.outcome.19.refund.R.failed", "wxpay.deadletter.19.refund.R.failed",
	} {
		if m, k, key, st, ok := s.ParseOutcome(subject); ok || m != "" || k != "" || key != "" || st != "" {
			t.Errorf("ParseOutcome(%q) is accepted", subject)
		}
	}
	for _, subject := range []string{
		"", "wxpay.deadletter.19.refund.poison", "wxpay.deadletter.19.refund.poison.R.x", "wxpay.deadletter.19.refund.poison.", "wxpay.deadletter.x.refund.poison.R",
		"wxpay.deadletter.19.refunds.poison.R", "wxpay.deadletter.19.refund.poisoned.R", "wxpay.deadletter.19.refund.*.R", "wxpay.deadletter.19.refund.poison.R=4",
		"other.deadletter.19.refund.poison.R", "wxpay.outcome.19.refund.poison.R",
	} {
		if m, k, r, key, ok := s.ParseDeadLetter(subject); ok || m != "" || k != "" || r != "" || key != "" {
			t.Errorf("ParseDeadLetter(%q) is accepted", subject)
		}
	}
}

func TestEscapeToken(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "azAZ09_-": "azAZ09_-", "A*1": "A=2A1", "A|1@2": "A=7C1=402", "=": "=3D", "a.b": "a=2Eb", " ": "=20", "é": "=C3=A9", "\x00\xff": "=00=FF",
	} {
		if got := EscapeToken(text); got != want {
			t.Errorf("EscapeToken(%q) = %q, want %q", text, got, want)
		}
	}
}

// TestUnescapeTokenRefuses: only what EscapeToken writes has a meaning, or one key would have several subjects.
func TestUnescapeTokenRefuses(t *testing.T) {
	for _, bad := range []string{"", "=", "a=", "a=2", "=2a", "=GG", "=41", "=5F", "=2D", "=30", "a.b", "a*", "a b", "é", "==3D", "=3"} {
		if text, ok := UnescapeToken(bad); ok || text != "" {
			t.Errorf("UnescapeToken(%q) = %q, %v", bad, text, ok)
		}
	}
}

func FuzzToken(f *testing.F) {
	for _, k := range keys {
		f.Add(k)
	}
	f.Add("=2a")
	f.Add("a=")
	f.Fuzz(func(t *testing.T, s string) {
		token := EscapeToken(s)
		if strings.ContainsAny(token, ".*> \t\r\n") {
			t.Fatalf("EscapeToken(%q) = %q is no token", s, token)
		}
		if text, ok := UnescapeToken(token); ok != (s != "") || text != s {
			t.Fatalf("UnescapeToken(EscapeToken(%q)) = %q, %v", s, text, ok)
		}
		if text, ok := UnescapeToken(s); ok && EscapeToken(text) != s {
			t.Fatalf("EscapeToken(UnescapeToken(%q)) = %q", s, EscapeToken(text))
		}
	})
}

func TestValidMchID(t *testing.T) {
	for s, want := range map[string]bool{"1900000001": true, "1": true, strings.Repeat("1", 32): true, strings.Repeat("1", 33): false, "": false, "19x": false, " 19": false, "١": false, "-1": false} {
		if ValidMchID(s) != want {
			t.Errorf("ValidMchID(%q) = %v", s, !want)
		}
	}
}

func TestSeqKey(t *testing.T) {
	if got := SeqKey(18446744073709551615); got != "seq-18446744073709551615" {
		t.Errorf("got %s", got)
	}
}
