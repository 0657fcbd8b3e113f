package wxpay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"strings"
	"syscall"
	"testing"
)

// picture is the smallest content that begins as a picture does, with what a form must not stumble over in it.
func picture(magic string) []byte {
	return []byte(magic + "\r\n--" + testNonce[:31] + "--\r\n\x00\xff\r\n\r\n")
}

var aPNG = picture("\x89PNG\r\n\x1a\n")

const uploadBody = `{"media_id":"file752398_7983424"}`

// uploaded is an upload as a server that knows only the documents reads it.
type uploaded struct {
	meta               string // the part's bytes
	filename, sha256   string // of meta
	fileName, fileType string // of the part "file"
	file               []byte
}

// readUpload judges a request by the page of the endpoint (https://pay.weixin.qq.com/doc/v3/merchant/4012467250): two parts,
// meta that tells the truth about file.
func readUpload(r request) (*uploaded, error) {
	mediaType, params, err := mime.ParseMediaType(r.http.Header.Get("Content-Type"))
	if err != nil || mediaType != "multipart/form-data" || len(r.http.Header["Content-Type"]) != 1 {
		return nil, fmt.Errorf("Content-Type %q: %v", r.http.Header["Content-Type"], err)
	}
	if r.http.ContentLength != int64(len(r.body)) || len(r.http.TransferEncoding) > 0 {
		return nil, errors.New("the length of the body is not told")
	}
	form, got := multipart.NewReader(strings.NewReader(r.body), params["boundary"]), &uploaded{}
	for _, want := range []string{"meta", "file"} {
		part, err := form.NextRawPart()
		if err != nil {
			return nil, fmt.Errorf("part %s: %w", want, err)
		}
		data, err := io.ReadAll(part)
		if err != nil || part.FormName() != want {
			return nil, fmt.Errorf("part %s: it is %q, %v", want, part.FormName(), err)
		}
		_, disposition, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
		if err != nil {
			return nil, fmt.Errorf("part %s: %w", want, err)
		}
		if want == "meta" {
			var meta struct{ Filename, SHA256 string }
			if err := json.Unmarshal(data, &meta); err != nil || part.Header.Get("Content-Type") != "application/json" {
				return nil, fmt.Errorf("meta %q: %v", data, err)
			}
			got.meta, got.filename, got.sha256 = string(data), meta.Filename, meta.SHA256
			continue
		}
		got.file, got.fileName, got.fileType = data, disposition["filename"], part.Header.Get("Content-Type")
	}
	if _, err := form.NextRawPart(); err != io.EOF {
		return nil, fmt.Errorf("a third part: %v", err)
	}
	sum := sha256.Sum256(got.file)
	if got.sha256 != hex.EncodeToString(sum[:]) || got.filename != got.fileName {
		return nil, fmt.Errorf("meta %s is not about the file %s, sha256 %x", got.meta, got.fileName, sum)
	}
	return got, nil
}

// TestUploadImage: every kind of picture arrives byte for byte, under a name that fits it, and only meta is signed.
func TestUploadImage(t *testing.T) {
	t.Parallel()
	largest := append(picture("\xff\xd8\xff"), make([]byte, MaxImageBytes)...)[:MaxImageBytes]
	sum := sha256.Sum256(aPNG)
	hash := hex.EncodeToString(sum[:])
	tests := []struct {
		name  string
		image []byte
		want  string // the name it goes out under
		kind  string
	}{
		{"bill.png", aPNG, "bill.png", "image/png"},
		{"", aPNG, hash + ".png", "image/png"},
		{".png", aPNG, hash + ".png", "image/png"},
		{"bill.PNG", aPNG, "bill.png", "image/png"},
		{"bill.jpeg", largest, "bill.jpg", "image/jpeg"},
		{"bill.png", largest, "bill.jpg", "image/jpeg"},
		{"bill.v2", picture("BM"), "bill.v2.bmp", "image/bmp"},
		{"小票; 'a' & <b>", picture("BM"), "小票; 'a' & <b>.bmp", "image/bmp"},
		{strings.Repeat("n", maxImageName-4), aPNG, strings.Repeat("n", maxImageName-4) + ".png", "image/png"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, always(signed(200, uploadBody)))
			id, err := newTestClient(t, s).UploadImage(t.Context(), tc.name, tc.image)
			if err != nil || id != "file752398_7983424" || len(s.received()) != 1 {
				t.Fatalf("%q, %v, %d requests", id, err, len(s.received()))
			}
			r := s.received()[0]
			got, err := readUpload(r)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.file, tc.image) || got.filename != tc.want || got.fileType != tc.kind {
				t.Errorf("%d bytes %s as %s, want %d bytes %s as %s", len(got.file), got.fileType, got.filename, len(tc.image), tc.kind, tc.want)
			}
			if r.http.Method != "POST" || r.uri != "/v3/merchant-service/images/upload" || r.http.Header.Get("Accept") != "application/json" {
				t.Errorf("%s %s, %v", r.http.Method, r.uri, r.http.Header)
			}
			_, rest, _ := strings.Cut(r.http.Header.Get("Authorization"), `signature="`)
			signature, _, _ := strings.Cut(rest, `"`)
			text := "POST\n/v3/merchant-service/images/upload\n1554208460\n" + testNonce + "\n" + got.meta + "\n"
			if err := verifyText(&merchantKey().PublicKey, []byte(text), signature); err != nil {
				t.Errorf("meta is not what is signed: %v", err)
			}
		})
	}
}

// TestVectorMultipart sends the upload that WeChat Pay's page on signing prints: its meta, byte for byte, and its signature
// are on the wire. (The page does not print the picture, which is not signed.)
func TestVectorMultipart(t *testing.T) {
	t.Parallel()
	var vectors struct {
		Cases []struct{ Name, Method, URL, Body, Authorization string }
	}
	readJSON("testdata/v3_request_signing.json", &vectors)
	for _, v := range vectors.Cases {
		if v.Name != "multipart_upload_meta_only" {
			continue
		}
		s := serve(t, always(signed(200, uploadBody)))
		c := newTestClient(t, s)
		meta := imageMeta{Filename: "wechatpay_logo.png", SHA256: "d2973a45b1d528c21ebb77792ef3fcea40fa9a4e04a17e35369102ba9c84c8b1"}
		form, err := meta.form(aPNG, c.nonce())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.send(t.Context(), endpoint{op: v.Method + " " + v.URL}, v.URL, form); err != nil {
			t.Fatal(err)
		}
		r := s.received()[0]
		if got := r.http.Header.Get("Authorization"); got != v.Authorization {
			t.Errorf("Authorization:\n%s\nwant\n%s", got, v.Authorization)
		}
		if !strings.Contains(r.body, "\r\n\r\n"+v.Body+"\r\n--") {
			t.Errorf("no part is the official meta:\n%q", r.body)
		}
		return
	}
	t.Error("the vector is missing")
}

// TestUploadImageRefuses: what WeChat Pay would refuse is not sent, and the error tells what was wrong without quoting it.
func TestUploadImageRefuses(t *testing.T) {
	t.Parallel()
	s := serve(t, always(signed(200, uploadBody)))
	c := newTestClient(t, s)
	tests := []struct {
		name, filename string
		image          []byte
		argument       string
	}{
		{"nothing", "a.png", nil, "file"},
		{"half a magic number", "a.png", aPNG[:7], "file"},
		{"GIF", "a.png", []byte("GIF89a"), "file"},
		{"a page", "a.png", []byte("<html>"), "file"},
		{"one byte too many", "a.png", append(aPNG[:len(aPNG):len(aPNG)], make([]byte, MaxImageBytes+1-len(aPNG))...), "file"},
		{"a long name", strings.Repeat("n", maxImageName-3), aPNG, "filename"},
		{"a long name in characters of three bytes", strings.Repeat("票", 42), aPNG, "filename"},
		{"a folder", "a/b.png", aPNG, "filename"},
		{"another folder", `a\b.png`, aPNG, "filename"},
		{"a quotation mark", `a".png`, aPNG, "filename"},
		{"a new line", "a\r\nX: y.png", aPNG, "filename"},
		{"an emoji", "😀.png", aPNG, "filename"},
		{"not UTF-8", "a\xff.png", aPNG, "filename"},
	}
	for _, tc := range tests {
		_, err := c.UploadImage(t.Context(), tc.filename, tc.image)
		e, ok := errors.AsType[*ArgumentError](err)
		if !ok || e.Name != tc.argument || e.Op != "POST /v3/merchant-service/images/upload" || strings.Contains(err.Error(), tc.filename) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	if n := len(s.received()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

// TestUploadImageAnswers: a media id is believed only if WeChat Pay signed it.
func TestUploadImageAnswers(t *testing.T) {
	t.Parallel()
	good := signed(200, uploadBody)
	tests := []struct {
		name   string
		answer []byte
		want   error
	}{
		{"right", good.bytes(), nil},
		{"longest", signed(200, `{"media_id":"`+strings.Repeat("m", 512)+`"}`).bytes(), nil},
		{"unsigned", reply{status: 200, body: uploadBody}.bytes(), &SignatureError{HTTPStatus: 200, Err: ErrNoSignature}},
		{"forged", good.sign(forgerKey(), testSerial, 0).bytes(), &SignatureError{HTTPStatus: 200, Serial: testSerial, Err: ErrBadSignature}},
		{"altered", good.withBody(strings.Replace(uploadBody, "752398", "752399", 1)).bytes(), &SignatureError{HTTPStatus: 200, Serial: testSerial, Err: ErrBadSignature}},
		{"no media_id", signed(200, `{}`).bytes(), &NoAnswerError{Sent: true, HTTPStatus: 200, Err: ErrUnusable}},
		{"empty", signed(200, `{"media_id":""}`).bytes(), &NoAnswerError{Sent: true, HTTPStatus: 200, Err: ErrUnusable}},
		{"too long", signed(200, `{"media_id":"`+strings.Repeat("m", 513)+`"}`).bytes(), &NoAnswerError{Sent: true, HTTPStatus: 200, Err: ErrUnusable}},
		{"204", signed(204, "").bytes(), &NoAnswerError{Sent: true, HTTPStatus: 204, Err: ErrUnusable}},
		{"202", signed(202, uploadBody).bytes(), &NoAnswerError{Sent: true, HTTPStatus: 202, Err: ErrAccepted}},
		{"closed", nil, &NoAnswerError{Sent: true, Err: io.EOF}},
		{"refused", signed(400, `{"code":"PARAM_ERROR","message":"m"}`).bytes(), &Error{HTTPStatus: 400, Code: "PARAM_ERROR", Message: "m", Proven: true}},
		{"401", reply{status: 401, body: `{"code":"SIGN_ERROR"}`}.bytes(), &Error{HTTPStatus: 401, Code: "SIGN_ERROR", Cause: ErrNoSignature}},
		{"413, a page", reply{status: 413, body: "<html>"}.bytes(), &Error{HTTPStatus: 413, Cause: ErrNoSignature}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(request) []byte { return tc.answer })
			id, err := newTestClient(t, s).UploadImage(t.Context(), "", aPNG)
			if diff := sameError(err, tc.want); diff != "" {
				t.Error(diff)
			}
			if (id == "") != (tc.want != nil) {
				t.Errorf("media id %q", id)
			}
			if n := len(s.received()); n != 1 {
				t.Errorf("one call made %d requests", n)
			}
		})
	}
}

// TestUploadImageHosts: an upload that could not begin goes to the other host at once, whole, and may try whether the first is
// well again; one that was sent is not sent again unasked.
func TestUploadImageHosts(t *testing.T) {
	t.Parallel()
	if !uploadImage.repeatable {
		t.Error("an upload does no harm twice, and may find out how a host is")
	}
	s := serve(t, always(signed(200, uploadBody)))
	tr := newTestTransport(t, map[string]string{"api2.mch.weixin.qq.com:443": s.addr})
	dial := tr.DialContext
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == "api.mch.weixin.qq.com:443" {
			return nil, syscall.ECONNREFUSED
		}
		return dial(ctx, network, addr)
	}
	c := newTestClient(t, s, func(c *Config) { c.Hosts, c.Transport = []string{testHost, testHost2}, tr })
	if _, err := c.UploadImage(t.Context(), "", aPNG); err != nil {
		t.Fatal(err)
	}
	if got, err := readUpload(s.received()[0]); err != nil || !bytes.Equal(got.file, aPNG) {
		t.Error(err)
	}
}

// TestUploadImageMemory: an upload holds one copy of the picture, and little beside it.
func TestUploadImageMemory(t *testing.T) {
	t.Parallel()
	image := append(aPNG[:len(aPNG):len(aPNG)], make([]byte, MaxImageBytes-len(aPNG))...)
	meta := imageMeta{Filename: strings.Repeat("n", maxImageName-4) + ".png", SHA256: strings.Repeat("f", 64)}
	form, err := meta.form(image, testNonce)
	if err != nil {
		t.Fatal(err)
	}
	if spare := cap(form.body) - len(image); spare > 16<<10 {
		t.Errorf("%d bytes more than the picture", spare)
	}
}

func TestImageType(t *testing.T) {
	t.Parallel()
	for magic, want := range map[string]string{
		"\xff\xd8\xff\xe0": "jpg", "BM": "bmp", "\x89PNG\r\n\x1a\n": "png",
		"": "", "\xff\xd8": "", "B": "", "\x89PNG": "", "GIF89a": "", "RIFF....WEBP": "", " BM": "", "%PDF-": "",
	} {
		if got, ok := ImageType([]byte(magic)); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", magic, got, ok)
		}
	}
}
