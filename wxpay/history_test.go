package wxpay

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// talk is a complaint whose history grows while it is read.
type talk struct {
	entries []HistoryEntry // newest first
	short   int            // what a page holds less than it could
	grow    func(*talk)
	read    int
}

func (w *talk) page(limit, offset int) (*NegotiationHistory, error) {
	w.read++
	n := len(w.entries)
	from, to := min(offset, n), min(offset+limit-w.short, n)
	page := &NegotiationHistory{Data: w.entries[from:to]}
	if offset == 0 { // as the list of complaints does
		page.TotalCount = n
	}
	if w.grow != nil {
		w.grow(w)
	}
	return page, nil
}

func (w *talk) say(n int) {
	for range n {
		i := len(w.entries)
		at := time.Date(2026, 11, 21, 0, 0, i, 0, time.UTC).Format(time.RFC3339)
		w.entries = append([]HistoryEntry{{LogID: fmt.Sprint(i), OperateTime: at}}, w.entries...)
	}
}

// Every entry once, oldest first, however WeChat Pay cuts the pages, and also if it grows meanwhile.
func TestReadHistoryPages(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		w     talk
		first int
		reads int
	}{
		{"none", talk{}, 0, 1},
		{"one page", talk{}, 299, 1},
		{"exactly a page", talk{}, 300, 2},
		{"three pages", talk{}, 601, 3},
		{"shorter pages than asked for", talk{short: 200}, 250, 3},
		{"something is said meanwhile", talk{grow: func(w *talk) { w.say(2); w.grow = nil }}, 400, 2},
	} {
		w := &tt.w
		w.say(tt.first)
		all, err := ReadHistory(w.page)
		if err != nil || len(all) != tt.first || w.read != tt.reads {
			t.Errorf("%s: %d entries in %d reads, %v; want %d in %d", tt.name, len(all), w.read, err, tt.first, tt.reads)
		}
		for i, e := range all {
			if e.LogID != fmt.Sprint(i) {
				t.Fatalf("%s: entry %d is %s", tt.name, i, e.LogID)
			}
		}
	}
}

// From a history that could not be read to its end nobody may conclude that something did not happen.
func TestReadHistoryFails(t *testing.T) {
	t.Parallel()
	endless := &talk{grow: func(w *talk) { w.say(300) }}
	endless.say(300)
	if all, err := ReadHistory(endless.page); !errors.Is(err, ErrHistoryTooLong) || all != nil {
		t.Errorf("endless: %d entries, %v", len(all), err)
	}
	away := errors.New("away")
	if all, err := ReadHistory(func(_, offset int) (*NegotiationHistory, error) {
		if offset > 0 {
			return nil, away
		}
		return &NegotiationHistory{Data: make([]HistoryEntry, 300)}, nil
	}); !errors.Is(err, away) || all != nil {
		t.Errorf("second page away: %d entries, %v", len(all), err)
	}
}

// What WeChat Pay does not return in large pages is read in smaller ones, down to a size at which the refusal must mean something else.
func TestReadHistoryInSmallerPages(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		most  int // entries that WeChat Pay returns at once
		why   error
		reads int
		ends  bool
	}{
		"refused": {100, ErrInvalidRequest, 1 + 7, false}, "too large": {40, ErrTooLarge, 2 + 19, false},
		"refused for another reason": {0, ErrInvalidRequest, 5, true}, "other refusal": {100, ErrNoAuth, 1, true},
	} {
		w := &talk{}
		w.say(601)
		all, err := ReadHistory(func(limit, offset int) (*NegotiationHistory, error) {
			if limit > tt.most {
				w.read++
				return nil, fmt.Errorf("read: %w", tt.why)
			}
			return w.page(limit, offset)
		})
		if tt.ends != errors.Is(err, tt.why) || !tt.ends && len(all) != 601 || w.read != tt.reads {
			t.Errorf("%s: %d entries in %d reads, %v", name, len(all), w.read, err)
		}
	}
}

func TestReadHistoryOldestFirst(t *testing.T) {
	t.Parallel()
	times := map[byte]string{'0': "yesterday", '1': "2026-11-21T08:00:00+08:00", '2': "2026-11-21T00:00:01Z"}
	for name, in := range map[string]string{
		"newest first": "b2 a1 create1", "oldest first": "create1 a1 b2",
		"all at once, newest first": "b1 a1 create1", "all at once, oldest first": "create1 a1 b1", "undated": "a1 b2 create0",
	} {
		all, err := ReadHistory(func(int, int) (page *NegotiationHistory, _ error) {
			page = &NegotiationHistory{}
			for text := range strings.FieldsSeq(in) {
				e := HistoryEntry{LogID: text[:len(text)-1], OperateTime: times[text[len(text)-1]]}
				if e.LogID == "create" {
					e.OperateType = UserCreateComplaint
				}
				page.Data = append(page.Data, e)
			}
			return page, nil
		})
		if err != nil || len(all) != 3 || all[0].LogID != "create" || all[1].LogID != "a" || all[2].LogID != "b" {
			t.Errorf("%s: %v, %v", name, all, err)
		}
	}
}
