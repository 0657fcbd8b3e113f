package wxpay

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// maxRefresh is the longest that a list of certificates is good for.
	// Source: 下载平台证书, https://pay.weixin.qq.com/doc/v3/merchant/4012551764
	maxRefresh     = 12 * time.Hour
	defaultRefresh = 10 * time.Hour

	// lookGap is how long after a download nobody looks again for a serial that the list did not hold: serials come from
	// unproven answers, and may be forged without end.
	lookGap = 10 * time.Second
	// maxRetry bounds the growing time after which a refresh that failed is tried again.
	maxRetry = 10 * time.Minute

	algorithmAESGCM = "AEAD_AES_256_GCM"
	publicKeyPrefix = "PUB_KEY_ID_"
)

var downloadCertificates = endpoint{op: "GET /v3/certificates", repeatable: true}

// CertificatesConfig is for NewCertificates. It prints without its keys.
type CertificatesConfig struct {
	// Client is the merchant, who downloads certificates with signed calls: as for New. Its Keys are not used, its Now is the
	// clock that certificates expire by.
	Client Config

	// APIv3Key is the APIv3 key (APIv3密钥), 32 bytes: what certificates are encrypted with.
	APIv3Key []byte `json:"-"`

	// RootCAs are what certificates must be issued by: the Tenpay.com Root CA. nil = their chain is not checked; then their
	// origin is proven only by the APIv3 key, which nobody but WeChat Pay and the merchant knows.
	RootCAs *x509.CertPool `json:"-"`

	// PublicKeys are WeChat Pay public keys by their ids, beside the certificates: a merchant who migrates needs both, since
	// answers may be signed with either. Without certificates, when the migration is over, they serve alone.
	PublicKeys map[string]*rsa.PublicKey `json:"-"`

	// PublicKeyID is which of PublicKeys answers are asked to be signed with; it may be empty when there is only one.
	PublicKeyID string

	// Refresh is how long a list is used before the next one is downloaded: 1 minute to less than 12 h; 0 = 10 h.
	Refresh time.Duration

	// Downloaded, if set, is told of every download's end: nil, or why it failed. The certificates known before stay in use
	// then. It is called by whoever downloads, one at a time, and must not call Certificates' methods.
	Downloaded func(error) `json:"-"`
}

// Format prints which merchant this is, whatever the verb, and none of its keys.
func (c CertificatesConfig) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "wxpay.CertificatesConfig{MchID:%s PublicKeyID:%s Refresh:%v}", c.Client.MchID, c.PublicKeyID, c.Refresh)
}

// Certificates is a KeySource that downloads WeChat Pay's platform certificates (平台证书), and downloads them again before
// they grow old. During a rotation it knows the old and the new one; beside them it knows the public keys it was given.
//
// It starts no goroutine. The first call of a Client downloads, before it sends anything; later, one call now and then is
// held up by a refresh (for at most its Timeout for each host), unless Run does it in the background. A refresh that fails
// takes nothing away. It is safe for concurrent use.
//
// A certificate counts from its effective_time to its expire_time, and within its own dates, which may be wider: WeChat Pay
// shortens the former when a certificate is replaced.
//
// Source: 平台证书更换, https://pay.weixin.qq.com/doc/v3/merchant/4012068829; 下载平台证书, …/4012551764
type Certificates struct {
	client      *Client // its keys are this
	apiV3Key    []byte
	roots       *x509.CertPool
	publicKeys  map[string]*rsa.PublicKey
	publicKeyID string
	refresh     time.Duration
	downloaded  func(error)
	now         func() time.Time

	// downloading is held, by sending to it, by the one who downloads.
	downloading chan struct{}

	mu        sync.Mutex                      // guards what follows
	known     map[string]*platformCertificate // by serial; never changed, but replaced
	refreshed time.Time                       // of the last good download
	tried     time.Time                       // of the last download
	failures  int                             // downloads that failed since the last good one
	failure   error                           // of the last download
}

// platformCertificate is one of WeChat Pay's, decrypted and checked.
type platformCertificate struct {
	key      *rsa.PublicKey
	from, to time.Time // when it counts: from <= t < to
}

func (p *platformCertificate) counts(now time.Time) bool {
	return !now.Before(p.from) && now.Before(p.to)
}

// NewCertificates returns a source that has downloaded nothing yet, or an error that names the field and what was expected.
func NewCertificates(config CertificatesConfig) (*Certificates, error) {
	c := &Certificates{
		apiV3Key: append([]byte(nil), config.APIv3Key...), roots: config.RootCAs, publicKeyID: config.PublicKeyID,
		refresh: config.Refresh, downloaded: config.Downloaded, downloading: make(chan struct{}, 1),
	}
	if len(c.apiV3Key) != 32 {
		return nil, fmt.Errorf("wxpay: APIv3Key: %d bytes, want 32", len(c.apiV3Key))
	}
	if c.refresh == 0 {
		c.refresh = defaultRefresh
	}
	if c.refresh < time.Minute || c.refresh >= maxRefresh {
		return nil, errors.New("wxpay: Refresh: want 1m to less than 12h")
	}
	if len(config.PublicKeys) == 1 && c.publicKeyID == "" {
		for id := range config.PublicKeys {
			c.publicKeyID = id
		}
	}
	if c.publicKeyID != "" || len(config.PublicKeys) > 0 {
		set, err := NewKeySet(c.publicKeyID, config.PublicKeys)
		if err != nil {
			return nil, fmt.Errorf("wxpay: PublicKeys: %w", err)
		}
		c.publicKeys = set.keys
	}
	config.Client.Keys = c
	var err error
	if c.client, err = New(config.Client); err != nil {
		return nil, err
	}
	c.now = c.client.now
	return c, nil
}

// Format prints whose certificates these are, whatever the verb, and no key.
func (c *Certificates) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "wxpay.Certificates{MchID:%s}", c.client.mchID)
}

// Key returns the key for serial: a public key, or that of a certificate that counts now. For any other serial it downloads
// the list, at most once in 10 s whoever asks, and returns ErrUnknownSerial if that does not hold it either, or an error
// that wraps ErrNoCertificates if there was no list to be had.
func (c *Certificates) Key(ctx context.Context, serial string) (*rsa.PublicKey, error) {
	if key := c.key(serial); key != nil {
		return key, nil
	}
	if strings.HasPrefix(serial, publicKeyPrefix) { // is not to be downloaded
		return nil, ErrUnknownSerial
	}
	if err := c.look(ctx); err != nil {
		return nil, err
	}
	if key := c.key(serial); key != nil {
		return key, nil
	}
	return nil, ErrUnknownSerial
}

func (c *Certificates) key(serial string) *rsa.PublicKey {
	if key := c.publicKeys[serial]; key != nil {
		return key
	}
	if p := c.all()[serial]; p != nil && p.counts(c.now()) {
		return p.key
	}
	return nil
}

// all returns the known certificates, of which some may not count (any more). The map is nobody's to change.
func (c *Certificates) all() map[string]*platformCertificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known
}

// named is what this package's own calls, the download among them, send as Wechatpay-Serial: a public key's id, but never a
// certificate's serial. Without one WeChat Pay chooses among its certificates, and all of them are known here or soon will
// be; a serial that is void since the last download (a change that was stopped) would be refused with 400 PARAM_ERROR,
// which looks like the end of a command. Only encrypted fields would need it, and nothing here sends any.
//
// Source: https://pay.weixin.qq.com/doc/v3/merchant/4012365346, …/4013053279; 从平台证书切换成微信支付公钥, …/4012154180
func (c *Certificates) named() string { return c.publicKeyID }

// Serial returns the public key's id if there is one, else the serial of the certificate with the latest effective_time
// that counts (whose key would encrypt), else nothing.
func (c *Certificates) Serial() string {
	if c.publicKeyID != "" {
		return c.publicKeyID
	}
	var latest time.Time
	found := ""
	for serial, p := range c.all() {
		if p.counts(c.now()) && (found == "" || p.from.After(latest) || p.from.Equal(latest) && serial > found) {
			found, latest = serial, p.from
		}
	}
	return found
}

// Expires returns when the last of the known certificates expires; the zero time if none is known. WeChat Pay offers the
// next one half a year before; within that, 180 days and less, somebody should look.
func (c *Certificates) Expires() time.Time {
	var last time.Time
	for _, p := range c.all() {
		if p.to.After(last) {
			last = p.to
		}
	}
	return last
}

// Ready makes sure that answers can be verified, before a call is made. Without any key that counts it downloads, at most
// once in 10 s whoever asks: its error wraps ErrNoCertificates if it is worth another try later, and does not if somebody
// must mend something (credentials, the APIv3 key, the chain). With one it refreshes the list when it is time, and whatever
// comes of that, is ready.
func (c *Certificates) Ready(ctx context.Context) error {
	usable := c.Serial() != ""
	if usable && !c.due() {
		return nil
	}
	if !usable {
		return c.look(ctx)
	}
	select {
	case c.downloading <- struct{}{}:
		defer c.release()
		if c.due() { // nobody has done it meanwhile
			_ = c.download(ctx) // Downloaded is told
		}
	default: // somebody else does it
	}
	return nil
}

// Run refreshes the list in the background until ctx ends, whose error it returns. A download that fails is tried again
// after 10 s, 20 s, … 10 minutes. The caller owns the goroutine.
func (c *Certificates) Run(ctx context.Context) error {
	ticker := time.NewTicker(lookGap) // rather than a timer for hours: Now may be another clock
	defer ticker.Stop()
	for {
		if c.due() {
			if err := c.acquire(ctx); err != nil {
				return err
			}
			if c.due() {
				_ = c.download(ctx) // Downloaded is told
			}
			c.release()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// Refresh downloads the list now. Its errors are those of any call, or tell which certificate is not to be trusted and why;
// the certificates known before stay in use.
func (c *Certificates) Refresh(ctx context.Context) error {
	if err := c.acquire(ctx); err != nil {
		return err
	}
	defer c.release()
	return c.download(ctx)
}

// look downloads, unless that was done a moment ago, by somebody else perhaps while this one waited.
func (c *Certificates) look(ctx context.Context) error {
	if err := c.acquire(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrNoCertificates, err)
	}
	defer c.release()
	c.mu.Lock()
	err, since := c.failure, c.now().Sub(c.tried)
	looked := !c.tried.IsZero() && since >= 0 && since < lookGap
	c.mu.Unlock()
	if !looked {
		err = c.download(ctx)
	}
	if err == nil {
		return nil
	}
	// As text only: whoever asks for the key is in a call of its own, about which the download's typed errors say nothing.
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ErrNoCertificates, ctx.Err())
	}
	if passing(err) {
		return fmt.Errorf("%w: %s", ErrNoCertificates, err.Error())
	}
	return errors.New(ErrNoCertificates.Error() + ": " + err.Error())
}

// passing says whether a download may succeed later by itself: no answer, none that is proven, their trouble.
func passing(err error) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.HTTPStatus >= 500 || e.HTTPStatus < 400 || e.HTTPStatus == http.StatusTooManyRequests
	}
	_, noAnswer := errors.AsType[*NoAnswerError](err)
	_, unproven := errors.AsType[*SignatureError](err)
	return noAnswer || unproven
}

func (c *Certificates) acquire(ctx context.Context) error {
	select {
	case c.downloading <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Certificates) release() { <-c.downloading }

// due says whether it is time for a refresh: the list is old, and the last download has not just failed.
func (c *Certificates) due() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if age := now.Sub(c.refreshed); !c.refreshed.IsZero() && age >= 0 && age < c.refresh {
		return false
	}
	if c.failures == 0 {
		return true
	}
	wait := min(lookGap<<min(c.failures-1, 10), maxRetry)
	since := now.Sub(c.tried)
	return since < 0 || since >= wait
}

// download replaces the known certificates by those of a new list, or leaves everything as it was. The caller holds
// downloading.
func (c *Certificates) download(ctx context.Context) error {
	known, err := c.fetch(ctx)
	if err != nil && ctx.Err() != nil {
		return err // whoever asked gave up: that says nothing, the next one may look at once
	}
	c.mu.Lock()
	c.tried, c.failure = c.now(), err
	if err == nil {
		c.known, c.refreshed, c.failures = known, c.tried, 0
	} else {
		c.failures++
	}
	c.mu.Unlock()
	if c.downloaded != nil {
		c.downloaded(err)
	}
	return err
}

// fetch asks for the list and proves it: by a public key, by a certificate known before, or by one that the list itself
// holds, which only WeChat Pay can have encrypted. A list that holds anything doubtful is refused as a whole.
//
//	status code                 meaning
//	200    –                    the certificates: one, or old and new during a change
//	401    SIGN_ERROR           unsigned answer
//	404    RESOURCE_NOT_EXISTS  none: this merchant is in public-key mode
//
// Source: 下载平台证书, https://pay.weixin.qq.com/doc/v3/merchant/4012551764; 如何验证: …/4012069411. Limit: 1000/s.
func (c *Certificates) fetch(ctx context.Context) (map[string]*platformCertificate, error) {
	e := downloadCertificates
	uri, err := e.uri()
	if err != nil {
		return nil, err
	}
	a, err := c.client.send(ctx, e, uri, content{})
	if err != nil {
		return nil, err
	}
	var listed map[string]*platformCertificate
	if a.status == http.StatusOK {
		if listed, err = c.read(a); err != nil {
			return nil, err
		}
	}
	err = judge(ctx, c.provers(listed), e, a, c.now())
	if refusal, ok := errors.AsType[*Error](err); ok && refusal.Proven && errors.Is(err, ErrResourceNotExists) && len(c.publicKeys) > 0 {
		return nil, nil // the migration is over: the public keys serve alone
	}
	if err == nil && listed == nil {
		return nil, a.useless(e, ErrUnusable) // a 2xx of another kind
	}
	return listed, err
}

// provers are the keys that may have signed a list: those known before, and those of the list itself.
func (c *Certificates) provers(listed map[string]*platformCertificate) KeySource {
	s := &KeySet{keys: map[string]*rsa.PublicKey{}}
	for _, certificates := range []map[string]*platformCertificate{c.all(), listed} {
		for serial, p := range certificates {
			if p.counts(c.now()) {
				s.keys[serial] = p.key
			}
		}
	}
	for id, key := range c.publicKeys {
		s.keys[id] = key
	}
	return s
}

// listedCertificate is an entry of the list. Its times are RFC 3339 texts, although the documents type them "integer".
type listedCertificate struct {
	SerialNo      string `json:"serial_no"`
	EffectiveTime string `json:"effective_time"`
	ExpireTime    string `json:"expire_time"`
	Encrypted     sealed `json:"encrypt_certificate"`
}

type sealed struct {
	Algorithm      string `json:"algorithm"`
	Nonce          string `json:"nonce"`
	AssociatedData string `json:"associated_data"`
	Ciphertext     string `json:"ciphertext"`
}

// UnmarshalJSON forgives what the documents' sample shows: blanks around the names of members ("effective_time ").
func (l *listedCertificate) UnmarshalJSON(data []byte) error {
	type plain listedCertificate
	return unmarshalTrimmed(data, (*plain)(l))
}

// UnmarshalJSON forgives the same.
func (s *sealed) UnmarshalJSON(data []byte) error {
	type plain sealed
	return unmarshalTrimmed(data, (*plain)(s))
}

func unmarshalTrimmed(data []byte, v any) error {
	var members, trimmed map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return err
	}
	trimmed = make(map[string]json.RawMessage, len(members))
	for name, value := range members {
		trimmed[strings.TrimSpace(name)] = value
	}
	data, err := json.Marshal(trimmed)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// read decrypts and checks the certificates of a list that is not proven yet. What is expired is left out, and so is what is
// encrypted in another way (SM4): it is not for us.
func (c *Certificates) read(a *answer) (map[string]*platformCertificate, error) {
	var answer struct {
		Data []listedCertificate `json:"data"`
	}
	if json.Unmarshal(a.body, &answer) != nil {
		return nil, a.useless(downloadCertificates, ErrUnusable)
	}
	now := c.now()
	certificates := map[string]*platformCertificate{}
	for i, l := range answer.Data {
		if l.Encrypted.Algorithm != algorithmAESGCM {
			continue
		}
		serial, p, err := c.open(&l, now)
		if err != nil {
			return nil, fmt.Errorf("wxpay: platform certificate %d of the list: %w", i+1, err)
		}
		if now.Before(p.to) {
			certificates[serial] = p
		}
	}
	if len(certificates) == 0 && len(c.publicKeys) == 0 {
		return nil, errors.New("wxpay: platform certificates: none in the list counts")
	}
	return certificates, nil
}

// open decrypts one certificate and checks it against what the list says of it, and its chain.
func (c *Certificates) open(l *listedCertificate, now time.Time) (string, *platformCertificate, error) {
	text, err := DecryptResource(c.apiV3Key, l.Encrypted.Nonce, l.Encrypted.AssociatedData, l.Encrypted.Ciphertext)
	if err != nil {
		return "", nil, err
	}
	cert, err := ParseCertificate(text)
	if err != nil {
		return "", nil, err
	}
	serial := SerialNo(cert)
	if !strings.EqualFold(l.SerialNo, serial) {
		return "", nil, fmt.Errorf("it is %s, and the list says otherwise", serial)
	}
	if err := checkPublicKey(cert.PublicKey); err != nil {
		return "", nil, fmt.Errorf("%s: %w", serial, err)
	}
	p := &platformCertificate{cert.PublicKey.(*rsa.PublicKey), cert.NotBefore, cert.NotAfter}
	for _, t := range []struct {
		text    string
		replace func(time.Time)
	}{
		{l.EffectiveTime, func(t time.Time) { p.from = latest(t, p.from) }},
		{l.ExpireTime, func(t time.Time) { p.to = earliest(t, p.to) }},
	} {
		if t.text == "" { // then its own date is all there is
			continue
		}
		at, err := time.Parse(time.RFC3339, t.text)
		if err != nil {
			return "", nil, fmt.Errorf("%s: effective_time or expire_time is not RFC 3339", serial)
		}
		t.replace(at)
	}
	if c.roots == nil || !now.Before(p.to) {
		return serial, p, nil
	}
	_, err = cert.Verify(x509.VerifyOptions{
		Roots: c.roots, CurrentTime: latest(now, cert.NotBefore), // dates are judged whenever the key is asked for
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return "", nil, fmt.Errorf("%s: not issued by a root that is trusted: %w", serial, err)
	}
	return serial, p, nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
