package consumer

import "wxpay-worker/messages"

// Permission is one subject that a worker must be able to publish to; Why says what for. Keys and numbers in it are examples.
type Permission struct{ Subject, Why string }

// Permissions lists what a worker publishes to once streams and lanes are there. Besides that it subscribes to its inbox, and
// to nothing else; where something is missing it needs to create it, which is not in the list. Nor are the object stores that
// commands may take pictures from, since commands name them.
//
// Source: nats-server 2.15 server/jetstream_api.go (request subjects), and measured: deploy/nats/secure.conf allows no more.
func (i Installation) Permissions() (all []Permission) {
	s := i.Subjects
	need := func(subject, why string) { all = append(all, Permission{subject, why}) }
	for _, p := range i.streamParts() {
		need("$JS.API.STREAM.INFO."+p.Name, "see whether the stream is there and fits")
	}
	for _, stream := range []string{s.OutcomesStream(), s.DeadLettersStream()} {
		need("$JS.API.DIRECT.GET."+stream, "look up what has become of a command")
	}
	need("$JS.API.DIRECT.GET."+s.CommandsStream(), "read what a lane's former holder left unfinished")
	need("$JS.API.DIRECT.GET."+s.SettlementsStream(), "look for schedules that did not fire")
	need("$JS.API.DIRECT.GET."+s.MediaStream(), "look up the media_id of a picture")
	need("$JS.API.CONSUMER.LIST."+s.CommandsStream(), "see which lanes are busy, to leave other workers their share")
	need("$JS.API.STREAM.MSG.DELETE."+s.DeadLettersStream(), "take back a dead letter whose command has succeeded meanwhile")
	for _, mchid := range i.Merchants {
		need(s.Outcome(mchid, messages.KindRefund, "check", messages.StatusAccepted), "record outcomes")
		need(s.DeadLetter(mchid, messages.KindRefund, messages.ReasonRejected, "check"), "store dead letters")
		need(s.SettlementAt(mchid, "check"), "follow accepted refunds")
		need(s.Command(mchid, messages.KindRefund), "send the refund inside a decision")
		need(s.Media(mchid, "check"), "remember the media_id of a picture")
	}
	for _, p := range i.Parts() {
		if p.Kind != PartLane {
			continue
		}
		at := p.Stream() + "." + p.Name
		need("$JS.API.CONSUMER.INFO."+at, "see whether the lane is there and fits")
		need("$JS.API.CONSUMER.MSG.NEXT."+at, "pull")
		need("$JS.API.CONSUMER.UNPIN."+at, "hand the lane over when the worker stops")
		need("$JS.ACK."+at+".1.1.1.1.1", "acknowledge")
		need("$JS.ACK._._."+at+".1.1.1.1.1", "acknowledge, in the form that newer servers may switch to")
		if p.Stream() == s.CommandsStream() {
			need("$JS.API.CONSUMER.CREATE."+at+"."+p.lane.FilterSubject, "write down why the lane is held")
			need("$JS.API.CONSUMER.PAUSE."+at, "hold the lane")
		}
	}
	return all
}
