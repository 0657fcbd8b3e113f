package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// The pin says whose a lane is, but a worker may hear of its loss late: a cluster that has lost the consumer's leader gives the lane to
// whoever asks first. Two workers must not use one quota at the same time. So a worker makes calls under a quota only within a tenure after
// the server has last said that the lane is its own. It checks that when a call has been signed, since calls may stand in line for their
// signatures for longer than a tenure. And whoever takes a lane over supposes that the other's calls arrive for two tenures: one in which
// they are made, and one for their way to WeChat Pay.

// maxTenure bounds the tenure. It is short because a lane that changes hands may stand still for two of them, and long enough that asking the
// server once in each costs little.
const maxTenure = time.Second

// tenure is how long a worker relies on the server's answer that the lane is its own. (A delivery says nothing of the sort: it may have been
// on its way for long.) By the wall clock: the pin lives by that, too.
func (s *shared) tenure() time.Duration { return min(maxTenure, s.pinnedTTL/4) }

// errTaken says that the lane is another worker's by now.
var errTaken = errors.New("the lane is another worker's by now")

// owned is until when a queue is known to be ours.
type owned struct {
	mu     sync.Mutex
	until  time.Time     // guarded by mu
	asking chan struct{} // one place, for who asks
}

// extend notes that the queue was ours at that time; the zero time: that nothing is known.
func (o *owned) extend(from time.Time, tenure time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch until := from.Add(tenure); {
	case from.IsZero():
		o.until = from
	case until.After(o.until):
		o.until = until
	}
}

// left is for how long it still is.
func (o *owned) left() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return time.Until(o.until)
}

// stillOurs returns nil if the queue has been ours ever since the delivery. It asks the server if the last answer is too old. errTaken says
// that the queue is another worker's, or was in between: commands before this one may have been delivered to that one, or again to us after
// this one. After any other error it is not known whose the queue is.
func (q *queue) stillOurs(ctx context.Context, d *delivery) error {
	if *q.pinned.Load() != d.pin {
		return errTaken
	}
	left := q.owned.left()
	if left > 0 {
		if left < q.tenure()/2 {
			q.askAhead(ctx, d.pin)
		}
		return nil
	}
	select {
	case q.owned.asking <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-q.owned.asking }()
	switch { // somebody else has asked meanwhile, perhaps with a later pin
	case *q.pinned.Load() != d.pin:
		return errTaken
	case q.owned.left() > 0:
		return nil
	}
	return q.askWhose(ctx, d.pin)
}

// askAhead asks in the background before the last answer is too old, so that no call of a busy lane waits for the next one. If that fails,
// whoever needs to know asks again.
func (q *queue) askAhead(ctx context.Context, pin string) {
	select {
	case q.owned.asking <- struct{}{}:
		go func() { // ends with the answer, or its time-out
			defer func() { <-q.owned.asking }()
			if err := q.askWhose(context.WithoutCancel(ctx), pin); err != nil {
				q.log.WithError(err).Debug("not known whose the lane is")
			}
		}()
	default: // somebody asks just now
	}
}

// whoseExpiry is how long the server may keep the question when it has nothing to answer: the queue is empty, or so much is in back-off that
// nothing more is given out.
const whoseExpiry = time.Millisecond

// askWhose asks by a pull that can bring nothing, since no command is as small as one byte.
//
// Source: nats-server 2.15 server/consumer.go, processNextMsgRequest and nextWaiting.
func (q *queue) askWhose(ctx context.Context, pin string) error {
	fail := func(err error) error { return fmt.Errorf("ask whose lane %s is: %w", q.name, err) }
	body, err := json.Marshal(pullRequest{Expires: whoseExpiry, Batch: 1, MaxBytes: 1, NoWait: true, Group: pinGroup, Pin: pin})
	if err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(ctx, q.storeTimeout)
	defer cancel()
	asked := time.Now()
	answer, err := q.nc.RequestWithContext(ctx, q.pull.next, body)
	if err != nil {
		return fail(err)
	}
	switch status := answer.Header.Get("Status"); status {
	case "423":
		return errTaken
	case "404", "408", "409": // nothing there; the question has expired; what is there is larger than a byte
		q.owned.extend(asked, q.tenure())
		return nil
	default:
		return fail(fmt.Errorf("server answered %s", status))
	}
}
