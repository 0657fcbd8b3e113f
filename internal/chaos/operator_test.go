package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"wxpay-worker/internal/stored"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// operator sees to what is in the dead letters: it has the orders that were missing entered into the books, corrects what was misspelt, and puts
// the commands back with the tool, which it kills now and then, or which meets a NATS server that is away.
type operator struct {
	site       *site
	load       *load
	correction string // a file

	mu   sync.Mutex
	saw  []letter     // before it put them back; guarded by mu
	paid map[int]bool // commands of which the order is in the books; guarded by mu
}

func newOperator(s *site, l *load) (*operator, error) {
	o := &operator{site: s, load: l, correction: filepath.Join(s.dir, "correction.json"), paid: map[int]bool{}}
	return o, os.WriteFile(o.correction, []byte(correction), 0o600)
}

// work looks at the dead letters every now and then, until the phase is over.
func (o *operator) work(ctx context.Context, r *rand.Rand, length time.Duration) {
	for end := time.Now().Add(length); time.Now().Before(end) && ctx.Err() == nil; {
		pause(ctx, 2*time.Second+time.Duration(r.Int64N(int64(3*time.Second))))
		limit := 5 * time.Second
		if r.IntN(2) == 0 {
			limit = time.Duration(r.Int64N(int64(100 * time.Millisecond)))
		}
		_, _ = o.putBack(ctx, limit) // what was in the way is part of it; finish has the last word
	}
}

// finish puts back what is left, and returns when all of it has come to its end.
func (o *operator) finish(ctx context.Context, settle func(context.Context) error) error {
	limit := 50 * time.Millisecond // the first time it is killed
	for deadline := time.Now().Add(2 * patience); ; limit = patience {
		left, err := o.putBack(ctx, limit)
		if err == nil && left == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d dead letters cannot be mended: %w", left, err)
		}
		if err := settle(ctx); err != nil {
			return err
		}
	}
}

// putBack puts back all that can be mended, and returns how much there was. The tool is killed if it takes longer than limit.
func (o *operator) putBack(ctx context.Context, limit time.Duration) (n int, err error) {
	some, err := o.mendable(ctx)
	if err != nil || len(some) == 0 {
		return 0, err
	}
	var together []string
	for _, l := range some {
		if sequence := fmt.Sprint(l.sequence); o.load.command(l.n).misspelt {
			err = errors.Join(err, o.replay(limit, "--patch", o.correction, sequence))
		} else {
			together = append(together, sequence)
		}
	}
	if len(together) > 0 {
		err = errors.Join(err, o.replay(limit, together...))
	}
	return len(some), err
}

func (o *operator) replay(limit time.Duration, args ...string) error {
	var urls []string
	for _, node := range o.site.nodes {
		urls = append(urls, "nats://"+node.address)
	}
	options := []string{"dlq", "replay", "--yes", "--nats", strings.Join(urls, ",")}
	p, err := launch(filepath.Join(o.site.dir, "operator.log"), o.site.programs.worker, nil, append(options, args...)...)
	if err != nil {
		return err
	}
	select {
	case <-p.ended:
		o.site.did("dead letters put back", "%v, exit code %d", args, p.state.ExitCode())
	case <-time.After(limit):
		p.kill()
		o.site.did("the tool killed", "that put back %v", args)
	}
	return nil
}

// mendable are the dead letters of commands that can be carried out once somebody has seen to it, which is done by now.
func (o *operator) mendable(ctx context.Context) (some []letter, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.site.subjects
	for m, err := range stored.From(ctx, o.site.nc, s.DeadLettersStream(), s.AllDeadLetters(), 1) {
		if err != nil {
			return nil, err
		}
		l, err := readLetter(m)
		if err != nil {
			return nil, err
		}
		c := o.load.command(l.n)
		if c == nil || c.fate != mended {
			continue
		}
		some = append(some, l)
		if c.kind == messages.KindRefund && !o.paid[l.n] {
			o.paid[l.n] = true
			o.site.sim.AddOrder(wxpaytest.Order{MchID: c.mchid, SubMchID: c.refund.sub, TransactionID: c.refund.order, Total: c.refund.total})
		}
	}
	o.saw = append(o.saw, some...)
	return some, nil
}

// letters are all that it has seen, of which most are gone.
func (o *operator) letters() []letter {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.saw[:len(o.saw):len(o.saw)]
}
