package wxpaytest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/base64"
	"slices"
	"time"
)

// States of a complaint. Source: M:4012533436; how it moves between them is in docket.go.
const (
	statePending    = "PENDING"
	stateProcessing = "PROCESSING"
	stateProcessed  = "PROCESSED"
)

// Values of problem_type and of user_tag_list. Source: M:4012533436.
const (
	problemRefund  = "REFUND"           // handled first of all
	problemService = "SERVICE_NOT_WORK" // what a complaint is about unless it says otherwise
	problemOthers  = "OTHERS"
	tagTrusted     = "TRUSTED"   // with REFUND: a fast refund
	tagHighRisk    = "HIGH_RISK" // handle first
)

// A Complaint to enter into the books. It begins PENDING. One complaint may be about several orders, and one
// order may have several complaints.
type Complaint struct {
	ID               string   // 1 to 64 of [0-9A-Za-z_-]
	MchID            string   // who may call: the merchant, or its provider
	ComplaintedMchID string   // the accused merchant; "" = MchID
	Orders           []string // transaction ids; orders may be entered later

	// FastRefund [极速退款] is short for problem_type REFUND and user tag TRUSTED. Only such a complaint can be
	// decided; others are refused PARAM_ERROR. Source: COMM:000c262abc8df03a070e577fa51800 (both are wanted
	// here; whether production still wants the tag is not confirmed).
	FastRefund bool

	ProblemType string   // REFUND, SERVICE_NOT_WORK or OTHERS; "" = REFUND with FastRefund, else SERVICE_NOT_WORK
	UserTags    []string // of TRUSTED and HIGH_RISK; FastRefund adds TRUSTED

	// NeedImmediateService is need_immediate_service in the answers. Nothing else hangs on it: the call
	// response-immediate-service is not simulated, and that other replies are refused is not documented.
	NeedImmediateService bool
}

// kind fills in what FastRefund stands for; false if the fields contradict each other or are not known.
func (c Complaint) kind() (problem string, tags []string, ok bool) {
	problem, tags = c.ProblemType, slices.Clone(c.UserTags)
	switch {
	case c.FastRefund && problem == "":
		problem = problemRefund
	case problem == "":
		problem = problemService
	}
	if c.FastRefund && !slices.Contains(tags, tagTrusted) {
		tags = append(tags, tagTrusted)
	}
	ok = slices.Contains([]string{problemRefund, problemService, problemOthers}, problem) && (!c.FastRefund || problem == problemRefund)
	for _, tag := range tags {
		ok = ok && (tag == tagTrusted || tag == tagHighRisk)
	}
	return problem, tags, ok
}

// A ComplaintBook is a complaint as the books have it.
type ComplaintBook struct {
	ID, MchID, ComplaintedMchID string
	State                       string // PENDING PROCESSING PROCESSED
	FullRefunded                bool   // complaint_full_refunded
	UserComplaintTimes          int    // 1 + how often the user continued
	InPlatformService           bool   // see PlatformServes
	Round                              // the current round, the last of Rounds
	Rounds                      []Round
	History                     []HistoryEntry
}

type complaint struct {
	id, mchID        string
	complaintedMchID string // "" = not known yet, with OpenBooks
	orders           []string
	problem          string
	tags             []string
	immediate        bool
	createdAt        time.Time
	phone            string

	state     string
	rounds    []round // never empty; the last one is the current
	userWaits bool    // incoming_user_response
	served    bool    // in_platform_service
	turn      int     // messages of the merchant since the user last said something
	messages  int     // in total
	history   []HistoryEntry
}

// A round is what counts from one complaining of the user to the next.
type round struct {
	Round
	decided, approved bool
}

func (c *complaint) round() *round { return &c.rounds[len(c.rounds)-1] }

// begin opens a round: the first, or one more.
func (c *complaint) begin(now time.Time) {
	c.state = statePending
	c.rounds = append(c.rounds, round{Round: newRound(now)})
}

// finish ends the current round.
func (c *complaint) finish(now time.Time) {
	c.state = stateProcessed
	if r := c.round(); r.FinishedAt.IsZero() {
		r.FinishedAt = now
	}
}

// fast: can it be decided? Source: COMM:000c262abc8df03a070e577fa51800.
func (c *complaint) fast() bool {
	return c.problem == problemRefund && slices.Contains(c.tags, tagTrusted)
}

// encryptedPhone is payer_phone as it travels: RSAES-OAEP with SHA-1 for the merchant's key.
// Source: M:4013053257, M:4013053265.
func (c *complaint) encryptedPhone(m *merchant) string {
	if c.phone == "" {
		cipher, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, m.key, []byte("18500000000"), nil)
		if err != nil {
			return ""
		}
		c.phone = base64.StdEncoding.EncodeToString(cipher)
	}
	return c.phone
}

func (b *books) addComplaint(add Complaint, now time.Time) *complaint {
	problem, tags, _ := add.kind()
	c := &complaint{
		id: add.ID, mchID: add.MchID, complaintedMchID: add.ComplaintedMchID,
		orders:    slices.Clone(add.Orders),
		problem:   problem,
		tags:      tags,
		immediate: add.NeedImmediateService,
		createdAt: now,
	}
	c.begin(now)
	c.note(b, now, operatorUser, operateCreated, complaintDetail)
	b.complaints[c.id] = c
	b.filed = append(b.filed, c)
	for _, id := range c.orders {
		b.complained[id] = append(b.complained[id], c)
	}
	return c
}

// AddComplaint enters a complaint into the books.
func (s *Server) AddComplaint(c Complaint) {
	if c.ComplaintedMchID == "" {
		c.ComplaintedMchID = c.MchID
	}
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	_, _, fits := c.kind()
	if s.books.complaints[c.ID] != nil || complaintIDRule.check(c.ID) != "" || c.MchID == "" || !fits {
		_ = s.misuse("AddComplaint %q: known already, without a valid id or a merchant, or of a kind that does not exist", c.ID)
		return
	}
	s.books.addComplaint(c, s.options.Now())
}

// ComplaintBook returns what the books have on a complaint.
func (s *Server) ComplaintBook(id string) (ComplaintBook, bool) {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	c := s.books.complaints[id]
	if c == nil {
		return ComplaintBook{}, false
	}
	book := ComplaintBook{
		ID: c.id, MchID: c.mchID, ComplaintedMchID: c.complaintedMchID,
		State:              c.state,
		FullRefunded:       s.books.fullyRefunded(c),
		UserComplaintTimes: len(c.rounds),
		InPlatformService:  c.served,
		Round:              c.round().Round,
		History:            slices.Clone(c.history),
	}
	for _, r := range c.rounds {
		book.Rounds = append(book.Rounds, r.Round)
	}
	return book, true
}
