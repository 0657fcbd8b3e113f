package consumer

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// puller asks the server for a lane's commands, as the pinned client of the lane's consumer.
//
// It speaks the pull protocol itself because a lane must have, to the message, what it has room for; because only pulls
// renew the pin, also while there is room for nothing; and because nats.go takes any message without a body that bears a
// header "Status" for the server's own word, so that a publisher could make a command that is never seen.
//
// All of it belongs to the lane's goroutine; nothing here locks.
//
// Source: NATS ADR-13 (pull requests), ADR-42 (pinned consumers); nats-server 2.15 server/consumer.go, 2026-11.
type puller struct {
	nc     *nats.Conn
	next   string // the consumer's request subject
	inbox  string // the server's word on a pull arrives on <inbox>.<name of the pull>
	expiry time.Duration
	pin    string    // what the server knows us by while we are pinned, "" if we are not
	asked  time.Time // when the newest request was sent
	number int       // of pulls so far, by which each has its name
	// The open pull. There is one at most: a delivery does not say by which pull it comes.
	name   string
	left   int       // deliveries it may still bring
	lapses time.Time // when it is over even if the server never says so
}

const (
	pinGroup    = "worker"
	pinHeader   = "Nats-Pin-Id"
	renewalPull = "pin"
	pullGrace   = time.Second // for the server's word that a pull has expired to arrive
)

func newPuller(nc *nats.Conn, stream, consumer string, pinnedTTL time.Duration) *puller {
	return &puller{
		nc: nc, next: "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + consumer, inbox: nc.NewInbox(),
		expiry: max(pinnedTTL/3, 10*time.Millisecond),
	}
}

// open reports whether deliveries may still come without asking.
func (p *puller) open() bool { return p.left > 0 }

type pullRequest struct {
	Expires  time.Duration `json:"expires,omitempty"`
	Batch    int           `json:"batch,omitempty"`
	MaxBytes int           `json:"max_bytes,omitempty"`
	NoWait   bool          `json:"no_wait,omitempty"`
	Group    string        `json:"group"`
	Pin      string        `json:"id,omitempty"`
}

func (p *puller) request(name string, r pullRequest) error {
	r.Group, r.Pin = pinGroup, p.pin
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("pull commands: %w", err)
	}
	if err := p.nc.PublishRequest(p.next, p.inbox+"."+name, body); err != nil {
		return fmt.Errorf("pull commands: %w", err)
	}
	p.asked = time.Now()
	return nil
}

// ask opens a pull for up to n messages; none may be open.
func (p *puller) ask(n int) error {
	p.number++
	name := strconv.Itoa(p.number)
	if err := p.request(name, pullRequest{Expires: p.expiry, Batch: n}); err != nil {
		return err
	}
	p.name, p.left, p.lapses = name, n, p.asked.Add(p.expiry+pullGrace)
	return nil
}

// keepPin renews the pin of a lane that has had no room to pull for a while. The request can bring no command, since none
// is as small as one byte; the server renews the pin all the same.
func (p *puller) keepPin() error {
	if p.pin == "" || time.Since(p.asked) < p.expiry {
		return nil
	}
	return p.request(renewalPull, pullRequest{Batch: 1, MaxBytes: 1, NoWait: true})
}

// lapse forgets a pull whose end the server should have told by now.
func (p *puller) lapse() {
	if time.Now().After(p.lapses) {
		p.forget()
	}
}

// forget takes the open pull, if there is one, for over: after a reconnect it may be gone.
func (p *puller) forget() { p.left = 0 }

// lapseInterval is how often the lane should look for a lapse, even if nothing arrives.
func (p *puller) lapseInterval() time.Duration { return p.expiry / 2 }

// taken is what an arriving message turned out to be.
type taken int

const (
	takenCommand  taken = iota // a delivery
	takenStatus                // the server's word on a pull, which is dealt with
	takenConsumer              // the consumer or its stream is not there
)

// take updates the pull and the pin for a message that arrived. It returns what the message is, and whether it is the first under a new pin.
func (p *puller) take(m *nats.Msg) (what taken, repinned bool) {
	if strings.HasPrefix(m.Reply, "$JS.ACK.") {
		p.left = max(0, p.left-1) // a late one of an earlier pull counts too: it takes the same room
		// The server appends its header: a publisher's of the same name comes before it.
		if pins := m.Header[pinHeader]; len(pins) > 0 && pins[len(pins)-1] != p.pin {
			p.pin, repinned = pins[len(pins)-1], true
		}
		return takenCommand, repinned
	}
	name, status := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], m.Header.Get("Status")
	if name != p.name {
		return takenStatus, false // an earlier pull's, or a renewal of the pin, which is refused by design
	}
	switch status {
	case "100": // idle heartbeat: none was asked for
		return takenStatus, false
	case "423": // somebody else is pinned: ask again as a stranger
		p.left, p.pin = 0, ""
		return takenStatus, false
	case "408", "404": // expired; nothing there
		p.left = 0
		return takenStatus, false
	default: // 503: nobody answers at the consumer's subject. 409: consumer deleted, leadership moved, server going down
		p.left = 0
		return takenConsumer, false
	}
}
