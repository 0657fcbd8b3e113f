package consumer_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/consumer"
	"wxpay-worker/consumer/consumertest"
	"wxpay-worker/dlq"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

// picture is a small PNG, another one for each shade.
func picture(shade uint8) []byte {
	img := image.NewGray(image.Rect(0, 0, 4, 4))
	img.SetGray(1, 1, color.Gray{Y: shade})
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// put stores objects in the bucket "pictures".
func (b *bench) put(objects map[string][]byte) jetstream.ObjectStore {
	b.T.Helper()
	store := must(b.JS.CreateOrUpdateObjectStore(b.T.Context(), jetstream.ObjectStoreConfig{Bucket: "pictures"}))
	for name, content := range objects {
		must(store.PutBytes(b.T.Context(), name, content))
	}
	return store
}

// replyWith is a reply with one picture.
func replyWith(id, complaint, picture string) string {
	return fmt.Sprintf(`{"id":%q,"complaint_id":%q,"complainted_mchid":"1900000001","response_content":"见图 %s","response_images":[%q]}`, id, complaint, id, picture)
}

// decisionWith is a rejection whose reply has one picture.
func decisionWith(picture string) string {
	return fmt.Sprintf(`{"id":"D1","complaint_id":"C1","action":"REJECT","reject_reason":"no",
		"reply":{"complainted_mchid":"1900000001","response_content":"见图","response_images":["obj://pictures/%s"]}}`, picture)
}

// A picture that a command names as an object is uploaded once for each content and merchant, also over a restart of the worker
// and under another name; the reply shows it.
func TestAPictureIsUploadedOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Merchant("1900000002")
	b.put(map[string][]byte{"bill.png": picture(1), "copy of bill.png": picture(1), "other.png": picture(2)})
	patient := func(o *consumer.Options) { o.AckWait = 12 * time.Hour } // nothing gets lost here
	w := b.Start(patient)
	b.Publish(messages.KindReply, replyWith("P1", "C1", "obj://pictures/bill.png"))
	b.Publish(messages.KindReply, replyWith("P2", "C1", "obj://pictures/copy of bill.png"))
	b.End(messages.KindReply, "P1")
	b.End(messages.KindReply, "P2")
	b.Drained()
	check(t, w.Stop())
	b.Start(patient)
	b.Publish(messages.KindReply, replyWith("P3", "C2", "obj://pictures/bill.png"))
	b.Publish(messages.KindDecision, `{"id":"D1","complaint_id":"C3","action":"REJECT","reject_reason":"见图",
		"reject_media_list":["obj://pictures/other.png","obj://pictures/bill.png","MediaId"]}`)
	b.PublishFor("1900000002", messages.KindReply, replyWith("P4", "C4", "obj://pictures/bill.png"))
	for _, id := range []string{"P3", "P4"} {
		if e := b.End(messages.KindReply, id); e.Status != messages.StatusSucceeded {
			t.Errorf("%s: %+v %+v", id, e.Outcome, e.Error)
		}
	}
	b.End(messages.KindDecision, "D1")
	b.Settled()

	uploads := map[string]int{}
	media := map[string]string{}
	for _, m := range []string{mchid, "1900000002"} {
		for _, book := range b.Sim.MediaBooks(m) {
			uploads[m+" "+book.SHA256]++
			media[book.MediaID] = book.SHA256
		}
	}
	if len(uploads) != 3 {
		t.Errorf("uploaded %v, want two pictures for one merchant and one for the other", uploads)
	}
	for what, n := range uploads {
		if n != 1 {
			t.Errorf("%s uploaded %d times", what, n)
		}
	}
	rejection, _ := b.Sim.ComplaintBook("C3")
	for _, h := range rejection.History {
		if h.OperateType == "MERCHANT_REFUSE_RERUND" && (len(h.Images) != 3 || media[h.Images[0]] == "" || media[h.Images[1]] == "" || h.Images[2] != "MediaId") {
			t.Errorf("rejected with %v", h.Images)
		}
	}
}

// A picture that is missing or unfit makes its command malformed before anything of it happens; corrected and sent again, with
// the same id, it goes through.
func TestAnUnfitPictureIsMalformed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.put(map[string][]byte{
		"text.png": []byte("not a picture"), "empty.png": {}, "huge.png": append(picture(1), make([]byte, 2<<20)...), "good.png": picture(1),
	})
	b.Start()
	for _, ref := range []string{"obj://pictures/none.png", "obj://nowhere/good.png", "obj://pictures/text.png", "obj://pictures/empty.png", "obj://pictures/huge.png"} {
		body := func(ref string) string {
			return fmt.Sprintf(`{"id":"D1","complaint_id":"C1","action":"REJECT","reject_reason":"no","reject_media_list":["obj://pictures/good.png"],
				"reply":{"complainted_mchid":"1900000001","response_content":"见图","response_images":["obj://pictures/good.png",%q]}}`, ref)
		}
		seq := b.Publish(messages.KindDecision, body(ref))
		e := b.End(messages.KindDecision, messages.SeqKey(seq))
		if e.Error == nil || e.Error.Reason != messages.ReasonMalformed || !bytes.Contains([]byte(e.Error.Message), []byte("reply.response_images[1]")) {
			t.Errorf("%s: %+v %+v", ref, e.Outcome, e.Error)
		}
	}
	b.Drained()
	if said := b.Sim.RequestsTo(wxpaytest.EndpointComplaintResponse); len(said) != 0 {
		t.Errorf("%d replies sent", len(said))
	}
	b.Publish(messages.KindDecision, `{"id":"D1","complaint_id":"C1","action":"REJECT","reject_reason":"no","reject_media_list":["obj://pictures/good.png"]}`)
	if e := b.End(messages.KindDecision, "D1"); e.Status != messages.StatusSucceeded {
		t.Errorf("corrected: %+v %+v", e.Outcome, e.Error)
	}
	b.Settled()
}

// A picture that goes away after the reply was begun: if the reply is there it has succeeded, else it cannot be sent any more,
// and nothing is left that looks as if it were under way.
func TestAPictureThatIsGoneLater(t *testing.T) {
	t.Parallel()
	for _, apply := range []bool{true, false} {
		t.Run(fmt.Sprintf("replied=%v", apply), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			store := b.put(map[string][]byte{"bill.png": picture(1)})
			arrived, hold := make(chan struct{}, 1), make(chan struct{})
			b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Apply: apply, Answer: wxpaytest.AnswerLost, Arrived: arrived, Hold: hold})
			b.Start()
			seq := b.Publish(messages.KindReply, replyWith("P1", "C1", "obj://pictures/bill.png"))
			<-arrived
			check(t, store.Delete(t.Context(), "bill.png"))
			close(hold)
			if apply {
				if e := b.End(messages.KindReply, "P1"); e.Status != messages.StatusSucceeded {
					t.Errorf("%+v %+v", e.Outcome, e.Error)
				}
			} else {
				for _, key := range []string{"P1", messages.SeqKey(seq)} {
					if e := b.End(messages.KindReply, key); e.Error == nil || e.Error.Reason != messages.ReasonMalformed {
						t.Errorf("%s: %+v %+v", key, e.Outcome, e.Error)
					}
				}
			}
			b.Drained()
			check(t, b.Sim.CheckBooks())
		})
	}
}

// Around the record of the media_id: the wire to NATS breaks there, for a moment or for good. The reply goes out once, with its
// picture. (That may be uploaded once more, which harms nobody.)
func TestBreakingAroundAnUpload(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		for _, dead := range []bool{false, true} {
			t.Run(fmt.Sprintf("lost=%v/dead=%v", lost, dead), func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				b.put(map[string][]byte{"bill.png": picture(1)})
				c := &consumertest.Cut{At: "PUB wxpay.media.", Lost: lost, Dead: dead}
				w := b.StartVia(c)
				b.Publish(messages.KindReply, replyWith("P1", "C1", "obj://pictures/bill.png"))
				if dead {
					<-w.LostWire
					w.Kill()
					b.Start()
				}
				if e := b.End(messages.KindReply, "P1"); e.Status != messages.StatusSucceeded {
					t.Errorf("%+v %+v", e.Outcome, e.Error)
				}
				b.Settled()
				if !c.Broken() {
					t.Error("the story never came to that step")
				}
				book, _ := b.Sim.ComplaintBook("C1")
				if last := book.History[len(book.History)-1]; len(book.History) != 2 || len(last.Images) != 1 {
					t.Errorf("history %+v", book.History)
				}
			})
		}
	}
}

// Whatever the answer to the upload, the reply goes out once, with its picture.
func TestUploadsSurviveEveryAnswer(t *testing.T) {
	t.Parallel()
	for _, f := range consumertest.Hardships {
		if f.ReturnFail {
			continue
		}
		t.Run(f.Answer.String(), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.put(map[string][]byte{"bill.png": picture(1)})
			f.Endpoint, f.Times = wxpaytest.EndpointImageUpload, 2
			b.Fault(f)
			b.Start()
			b.Publish(messages.KindReply, replyWith("P1", "C1", "obj://pictures/bill.png"))
			if e := b.End(messages.KindReply, "P1"); e.Status != messages.StatusSucceeded {
				t.Errorf("%+v %+v", e.Outcome, e.Error)
			}
			b.Settled()
			book, _ := b.Sim.ComplaintBook("C1")
			if last := book.History[len(book.History)-1]; len(book.History) != 2 || len(last.Images) != 1 {
				t.Errorf("history %+v", book.History)
			}
		})
	}
}

// A decision of which the reply has begun when its picture goes away ends with its reply, so that it can be sent with another.
func TestAReplyOfADecisionWhosePictureIsGoneLater(t *testing.T) {
	t.Parallel()
	b := setup(t)
	store := b.put(map[string][]byte{"a.png": picture(1), "b.png": picture(2)})
	arrived, hold := make(chan struct{}, 1), make(chan struct{})
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Answer: wxpaytest.AnswerLost, Arrived: arrived, Hold: hold})
	b.Start()
	first := b.Publish(messages.KindDecision, decisionWith("a.png"))
	<-arrived
	check(t, store.Delete(t.Context(), "a.png"))
	close(hold)
	e := b.End(messages.KindDecision, messages.SeqKey(first))
	if letter := must(b.Letters.Get(t.Context(), e.DeadLetter)); letter.Reason != messages.ReasonMalformed || letter.Step != "reply" {
		t.Errorf("letter: %+v", letter.DeadLetter)
	}
	b.Settled()
	b.Publish(messages.KindDecision, decisionWith("b.png"))
	b.Await("D1 succeeded", func(e consumertest.Event) bool { return e.Key == "D1" && e.Status == messages.StatusSucceeded })
	b.Drained()
	for kind, key := range map[messages.Kind]string{messages.KindDecision: "D1", messages.KindReply: "D1:reply"} {
		got, want := slices.Compact(b.Statuses(kind, key)), []messages.Status{"started", "failed", "started", "succeeded"}
		if !slices.Equal(got, want) { // announced anew where the machine is slow
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
}

// Wherever the wire breaks while a command that has begun ends as a dead letter that does not bear its key, it ends, and its reply with it, once.
func TestBreakingAroundTheEndOfWhatHasBegun(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"decision.malformed.seq-1", "reply.D1=3Areply.failed", "decision.D1.failed", "decision.seq-1.failed", "+TERM"} {
		for _, lost := range []bool{false, true} {
			for _, dead := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/lost=%v/dead=%v", step, lost, dead), func(t *testing.T) {
					t.Parallel()
					b := setup(t)
					store := b.put(map[string][]byte{"a.png": picture(1)})
					arrived, hold := make(chan struct{}, 1), make(chan struct{})
					b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Answer: wxpaytest.AnswerLost, Arrived: arrived, Hold: hold})
					c := &consumertest.Cut{At: step, Lost: lost, Dead: dead}
					w := b.StartVia(c)
					b.Publish(messages.KindDecision, decisionWith("a.png"))
					<-arrived
					check(t, store.Delete(t.Context(), "a.png"))
					close(hold)
					if dead {
						<-w.LostWire
						w.Kill()
						b.Start()
					}
					b.End(messages.KindDecision, messages.SeqKey(1))
					b.Settled()
					if !c.Broken() {
						t.Error("the story never came to that step")
					}
					for kind, key := range map[messages.Kind]string{messages.KindDecision: "D1", messages.KindReply: "D1:reply"} {
						if got, want := slices.Compact(b.Statuses(kind, key)), []messages.Status{"started", "failed"}; !slices.Equal(got, want) {
							t.Errorf("%s: %v, want %v", key, got, want)
						}
					}
				})
			}
		}
	}
}

// Once a decision's reply is there its pictures are not needed any more: the decision goes on without them, in its next try or put back later.
func TestADecisionDoesNotNeedThePicturesOfAReplyThatWasSent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	store := b.put(map[string][]byte{"a.png": picture(1)})
	arrived, hold := make(chan struct{}, 1), make(chan struct{})
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointUpdateRefundProgress, Answer: wxpaytest.Answer429, Arrived: arrived, Hold: hold})
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointUpdateRefundProgress, Answer: wxpaytest.AnswerRefusal})
	b.Start()
	b.Publish(messages.KindDecision, decisionWith("a.png"))
	<-arrived
	check(t, store.Delete(t.Context(), "a.png"))
	close(hold)
	failed := b.Await("D1 failed", func(e consumertest.Event) bool {
		return e.Kind == messages.KindDecision && e.Status == messages.StatusFailed
	})
	if failed.Error.Reason != messages.ReasonRejected {
		t.Fatalf("%+v %+v", failed.Outcome, failed.Error)
	}
	b.Drained()
	if e := b.putBack(failed, dlq.ReplayOptions{}); e.Status != messages.StatusSucceeded {
		t.Errorf("put back: %+v %+v", e.Outcome, e.Error)
	}
	b.Drained()
	check(t, b.Sim.CheckBooks())
}

// A reply that may have been sent is looked for when it is put back, also if its picture has gone meanwhile.
func TestAReplyThatMayHaveBeenSentIsAskedAboutWithoutItsPicture(t *testing.T) {
	t.Parallel()
	b := setup(t)
	store := b.put(map[string][]byte{"a.png": picture(1)})
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintResponse, Apply: true, Answer: wxpaytest.AnswerLost})
	b.Sim.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointComplaintDetail, Times: -1, Answer: wxpaytest.AnswerRefusal, Status: 404, Code: "RESOURCE_NOT_EXISTS"})
	b.Start(func(o *consumer.Options) { o.Retry.MaxAge, o.Retry.Max = 10*time.Minute, 30*time.Second })
	b.Publish(messages.KindReply, replyWith("P1", "C1", "obj://pictures/a.png"))
	failed := b.End(messages.KindReply, "P1")
	if failed.Error == nil || failed.Error.Reason != messages.ReasonUnresolved {
		t.Fatalf("%+v %+v", failed.Outcome, failed.Error)
	}
	b.Drained()
	b.Sim.ClearFaults()
	check(t, store.Delete(t.Context(), "a.png"))
	if e := b.putBack(failed, dlq.ReplayOptions{Unresolved: true}); e.Status != messages.StatusSucceeded {
		t.Errorf("put back: %+v %+v", e.Outcome, e.Error)
	}
	b.Drained()
	check(t, b.Sim.CheckBooks())
}

// A link in an object store has no size of its own: what it leads to is read only as far as a picture can go.
func TestALinkToALargeObjectIsNotReadWhole(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const large = 32 << 20
	store := b.put(map[string][]byte{"large.png": append(picture(1), make([]byte, large)...), "small.png": picture(2)})
	for _, name := range []string{"large.png", "small.png"} {
		must(store.AddLink(t.Context(), "link to "+name, must(store.GetInfo(t.Context(), name))))
	}
	w := b.Start()
	seq := b.Publish(messages.KindReply, replyWith("P1", "C1", "obj://pictures/link to large.png"))
	if e := b.End(messages.KindReply, messages.SeqKey(seq)); e.Error == nil || e.Error.Message != "response_images[0]: expected a picture of at most 2 MiB" {
		t.Errorf("%+v %+v", e.Outcome, e.Error)
	}
	if read := w.NC.Stats().InBytes; read > large/2 {
		t.Errorf("%d bytes were read", read)
	}
	b.Publish(messages.KindReply, replyWith("P2", "C1", "obj://pictures/link to small.png"))
	if e := b.End(messages.KindReply, "P2"); e.Status != messages.StatusSucceeded {
		t.Errorf("%+v %+v", e.Outcome, e.Error)
	}
	b.Settled()
}

// A picture that cannot be read, and is not known to be missing either, is tried again, and not for ever; the complaint's next command follows.
func TestAPictureThatCannotBeReadIsGivenUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.put(nil)
	meta := "$O.pictures.M." + base64.URLEncoding.EncodeToString([]byte("broken.png"))
	must(b.JS.Publish(t.Context(), meta, []byte(`{"name":"broken.png","bucket":"pictures","size":3}`)))
	b.Start(func(o *consumer.Options) { o.Retry.MaxAge = 10 * time.Minute })
	b.Publish(messages.KindReply, replyWith("P1", "C1", "obj://pictures/broken.png"))
	b.Publish(messages.KindReply, replyWith("P2", "C1", "MediaId"))
	if e := b.End(messages.KindReply, "P1"); e.Error == nil || e.Error.Reason != messages.ReasonExhausted {
		t.Errorf("%+v %+v", e.Outcome, e.Error)
	}
	if e := b.End(messages.KindReply, "P2"); e.Status != messages.StatusSucceeded {
		t.Errorf("%+v %+v", e.Outcome, e.Error)
	}
	b.Settled()
	if tries := len(b.Acks()); tries > 60 { // of both: the delays grow
		t.Errorf("%d tries", tries)
	}
}
