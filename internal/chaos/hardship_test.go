package chaos

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/internal/stored"
	"wxpay-worker/wxpay/wxpaytest"
)

// trial is one phase from the point of view of a hardship.
type trial struct {
	*site
	load    *load
	r       *rand.Rand // the hardship's own: what it does does not depend on who else is at work
	phase   int
	length  time.Duration
	hasty   bool               // see plan
	alone   bool               // nothing else is broken
	patient func(payer string) // marks a merchant, or sub-merchant, whose latency is not the others'
}

// hardship is one kind of break. It goes on for about the phase's length and has put everything right again when it returns.
type hardship struct {
	name string
	do   func(ctx context.Context, t *trial) error
}

// Names that are told apart elsewhere.
const (
	badAnswersName = "answers lost, slow, forged, refused"
	heldName       = "a merchant held"
	drownedName    = "a merchant drowned"
	skewedName     = "WeChat Pay's clock wrong"
)

// hardships are all kinds.
var hardships = []hardship{
	{"workers killed", killWorkers},
	{"NATS killed", killNATS},
	{badAnswersName, badAnswers},
	{"workers stopped", stopWorkers},
	{heldName, holdMerchant},
	{"wires cut", cutWires},
	{drownedName, drownMerchant},
	{"hosts refusing", refuseConnections},
	{"workers upgraded", upgradeWorkers},
	{"wires slow and blocked", slowWires},
	{skewedName, skewClock},
	{"NATS store full", fillStore},
	{"one stream full", fillStream},
}

func named(names ...string) (some []hardship) {
	for _, name := range names {
		for _, h := range hardships {
			if h.name == name {
				some = append(some, h)
			}
		}
	}
	return some
}

// rand of a hardship in a phase.
func seeded(seed uint64, phase int, name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(seed, h.Sum64()+uint64(phase)))
}

// between draws a duration.
func (t *trial) between(least, most time.Duration) time.Duration {
	return least + time.Duration(t.r.Int64N(int64(most-least)+1))
}

// pause lets that much of the schedule pass, or less if ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// again repeats one break, at times that are drawn before anything happens, until the phase is over.
func (t *trial) again(ctx context.Context, least, most time.Duration, once func() error) error {
	for end := time.Now().Add(t.length); ; {
		wait := t.between(least, most)
		if time.Now().Add(wait).After(end) || ctx.Err() != nil {
			return nil
		}
		pause(ctx, wait)
		if err := once(); err != nil {
			return err
		}
	}
}

func killWorkers(ctx context.Context, t *trial) error {
	return t.again(ctx, time.Second, 3*time.Second, func() error {
		w, away := t.workers[t.r.IntN(len(t.workers))], t.between(0, 1500*time.Millisecond)
		w.kill()
		t.did("worker killed", "%s, back after %s", w.name, away)
		pause(ctx, away)
		return w.start()
	})
}

// stopWorkers stops processes, every other time for longer than their leases and pins last.
func stopWorkers(ctx context.Context, t *trial) error {
	long := false
	return t.again(ctx, time.Second, 3*time.Second, func() error {
		w, away := t.workers[t.r.IntN(len(t.workers))], t.between(500*time.Millisecond, 3*time.Second)
		if long = !long; long {
			away += ackWait
		}
		thaw := w.freeze()
		t.did("worker stopped", "%s for %s", w.name, away)
		pause(ctx, away)
		thaw()
		return nil
	})
}

// killNATS kills the leader of one of the streams, and every fourth time all nodes at once.
func killNATS(ctx context.Context, t *trial) error {
	streams := []string{t.subjects.CommandsStream(), t.subjects.OutcomesStream(), t.subjects.SettlementsStream()}
	return t.again(ctx, 2*time.Second, 5*time.Second, func() error {
		stream, any := streams[t.r.IntN(len(streams))], t.nodes[t.r.IntN(len(t.nodes))]
		away, all := t.between(0, 2*time.Second), t.r.IntN(4) == 0
		look, done := context.WithTimeout(ctx, time.Second)
		some := []*node{t.leader(look, stream, any)}
		done()
		if all {
			some = t.nodes
		}
		for _, n := range some {
			n.kill()
			t.mu.Lock()
			t.kills = append(t.kills, time.Now())
			t.mu.Unlock()
			t.did("NATS node killed", "%s, which led %s; back after %s", n.name, stream, away)
		}
		pause(ctx, away)
		for _, n := range some {
			if err := n.start(); err != nil {
				return err
			}
		}
		return nil
	})
}

// badAnswers scripts one bad answer after the other.
func badAnswers(ctx context.Context, t *trial) error {
	return t.again(ctx, 50*time.Millisecond, 300*time.Millisecond, func() error {
		t.sim.Fault(t.badAnswer())
		t.mu.Lock()
		t.counts["bad answers scripted"]++
		t.mu.Unlock()
		return nil
	})
}

var (
	allEndpoints = []wxpaytest.Endpoint{
		wxpaytest.EndpointRefundCreate, wxpaytest.EndpointRefundCreate, wxpaytest.EndpointRefundCreate, wxpaytest.EndpointV2Refund, wxpaytest.EndpointV2Refund,
		wxpaytest.EndpointRefundQuery, wxpaytest.EndpointV2RefundQuery, wxpaytest.EndpointUpdateRefundProgress,
		wxpaytest.EndpointComplaintResponse, wxpaytest.EndpointComplaintResponse, wxpaytest.EndpointComplaintComplete,
		wxpaytest.EndpointComplaintDetail, wxpaytest.EndpointNegotiationHistory,
	}
	allAnswers = []wxpaytest.Answer{
		wxpaytest.AnswerLost, wxpaytest.AnswerSlow, wxpaytest.AnswerCutShort, wxpaytest.Answer429, wxpaytest.Answer5xx, wxpaytest.Answer502HTML,
		wxpaytest.AnswerForged, wxpaytest.AnswerProbe, wxpaytest.AnswerStale, wxpaytest.AnswerUnsigned, wxpaytest.AnswerUnknownSerial,
		wxpaytest.Answer202, wxpaytest.AnswerRefusal,
	}
)

// badAnswer is one that WeChat Pay may give: it may lose or forge everything, but does not lie in what it proves.
func (t *trial) badAnswer() wxpaytest.Fault {
	f := wxpaytest.Fault{
		Endpoint: allEndpoints[t.r.IntN(len(allEndpoints))], Answer: allAnswers[t.r.IntN(len(allAnswers))],
		Apply: t.r.IntN(2) == 0, Delay: t.between(0, 2*wechatTimeout),
	}
	v2 := f.Endpoint == wxpaytest.EndpointV2Refund || f.Endpoint == wxpaytest.EndpointV2RefundQuery
	if creates := f.Endpoint == wxpaytest.EndpointRefundCreate || f.Endpoint == wxpaytest.EndpointV2Refund; creates && t.hasty {
		f.Apply = true
		f.MchID = mchid(1 + t.r.IntN(merchants-2))
		if f.Endpoint == wxpaytest.EndpointV2Refund {
			f.MchID = mchid(merchants - 1 - t.r.IntN(v2Merchants))
		}
	}
	if f.Answer != wxpaytest.AnswerSlow {
		f.Delay /= 20
	}
	switch f.Answer {
	case wxpaytest.Answer429: // a proven "not now"; only for v3 refunds does that leave it open
		f.Apply = f.Apply && f.Endpoint == wxpaytest.EndpointRefundCreate
	case wxpaytest.AnswerSlow, wxpaytest.AnswerStale: // a right answer at last, or always: v2 dates nothing
		f.Apply = f.Apply || f.Answer == wxpaytest.AnswerSlow || v2
	case wxpaytest.Answer202:
		if f.Endpoint != wxpaytest.EndpointRefundCreate && f.Endpoint != wxpaytest.EndpointV2Refund {
			f.Answer = wxpaytest.AnswerLost
		}
	case wxpaytest.AnswerRefusal: // a definite no that nobody has signed
		f.Status, f.Code, f.Unsigned = 404, "RESOURCE_NOT_EXISTS", true
		if f.Endpoint == wxpaytest.EndpointV2RefundQuery {
			f.Code = "REFUNDNOTEXIST"
		}
	}
	return f
}

// holdMerchant lets one merchant's own trouble last for the phase, and then checks that the others did not wait for it. A want of balance of a
// provider's is one of its sub-merchants': the provider's other one does not wait, either.
func holdMerchant(ctx context.Context, t *trial) error {
	merchant := t.r.IntN(merchants)
	kind := t.r.IntN(3)
	payer := mchid(merchant)
	if kind == 0 && isProvider(merchant) {
		payer = subMchID(merchant, t.r.IntN(2))
	}
	t.patient(payer)
	switch kind {
	case 0:
		t.sim.SetBalance(payer, 0)
	case 1:
		t.sim.Fault(wxpaytest.Fault{MchID: mchid(merchant), Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 403, Code: "NO_AUTH"})
	default:
		t.sim.Fault(wxpaytest.Fault{MchID: mchid(merchant), Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 401, Code: "SIGN_ERROR"})
	}
	t.did("merchant held", "%s by %s", payer, []string{"NOT_ENOUGH", "NO_AUTH", "SIGN_ERROR"}[kind])
	pause(ctx, t.length)
	if t.alone {
		if err := t.others(ctx, payer); err != nil {
			return err
		}
	}
	t.sim.SetBalance(payer, -1)
	t.sim.ClearFaults() // what else is scripted is lost too: it has happened to somebody already, or comes again
	return nil
}

// drownMerchant publishes more for one merchant than its quota lets through within the phase.
func drownMerchant(ctx context.Context, t *trial) error {
	merchant := t.r.IntN(merchants)
	n := int(t.length.Seconds()) * refundQuota * 3 / 2
	t.patient(mchid(merchant))
	t.did("merchant drowned", "%s in %d refunds", mchid(merchant), n)
	t.load.burst(ctx, t.phase, merchant, n)
	if !t.alone {
		return nil
	}
	pause(ctx, t.length)
	return t.others(ctx, mchid(merchant))
}

// others waits until no command of other merchants is left, and says if by then none of the merchant is left either: then they may
// have waited for it.
func (t *trial) others(ctx context.Context, patient string) error {
	last := "nothing"
	err := eventually(ctx, patience, func(ctx context.Context) error {
		waits, _, err := t.unfinished(ctx, patient)
		if err == nil && waits != "" {
			last = waits
			err = fmt.Errorf("%s waits although only %s has trouble", waits, patient)
		}
		return err
	})
	if err != nil {
		return err
	}
	_, left, err := t.unfinished(ctx, patient)
	if err == nil && left == 0 {
		return fmt.Errorf("the others' commands ended, the last on %s, and none of %s waits: was it in trouble?", last, patient)
	}
	t.did("others went on", "all their commands ended while %d of %s waited", left, patient)
	return err
}

// unfinished returns the subject of a command that waits and is not the patient's, "" if there is none; then also how many of the
// patient wait.
func (s *site) unfinished(ctx context.Context, patient string) (other string, left int, err error) {
	for m, err := range stored.From(ctx, s.nc, s.subjects.CommandsStream(), s.subjects.Prefix+".command.>", 1) {
		if err != nil {
			return "", 0, err
		}
		mchid, _, _ := s.subjects.ParseCommand(m.Subject)
		var of struct { // a refund, or a decision with one; a decision's refund is published by a worker, and bears no number of ours
			Sub    string `json:"sub_mchid"`
			Refund struct {
				Sub string `json:"sub_mchid"`
			} `json:"refund"`
		}
		_ = json.Unmarshal(m.Data, &of) // a malformed one is the merchant's
		if patient != mchid && patient != cmp.Or(of.Sub, of.Refund.Sub, mchid) {
			return m.Subject, 0, nil
		}
		left++
	}
	return "", left, nil
}

func cutWires(ctx context.Context, t *trial) error {
	return t.again(ctx, 500*time.Millisecond, 2*time.Second, func() error {
		w, away := t.workers[t.r.IntN(len(t.workers))], t.between(0, 2*time.Second)
		t.did("wires cut", "of %s for %s", w.name, away)
		for _, wire := range w.wires {
			wire.sever(true)
		}
		pause(ctx, away)
		for _, wire := range w.wires {
			wire.sever(false)
		}
		return nil
	})
}

func slowWires(ctx context.Context, t *trial) error {
	return t.again(ctx, 500*time.Millisecond, 2*time.Second, func() error {
		w, delay, lasts := t.workers[t.r.IntN(len(t.workers))], t.between(5*time.Millisecond, 200*time.Millisecond), t.between(time.Second, 4*time.Second)
		if t.r.IntN(3) == 0 {
			t.did("wires blocked", "of %s for %s", w.name, lasts)
			for _, wire := range w.wires {
				defer wire.block()()
			}
		} else {
			t.did("wires slow", "of %s by %s for %s", w.name, delay, lasts)
			for _, wire := range w.wires {
				wire.slow(delay)
				defer wire.slow(0)
			}
		}
		pause(ctx, lasts)
		return nil
	})
}

// refuseConnections takes the primary host, the backup host or both away.
func refuseConnections(ctx context.Context, t *trial) error {
	return t.again(ctx, time.Second, 3*time.Second, func() error {
		which, lasts := 1+t.r.IntN(3), t.between(500*time.Millisecond, 3*time.Second)
		t.did("hosts refusing", "%s for %s", []string{"", "primary", "backup", "both"}[which], lasts)
		for bit, primary := range map[int]bool{1: true, 2: false} {
			if which&bit != 0 {
				if err := t.sim.StopHost(primary); err != nil {
					return err
				}
			}
		}
		pause(ctx, lasts)
		for bit, primary := range map[int]bool{1: true, 2: false} {
			if which&bit != 0 {
				if err := t.sim.StartHost(primary); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// skewClock sets the simulator's clock back far enough that it refuses requests, and that its answers look stale. Not forward: what
// v2, which dates nothing, refunds then would lie in the future afterwards. Smaller errors would only make the simulator's own minute
// look longer or shorter than it is.
func skewClock(ctx context.Context, t *trial) error {
	return t.again(ctx, 2*time.Second, 4*time.Second, func() error {
		skew, lasts := t.between(6*time.Minute, 20*time.Minute).Truncate(time.Minute), t.between(time.Second, 4*time.Second)
		t.did("clock wrong", "by %s for %s", skew, lasts)
		t.skew.Store(-int64(skew))
		pause(ctx, lasts)
		t.skew.Store(0)
		return nil
	})
}

// upgradeWorkers replaces one worker after the other, under load, by one with the other version of the configuration.
func upgradeWorkers(ctx context.Context, t *trial) error {
	for _, w := range t.workers {
		w.mu.Lock()
		next := map[string]string{"a": "b", "b": "a"}[w.version]
		w.mu.Unlock()
		t.did("worker upgraded", "%s to version %s", w.name, next)
		if err := w.replace(next); err != nil {
			return err
		}
		pause(ctx, t.length/time.Duration(len(t.workers)+1))
	}
	return nil
}

// fillStore leaves NATS no room for a while: nothing can be recorded.
func fillStore(ctx context.Context, t *trial) error {
	return t.again(ctx, time.Second, 4*time.Second, func() error {
		lasts := t.between(2*time.Second, 5*time.Second)
		empty, err := t.fill(ctx)
		if err != nil {
			return nil // a node is away, or somebody else broke something: nothing to fill
		}
		t.did("store full", "for %s", lasts)
		pause(ctx, lasts)
		return eventually(ctx, patience, func(context.Context) error { return empty() })
	})
}

// fillStream lets one of the streams that the workers write to take nothing for a while: what one of them says can be recorded, and what another
// says cannot.
func fillStream(ctx context.Context, t *trial) error {
	streams := []string{t.subjects.OutcomesStream(), t.subjects.DeadLettersStream(), t.subjects.SettlementsStream()}
	return t.again(ctx, time.Second, 4*time.Second, func() error {
		name, lasts := streams[t.r.IntN(len(streams))], t.between(2*time.Second, 5*time.Second)
		stream, err := t.js.Stream(ctx, name)
		if err != nil {
			return nil // a node is away
		}
		config := stream.CachedInfo().Config
		full := config
		full.MaxMsgs, full.Discard = 1, jetstream.DiscardNew // it deletes nothing
		if _, err := t.js.UpdateStream(ctx, full); err != nil {
			lasts = 0 // a node is away; it may have taken it all the same
		}
		t.did("stream full", "%s for %s", name, lasts)
		pause(ctx, lasts)
		return eventually(ctx, patience, func(ctx context.Context) error {
			_, err := t.js.UpdateStream(ctx, config)
			return err
		})
	})
}
