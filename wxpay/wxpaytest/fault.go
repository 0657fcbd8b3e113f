package wxpaytest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Fault is one scripted hardship: is the effect applied, and what does the client get to see?
// Faults are an ordered list; the first that fits and is not used up is taken. Nothing is random.
//
// The judge works first: a request that breaks a rule is refused whatever the script says, and the
// fault then only decides how that refusal travels.
type Fault struct {
	Endpoint Endpoint // "" = any
	MchID    string   // the signer; "" = any
	ID       string   // out_refund_no or complaint_id, of an upload the sha256 in its meta; "" = any

	Skip  int // let this many matching requests pass (those that reach this fault), then
	Times int // take this many; 0 = 1, below 0 = for ever

	// Apply: does the request change the books? Without it the answer is still worked out as if it had;
	// AnswerRight without Apply is therefore a lie that WeChat Pay does not tell, sensible with Hold only.
	// Reading calls have nothing to apply.
	Apply  bool
	Answer Answer

	// Status, Code and Message of AnswerRefusal: 400 INVALID_REQUEST unless said otherwise. It is signed,
	// unless Unsigned is set or Status is 401, which WeChat Pay never signs. In v2 Code is the err_code
	// and Status means nothing. The package comment has the table of all answers, v3 and v2.
	Status        int
	Code, Message string
	Unsigned      bool // takes the signature off any answer

	// ReturnFail makes the answer of a v2 call one that says return_code FAIL and, in return_msg, Message.
	// Such answers carry no sign. Other calls do not know it.
	ReturnFail bool

	// Delay before the answer, by the real clock. AnswerSlow without Delay waits until the client leaves.
	Delay time.Duration

	// Arrived, if set, gets one value when the request has been judged and applied (or not).
	Arrived chan<- struct{}
	// Hold, if set, keeps the answer back until it is closed, the client leaves or the server closes.
	Hold <-chan struct{}
}

// Answer is what the client gets to see.
type Answer int

const (
	AnswerRight         Answer = iota // what the books say
	AnswerLost                        // connection closed without a byte
	AnswerSlow                        // the right answer after Delay
	AnswerCutShort                    // connection closed in the middle of the answer
	Answer429                         // 429 FREQUENCY_LIMITED, signed
	Answer5xx                         // 500 SYSTEM_ERROR, signed
	Answer502HTML                     // 502 and a page of a gateway, unsigned
	AnswerForged                      // the right answer, a signature that does not fit
	AnswerProbe                       // the right answer, signature WECHATPAY/SIGNTEST/…
	AnswerStale                       // the right answer, correctly signed ten minutes ago
	AnswerUnsigned                    // the right answer without Wechatpay-* headers
	AnswerUnknownSerial               // the right answer, signed by a key nobody knows
	Answer202                         // 202 accepted for processing, signed, without content of use
	AnswerRefusal                     // Status, Code, Message
)

var answerNames = [...]string{"Right", "Lost", "Slow", "CutShort", "429", "5xx", "502HTML", "Forged",
	"Probe", "Stale", "Unsigned", "UnknownSerial", "202", "Refusal"}

func (a Answer) String() string {
	if a < 0 || int(a) >= len(answerNames) {
		return fmt.Sprintf("Answer(%d)", int(a))
	}
	return answerNames[a]
}

// String names the fault as a line of a script.
func (f Fault) String() string {
	var b strings.Builder
	endpoint := f.Endpoint
	if endpoint == "" {
		endpoint = "any"
	}
	fmt.Fprintf(&b, "%s", endpoint)
	if f.MchID != "" {
		fmt.Fprintf(&b, " mchid=%s", f.MchID)
	}
	if f.ID != "" {
		fmt.Fprintf(&b, " id=%s", f.ID)
	}
	if f.Skip > 0 {
		fmt.Fprintf(&b, " skip=%d", f.Skip)
	}
	if f.Times != 0 {
		fmt.Fprintf(&b, " times=%d", f.Times)
	}
	fmt.Fprintf(&b, " apply=%t answer=%s", f.Apply, f.Answer)
	if f.Answer == AnswerRefusal {
		fmt.Fprintf(&b, " %d %s", f.Status, f.Code)
	}
	if f.Unsigned {
		b.WriteString(" unsigned")
	}
	if f.ReturnFail {
		b.WriteString(" return_code=FAIL")
	}
	if f.Delay > 0 {
		fmt.Fprintf(&b, " delay=%s", f.Delay)
	}
	if f.Hold != nil {
		b.WriteString(" hold")
	}
	return b.String()
}

// Fault appends f to the script.
func (s *Server) Fault(f Fault) { s.script.add(f) }

// ClearFaults ends the script; faults that were taken already run on.
func (s *Server) ClearFaults() { s.script.clear() }

// FaultsLeft lists the faults that can still be taken, those for ever excepted.
func (s *Server) FaultsLeft() []Fault { return s.script.left() }

// A script is the ordered list of faults.
type script struct {
	mu    sync.Mutex
	lines []*line // guarded by mu
}

// A line is a fault and how far it is used up.
type line struct {
	fault       Fault
	seen, taken int
}

func (l *line) fits(e Endpoint, mchID, id string) bool {
	f := &l.fault
	return (f.Endpoint == "" || f.Endpoint == e) &&
		(f.MchID == "" || f.MchID == mchID) &&
		(f.ID == "" || f.ID == id)
}

func (l *line) usedUp() bool {
	times := l.fault.Times
	if times == 0 {
		times = 1
	}
	return times > 0 && l.taken >= times
}

func (s *script) add(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, &line{fault: f})
}

func (s *script) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = nil
}

// take returns the fault for this request, nil if the script has none.
func (s *script) take(e Endpoint, mchID, id string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lines {
		if l.usedUp() || !l.fits(e, mchID, id) {
			continue
		}
		l.seen++
		if l.seen <= l.fault.Skip {
			continue
		}
		l.taken++
		return &l.fault
	}
	return nil
}

func (s *script) left() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	var left []Fault
	for _, l := range s.lines {
		if l.fault.Times >= 0 && !l.usedUp() {
			left = append(left, l.fault)
		}
	}
	return left
}

// String is the whole script with what was used of it, for the log of a failed test.
func (s *script) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for i, l := range slices.All(s.lines) {
		fmt.Fprintf(&b, "fault %d (taken %d): %s\n", i+1, l.taken, l.fault)
	}
	return b.String()
}
