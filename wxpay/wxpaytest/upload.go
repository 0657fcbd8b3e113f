package wxpaytest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"path"
	"slices"
	"strings"
)

// Picture uploads as they look on the wire: a form of two parts, meta and file. What the books keep is in media.go.

const (
	uploadPath   = "/v3/merchant-service/images/upload"
	sourceUpload = "M:4012467250"

	maxPicture = 2 << 20        // bytes. Source: M:4012467250 (2M; which of the two megabytes is not said: the larger)
	maxUpload  = 2 * maxPicture // bytes of the whole form that are read, so that a large picture is refused by its own rule
)

// pictureKinds are what may be uploaded: the extension of the name, how the file begins, what its part may call
// itself. Source: M:4012467250 (JPG, BMP, PNG; .jpeg is not an extension), GO core/consts/const.go (image/jpg, which
// is not a registered type; image/jpeg is).
var pictureKinds = []pictureKind{
	{".jpg", "\xff\xd8\xff", []string{"image/jpeg", "image/jpg"}},
	{".png", "\x89PNG\r\n\x1a\n", []string{"image/png"}},
	{".bmp", "BM", []string{"image/bmp"}},
}

type pictureKind struct {
	extension, magic string
	mediaTypes       []string
}

// An uploadForm is a multipart body taken apart, before anything in it is judged: the signature covers the text
// of the part meta, and nothing else of the body. Source: M:4012365335.
type uploadForm struct {
	meta, file *formPart // nil = there is none
	flaw       string    // the first thing wrong with the form itself; "" = nothing
}

// A formPart is what the judge wants to know of a part. Source: GO core/client.go (what the two look like).
type formPart struct {
	mediaType string // of its Content-Type; "" = it has none
	filename  string
	named     bool // it has a filename
	content   []byte
}

// takeApart reads a form; nil if the header does not announce one.
func takeApart(header http.Header, body []byte) *uploadForm {
	announced := header.Values("Content-Type")
	if len(announced) != 1 {
		return nil
	}
	mediaType, parameters, err := mime.ParseMediaType(announced[0])
	boundary := parameters["boundary"]
	if err != nil || mediaType != "multipart/form-data" || boundary == "" || len(parameters) != 1 {
		return nil
	}
	f := &uploadForm{}
	dashes := "--" + boundary
	if !bytes.HasPrefix(body, []byte(dashes+"\r\n")) || !bytes.HasSuffix(bytes.TrimSuffix(body, []byte("\r\n")), []byte("\r\n"+dashes+"--")) {
		f.blame("the form must begin and end with its boundary, on lines that end in CRLF (RFC 2046 section 5.1.1)")
	}
	for reader := multipart.NewReader(bytes.NewReader(body), boundary); ; {
		part, err := reader.NextRawPart()
		if err == io.EOF { // not errors.Is: wrapped it means that the form was cut short
			return f
		}
		if err == nil {
			err = f.add(part)
		}
		if err != nil {
			f.blame("not a valid multipart/form-data body (RFC 7578)")
			return f
		}
	}
}

func (f *uploadForm) blame(flaw string) {
	if f.flaw == "" {
		f.flaw = flaw
	}
}

// add keeps the parts that are asked for; there must be no others.
func (f *uploadForm) add(part *multipart.Part) error {
	content, err := io.ReadAll(part)
	if err != nil {
		return err
	}
	for name, values := range part.Header {
		if len(values) != 1 || name != "Content-Disposition" && name != "Content-Type" {
			f.blame("a part has one Content-Disposition, at most one Content-Type and no other headers (RFC 7578 section 4.8; stricter than production)")
		}
	}
	disposition, parameters, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if err != nil || disposition != "form-data" {
		f.blame("a part's Content-Disposition must be form-data with a name (RFC 7578 section 4.2)")
		return nil
	}
	p := &formPart{content: content}
	p.filename, p.named = parameters["filename"]
	if announced := part.Header.Get("Content-Type"); announced != "" {
		if p.mediaType, _, err = mime.ParseMediaType(announced); err != nil {
			f.blame("a part's Content-Type is not one (RFC 7578 section 4.4)")
		}
	}
	slot := map[string]**formPart{"meta": &f.meta, "file": &f.file}[parameters["name"]]
	switch {
	case slot == nil:
		f.blame("a part that is neither meta nor file (" + sourceUpload + "; stricter than production)")
	case *slot != nil:
		f.blame("meta or file twice (" + sourceUpload + ")")
	default:
		*slot = p
	}
	return nil
}

// signed is what the signature of the request covers as its body.
func (f *uploadForm) signed() []byte {
	if f.meta == nil {
		return nil
	}
	return f.meta.content
}

// peekDigest finds the digest that meta names before it is judged: for the record and the script only.
func (f *uploadForm) peekDigest() string {
	values, no := decodeObject(f.signed())
	if no != nil {
		return ""
	}
	digest, _ := values["sha256"].(string)
	return digest
}

// upload is POST /v3/merchant-service/images/upload.
type upload struct {
	filename, sha256 string
	kind             pictureKind
	size             int
}

// readUpload judges a form: its shape, meta, the file's part, the picture. Source: M:4012467250.
func readUpload(q query, form *uploadForm) (operation, *refusal) {
	if no := q.end(); no != nil {
		return nil, no
	}
	switch {
	case form.flaw != "":
		return nil, badField("", "", form.flaw)
	case form.meta == nil || form.file == nil:
		return nil, badField("", "", "the form needs the parts meta and file ("+sourceUpload+")")
	case form.meta.named || form.meta.mediaType != "" && form.meta.mediaType != "application/json":
		return nil, badField("/meta", "", "must be a field, not a file, and if it has a Content-Type application/json (GO core/client.go)")
	}
	u, no := readMeta(form.meta.content)
	if no != nil {
		return nil, no
	}
	if issue := u.checkFile(form.file); issue != "" {
		return nil, badField("/file", "", issue)
	}
	u.size = len(form.file.content)
	return u, nil
}

// readMeta reads the JSON of meta: the name of 128 bytes at most that says what the picture is, and the digest. The
// documents say string(128) and string(256); bytes, and 64 digits in lower case, are the narrower reading.
func readMeta(text []byte) (upload, *refusal) {
	values, no := decodeObject(text)
	if no != nil {
		return upload{}, no
	}
	f := &form{at: "/meta", values: values, first: new(*refusal)}
	u := upload{
		filename: f.text("filename", textRule{required: true, bytes: 128, charset: isFilenameChar, source: sourceUpload}),
		sha256:   f.text("sha256", textRule{required: true, least: 64, bytes: 64, charset: isLowerHex, source: sourceUpload}),
	}
	extension := strings.ToLower(path.Ext(u.filename)) // the documents print both .jpg and .JPG
	i := slices.IndexFunc(pictureKinds, func(k pictureKind) bool { return k.extension == extension })
	if i < 0 {
		f.bad("filename", u.filename, "must end in .jpg, .bmp or .png ("+sourceUpload+")")
		return u, f.end()
	}
	u.kind = pictureKinds[i]
	return u, f.end()
}

// checkFile compares the file with what meta and its part say of it.
func (u upload) checkFile(p *formPart) (issue string) {
	digest := sha256.Sum256(p.content)
	switch {
	case !p.named || p.filename != u.filename:
		return "its filename must be that of meta (GO core/client.go; stricter than production)"
	case len(p.content) == 0:
		return "empty (" + sourceUpload + ")"
	case len(p.content) > maxPicture:
		return fmt.Sprintf("larger than %d bytes (%s)", maxPicture, sourceUpload)
	case !strings.HasPrefix(string(p.content[:min(8, len(p.content))]), u.kind.magic):
		return "not a picture of the kind that its name says (" + sourceUpload + "; stricter than production)"
	case !slices.Contains(u.kind.mediaTypes, p.mediaType):
		return "its Content-Type must be that of the picture: " + strings.Join(u.kind.mediaTypes, " or ") + " (stricter than production)"
	case hex.EncodeToString(digest[:]) != u.sha256:
		return "its SHA-256 is not the one in meta (" + sourceUpload + ")"
	}
	return ""
}

// plan keeps the picture and tells its id. There is no idempotency: the same picture again is another one.
func (u upload) plan(b *books, x *exchange) (answer, func()) {
	m := MediaBook{
		MchID: x.merchant.MchID, MediaID: b.nextMediaID(u.kind.extension),
		Filename: u.filename, SHA256: u.sha256, Size: u.size, UploadedAt: x.seen.At,
	}
	return answer{status: http.StatusOK, body: uploadView{m.MediaID, aNewField}}, func() {
		b.uploads = append(b.uploads, m)
		b.media[mediaKey{m.MchID, m.MediaID}] = m.SHA256
	}
}

// uploadView is the answer. Source: M:4012467250 (string(512)).
type uploadView struct {
	MediaID  string   `json:"media_id"`
	NewField newField `json:"wxpaytest_new_field"`
}

// isFilenameChar: a name, not a path, and nothing that a header cannot hold (stricter than production).
func isFilenameChar(c byte) bool {
	return c >= ' ' && c != 0x7f && !strings.ContainsRune(`/\"`, rune(c))
}

func isLowerHex(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' }
