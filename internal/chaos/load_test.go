package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// fate is how a command must end, whatever happens to the installation.
type fate string

const (
	good      fate = "good"      // carried out, once
	rejected  fate = "rejected"  // a dead letter: WeChat Pay says no
	malformed fate = "malformed" // a dead letter: it cannot be understood
	conflict  fate = "conflict"  // a dead letter: its identity is a good command's
	mended    fate = "mended"    // a dead letter, until the operator has seen to it and has put it back; then carried out, once
)

// done reports whether the command is carried out in the end.
func (f fate) done() bool { return f == good || f == mended }

// command is something that a publisher wants done, and what it knows of it. It may be published several times.
type command struct {
	n         int // its number in the load, which travels in a header
	mchid     string
	kind      messages.Kind
	key       string // "" if malformed
	fate      fate
	body      string
	complaint string
	text      string // of the reply, alone or within a decision
	action    string // of a decision
	refund    *wish  // of a refund, alone or within a decision
	misspelt  bool   // what the operator corrects is the command itself
	after     *command
	continued bool          // its order has a second refund; guarded by load.mu
	stored    chan struct{} // closed when the stream has confirmed it for the first time

	mu        sync.Mutex
	phase     int
	published time.Time // when its publisher first tried; guarded by mu
	sequences []uint64  // under which the stream has confirmed it; guarded by mu
}

// payer is out of whose purse the command is paid, or whose complaint it is: the merchant's, or that of a provider's sub-merchant.
func (c *command) payer() string {
	if c.refund != nil && c.refund.sub != "" {
		return c.refund.sub
	}
	return c.mchid
}

// wish is what a refund shall be.
type wish struct {
	sub           string // of a provider's
	number, order string
	amount, total int64
}

// headerCommand says which command a message is; dead letters keep it.
const headerCommand = "Chaos-Command"

// load makes commands by one seed and publishes them.
type load struct {
	site  *site
	hasty bool       // see plan
	twice bool       // refund some orders in two parts, a minute apart; set between phases
	r     *rand.Rand // of whoever makes commands

	mu       sync.Mutex
	all      []*command
	refused  int // publishes that were not confirmed, and were repeated; guarded by mu
	inFlight sync.WaitGroup
}

func newLoad(s *site, r *rand.Rand, hasty bool) *load { return &load{site: s, r: r, hasty: hasty} }

// steady publishes so many commands a second for that long, each in its own time: one that must wait for NATS does not delay the
// next.
func (l *load) steady(ctx context.Context, phase, rate int, for_ time.Duration) {
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for range int(for_.Seconds()) * rate {
		for _, c := range l.next() {
			l.publish(ctx, phase, c)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// burst publishes n refunds of one merchant at once.
func (l *load) burst(ctx context.Context, phase, merchant, n int) {
	for range n {
		l.mu.Lock()
		c := l.refund(merchant, good)
		l.mu.Unlock()
		l.publish(ctx, phase, c)
	}
}

// next makes the next command, or two that belong together, or takes one that was published before once more.
func (l *load) next() []*command {
	l.mu.Lock()
	defer l.mu.Unlock()
	merchant := l.r.IntN(merchants)
	switch lot := l.r.IntN(100); {
	case lot < 54:
		return []*command{l.refund(merchant, good)}
	case lot < 58 && l.twice:
		return []*command{l.second(merchant)}
	case lot < 58:
		return []*command{l.refund(merchant, good)}
	case lot < 63:
		if l.hasty {
			merchant = 0
		}
		if lot < 60 {
			return []*command{l.refund(merchant, rejected)}
		}
		return []*command{l.refund(merchant, mended)}
	case lot < 65:
		return []*command{l.misspelt(l.reply(merchant, mended))}
	case lot < 68:
		return []*command{l.malformed(merchant)}
	case lot < 73:
		if earlier := l.earlier(func(c *command) bool { return true }); earlier != nil {
			return []*command{earlier}
		}
		return []*command{l.refund(merchant, good)}
	case lot < 76:
		if original := l.earlier(func(c *command) bool { return c.fate == good && c.kind != messages.KindComplete }); original != nil {
			return []*command{l.conflicting(original)}
		}
		return []*command{l.refund(merchant, good)}
	case lot < 86:
		return []*command{l.reply(merchant, good)}
	case lot < 90:
		reply := l.reply(merchant, good)
		return []*command{reply, l.complete(reply)}
	case lot < 97:
		return []*command{l.approve(merchant)}
	default:
		return []*command{l.reject(merchant)}
	}
}

// earlier is one of the newest commands that fit, nil if there is none.
func (l *load) earlier(fits func(*command) bool) *command {
	for range 20 {
		if len(l.all) == 0 {
			return nil
		}
		newest := min(len(l.all), 200)
		if c := l.all[len(l.all)-1-l.r.IntN(newest)]; fits(c) {
			return c
		}
	}
	return nil
}

// add numbers a command and writes its body.
func (l *load) add(c *command, fields map[string]any) *command {
	c.n, c.stored = len(l.all), make(chan struct{})
	if c.kind != messages.KindRefund {
		fields["id"] = c.key
	}
	if c.complaint != "" {
		fields["complaint_id"] = c.complaint
	}
	if c.body == "" {
		body, err := json.Marshal(fields)
		if err != nil {
			panic(err) // strings and numbers only
		}
		c.body = string(body)
	}
	l.all = append(l.all, c)
	return c
}

// order is a new order that was paid, of the merchant or of the provider's sub-merchant.
func (l *load) order(merchant int, sub string, total int64) string {
	id := fmt.Sprintf("42%026d", len(l.all)+1)
	l.site.sim.AddOrder(wxpaytest.Order{MchID: mchid(merchant), SubMchID: sub, TransactionID: id, Total: total})
	return id
}

func (w *wish) fields() map[string]any {
	f := map[string]any{
		"out_refund_no": w.number, "transaction_id": w.order,
		"amount": map[string]any{"refund": w.amount, "total": w.total},
	}
	if w.sub != "" {
		f["sub_mchid"] = w.sub
	}
	return f
}

func (l *load) wish(merchant int) *wish {
	amount := 1 + l.r.Int64N(100)
	w := &wish{number: fmt.Sprintf("R*%d|%d", l.r.IntN(1000), len(l.all)), amount: amount, total: amount * 3}
	if isProvider(merchant) {
		w.sub = subMchID(merchant, l.r.IntN(2))
	}
	return w
}

// refund is of an order of its own: one that exists, unless it is to be rejected at first.
func (l *load) refund(merchant int, f fate) *command {
	w := l.wish(merchant)
	if f == good {
		w.order = l.order(merchant, w.sub, w.total)
	} else {
		w.order = fmt.Sprintf("99%026d", len(l.all))
	}
	c := &command{mchid: mchid(merchant), kind: messages.KindRefund, key: w.number, fate: f, refund: w}
	return l.add(c, w.fields())
}

// second refunds another part of an order that was refunded before: WeChat Pay wants a minute between them.
func (l *load) second(merchant int) *command {
	first := l.earlier(func(c *command) bool {
		return c.kind == messages.KindRefund && c.fate == good && c.after == nil && !c.continued
	})
	if first == nil {
		return l.refund(merchant, good)
	}
	w := *first.refund
	w.number += "second" + strconv.Itoa(len(l.all))
	first.continued = true
	c := &command{mchid: first.mchid, kind: messages.KindRefund, key: w.number, fate: good, refund: &w, after: first}
	return l.add(c, w.fields())
}

var unreadable = []struct {
	kind messages.Kind
	body string
}{
	{messages.KindRefund, `{"out_refund_no":"M","transaction_id":"1","amount":{"refund":1,"total":1},"raeson":"x"}`},
	{messages.KindRefund, `{"out_refund_no":"M","transaction_id":"1","amount":{"refund":1.0,"total":1}}`},
	{messages.KindRefund, `{"out_refund_no":"M","transaction_id":"1","amount":{"refund":2,"total":1}}`},
	{messages.KindRefund, `{"out_refund_no":"M","transaction_id":"1"`},
	{messages.KindRefund, `null`},
	{messages.KindReply, `{"complaint_id":"c","complainted_mchid":"1","response_content":"no id"}`},
	{messages.KindDecision, `{"id":"M","complaint_id":"c","action":"PERHAPS"}`},
	{messages.KindComplete, `{"id":"M","complaint_id":"c c","complainted_mchid":"1"}`},
}

func (l *load) malformed(merchant int) *command {
	m := unreadable[l.r.IntN(len(unreadable))]
	return l.add(&command{mchid: mchid(merchant), kind: m.kind, fate: malformed, body: m.body}, map[string]any{})
}

// conflicting bears the identity of another command and wants something else.
func (l *load) conflicting(with *command) *command {
	c := &command{mchid: with.mchid, kind: with.kind, key: with.key, fate: conflict, complaint: with.complaint, after: with}
	switch with.kind {
	case messages.KindRefund:
		w := *with.refund
		w.amount++
		c.refund = &w
		return l.add(c, w.fields())
	case messages.KindReply:
		c.text = with.text + " 不同"
		return l.add(c, map[string]any{"complainted_mchid": c.mchid, "response_content": c.text})
	default:
		return l.add(c, map[string]any{"action": "REJECT", "reject_reason": "不同"})
	}
}

// newComplaint is filed by a user who wants a fast refund.
func (l *load) newComplaint(merchant int, order string) string {
	id := fmt.Sprintf("2002%026d", len(l.all))
	l.site.sim.AddComplaint(wxpaytest.Complaint{ID: id, MchID: mchid(merchant), Orders: []string{order}, FastRefund: true})
	return id
}

func (l *load) reply(merchant int, f fate) *command {
	n := len(l.all)
	c := &command{mchid: mchid(merchant), kind: messages.KindReply, key: fmt.Sprintf("P-%d", n), fate: f, text: fmt.Sprintf("您好 %d", n)}
	c.complaint = l.newComplaint(merchant, l.order(merchant, "", 300))
	return l.add(c, map[string]any{"complainted_mchid": c.mchid, "response_content": c.text})
}

// The operator corrects a misspelt command by a JSON merge patch.
const (
	misspelling = `,"respnse":"x"}`
	correction  = `{"respnse":null}`
)

// misspelt is a command that has one field too many.
func (l *load) misspelt(c *command) *command {
	c.body, c.misspelt = strings.TrimSuffix(c.body, "}")+misspelling, true
	return c
}

// complete reports a complaint as finished to which reply is the reply: it would be refused before that.
func (l *load) complete(reply *command) *command {
	c := &command{mchid: reply.mchid, kind: messages.KindComplete, key: fmt.Sprintf("C-%d", len(l.all)), fate: good, complaint: reply.complaint, after: reply}
	return l.add(c, map[string]any{"complainted_mchid": c.mchid})
}

// approve is a decision with all that can hang on it: a reply before it, a refund after it.
func (l *load) approve(merchant int) *command {
	n := len(l.all)
	w := l.wish(merchant)
	w.order = l.order(merchant, w.sub, w.total)
	c := &command{mchid: mchid(merchant), kind: messages.KindDecision, key: fmt.Sprintf("D-%d", n), fate: good, action: "APPROVE", text: fmt.Sprintf("同意退款 %d", n), refund: w}
	c.complaint = l.newComplaint(merchant, w.order)
	return l.add(c, map[string]any{
		"action": c.action, "launch_refund_day": l.r.IntN(3), "refund": w.fields(),
		"reply": map[string]any{"complainted_mchid": c.mchid, "response_content": c.text},
	})
}

func (l *load) reject(merchant int) *command {
	c := &command{mchid: mchid(merchant), kind: messages.KindDecision, key: fmt.Sprintf("D-%d", len(l.all)), fate: good, action: "REJECT"}
	c.complaint = l.newComplaint(merchant, l.order(merchant, "", 300))
	return l.add(c, map[string]any{"action": c.action, "reject_reason": "拒绝退款"})
}

// publish puts the command into the stream, repeating until that is confirmed, as an honest publisher does.
func (l *load) publish(ctx context.Context, phase int, c *command) {
	c.mu.Lock()
	if c.published.IsZero() {
		c.published, c.phase = time.Now(), phase
	}
	c.mu.Unlock()
	l.inFlight.Go(func() {
		if c.after != nil {
			select {
			case <-c.after.stored:
			case <-ctx.Done():
				return
			}
		}
		msg := nats.NewMsg(l.site.subjects.Command(c.mchid, c.kind))
		msg.Header.Set(headerCommand, strconv.Itoa(c.n))
		msg.Data = []byte(c.body)
		for ctx.Err() == nil {
			each, done := context.WithTimeout(ctx, 5*time.Second)
			ack, err := l.site.js.PublishMsg(each, msg)
			done()
			if err == nil {
				c.confirmed(ack.Sequence)
				return
			}
			l.mu.Lock()
			l.refused++
			l.mu.Unlock()
			select {
			case <-time.After(200 * time.Millisecond): // a publisher's pause between two tries
			case <-ctx.Done():
			}
		}
	})
}

func (c *command) confirmed(sequence uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sequences = append(c.sequences, sequence); len(c.sequences) == 1 {
		close(c.stored)
	}
}

// command is the one of that number; nil if there is none.
func (l *load) command(n int) *command {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n < 0 || n >= len(l.all) {
		return nil
	}
	return l.all[n]
}

// commands are all that were made so far.
func (l *load) commands() []*command {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*command(nil), l.all...)
}
