package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"wxpay-worker/consumer"
	"wxpay-worker/internal/natsembed"
	"wxpay-worker/messages"
)

// nats checks the way to NATS, and what is there.
func (k *checking) nats(ctx context.Context) {
	options, err := k.config.natsOptions()
	k.files()
	if err != nil {
		return // told with the file
	}
	nc := k.reach(append(options, nats.Name(clientName), nats.Timeout(connectTimeout), k.denied.option()))
	if nc == nil {
		return
	}
	defer nc.Close()
	c, err := newClient(nc, k.config)
	if err != nil {
		k.bad("nats", nc.ConnectedUrlRedacted(), err.Error(), "")
		return
	}
	if err := tryInbox(nc); err != nil {
		inbox := nc.NewInbox()
		k.bad("permissions", inbox[:strings.LastIndexByte(inbox, '.')]+".>", err.Error()+": no request would be answered", "allow its inbox to this user (deploy/nats/secure.conf)")
		return
	}
	k.permissions(ctx, c)
	k.sync(ctx, c)
	k.store(ctx, c)
	k.parts(ctx, c)
}

// reach connects to each configured server, and returns the first connection whose server is new enough.
func (k *checking) reach(options []nats.Option) (first *nats.Conn) {
	for url := range strings.SplitSeq(k.config.clientURL(), ",") {
		url = strings.TrimSpace(url)
		nc, err := nats.Connect(url, options...)
		if err != nil {
			k.unreachable(url, err)
			continue
		}
		detail := fmt.Sprintf("server %s, version %s", nc.ConnectedServerName(), nc.ConnectedServerVersion())
		if err := consumer.CheckServer(nc.ConnectedServerVersion()); err != nil {
			k.bad("nats", url, err.Error(), "update it")
			nc.Close()
			continue
		}
		k.ok("nats", url, detail)
		if first == nil {
			first = nc
		} else {
			nc.Close()
		}
	}
	return first
}

func (k *checking) unreachable(url string, err error) {
	switch {
	case k.config.NATS.URL == "" && errors.Is(err, nats.ErrNoServers):
		k.unknown("nats", url, "the embedded server does not run", "start worker run, whose server it is, and check again")
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		k.bad("nats", url, err.Error(), "see creds_file, nkey_seed_file, or user and password_file under nats")
	default:
		k.bad("nats", url, err.Error(), "see nats.url and nats.tls; is the server running?")
	}
}

// parts checks streams and lanes against what they should be.
func (k *checking) parts(ctx context.Context, c *client) {
	absent := map[string]bool{}
	for _, part := range k.installation().Parts() {
		if absent[part.Stream()] {
			continue // without its stream a lane cannot be there either
		}
		change, err := k.plan(ctx, c, part)
		if errors.Is(jetStreamError(err), errNoJetStream) {
			k.bad("jetstream", c.ConnectedServerName(), jetStreamError(err).Error(),
				"see jetstream in that server's configuration, at its top and in this user's account; a cluster that is electing a leader answers in some seconds")
			return // nothing else would be answered either
		}
		switch {
		case err != nil:
			absent[part.Stream()] = absent[part.Stream()] || part.Kind == consumer.PartStream
			k.bad(string(part.Kind), part.Name, err.Error(), mendAsking(err))
		case change.Action == consumer.ActionCreate:
			absent[part.Stream()] = absent[part.Stream()] || part.Kind == consumer.PartStream
			k.bad(string(part.Kind), part.Name, "not there yet", "worker setup makes it, and so does worker run if it may")
		case part.Kind == consumer.PartStream:
			k.stream(change)
		default:
			k.lane(change)
		}
	}
	if !absent[k.config.subjects().CommandsStream()] {
		k.orphans(ctx, c)
	}
}

// betweenPulls is how long a worker may take between two pulls of a lane, while it looks as if nobody served the lane.
const betweenPulls = 200 * time.Millisecond

// plan compares a part with what is there. If nobody seems to serve a lane, it looks once more.
func (k *checking) plan(ctx context.Context, c *client, part consumer.Part) (change *consumer.Change, err error) {
	look := func() error {
		return k.ask(ctx, func(ctx context.Context) (err error) {
			change, err = part.Plan(ctx, c.js)
			return err
		})
	}
	if err = look(); err == nil && change.Lane != nil && !change.Lane.Served {
		select {
		case <-time.After(betweenPulls):
		case <-ctx.Done():
		}
		err = look()
	}
	return change, err
}

// mendAsking is what can be done about a request that failed.
func mendAsking(err error) string {
	if _, denied := errors.AsType[*deniedError](err); denied {
		return "allow the subject to this user (deploy/nats/secure.conf)"
	}
	return "see the server's log"
}

// stream checks a stream that is there.
func (k *checking) stream(c *consumer.Change) {
	status, mend, state := checkOK, "", c.Info.State
	var details []string
	for _, d := range c.Differences {
		details = append(details, d.String())
		switch d.Step {
		case consumer.StepChange:
			status, mend = checkWrong, "worker setup changes it"
		case consumer.StepMend, consumer.StepMisfit:
			status, mend = checkWrong, "see nats stream edit, or choose another nats.prefix"
		}
	}
	if cluster := c.Info.Cluster; cluster != nil {
		for _, peer := range cluster.Replicas {
			if peer.Offline || !peer.Current {
				status, mend = checkWrong, "see the log of that server"
				details = append(details, "the copy on "+peer.Name+" is offline or behind")
			}
		}
	}
	details = append(details, fmt.Sprintf("messages: %d, replicas: %d", state.Msgs, c.Info.Config.Replicas))
	k.add(finding{"stream", c.Name, status, strings.Join(details, "; "), mend})
}

// lane checks a lane that is there, and says why it stands still if it does.
func (k *checking) lane(c *consumer.Change) {
	s, status, mend := c.Lane, checkOK, ""
	var details []string
	note := func(worse checkStatus, detail, how string) {
		details = append(details, detail)
		if mend == "" {
			mend = how
		}
		if worse == checkWrong || status == checkOK {
			status = worse
		}
	}
	inspect := fmt.Sprintf("nats consumer resume %s %s", c.Stream(), c.Name)
	for _, d := range c.Differences {
		note(checkWrong, d.String(), "worker setup changes it")
	}
	paused := s.Paused.Round(time.Second).String()
	switch {
	case s.Hold != "" && s.Paused > 0:
		note(checkWrong, fmt.Sprintf("held: %s; the next command is tried in %s", s.Hold, paused),
			"mend what WeChat Pay complains of; the lane goes on by itself, at once after: "+inspect)
	case s.Hold != "":
		note(checkWrong, fmt.Sprintf("held: %s; it is being tried", s.Hold), "mend what WeChat Pay complains of; the lane goes on by itself")
	case s.Paused > 0:
		note(checkWrong, "paused by hand for "+paused, inspect)
	}
	if s.OutLimit > 0 && s.Out >= s.OutLimit {
		note(checkWrong, fmt.Sprintf("stands still: %d commands are in flight or in back-off, its limit", s.Out), "see the worker's log for what they wait for")
	}
	switch waiting := s.Waiting + uint64(s.Out); {
	case !s.Served && waiting > 0:
		note(checkWrong, "no worker serves it", "start worker run")
	case !s.Served:
		note(checkUnknown, "no worker serves it, and nothing waits", "start worker run")
	}
	details = append(details, fmt.Sprintf("waiting: %d, in flight or in back-off: %d", s.Waiting, s.Out))
	k.add(finding{"lane", c.Name, status, strings.Join(details, "; "), mend})
}

// orphans counts commands that nobody will take.
func (k *checking) orphans(ctx context.Context, c *client) {
	i := k.installation()
	var orphans map[string]uint64
	err := k.ask(ctx, func(ctx context.Context) (err error) {
		orphans, err = consumer.Orphans(ctx, c.js, i.Subjects, i.Merchants)
		return err
	})
	if err != nil {
		k.bad("orphans", i.Subjects.CommandsStream(), err.Error(), mendAsking(err))
		return
	}
	for _, mchid := range slices.Sorted(maps.Keys(orphans)) {
		pattern := strings.TrimSuffix(i.Subjects.Command(mchid, messages.KindRefund), string(messages.KindRefund)) + ">"
		mend := "configure it; or, if it is nobody's, "
		if !messages.ValidMchID(mchid) { // anything that a publisher may call a subject
			mend = "no merchant can be called that: "
		}
		k.bad("orphans", mchid, fmt.Sprintf("%d commands wait for a merchant that is not configured", orphans[mchid]),
			mend+"nats stream purge "+i.Subjects.CommandsStream()+" --subject "+quoted(pattern))
	}
	if len(orphans) == 0 {
		k.ok("orphans", i.Subjects.CommandsStream(), "no command waits for a merchant that is not configured")
	}
}

// quoted is text as one word of a shell's.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// userInfo is what the server tells us about ourselves.
// Source: nats-server 2.15 server/events.go, UserInfo.
type userInfo struct {
	Data struct {
		User        string `json:"user"`
		Permissions *struct {
			Publish *rules `json:"publish"`
		} `json:"permissions"`
	} `json:"data"`
}

// rules are patterns: allowed is what one of Allow matches (all, if there is none) and none of Deny.
type rules struct {
	Allow []string `json:"allow"`
	Deny  []string `json:"deny"`
}

func (r *rules) permits(subject string) bool {
	if r == nil {
		return true
	}
	match := func(pattern string) bool { return matches(pattern, subject) }
	return (len(r.Allow) == 0 || slices.ContainsFunc(r.Allow, match)) && !slices.ContainsFunc(r.Deny, match)
}

// matches reports whether a subject pattern matches a subject.
func matches(pattern, subject string) bool {
	tokens := strings.Split(subject, ".")
	for i, p := range strings.Split(pattern, ".") {
		if p == ">" {
			return i < len(tokens)
		}
		if i >= len(tokens) || p != "*" && p != tokens[i] {
			return false
		}
	}
	return strings.Count(pattern, ".") == strings.Count(subject, ".")
}

// permissions checks whether this user may do what worker run does.
func (k *checking) permissions(ctx context.Context, c *client) {
	var info userInfo
	err := k.ask(ctx, func(ctx context.Context) error {
		answer, err := c.RequestWithContext(ctx, "$SYS.REQ.USER.INFO", nil)
		if err != nil {
			return err
		}
		return json.Unmarshal(answer.Data, &info)
	})
	user := k.config.NATS.User
	if err != nil {
		k.unknown("permissions", user, "the server does not tell: "+err.Error(), "allow $SYS.REQ.USER.INFO to this user; what follows was tried all the same")
		return
	}
	if info.Data.Permissions == nil {
		k.ok("permissions", cmp.Or(info.Data.User, "everybody"), "the server limits nothing")
		return
	}
	p, i := info.Data.Permissions, k.installation()
	why, more, all := map[string]string{}, map[string]int{}, i.Permissions() // by reason: the first subject, and how many
	for _, need := range all {
		if !p.Publish.permits(need.Subject) {
			if more[need.Why]++; why[need.Why] == "" {
				why[need.Why] = need.Subject
			}
		}
	}
	const pull = "pull"
	if more[pull] > 0 && p.Publish.permits("$JS.API.STREAM.UPDATE."+i.Subjects.CommandsStream()) {
		k.warn("permissions", info.Data.User, "this user may set up, and not carry out commands: right for an operator, wrong for worker run",
			"to judge a worker's permissions, check with its configuration")
		return
	}
	for _, reason := range slices.Sorted(maps.Keys(why)) {
		k.bad("permissions", why[reason], fmt.Sprintf("user %s may not publish to it (and %d more like it): needed to %s", info.Data.User, more[reason]-1, reason),
			"allow it to this user (deploy/nats/secure.conf)")
	}
	if len(why) == 0 {
		k.ok("permissions", info.Data.User, fmt.Sprintf("may publish to all %d subjects that worker run needs", len(all)))
	}
}

// store asks the worker that runs the embedded server whether its store still takes messages: a client of the server cannot see that. Where
// that store is, only the worker knows: what sets the folder there, such as the environment of a systemd unit, is not set here.
func (k *checking) store(ctx context.Context, c *client) {
	if k.config.NATS.URL != "" || c.ConnectedServerName() != natsembed.Name {
		return
	}
	const dir = "nats.embedded.dir"
	address, err := reachableHere(k.config.HTTP.Listen)
	var r readiness
	if err == nil {
		r, err = askReady(ctx, "http://"+address+"/readyz")
	}
	switch {
	case err != nil:
		k.unknown("store", dir, "only the worker that runs the server knows: "+err.Error(), "give http.listen an address, and see its log")
	case r.Store != "":
		k.bad("store", dir, r.Store, "make room; the worker ends, and stores again when it is started anew")
	default:
		k.ok("store", dir, "takes what is written")
	}
}

// jsz is the part of a server's JetStream report that is looked at.
// Source: nats-server 2.15 server/monitor.go, JSInfo.
type jsz struct {
	Server struct {
		Name string `json:"name"`
	} `json:"server"`
	Data struct {
		Disabled bool            `json:"disabled"`
		Config   jetstreamConfig `json:"config"`
	} `json:"data"`
}

type jetstreamConfig struct {
	SyncInterval time.Duration `json:"sync_interval"`
	SyncAlways   bool          `json:"sync_always"`
}

// syncAnswers is how long servers have to say how they sync.
const syncAnswers = time.Second

// sync checks whether each server has a message on the disk when it confirms it.
func (k *checking) sync(ctx context.Context, c *client) {
	const subject = "JetStream store"
	if k.config.NATS.URL == "" && c.ConnectedServerName() == natsembed.Name {
		k.ok("sync", subject, "the embedded server syncs every write")
		return
	}
	told := 0
	err := k.ask(ctx, func(ctx context.Context) error {
		answers, err := c.SubscribeSync(c.NewInbox())
		if err != nil {
			return err
		}
		defer func() { _ = answers.Unsubscribe() }() // the connection is closed soon
		if err := c.PublishRequest("$SYS.REQ.SERVER.PING.JSZ", answers.Subject, nil); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, syncAnswers)
		defer cancel()
		for {
			m, err := answers.NextMsgWithContext(ctx)
			if err != nil {
				return err
			}
			var report jsz
			if m.Header.Get("Status") != "" || json.Unmarshal(m.Data, &report) != nil || report.Server.Name == "" {
				return nats.ErrNoResponders
			}
			if report.Data.Disabled {
				continue
			}
			told++
			if report.Data.Config.SyncAlways {
				k.ok("sync", report.Server.Name, "syncs every write")
			} else {
				k.bad("sync", report.Server.Name, fmt.Sprintf("syncs every %s: a power cut takes back what was confirmed since", report.Data.Config.SyncInterval),
					"set jetstream.sync_interval: always on that server")
			}
		}
	})
	if told == 0 && err != nil {
		k.unknown("sync", subject, "only the system account shows how servers sync", "see that each server has jetstream { sync_interval: always }")
	}
}
