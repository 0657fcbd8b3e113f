package consumer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/internal/stored"
	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
)

// Pictures that a command names as objects are uploaded to WeChat Pay before it is announced: a picture that is missing or unfit
// makes it malformed, and nothing of it has happened then. Each content is uploaded once per merchant; the media_id is kept in
// the media stream by the content's SHA-256, and is good for ever.
// Source: WeChat Pay, 商户上传反馈图片, pay.weixin.qq.com/doc/v3/merchant/4012467250, 2026-08.

// media is the body of a message of the media stream.
type media struct {
	MediaID string `json:"media_id"`
}

// upload sees to it that pictures of the command have media_ids, and returns how the delivery ends if they cannot have. The step is the one
// that has begun, "" if none has.
func (l *lane) upload(ctx context.Context, o *job, pictures []messages.Picture, step string, a *attempts) *end {
	stop := func(e end) *end { return &e }
	for _, p := range pictures {
		bucket, name, isRef := messages.ParsePictureRef(p.Name)
		if _, known := o.media[p.Name]; known || !isRef {
			continue
		}
		image, err := l.object(ctx, bucket, name)
		if err != nil { // a bucket that we may not read looks like a store that is away, and may do so for ever
			a.asked(Unknown, l.clock.moment())
			if l.ranOut(a, "") {
				return stop(l.bury(ctx, o, deadEnd{reason: messages.ReasonExhausted, cause: err, step: step, attempts: a}))
			}
			return stop(again("picture unread", l.retry.Delay(a.tries()), err))
		}
		if unfit := unfitPicture(image); unfit != "" {
			malformed := &messages.MalformedError{Field: p.Field, Expected: unfit}
			return stop(l.bury(ctx, o, deadEnd{reason: messages.ReasonMalformed, message: malformed.Error(), step: step}))
		}
		id, stopped := l.mediaID(ctx, o, step, a, image)
		if stopped != nil {
			return stopped
		}
		if o.media == nil {
			o.media = map[string]string{}
		}
		o.media[p.Name] = id
	}
	return nil
}

// object reads an object of an object store, and not more of it than can be a picture. What is not there is nil.
func (l *lane) object(ctx context.Context, bucket, name string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, l.storeTimeout)
	defer cancel()
	store, err := l.js.ObjectStore(ctx, bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) || errors.Is(err, jetstream.ErrInvalidStoreName) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open object store: %w", err)
	}
	info, err := store.GetInfo(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read picture: %w", err)
	}
	if info.Size > wxpay.MaxImageBytes {
		return make([]byte, wxpay.MaxImageBytes+1), nil // its size says enough
	}
	object, err := store.Get(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) || errors.Is(err, jetstream.ErrBucketNotFound) { // that of a link
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read picture: %w", err)
	}
	defer object.Close()
	image, err := io.ReadAll(io.LimitReader(object, wxpay.MaxImageBytes+1)) // what a link leads to may be of any size
	if err != nil {
		return nil, fmt.Errorf("read picture: %w", err)
	}
	return image, nil
}

// unfitPicture says what was expected of a picture that cannot be uploaded, "" if it can.
func unfitPicture(image []byte) string {
	if len(image) > wxpay.MaxImageBytes {
		return "a picture of at most 2 MiB"
	}
	if image == nil {
		return "an object that exists"
	}
	if _, ok := wxpay.ImageType(image); !ok {
		return "a picture: JPG, BMP or PNG"
	}
	return ""
}

// mediaID returns the picture's media_id at WeChat Pay, uploading it if it has none.
func (l *lane) mediaID(ctx context.Context, o *job, step string, a *attempts, image []byte) (string, *end) {
	stop := func(e end) (string, *end) { return "", &e }
	sum := sha256.Sum256(image)
	subject := l.subjects.Media(l.mchid, hex.EncodeToString(sum[:]))
	id, err := l.knownMedia(ctx, subject)
	if err != nil {
		return stop(again("media unread", l.retry.Initial, err))
	}
	if id != "" {
		return id, nil
	}
	turn, calling, err := l.under(ctx, o, l.writes, always)
	if err != nil {
		return stop(again("out of budget", 0, err))
	}
	defer turn.end() // also if it panics: the turns behind it wait for it
	id, err = l.merchant().Complaints.UploadImage(calling, "", image)
	turn.end()
	if errors.Is(err, errNoTurn) {
		return stop(again("out of budget", 0, err))
	}
	verdict := classify(callRead, err) // like reading it leaves nothing behind that matters
	paced(turn, verdict, err)
	switch verdict {
	case Done:
		// Crash here: uploaded, and nobody knows the media_id. The redelivery uploads the picture once more.
		if err := l.rememberMedia(ctx, subject, id); err != nil {
			l.log.WithError(err).Warn("media_id not remembered; the picture will be uploaded again")
		}
		return id, nil
	case Malformed:
		return stop(l.bury(ctx, o, deadEnd{reason: messages.ReasonMalformed, message: err.Error(), step: step}))
	case Rejected:
		return stop(l.bury(ctx, o, deadEnd{reason: messages.ReasonRejected, cause: err, step: step, attempts: a}))
	case Hold:
		return stop(l.holdNow(verdict, err))
	}
	a.asked(verdict, l.clock.moment())
	later := again("not uploaded: "+verdict.String(), l.retry.Delay(a.tries()), err)
	return stop(l.laterOrGivenUp(ctx, o, o.cmd.Key(), "", verdict, later, deadEnd{reason: messages.ReasonExhausted, cause: err, step: step, attempts: a}))
}

func (l *lane) knownMedia(ctx context.Context, subject string) (string, error) {
	m, err := stored.Last(ctx, l.nc, l.subjects.MediaStream(), subject)
	if errors.Is(err, stored.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read media_id: %w", err)
	}
	var known media
	if err := json.Unmarshal(m.Data, &known); err != nil {
		return "", fmt.Errorf("read media_id: message %d: %w", m.Sequence, err)
	}
	return known.MediaID, nil
}

func (l *lane) rememberMedia(ctx context.Context, subject, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.storeTimeout)
	defer cancel()
	body, err := json.Marshal(media{id})
	if err == nil {
		_, err = l.js.Publish(ctx, subject, body)
	}
	return err
}

// mediaIDs are the pictures as WeChat Pay knows them.
func (o *job) mediaIDs(pictures []string) []string {
	var ids []string
	for _, p := range pictures {
		if id, uploaded := o.media[p]; uploaded {
			p = id
		}
		ids = append(ids, p)
	}
	return ids
}
