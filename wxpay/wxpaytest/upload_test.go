package wxpaytest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"wxpay-worker/wxpay/wxpaytest"
)

const (
	uploads = "/v3/merchant-service/images/upload"
	jpg     = "\xff\xd8\xff\xe0 a picture"
	png     = "\x89PNG\r\n\x1a\n a picture"
	bmp     = "BM a picture"
)

// picture is an upload as it should be; a test spoils one thing of it before it is put together.
type picture struct {
	name, content, mediaType string
	meta                     string // default: as it should be
	metaHead, fileHead       string // header lines; default: as they should be
	boundary                 string
	before, between, after   string
	contentType              string // of the request
	noMeta, noFile           bool
}

func jpgOf(content string) picture {
	return picture{name: "收据.jpg", content: content, mediaType: "image/jpeg"}
}

func digest(content string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(content))) }

func (p picture) call() call {
	boundary := or(p.boundary, "boundary-1")
	meta := or(p.meta, fmt.Sprintf(`{"filename":%q,"sha256":%q}`, p.name, digest(p.content)))
	metaPart := fmt.Sprintf("--%s\r\n%s\r\n\r\n%s\r\n", boundary,
		or(p.metaHead, "Content-Disposition: form-data; name=\"meta\"\r\nContent-Type: application/json"), meta)
	filePart := fmt.Sprintf("--%s\r\n%s\r\n\r\n%s\r\n", boundary,
		or(p.fileHead, fmt.Sprintf("Content-Disposition: form-data; name=\"file\"; filename=\"%s\"\r\nContent-Type: %s", p.name, p.mediaType)), p.content)
	if p.noMeta {
		metaPart = ""
	}
	if p.noFile {
		filePart = ""
	}
	return call{
		method: "POST", target: uploads, signedBody: meta, signsNoBody: p.noMeta,
		body:   p.before + metaPart + p.between + filePart + "--" + boundary + "--\r\n" + p.after,
		header: map[string]string{"Content-Type": or(p.contentType, "multipart/form-data; boundary="+boundary)},
	}
}

// upload sends a picture and returns its media id.
func (b *bench) upload(p picture) string {
	b.t.Helper()
	return b.want(p.call(), 200, "").text("media_id")
}

func TestUpload(t *testing.T) {
	b := setup(t)
	other := newCaller(t, b.Server, b.AddMerchant(wxpaytest.Merchant{MchID: "1900000002"}), b.clock.now)
	p := jpgOf(jpg)
	first, second := b.upload(p), b.upload(p) // the same content twice: two ids
	b.clock.forward(time.Minute)
	b.upload(picture{name: "A.PNG", content: png, mediaType: "image/png"})
	b.upload(picture{name: "a.bmp", content: bmp, mediaType: "image/bmp"})
	theirs := other.want(p.call(), 200, "").text("media_id")

	list := b.MediaBooks(mchid)
	if len(list) != 4 || len(b.MediaBooks("")) != 5 || len(b.MediaBooks("1900000009")) != 0 {
		t.Fatalf("%+v", b.MediaBooks(""))
	}
	want := wxpaytest.MediaBook{MchID: mchid, MediaID: first, Filename: p.name, SHA256: digest(jpg), Size: len(jpg), UploadedAt: b.clock.now().Add(-time.Minute)}
	if list[0] != want || list[1].MediaID != second || list[2].Filename != "A.PNG" {
		t.Errorf("%+v", list)
	}
	ids := []string{first, second, list[2].MediaID, list[3].MediaID, theirs}
	for i, id := range ids {
		stem, extension, _ := strings.Cut(id, ".")
		if len(stem) != 32 || !slices.Contains([]string{"jpg", "png", "bmp"}, extension) || slices.Index(ids, id) != i {
			t.Errorf("media id %q of %q", id, ids)
		}
	}
	if r := b.RequestsTo(wxpaytest.EndpointImageUpload)[0]; r.ID != digest(jpg) || !r.Applied {
		t.Errorf("%v", r)
	}
	b.wantViolations(0)

	again := setup(t) // ids go by a count: a run can be repeated
	if id := again.upload(picture{name: "a.jpg", content: jpg + "!", mediaType: "image/jpg"}); id != first {
		t.Errorf("%s, then %s", first, id)
	}
}

// What the documents leave open may be either way.
func TestSpellingOfAFormIsFree(t *testing.T) {
	b := setup(t)
	p := jpgOf(jpg)
	for name, spell := range map[string]func(p *picture){
		"as the Go SDK sends it": func(p *picture) {
			p.metaHead = "Content-Disposition: form-data; name=\"meta\";\r\nContent-Type: application/json"
			p.fileHead = "Content-Disposition: form-data; name=\"file\"; filename=\"收据.jpg\";\r\nContent-Type: image/jpg"
		},
		"meta without a type": func(p *picture) { p.metaHead = `Content-Disposition: form-data; name="meta"` },
		"meta with a charset": func(p *picture) {
			p.metaHead = "content-disposition: form-data; name=meta\r\ncontent-type: application/json; charset=utf-8"
		},
		"meta in other order": func(p *picture) {
			p.meta = fmt.Sprintf(" {\n\"sha256\": %q , \"filename\":\"\\u6536\\u636e.jpg\"}\n", digest(jpg))
		},
		"boundary to be quoted":   func(p *picture) { p.boundary, p.contentType = "a b:c", `multipart/form-data; boundary="a b:c"` },
		"boundary in the picture": func(p *picture) { *p = jpgOf(jpg + "\r\n--boundary\r\n--boundary-2--\r\n") },
		"at the limits": func(p *picture) {
			*p = jpgOf(jpg + strings.Repeat("x", 2<<20-len(jpg)))
			p.name = strings.Repeat("n", 124) + ".jpg"
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := p
			spell(&p)
			b.upload(p)
		})
	}
	file := p.call() // the file first, as the vendor's sample for curl has it, and no line end after the form
	_, parts, _ := strings.Cut(file.body, "--boundary-1\r\n")
	parts = strings.TrimSuffix(parts, "--boundary-1--\r\n")
	meta, rest, _ := strings.Cut(parts, "--boundary-1\r\n")
	file.body = "--boundary-1\r\n" + rest + "--boundary-1\r\n" + meta + "--boundary-1--"
	b.want(file, 200, "")
	b.wantViolations(0)
}

// One case per rule of an upload: refused, signed, a violation, nothing kept.
func TestRefusedUpload(t *testing.T) {
	b := setup(t)
	rules := map[string]string{}
	defer func() { golden(t, "refused_upload.txt", rules) }()
	const param, request = "PARAM_ERROR", "INVALID_REQUEST"
	metaOf := func(fields string) func(p *picture) { return func(p *picture) { p.meta = "{" + fields + "}" } }
	sum := `"sha256":"` + digest(jpg) + `"`
	name := `"filename":"收据.jpg"`
	disposition := `Content-Disposition: form-data; name="file"; filename="收据.jpg"`
	for what, c := range map[string]struct {
		code  string
		spoil func(p *picture)
	}{
		"JSON instead of a form":  {request, func(p *picture) { p.contentType = "application/json" }},
		"form without a boundary": {request, func(p *picture) { p.contentType = "multipart/form-data" }},
		"other multipart":         {request, func(p *picture) { p.contentType = "multipart/mixed; boundary=boundary-1" }},
		"form with a charset":     {request, func(p *picture) { p.contentType = "multipart/form-data; charset=utf-8; boundary=boundary-1" }},
		"text before the form":    {param, func(p *picture) { p.before = "hello\r\n" }},
		"text after the form":     {param, func(p *picture) { p.after = "hello" }},
		"other part": {param, func(p *picture) {
			p.between = "--boundary-1\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\ny\r\n"
		}},
		"file twice": {param, func(p *picture) {
			p.between = "--boundary-1\r\n" + disposition + "\r\nContent-Type: image/jpeg\r\n\r\n" + jpg + "\r\n"
		}},
		"part without disposition": {param, func(p *picture) { p.between = "--boundary-1\r\nContent-Type: text/plain\r\n\r\ny\r\n" }},
		"part that is no form data": {param, func(p *picture) {
			p.fileHead = strings.Replace(disposition, "form-data", "attachment", 1) + "\r\nContent-Type: image/jpeg"
		}},
		"part with other headers": {param, func(p *picture) {
			p.fileHead = disposition + "\r\nContent-Type: image/jpeg\r\nContent-Transfer-Encoding: binary"
		}},
		"part of no type":          {param, func(p *picture) { p.fileHead = disposition + "\r\nContent-Type: image/" }},
		"part header is no header": {param, func(p *picture) { p.fileHead = disposition + "\r\nhello" }},
		"no meta":                  {param, func(p *picture) { p.noMeta = true }},
		"no file":                  {param, func(p *picture) { p.noFile = true }},
		"meta is a file":           {param, func(p *picture) { p.metaHead = `Content-Disposition: form-data; name="meta"; filename="meta.json"` }},
		"meta is text": {param, func(p *picture) {
			p.metaHead = "Content-Disposition: form-data; name=\"meta\"\r\nContent-Type: text/plain"
		}},
		"meta is not JSON":       {param, func(p *picture) { p.meta = "filename=a.jpg" }},
		"meta with other fields": {param, metaOf(name + "," + sum + `,"size":1`)},
		"no filename":            {param, metaOf(sum)},
		"filename over 128":      {param, metaOf(sum + `,"filename":"` + strings.Repeat("n", 125) + `.jpg"`)},
		"filename is a path":     {param, metaOf(sum + `,"filename":"a/b.jpg"`)},
		"filename .jpeg":         {param, func(p *picture) { p.name = "a.jpeg" }},
		"filename .gif":          {param, func(p *picture) { p.name, p.content, p.mediaType = "a.gif", "GIF89a", "image/gif" }},
		"filename without dot":   {param, func(p *picture) { p.name = "jpg" }},
		"no sha256":              {param, metaOf(name)},
		"sha256 in upper case":   {param, metaOf(name + `,"sha256":"` + strings.ToUpper(digest(jpg)) + `"`)},
		"sha256 in base64":       {param, metaOf(name + `,"sha256":"3q2+7w=="`)},
		"sha256 of other bytes":  {param, metaOf(name + `,"sha256":"` + digest(png) + `"`)},
		"file without filename": {param, func(p *picture) {
			p.fileHead = "Content-Disposition: form-data; name=\"file\"\r\nContent-Type: image/jpeg"
		}},
		"file of other filename": {param, func(p *picture) {
			p.fileHead = strings.Replace(disposition, "收据", "a", 1) + "\r\nContent-Type: image/jpeg"
		}},
		"file without type":       {param, func(p *picture) { p.fileHead = disposition }},
		"file of other type":      {param, func(p *picture) { p.mediaType = "image/png" }},
		"file is any bytes":       {param, func(p *picture) { p.mediaType = "application/octet-stream" }},
		"file is empty":           {param, func(p *picture) { p.content = "" }},
		"file over 2 MB":          {param, func(p *picture) { p.content = jpg + strings.Repeat("x", 2<<20+1-len(jpg)) }},
		"file is no picture":      {param, func(p *picture) { p.content = "hello, world" }},
		"file is another picture": {param, func(p *picture) { p.content = png }},
	} {
		t.Run(what, func(t *testing.T) {
			before := len(b.Violations())
			defer func() { rules[what] = lastRefusal(b) }()
			p := jpgOf(jpg)
			c.spoil(&p)
			q := p.call()
			if c.code == request { // what is not a form is signed whole
				q.signedBody = q.body
			}
			b.want(q, 400, c.code)
			if len(b.Violations()) != before+1 {
				t.Errorf("violations: %q", b.Violations()[before:])
			}
		})
	}
	if list := b.MediaBooks(""); len(list) != 0 {
		t.Errorf("kept: %+v", list)
	}
}

// The signature covers meta as it was sent, and nothing else of the form. Source: M:4012365335.
func TestUploadSignsMetaOnly(t *testing.T) {
	b := setup(t)
	for name, spoil := range map[string]func(q *call){
		"whole form":       func(q *call) { q.signedBody = q.body },
		"nothing":          func(q *call) { q.signsNoBody = true },
		"meta respelled":   func(q *call) { q.signedBody = strings.Replace(q.signedBody, ",", ", ", 1) },
		"cut form":         func(q *call) { q.body = q.body[:30] },
		"wrong boundary":   func(q *call) { q.header["Content-Type"] = "multipart/form-data; boundary=other" },
		"not sent as form": func(q *call) { q.header["Content-Type"] = "image/jpeg" },
	} {
		t.Run(name, func(t *testing.T) {
			q := jpgOf(jpg).call()
			spoil(&q)
			if r := b.want(q, 401, "SIGN_ERROR"); r.header.Get("Wechatpay-Signature") != "" {
				t.Error("a 401 is not signed")
			}
		})
	}
	if list := b.MediaBooks(""); len(list) != 0 {
		t.Errorf("kept: %+v", list)
	}
}

// More than is read of any request: nobody can say what is wrong with it.
func TestFormOverFourMegabytes(t *testing.T) {
	b := setup(t)
	if r, err := b.try(jpgOf(jpg + strings.Repeat("x", 4<<20)).call()); err == nil && r.status != 400 {
		t.Errorf("%v", r)
	}
	b.wantViolations(0)
}

// Faults meet uploads as any call: an answer that was lost has made a picture that nobody knows the id of.
func TestFaultsOfUploads(t *testing.T) {
	b := setup(t)
	p := jpgOf(jpg)
	for _, f := range []wxpaytest.Fault{
		{Answer: wxpaytest.AnswerLost, Apply: true}, {Answer: wxpaytest.AnswerCutShort, Apply: true}, {Answer: wxpaytest.AnswerForged, Apply: true},
		{Answer: wxpaytest.Answer429}, {Answer: wxpaytest.Answer5xx}, {Answer: wxpaytest.Answer502HTML},
		{Answer: wxpaytest.AnswerSlow, Delay: time.Millisecond, Apply: true}, {Answer: wxpaytest.AnswerUnsigned, ID: digest(jpg), Apply: true},
	} {
		f.Endpoint = wxpaytest.EndpointImageUpload
		b.Fault(f)
		before := len(b.MediaBooks(mchid))
		r, err := b.try(p.call())
		if proven := err == nil && r.status == 200 && b.verify(r) == nil; proven != (f.Answer == wxpaytest.AnswerSlow) {
			t.Errorf("%v: %v %v", f, r, err)
		}
		if after := len(b.MediaBooks(mchid)); after != before && !f.Apply || after != before+1 && f.Apply {
			t.Errorf("%v: %d pictures, then %d", f, before, after)
		}
	}
	b.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointImageUpload, ID: digest(png), Answer: wxpaytest.Answer5xx})
	b.upload(p) // another picture
	if left := b.FaultsLeft(); len(left) != 1 {
		t.Errorf("%v", left)
	}
	// An id that was told without being given out is nobody's afterwards.
	b.ClearFaults()
	b.Fault(wxpaytest.Fault{Endpoint: wxpaytest.EndpointImageUpload})
	lie := b.upload(p)
	b.upload(p)
	b.want(withPictures("C1", "看", lie), 400, "PARAM_ERROR")
	b.wantViolations(0)
}

func withPictures(id, text string, mediaIDs ...string) call {
	images, _ := json.Marshal(mediaIDs)
	return post(complaintPath(id, "/response"), fmt.Sprintf(`{"complainted_mchid":%q,"response_content":%q,"response_images":%s}`, mchid, text, images))
}

func rejectWith(id string, mediaIDs ...string) call {
	images, _ := json.Marshal(mediaIDs)
	return post(complaintPath(id, "/update-refund-progress"), fmt.Sprintf(`{"action":"REJECT","reject_reason":"不","reject_media_list":%s}`, images))
}

// Pictures must be the merchant's own uploads. That an id is unknown is the user's mistake: no violation.
func TestPicturesMustHaveBeenUploaded(t *testing.T) {
	b := setup(t)
	other := newCaller(t, b.Server, b.AddMerchant(wxpaytest.Merchant{MchID: "1900000002"}), b.clock.now)
	theirs := other.want(jpgOf(jpg).call(), 200, "").text("media_id")
	ours := b.upload(jpgOf(jpg))
	for _, unknown := range []string{"invented", theirs} {
		for field, q := range map[string]call{
			"/response_images/1":   withPictures("C1", "看", ours, unknown),
			"/reject_media_list/0": rejectWith("C1", unknown),
		} {
			if r := b.want(q, 400, "PARAM_ERROR"); !strings.Contains(string(r.body), field) || lastRefusal(b) == "" {
				t.Errorf("%v", r)
			}
		}
	}
	b.wantState("C1", "PENDING", "USER_CREATE_COMPLAINT")
	b.AddMedia(mchid, theirs, "invented")
	b.want(withPictures("C1", "看", ours, "invented"), 204, "")
	b.want(rejectWith("C1", theirs), 204, "")
	b.wantViolations(0)

	open := setup(t, wxpaytest.Options{OpenBooks: true})
	open.want(withPictures("C1", "看", "anything"), 204, "")
}

func TestPicturesInTheHistory(t *testing.T) {
	b := setup(t)
	id := b.upload(jpgOf(jpg))
	b.want(withPictures("C1", "看", id, "MediaId"), 204, "")
	b.want(respond("C1", "好"), 204, "")
	if said := b.Replies("C1"); len(said) != 2 || !slices.Equal(said[0].Images, []string{id, "MediaId"}) || said[0].OperateDetails != "看" || len(b.Replies("C9")) != 0 {
		t.Errorf("%+v", said)
	}
	var h struct {
		Data []struct {
			Images []string `json:"image_list"`
			Media  *struct {
				Type string   `json:"media_type"`
				URL  []string `json:"media_url"`
			} `json:"complaint_media_list"`
		}
	}
	answer := b.want(get(complaintPath("C1", "/negotiation-historys")), 200, "").body
	if err := json.Unmarshal(answer, &h); err != nil || bytes.Contains(answer, []byte(id)) {
		t.Fatalf("%s: %v; an upload cannot be found again by its id", answer, err)
	}
	shown, plain := h.Data[1], h.Data[0]
	if plain.Images != nil || plain.Media != nil || shown.Media == nil || shown.Media.Type != "OPERATION_IMAGE" ||
		len(shown.Images) != 2 || shown.Images[0] == shown.Images[1] || !slices.Equal(shown.Images, shown.Media.URL) {
		t.Fatalf("%s", answer)
	}
	if u, err := url.Parse(shown.Images[0]); err != nil || !strings.HasPrefix(shown.Images[0], b.URL()+"/v3/merchant-service/images/") || strings.Count(u.EscapedPath(), "/") != 4 ||
		!strings.HasSuffix(shown.Images[0], "%3D") { // to be requested as it is: decoding it and encoding it again is another URL
		t.Errorf("%s: %v", shown.Images[0], err)
	}
}

// The same words with the same picture are the same reply, however often the picture was uploaded.
func TestCheckBooksKnowsAPictureAgain(t *testing.T) {
	b := setup(t)
	b.want(withPictures("C1", "看", b.upload(jpgOf(jpg))), 204, "")
	b.want(withPictures("C1", "看", b.upload(jpgOf(jpg+"!"))), 204, "") // another picture
	b.wantBooks()
	b.want(withPictures("C1", "看", b.upload(jpgOf(jpg))), 204, "")
	if err := b.CheckBooks(); err == nil || !strings.Contains(err.Error(), "same reply twice") {
		t.Errorf("%v", err)
	}
}
