package wxpay

import (
	"errors"
	"slices"
	"time"
)

// The limits of ReadHistory, in entries.
const (
	historyPage  = 300  // the most that WeChat Pay returns at once
	historyLeast = 10   // the smallest page that is asked for where larger ones are too large to be returned
	historyMost  = 6000 // a complaint takes 2,000 messages of the merchant: more are not believed
)

// ErrHistoryTooLong says that a history goes on beyond 6,000 entries. What lies behind them is not known: do not conclude from what
// was read that something did not happen.
var ErrHistoryTooLong = errors.New("wxpay: the negotiation history has more than 6000 entries")

// ReadHistory reads all pages of a negotiation history, oldest entry first, each entry once. page reads one of them, as
// Client.NegotiationHistory does; its error ends the reading and is returned as it is. ErrHistoryTooLong is the only other error.
//
// A page that is refused with INVALID_REQUEST, or is larger than 1 MiB, is asked for again in smaller ones: WeChat Pay bounds the size of its
// answers ("当前查询结果数据量过大"). Source: 查询投诉协商历史, https://pay.weixin.qq.com/wiki/doc/apiv3/apis/chapter10_2_12.shtml, 2023-03-07
//
// WeChat Pay does not say in which order entries come. Here they are sorted by time. Entries of one second keep the order in which they
// came, reversed if the newest came first. Entries without a date come first.
func ReadHistory(page func(limit, offset int) (*NegotiationHistory, error)) ([]HistoryEntry, error) {
	all, known, total := []HistoryEntry{}, map[string]bool{}, 0
	limit := historyPage
	for offset := 0; offset < historyMost; {
		p, err := page(limit, offset)
		if limit > historyLeast && (errors.Is(err, ErrInvalidRequest) || errors.Is(err, ErrTooLarge)) {
			limit = max(limit/3, historyLeast)
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range p.Data {
			if e.LogID == "" || !known[e.LogID] { // what is said meanwhile moves entries on to the next page
				all = append(all, e)
			}
			known[e.LogID] = true
		}
		offset += len(p.Data)
		total = max(total, p.TotalCount) // perhaps only the first page says it
		// A short page is not the last one if there are more.
		if len(p.Data) == 0 || len(p.Data) < limit && offset >= total {
			oldestFirst(all)
			return all, nil
		}
	}
	return nil, ErrHistoryTooLong
}

func oldestFirst(all []HistoryEntry) {
	if n := len(all); n > 1 {
		first, last := &all[0], &all[n-1]
		if order := first.Time().Compare(last.Time()); order > 0 || order == 0 && last.OperateType == UserCreateComplaint {
			slices.Reverse(all)
		}
	}
	slices.SortStableFunc(all, func(a, b HistoryEntry) int { return a.Time().Compare(b.Time()) })
}

// Time is OperateTime; the zero time if that is empty or not RFC 3339.
func (e *HistoryEntry) Time() time.Time {
	t, err := time.Parse(time.RFC3339, e.OperateTime)
	if err != nil {
		return time.Time{}
	}
	return t
}
