package messages

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// A picture of a reply or a rejection is named either by the media_id of an image that was uploaded to WeChat Pay, or by a
// reference to an object in a JetStream object store, obj://BUCKET/NAME, which the worker uploads.

const pictureScheme = "obj://"

// The limits of a reference. Source of the characters of a bucket: NATS ADR-20, JetStream based object stores.
const (
	maxBucketBytes = 64
	maxObjectBytes = 256
)

// PictureRef is the reference to an object: what ParsePictureRef reads.
func PictureRef(bucket, name string) string { return pictureScheme + bucket + "/" + name }

// ParsePictureRef takes a picture's name apart. isRef is false for a media_id. A reference that is not valid has no bucket:
// BUCKET is 1–64 letters, digits, "_" or "-", NAME 1–256 bytes of UTF-8 without control characters.
func ParsePictureRef(picture string) (bucket, name string, isRef bool) {
	rest, isRef := strings.CutPrefix(picture, pictureScheme)
	if !isRef {
		return "", "", false
	}
	bucket, name, _ = strings.Cut(rest, "/")
	control := strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f })
	if len(bucket) > maxBucketBytes || !all(bucket, isBucketByte) || name == "" || len(name) > maxObjectBytes || control || !utf8.ValidString(name) {
		return "", "", true
	}
	return bucket, name, true
}

func isBucketByte(c byte) bool { return isAlphanumeric(c) || c == '_' || c == '-' }

// Picture is a picture that a command sends.
type Picture struct {
	Field string // where the command names it: "response_images[0]", "reply.response_images[1]"
	Name  string // a media_id, or a reference
}

// Pictures are the pictures that carrying the command out will send: those of a reply, also of the one inside a decision, and
// those of a rejection.
func Pictures(c Command) (pictures []Picture) {
	add := func(field string, names []string) {
		for i, name := range names {
			pictures = append(pictures, Picture{field + "[" + strconv.Itoa(i) + "]", name})
		}
	}
	switch c := c.(type) {
	case *ReplyCommand:
		add("response_images", c.ResponseImages)
	case *DecisionCommand:
		if c.Action == ActionReject {
			add("reject_media_list", c.RejectMediaList)
		}
		if c.Reply != nil {
			add("reply.response_images", c.Reply.ResponseImages)
		}
	}
	return pictures
}
