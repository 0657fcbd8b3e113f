package wxpaytest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// books are all that WeChat Pay knows: orders, refunds, purses, complaints, pictures. One mutex guards all of it;
// no rule holds it for more than microseconds, and signatures are made outside of it.
type books struct {
	options Options

	mu           sync.Mutex
	orders       []*order
	transactions map[string]*order       // by transaction_id
	trades       map[tradeKey]*order     // by merchant's own order number
	numbers      map[numberKey]*number   // by out_refund_no
	refunds      []*refund               // accepted, oldest first
	refundIDs    map[string]*refund      // by refund_id
	purses       map[string]int64        // fen; no entry = unlimited
	complaints   map[string]*complaint   // by complaint_id
	filed        []*complaint            // the same, oldest first
	complained   map[string][]*complaint // by transaction_id
	uploads      []MediaBook             // pictures, oldest first
	media        map[mediaKey]string     // what may be named: the digest of the picture; "" = known by AddMedia
	notifyURLs   map[string]string       // by mchid
	serial       int64                   // makes identifiers
	mediaIDs     int64                   // makes those of pictures

	address func() string // of the primary host, for URLs in answers
}

func newBooks(o Options) *books {
	return &books{
		options:      o,
		transactions: map[string]*order{},
		trades:       map[tradeKey]*order{},
		numbers:      map[numberKey]*number{},
		refundIDs:    map[string]*refund{},
		purses:       map[string]int64{},
		complaints:   map[string]*complaint{},
		complained:   map[string][]*complaint{},
		media:        map[mediaKey]string{},
		notifyURLs:   map[string]string{},
	}
}

func (b *books) nextSerial() int64 {
	b.serial++
	return b.serial
}

// china is the zone that WeChat Pay writes times in. Source: M:4012081709.
var china = time.FixedZone("", 8*60*60)

func stamp(t time.Time) string { return t.In(china).Format(time.RFC3339) }

// CheckBooks says what must never be, whatever happened: an order with more refunded than paid, or more
// than 50 refunds; a number with two refunds; a purse below zero; a complaint decided or completed twice
// in one round, completed without a reply, told more than 20 messages in one turn, or the same words with the same
// pictures twice in one turn, however often the pictures were uploaded. It joins all that it finds. What depends
// on what a client meant is not here: Replies, MediaBooks and Overdue are for that.
func (s *Server) CheckBooks() error {
	b := s.books
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Join(b.checkOrders(), b.checkRefunds(), b.checkPurses(), b.checkComplaints())
}

func (b *books) checkOrders() error {
	var found []error
	for _, o := range b.orders {
		if sum := o.committed(); sum > o.total {
			found = append(found, fmt.Errorf("order %s: refunded %d of %d fen", o.name(), sum, o.total))
		}
		if n := len(o.refunds); n > maxPartialRefunds {
			found = append(found, fmt.Errorf("order %s: %d refunds", o.name(), n))
		}
	}
	return errors.Join(found...)
}

func (b *books) checkRefunds() error {
	var found []error
	byNumber, byID := map[numberKey]bool{}, map[string]bool{}
	for _, r := range b.refunds {
		key := numberKey{r.mchID, r.outRefundNo}
		if byNumber[key] || byID[r.refundID] {
			found = append(found, fmt.Errorf("refund %s of %s: exists twice", r.outRefundNo, r.mchID))
		}
		byNumber[key], byID[r.refundID] = true, true
		if !slices.Contains(r.order.refunds, r) || r.amount <= 0 {
			found = append(found, fmt.Errorf("refund %s of %s: not in its order's book", r.outRefundNo, r.mchID))
		}
	}
	return errors.Join(found...)
}

func (b *books) checkPurses() error {
	var found []error
	for mchID, fen := range b.purses {
		if fen < 0 {
			found = append(found, fmt.Errorf("purse of %s: %d fen", mchID, fen))
		}
	}
	return errors.Join(found...)
}
