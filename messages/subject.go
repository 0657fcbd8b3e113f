package messages

import (
	"slices"
	"strconv"
	"strings"
)

// Subjects knows the names of all streams and subjects under one prefix. Its methods build and parse; the Parse methods are
// exact inverses and refuse every subject that the builders would not write.
type Subjects struct {
	// Prefix is the first token of every subject and, in upper case, of every stream's name. 1–32 of A–Z a–z 0–9 _ -.
	Prefix string
}

// NewSubjects checks the prefix. The error is a *MalformedError.
func NewSubjects(prefix string) (Subjects, error) {
	if len(prefix) > 32 || !all(prefix, isTokenByte) {
		return Subjects{}, &MalformedError{Field: "prefix", Expected: "1 to 32 characters of A-Z a-z 0-9 _ -"}
	}
	return Subjects{prefix}, nil
}

// CommandsStream is the work queue of commands.
func (s Subjects) CommandsStream() string { return s.stream("COMMANDS") }

// OutcomesStream keeps every outcome for outcomes.max_age.
func (s Subjects) OutcomesStream() string { return s.stream("OUTCOMES") }

// DeadLettersStream keeps dead letters until a person takes them away.
func (s Subjects) DeadLettersStream() string { return s.stream("DEADLETTERS") }

// SettlementsStream is internal: accepted refunds that are being followed to their end.
func (s Subjects) SettlementsStream() string { return s.stream("SETTLEMENTS") }

// MediaStream is the stream that remembers under which media_id a picture was uploaded. Internal.
func (s Subjects) MediaStream() string { return s.stream("MEDIA") }

func (s Subjects) stream(name string) string { return strings.ToUpper(s.Prefix) + "_" + name }

// CommandPatterns lists the four command subjects with * for the merchant: exactly the subjects of the commands stream.
func (s Subjects) CommandPatterns() []string {
	patterns := make([]string, len(Kinds))
	for i, k := range Kinds {
		patterns[i] = s.Command("*", k)
	}
	return patterns
}

// AllOutcomes matches every outcome.
func (s Subjects) AllOutcomes() string { return s.Prefix + ".outcome.>" }

// AllDeadLetters matches every dead letter.
func (s Subjects) AllDeadLetters() string { return s.Prefix + ".deadletter.>" }

// AllMedia matches everything in MediaStream.
func (s Subjects) AllMedia() string { return s.Prefix + ".media.>" }

// Media is where the media_id of a merchant's picture is remembered; sha256 is that of its content, in lower-case hex.
func (s Subjects) Media(mchid, sha256 string) string { return join(s.Prefix, "media", mchid, sha256) }

// Command is the subject of a merchant's commands of one kind. mchid is ValidMchID, or "*" for a pattern.
func (s Subjects) Command(mchid string, k Kind) string {
	return join(s.Prefix, "command", mchid, commandTokens(k))
}

// ComplaintCommands matches all complaint commands of one merchant.
func (s Subjects) ComplaintCommands(mchid string) string {
	return s.Prefix + ".command." + mchid + ".complaint.>"
}

// commandTokens is what follows the merchant in a command subject: the complaint kinds share a level, so that one lane can
// consume them with one pattern.
func commandTokens(k Kind) string {
	if k == KindRefund {
		return string(k)
	}
	return "complaint." + string(k)
}

// ParseCommand is the inverse of Command. ok is false for any other subject, and for a merchant that is not ValidMchID.
func (s Subjects) ParseCommand(subject string) (mchid string, k Kind, ok bool) {
	rest, ok := s.after(subject, "command")
	if !ok {
		return "", "", false
	}
	mchid, rest, _ = strings.Cut(rest, ".")
	for _, k := range Kinds {
		if rest == commandTokens(k) && ValidMchID(mchid) {
			return mchid, k, true
		}
	}
	return "", "", false
}

// Outcome is the subject of one outcome event. key is unescaped.
func (s Subjects) Outcome(mchid string, k Kind, key string, st Status) string {
	return join(s.Prefix, "outcome", mchid, string(k), EscapeToken(key), string(st))
}

// OutcomeFilter matches every event of one key: the filter under which each of them is published, and read back.
func (s Subjects) OutcomeFilter(mchid string, k Kind, key string) string {
	return s.Outcome(mchid, k, key, "*")
}

// OutcomesOf matches every event of a merchant's commands of one kind.
func (s Subjects) OutcomesOf(mchid string, k Kind) string {
	return s.Prefix + ".outcome." + mchid + "." + string(k) + ".>"
}

// ParseOutcome is the inverse of Outcome; the key comes back unescaped.
func (s Subjects) ParseOutcome(subject string) (mchid string, k Kind, key string, st Status, ok bool) {
	rest, ok := s.after(subject, "outcome")
	t := strings.Split(rest, ".")
	if !ok || len(t) != 4 {
		return "", "", "", "", false
	}
	mchid, k, st = t[0], Kind(t[1]), Status(t[3])
	key, ok = UnescapeToken(t[2])
	if !ok || !ValidMchID(mchid) || !slices.Contains(Kinds, k) || !slices.Contains(statuses, st) {
		return "", "", "", "", false
	}
	return mchid, k, key, st, true
}

// statuses lists every status that can stand in a subject.
var statuses = []Status{StatusStarted, StatusAccepted, StatusSucceeded, StatusClosed, StatusAbnormal, StatusFailed}

// DeadLetter is the subject of one dead letter. key is unescaped.
func (s Subjects) DeadLetter(mchid string, k Kind, r Reason, key string) string {
	return join(s.Prefix, "deadletter", mchid, string(k), string(r), EscapeToken(key))
}

// DeadLetterFilter matches the dead letters of one key, whatever their reason.
func (s Subjects) DeadLetterFilter(mchid string, k Kind, key string) string {
	return s.DeadLetter(mchid, k, "*", key)
}

// DeadLettersOf matches the dead letters of one merchant, kind, reason and key; whatever is empty stands for all.
func (s Subjects) DeadLettersOf(mchid string, k Kind, r Reason, key string) string {
	tokens := []string{s.Prefix, "deadletter", mchid, string(k), string(r), key}
	for i, token := range tokens {
		if tokens[i] = EscapeToken(token); token == "" {
			tokens[i] = "*"
		}
	}
	return join(tokens...)
}

// ParseDeadLetter is the inverse of DeadLetter; the key comes back unescaped.
func (s Subjects) ParseDeadLetter(subject string) (mchid string, k Kind, r Reason, key string, ok bool) {
	rest, ok := s.after(subject, "deadletter")
	t := strings.Split(rest, ".")
	if !ok || len(t) != 4 {
		return "", "", "", "", false
	}
	mchid, k, r = t[0], Kind(t[1]), Reason(t[2])
	key, ok = UnescapeToken(t[3])
	if !ok || !ValidMchID(mchid) || !slices.Contains(Kinds, k) || !slices.Contains(Reasons, r) {
		return "", "", "", "", false
	}
	return mchid, k, r, key, true
}

// SettlementAt is the subject of a schedule that follows one refund: a new one replaces it.
func (s Subjects) SettlementAt(mchid, key string) string {
	return join(s.Prefix, "settlement", "at", mchid, EscapeToken(key))
}

// SettlementTogether is the subject of a schedule that follows several refunds of one merchant. name is the schedule's own, of letters and
// digits. No escaped key begins with "=t", so it can never be the subject of a single refund's schedule.
func (s Subjects) SettlementTogether(mchid, name string) string {
	return join(s.Prefix, "settlement", "at", mchid, "=together-"+name)
}

// AllSchedules matches the schedules of all refunds that are being followed.
func (s Subjects) AllSchedules() string { return s.Prefix + ".settlement.at.>" }

// SettlementDue is where a merchant's schedules arrive when their time has come. mchid may be "*" for a pattern.
func (s Subjects) SettlementDue(mchid string) string {
	return join(s.Prefix, "settlement", "due", mchid)
}

// ParseSettlementDue is the inverse of SettlementDue.
func (s Subjects) ParseSettlementDue(subject string) (mchid string, ok bool) {
	rest, ok := s.after(subject, "settlement")
	if !ok {
		return "", false
	}
	mchid, ok = strings.CutPrefix(rest, "due.")
	return mchid, ok && ValidMchID(mchid)
}

// AllSettlements matches every schedule and everything that is due.
func (s Subjects) AllSettlements() string { return s.Prefix + ".settlement.>" }

// after returns what follows <prefix>.<family>. in subject.
func (s Subjects) after(subject, family string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(subject, s.Prefix+".")
	if !ok {
		return "", false
	}
	return strings.CutPrefix(rest, family+".")
}

func join(tokens ...string) string { return strings.Join(tokens, ".") }

const upperHex = "0123456789ABCDEF"

// EscapeToken writes any text as one subject token: every byte outside A–Z a–z 0–9 _ - becomes = and two upper-case hex digits,
// so A*1 becomes A=2A1. No two texts share a token. The empty text has none: it stays empty, which no subject allows.
func EscapeToken(s string) string {
	if all(s, isTokenByte) {
		return s
	}
	b := make([]byte, 0, len(s)+16)
	for i := range len(s) {
		if c := s[i]; isTokenByte(c) {
			b = append(b, c)
		} else {
			b = append(b, '=', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(b)
}

// UnescapeToken is the inverse of EscapeToken. ok is false for every token that EscapeToken would not write, and for the empty
// one: two tokens for one key would be two identities for one command.
func UnescapeToken(s string) (text string, ok bool) {
	if all(s, isTokenByte) {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '=' {
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := strings.IndexByte(upperHex, s[i+1]), strings.IndexByte(upperHex, s[i+2])
			if hi < 0 || lo < 0 || isTokenByte(byte(hi<<4|lo)) {
				return "", false
			}
			c, i = byte(hi<<4|lo), i+2
		} else if !isTokenByte(c) {
			return "", false
		}
		b = append(b, c)
	}
	return string(b), len(b) > 0
}

// isTokenByte reports whether c stands for itself in a subject token.
func isTokenByte(c byte) bool { return isAlphanumeric(c) || c == '_' || c == '-' }

// ValidMchID reports whether s can be a merchant number: 1–32 digits.
// Source: 申请退款, https://pay.weixin.qq.com/doc/v2/merchant/4011937624 (mch_id String(32)), read 2026-08
func ValidMchID(s string) bool { return len(s) <= 32 && all(s, isDigit) }

// SeqKey is the key of a command whose own must not be used, because it is malformed or another command's: seq-<its sequence in
// the commands stream>.
func SeqKey(seq uint64) string { return "seq-" + strconv.FormatUint(seq, 10) }

// all reports whether s is not empty and every byte of it satisfies ok.
func all(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return s != ""
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isAlphanumeric(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
