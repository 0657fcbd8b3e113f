package wxpaytest

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// The books of pictures. What an upload looks like is in upload.go.

// A MediaBook is an uploaded picture as the books have it. Its bytes are not kept.
type MediaBook struct {
	MchID      string // who uploaded it; nobody else can name it
	MediaID    string
	Filename   string // as meta has it
	SHA256     string // of the bytes, lower-case hex
	Size       int    // bytes
	UploadedAt time.Time
}

type mediaKey struct{ mchID, mediaID string }

// nextMediaID makes an identifier that says nothing of the picture: the same content uploaded twice gets two.
// It goes by a count, so that a run can be repeated, and looks as in the vendor's sample
// (WIKI:apiv3/apis/chapter10_2_10.shtml: BB04A5DEEFEA18D4F2554C1EDD3B610B.bmp).
func (b *books) nextMediaID(extension string) string {
	b.mediaIDs++
	digest := sha256.Sum256([]byte("wxpaytest media " + strconv.FormatInt(b.mediaIDs, 10)))
	return fmt.Sprintf("%X%s", digest[:16], extension)
}

// checkMedia: pictures that a call names in this field must have been uploaded by the caller, or be known by
// AddMedia. With OpenBooks whatever is named exists. The documents only say that the ids come from the upload
// (M:4012467254, M:4012467256); that and by which code others are refused is not documented. A client is told
// the ids by its own user: no violation.
func (b *books) checkMedia(m *merchant, field string, ids []string) *refusal {
	if b.options.OpenBooks {
		return nil
	}
	for i, id := range ids {
		if _, known := b.media[mediaKey{m.MchID, id}]; !known {
			return refuse(http.StatusBadRequest, "PARAM_ERROR", "图片media_id不存在").in("body", field+"/"+strconv.Itoa(i), "", "unknown").
				because("a media_id that the merchant has not uploaded (M:4012467250; stricter than production; code not documented)")
		}
	}
	return nil
}

// AddMedia makes media ids known that were not uploaded here, so that mchid's calls may name them.
func (s *Server) AddMedia(mchid string, mediaIDs ...string) {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	for _, id := range mediaIDs {
		key := mediaKey{mchid, id}
		if _, known := s.books.media[key]; known || mchid == "" || mediaRule("").check(id) != "" {
			_ = s.misuse("AddMedia %q %q: known already, or not a merchant and a media id", mchid, id)
			continue
		}
		s.books.media[key] = ""
	}
}

// MediaBooks lists the uploads of a merchant ("" = of all), oldest first. What AddMedia made known is not
// among them.
func (s *Server) MediaBooks(mchid string) []MediaBook {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	var list []MediaBook
	for _, m := range s.books.uploads {
		if mchid == "" || m.MchID == mchid {
			list = append(list, m)
		}
	}
	return list
}

// pictured is what a reply's pictures show, for comparison: their contents where they are known.
func (b *books) pictured(mchID string, mediaIDs []string) (contents []string) {
	for _, id := range mediaIDs {
		if digest := b.media[mediaKey{mchID, id}]; digest != "" {
			id = digest
		}
		contents = append(contents, id)
	}
	return contents
}
