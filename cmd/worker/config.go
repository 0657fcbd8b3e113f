package main

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"wxpay-worker/consumer"
	"wxpay-worker/messages"
)

// Config is the whole configuration, a public contract. The tags say default and bounds, and are what is applied: min and max
// include themselves, oneof lists all there is. Every key but those in lists can be overridden by an environment variable,
// WXPAY_<SECTION>_<KEY>; an empty variable is as if unset, and other variables that begin with WXPAY_ are not looked at.
// What is said of two times ("at least …", "at most …") is a warning where it is not so, and not refused: who sets one for a try-out need not
// set the others as well.
//
// Relative paths are relative to the configuration file's folder; without one, to the working directory.
type Config struct {
	NATS       NATSConfig       `yaml:"nats"`
	WechatPay  WechatPayConfig  `yaml:"wechatpay"`
	Merchants  []MerchantConfig `yaml:"merchants"`
	Consumer   ConsumerConfig   `yaml:"consumer"`
	Outcomes   OutcomesConfig   `yaml:"outcomes"`
	Retry      RetryConfig      `yaml:"retry"`
	Settlement SettlementConfig `yaml:"settlement"`
	HTTP       HTTPConfig       `yaml:"http"`
	Log        LogConfig        `yaml:"log"`

	*origin
}

// NATSConfig says where commands come from. At most one of creds_file, nkey_seed_file and user with password_file.
type NATSConfig struct {
	// URL is nats://host:port or tls://host:port, comma separated for a cluster, without user or password. Empty: `worker run`
	// starts an embedded server, and the other commands look for it where it listens.
	URL          string `yaml:"url"`
	CredsFile    string `yaml:"creds_file"`     // JWT and seed
	NkeySeedFile string `yaml:"nkey_seed_file"` // seed of a user nkey
	User         string `yaml:"user"`
	PasswordFile string `yaml:"password_file"`
	// InboxPrefix is where answers arrive. Empty: _INBOX_ and the user's name (its bytes outside A-Z a-z 0-9 _ - escaped as in
	// outcome subjects) with nats.user, else _INBOX: on a server that limits its users each needs an inbox of its own.
	InboxPrefix string         `yaml:"inbox_prefix"`
	TLS         TLSConfig      `yaml:"tls"`
	Prefix      string         `yaml:"prefix" default:"wxpay"`                                 // of subjects and, in upper case, of streams; 1–32 of A-Z a-z 0-9 _ -
	Replicas    int            `yaml:"replicas" default:"1"`                                   // of the streams: 1 or 3; 1 with the embedded server
	MaxWaiting  int64          `yaml:"max_waiting" default:"2000000" min:"1" max:"1000000000"` // messages per command subject; then its publishers are refused
	Embedded    EmbeddedConfig `yaml:"embedded"`
}

// TLSConfig is for connections to NATS. Empty: as the URL's scheme says, with the system's roots.
type TLSConfig struct {
	CAFile   string `yaml:"ca_file"`   // PEM; trusted instead of the system's roots
	CertFile string `yaml:"cert_file"` // PEM; client certificate, together with key_file
	KeyFile  string `yaml:"key_file"`
}

// EmbeddedConfig is the NATS server inside `worker run`, used without nats.url.
type EmbeddedConfig struct {
	Listen string `yaml:"listen" default:"127.0.0.1:4222"` // host:port; port 0 takes a free one
	Dir    string `yaml:"dir" default:"./data/nats"`       // file storage, synced on every write; of one worker only
}

// WechatPayConfig is how WeChat Pay is reached.
type WechatPayConfig struct {
	Hosts          []string      `yaml:"hosts" default:"https://api.mch.weixin.qq.com,https://api2.mch.weixin.qq.com"` // the preferred one first
	CAFile         string        `yaml:"ca_file"`                                                                      // PEM; trusted beside the system's roots
	Timeout        time.Duration `yaml:"timeout" default:"10s" min:"100ms" max:"10m"`                                  // one attempt; better at most a quarter of consumer.ack_wait
	ConnectTimeout time.Duration `yaml:"connect_timeout" default:"3s" min:"10ms" max:"1m"`                             // TCP, and again TLS; at most timeout
}

// MerchantConfig is one merchant (商户), or one service provider (服务商).
type MerchantConfig struct {
	MchID                string                      `yaml:"mchid" required:"1 to 32 digits in quotes"`
	SerialNo             string                      `yaml:"serial_no" required:"the serial number of the merchant API certificate, in hex"`
	PrivateKeyFile       string                      `yaml:"private_key_file" required:"the file of the merchant API private key, apiclient_key.pem"`
	PublicKeys           []PublicKeyConfig           `yaml:"public_keys"` // WeChat Pay's; answers are asked to be signed with the first
	PlatformCertificates *PlatformCertificatesConfig `yaml:"platform_certificates"`
	RefundAPI            string                      `yaml:"refund_api" default:"v3" oneof:"v3,v2"`
	V2                   *V2Config                   `yaml:"v2"`               // required with refund_api v2
	SubMerchants         bool                        `yaml:"sub_merchants"`    // provider mode: commands may carry sub_mchid
	CertificateFile      string                      `yaml:"certificate_file"` // the merchant API certificate, for `worker check`
	Quota                QuotaConfig                 `yaml:"quota"`
}

// PublicKeyConfig is a WeChat Pay public key (微信支付公钥).
type PublicKeyConfig struct {
	ID   string `yaml:"id" required:"the public key's id, PUB_KEY_ID_…"`
	File string `yaml:"file" required:"the public key's file, PEM"`
}

// PlatformCertificatesConfig lets platform certificates (平台证书) be downloaded.
type PlatformCertificatesConfig struct {
	APIv3KeyFile string `yaml:"api_v3_key_file" required:"the file of the APIv3 key, 32 bytes"`
}

// V2Config is what API v2 needs.
type V2Config struct {
	AppID          string `yaml:"appid" required:"the appid the merchant is bound to, wx…"`
	SubAppID       string `yaml:"sub_appid"` // provider mode: of the sub-merchants; optional
	APIKeyFile     string `yaml:"api_key_file" required:"the file of the API v2 key, 32 bytes"`
	SignType       string `yaml:"sign_type" default:"HMAC-SHA256" oneof:"HMAC-SHA256,MD5"`
	ClientCertFile string `yaml:"client_cert_file" required:"the file of the merchant API certificate, apiclient_cert.pem or apiclient_cert.p12"`
	ClientKeyFile  string `yaml:"client_key_file"` // apiclient_key.pem; a .p12 holds it already
}

// isPKCS12 reports whether certificate and key come in one file, as WeChat Pay hands them out.
func (v *V2Config) isPKCS12() bool {
	return strings.HasSuffix(strings.ToLower(v.ClientCertFile), ".p12")
}

// QuotaConfig is what WeChat Pay allows the merchant, for the whole fleet.
type QuotaConfig struct {
	Refunds        Rate `yaml:"refunds" default:"150/s"`
	FailingRefunds Rate `yaml:"failing_refunds" default:"6/s"`
	Complaints     Rate `yaml:"complaints" default:"60/m"`
	Queries        Rate `yaml:"queries" default:"300/s"`
}

func (q *QuotaConfig) limits() consumer.Quota {
	return consumer.Quota{
		Refunds: q.Refunds.limit(), FailingRefunds: q.FailingRefunds.limit(), Complaints: q.Complaints.limit(), Queries: q.Queries.limit(),
	}
}

func (r Rate) limit() consumer.Rate { return consumer.Rate{N: r.Calls, Per: r.Per} }

// Rate is so many calls per second or minute; 0 calls stand for no limit.
type Rate struct {
	Calls int
	Per   time.Duration
}

// ConsumerConfig is how deliveries are handled. A lane is one merchant's refunds, or one merchant's complaints.
type ConsumerConfig struct {
	Concurrency int           `yaml:"concurrency" default:"64" min:"1" max:"10000"` // deliveries in flight per lane
	Drain       time.Duration `yaml:"drain" default:"25s" min:"0s" max:"1h"`        // how long deliveries in flight may take at the end
	AckWait     time.Duration `yaml:"ack_wait" default:"60s" min:"1s" max:"1h"`     // how long a delivery is ours
	PinnedTTL   time.Duration `yaml:"pinned_ttl" default:"15s" min:"1s" max:"10m"`  // how long a lane stays with a worker that is gone; at most ack_wait
}

// OutcomesConfig is the memory of what was done.
type OutcomesConfig struct {
	// MaxAge is how long outcomes are kept. Longer than retry.max_age and settlement.give_up: whoever forgets what was done while
	// it is still tried would do it twice.
	MaxAge time.Duration `yaml:"max_age" default:"2160h" min:"24h" max:"87600h"`
}

// RetryConfig is how a command is tried again.
type RetryConfig struct {
	Initial     time.Duration `yaml:"initial" default:"2s" min:"10ms" max:"1h"`     // wait after the first failed attempt
	Multiplier  float64       `yaml:"multiplier" default:"2" min:"1" max:"100"`     // each further wait is this many times longer
	Max         time.Duration `yaml:"max" default:"1h" min:"10ms" max:"24h"`        // no wait is longer; at least initial
	Jitter      float64       `yaml:"jitter" default:"0.2" min:"0" max:"1"`         // each wait is spread by this fraction, both ways
	MaxAttempts int           `yaml:"max_attempts" default:"25" min:"1" max:"1000"` // after so many the command is given up
	MaxAge      time.Duration `yaml:"max_age" default:"72h" min:"1s" max:"8760h"`   // so long after its first attempt, too, not counting the time its lane was held; at least initial
}

// SettlementConfig is how an accepted refund is followed to its end.
type SettlementConfig struct {
	First  time.Duration `yaml:"first" default:"1m" min:"1s" max:"24h"`       // wait before each of the first five queries
	Max    time.Duration `yaml:"max" default:"6h" min:"1s" max:"168h"`        // no wait between queries is longer; at least first
	GiveUp time.Duration `yaml:"give_up" default:"360h" min:"1s" max:"8760h"` // then it is a dead letter; at least max. WeChat Pay closes unfunded refunds after more than 7 days
}

// HTTPConfig is where `worker run` serves /metrics, /healthz and /readyz.
type HTTPConfig struct {
	Listen string `yaml:"listen" default:"127.0.0.1:9464"` // host:port; "" = off
}

// LogConfig is what is written to standard error.
type LogConfig struct {
	Level  string `yaml:"level" default:"info" oneof:"debug,info,warn,error"`
	Format string `yaml:"format" default:"json" oneof:"json,text"` // unless it is set: text on a terminal
}

// defaultFile is read when --config names none.
const defaultFile = "worker.yaml"

// defaultConfig is what an empty file means.
func defaultConfig() *Config {
	c := &Config{origin: newOrigin()}
	applyDefaults(c)
	return c
}

// loadConfig reads the configuration file, if there is one, then the environment, then url (of --nats) if it is not empty, and
// checks it all. The files that it names are not read: a machine that only sends commands has no keys. The error is a
// *exitError with all that is wrong.
func loadConfig(file, url string) (*Config, error) {
	c := defaultConfig()
	if file == "" {
		if _, err := os.Stat(defaultFile); err == nil {
			file = defaultFile
		}
	}
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, usageError("read configuration: %w", err)
		}
		c.file, c.dir = file, filepath.Dir(file)
		c.readYAML(data, c)
	}
	c.readEnvironment(c)
	if url != "" {
		c.NATS.URL, c.where["nats.url"] = url, "--nats"
	}
	if len(c.problems) == 0 { // otherwise the checks would complain about what was not read
		c.check()
	}
	return c, c.err()
}

// subjects are the names under the configured prefix.
func (c *Config) subjects() messages.Subjects { return messages.Subjects{Prefix: c.NATS.Prefix} }

// installation is what the configuration needs at the NATS server.
func (c *Config) installation() consumer.Installation {
	i := consumer.Installation{
		Streams: consumer.Streams{
			Subjects: c.subjects(), Replicas: c.NATS.Replicas, MaxWaiting: c.NATS.MaxWaiting, OutcomesMaxAge: c.Outcomes.MaxAge,
		},
		AckWait: c.Consumer.AckWait, PinnedTTL: c.Consumer.PinnedTTL,
	}
	for _, m := range c.Merchants {
		i.Merchants = append(i.Merchants, m.MchID)
	}
	return i
}

// inboxPrefix is where answers from NATS arrive; "" is the client's default.
func (n *NATSConfig) inboxPrefix() string {
	if n.InboxPrefix == "" && n.User != "" {
		return "_INBOX_" + messages.EscapeToken(n.User)
	}
	return n.InboxPrefix
}

// path resolves a path of the configuration.
func (c *Config) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.dir, name)
}
