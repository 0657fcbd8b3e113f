package dlq

import (
	"slices"
	"time"

	"wxpay-worker/messages"
)

// Filter chooses dead letters. An empty field stands for all; of a list, one has to fit. The zero Filter chooses every letter.
type Filter struct {
	MchID  []string
	Kind   []messages.Kind
	Reason []messages.Reason
	Code   []string // WeChat Pay's; "" stands for a letter without one
	Key    []string // unescaped
	// Since and Until bound Letter.At: Since <= at < Until.
	Since, Until time.Time
	// Newest keeps only the newest so many of those that fit; 0 keeps all.
	Newest int
}

// Match reports whether a letter fits. Newest is about many letters and plays no part.
func (f *Filter) Match(l *Letter) bool {
	at := l.At()
	return fits(f.MchID, l.MchID) && fits(f.Kind, l.Kind) && fits(f.Reason, l.Reason) && fits(f.Code, l.Code) && fits(f.Key, l.Key) &&
		(f.Since.IsZero() || !at.Before(f.Since)) && (f.Until.IsZero() || at.Before(f.Until))
}

func fits[T comparable](of []T, v T) bool { return len(of) == 0 || slices.Contains(of, v) }

// maxSubjects is how many subjects a reader asks the server for at most; beyond that, all choosing is done here.
const maxSubjects = 100

// under lists the subjects under which what fits lies: as much of the filter as the server can apply. They do not overlap,
// which the server would refuse.
func (f *Filter) under(s messages.Subjects) (subjects []string) {
	for _, mchid := range distinct(f.MchID) {
		for _, kind := range distinct(f.Kind) {
			for _, reason := range distinct(f.Reason) {
				for _, key := range distinct(f.Key) {
					if len(subjects) == maxSubjects {
						return []string{s.AllDeadLetters()}
					}
					subjects = append(subjects, s.DeadLettersOf(mchid, kind, reason, key))
				}
			}
		}
	}
	return subjects
}

// distinct returns the different values, or one empty one, which stands for all.
func distinct[T ~string](values []T) []T {
	if len(values) == 0 || slices.Contains(values, "") {
		return []T{""}
	}
	sorted := slices.Sorted(slices.Values(values))
	return slices.Compact(sorted)
}

// At is when the command was given up, by the worker's clock; by the server's if the letter does not say.
func (l *Letter) At() time.Time {
	if l.FailedAt.IsZero() {
		return l.Time
	}
	return l.FailedAt
}
