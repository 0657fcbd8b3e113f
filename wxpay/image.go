package wxpay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"mime/multipart"
	"net/textproto"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxImageBytes is the size of the largest picture that UploadImage sends. WeChat Pay says "at most 2M" and does not say of
// what; we read MiB, as file sizes are meant elsewhere. Should it mean 2,000,000 bytes, it refuses those in between.
//
// Source: 商户上传反馈图片, https://pay.weixin.qq.com/doc/v3/merchant/4012467250
const MaxImageBytes = 2 << 20

const (
	maxImageName = 128 // of filename; a string(128), read as bytes
	maxMediaID   = 512
)

// imageTypes are the pictures that WeChat Pay takes: by what they begin, and what they are called.
var imageTypes = []struct{ magic, ext, mediaType string }{
	{"\xff\xd8\xff", "jpg", "image/jpeg"},
	{"BM", "bmp", "image/bmp"},
	{"\x89PNG\r\n\x1a\n", "png", "image/png"},
}

// ImageType tells by its first bytes what kind of picture image is: "jpg", "bmp" or "png". ok is false for all else, which
// UploadImage refuses. Whether the rest of it is a picture, WeChat Pay finds out.
func ImageType(image []byte) (ext string, ok bool) {
	for _, t := range imageTypes {
		if bytes.HasPrefix(image, []byte(t.magic)) {
			return t.ext, true
		}
	}
	return "", false
}

// repeatable: WeChat Pay keeps no record of an upload but the picture, so that a second one makes a second media id for it,
// which nobody refers to and nobody sees.
var uploadImage = endpoint{op: "POST /v3/merchant-service/images/upload", repeatable: true}

// imageMeta is the part of an upload that is signed. The picture is not: its digest here stands for it.
type imageMeta struct {
	Filename string `json:"filename"`
	SHA256   string `json:"sha256"` // lower-case hex
}

// UploadImage gives WeChat Pay a picture and returns the media id by which a RefundProgress (RejectMediaList) or a
// ComplaintResponse (ResponseImages) shows it; it is good for ever, and for several of them.
//
// image is a JPG, BMP or PNG by its content (ImageType), of at most MaxImageBytes. filename is what it is called at WeChat
// Pay, for people: a name without a folder, whose extension need not be right, since it is made to fit the content
// ("bill.jpeg" goes out as "bill.jpg", "scan" as "scan.png"); at most 128 bytes then. Empty = the picture's SHA-256, which
// always does. What does not fit is an *ArgumentError, and nothing was sent.
//
//	status code               meaning                          then
//	400    PARAM_ERROR        the picture or its name          never as it is
//	400    INVALID_REQUEST    not a form as it should be       a bug of ours
//	401    SIGN_ERROR         not executed; unsigned answer    mend key or clock
//	403    NO_AUTH            permission                       a person
//	429    FREQUENCY_LIMITED  not executed                     slower
//	500    SYSTEM_ERROR       unknown                          the same again
//
// After any doubt it may simply be made again: the worst that comes of it is a second media id for the same picture. Here
// too, a call sends it once; Config.Timeout is for the whole of it, upload included.
//
// Source: 商户上传反馈图片, https://pay.weixin.qq.com/doc/v3/merchant/4012467250; provider: https://pay.weixin.qq.com/doc/v3/partner/4012467222,
// 2025-09-01; 403 and 429 are older pages', https://pay.weixin.qq.com/wiki/doc/apiv3/apis/chapter10_2_10.shtml
func (c *Client) UploadImage(ctx context.Context, filename string, image []byte) (mediaID string, err error) {
	refused := func(name, rule string) (string, error) {
		return "", &ArgumentError{Op: uploadImage.op, Name: name, Rule: rule}
	}
	ext, ok := ImageType(image)
	if !ok {
		return refused("file", "wants a JPG, BMP or PNG")
	}
	if len(image) > MaxImageBytes {
		return refused("file", "wants at most 2097152 bytes (2 MiB)")
	}
	sum := sha256.Sum256(image)
	meta := imageMeta{SHA256: hex.EncodeToString(sum[:])}
	if meta.Filename, ok = imageName(filename, ext, meta.SHA256); !ok {
		return refused("filename", "wants at most 128 bytes of text without / \\ \", with its extension")
	}
	form, err := meta.form(image, c.nonce())
	if err != nil {
		return refused("filename", "cannot be written into a form")
	}
	uri, err := uploadImage.uri()
	if err != nil {
		return "", err
	}
	type upload struct {
		MediaID string `json:"media_id"`
	}
	answer, err := call(ctx, c, uploadImage, uri, form, func(a *upload) bool {
		return 0 < len(a.MediaID) && len(a.MediaID) <= maxMediaID
	})
	if err != nil {
		return "", err
	}
	return answer.MediaID, nil
}

// imageName is the name that a picture is uploaded under; ok is false if filename cannot be a part of one.
func imageName(filename, ext, sum string) (name string, ok bool) {
	switch old := path.Ext(filename); strings.ToLower(old) {
	case ".jpg", ".jpeg", ".bmp", ".png":
		filename = strings.TrimSuffix(filename, old)
	}
	if filename == "" {
		filename = sum
	}
	for _, r := range filename {
		// Beyond three bytes WeChat Pay reads nothing; the others would have to be escaped in a form's header, for which
		// there is more than one way.
		if r > 0xffff || unicode.IsControl(r) || strings.ContainsRune(`/\"`, r) {
			return "", false
		}
	}
	name = filename + "." + ext
	return name, utf8.ValidString(name) && len(name) <= maxImageName
}

// form is the request's body. It holds one copy of the picture, in one buffer of its size: http.Transport may have to begin
// again on another connection, and then reads it from the start.
//
// The boundary is a random text that is not in a picture.
func (m *imageMeta) form(image []byte, boundary string) (content, error) {
	meta, err := encode(m)
	if err != nil {
		return content{}, err
	}
	var body bytes.Buffer
	body.Grow(len(image) + 2<<10) // the rest is less than 1 KiB
	w := multipart.NewWriter(&body)
	if err := w.SetBoundary(boundary); err != nil {
		return content{}, err
	}
	add := func(disposition, mediaType string, data []byte) error {
		part, err := w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {disposition}, "Content-Type": {mediaType}})
		if err == nil {
			_, err = part.Write(data)
		}
		return err
	}
	if err := add(`form-data; name="meta"`, "application/json", meta); err != nil {
		return content{}, err
	}
	if err := add(multipart.FileContentDisposition("file", m.Filename), mediaType(m.Filename), image); err != nil {
		return content{}, err
	}
	if err := w.Close(); err != nil {
		return content{}, err
	}
	// Source of what is signed: 如何构造签名串, https://pay.weixin.qq.com/doc/v3/merchant/4012365335
	return content{body: body.Bytes(), mediaType: w.FormDataContentType(), signed: meta}, nil
}

func mediaType(name string) string {
	for _, t := range imageTypes {
		if strings.HasSuffix(name, "."+t.ext) {
			return t.mediaType
		}
	}
	return "application/octet-stream"
}
