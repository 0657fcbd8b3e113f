package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// aMerchant is the smallest merchant there is, from line 2 on.
const aMerchant = `merchants:
  - mchid: "1900000001"
    serial_no: "5157F09EFDC096DE"
    private_key_file: key.pem
    public_keys: [{id: PUB_KEY_ID_01, file: pub.pem}]
`

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load loads a configuration of this text from a file called worker.yaml.
func load(t *testing.T, text string) (*Config, error) {
	t.Helper()
	return loadConfig(writeFile(t, filepath.Join(t.TempDir(), "worker.yaml"), text), "")
}

// TestDefaults: an empty configuration is the contract's.
func TestDefaults(t *testing.T) {
	want := Config{
		NATS: NATSConfig{Prefix: "wxpay", Replicas: 1, MaxWaiting: 2000000, Embedded: EmbeddedConfig{Listen: "127.0.0.1:4222", Dir: "./data/nats"}},
		WechatPay: WechatPayConfig{
			Hosts:   []string{"https://api.mch.weixin.qq.com", "https://api2.mch.weixin.qq.com"},
			Timeout: 10 * time.Second, ConnectTimeout: 3 * time.Second,
		},
		Consumer:   ConsumerConfig{Concurrency: 64, Drain: 25 * time.Second, AckWait: time.Minute, PinnedTTL: 15 * time.Second},
		Outcomes:   OutcomesConfig{MaxAge: 2160 * time.Hour},
		Retry:      RetryConfig{Initial: 2 * time.Second, Multiplier: 2, Max: time.Hour, Jitter: 0.2, MaxAttempts: 25, MaxAge: 72 * time.Hour},
		Settlement: SettlementConfig{First: time.Minute, Max: 6 * time.Hour, GiveUp: 360 * time.Hour},
		HTTP:       HTTPConfig{Listen: "127.0.0.1:9464"},
		Log:        LogConfig{Level: "info", Format: "json"},
	}
	got, err := load(t, "# nothing\n")
	if err != nil {
		t.Fatal(err)
	}
	got.origin = nil
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("got  %+v\nwant %+v", *got, want)
	}
}

// TestExample: the example that users copy is valid, names every key outside of merchants, and holds the defaults.
func TestExample(t *testing.T) {
	got, err := loadConfig("testdata/worker.yaml", "")
	if err != nil {
		t.Fatal(err)
	}
	var keys func(key string, v reflect.Value)
	keys = func(key string, v reflect.Value) {
		for _, f := range fields(v) {
			at := join(key, f.Tag.Get("yaml"))
			if !got.set(at) {
				t.Errorf("%s is not shown", at)
			}
			if v := v.FieldByIndex(f.Index); v.Kind() == reflect.Struct {
				keys(at, v)
			}
		}
	}
	keys("", reflect.ValueOf(*got))

	want := defaultConfig()
	second, minute := time.Second, time.Minute
	want.Merchants = []MerchantConfig{{
		MchID: "1900000001", SerialNo: "5157F09EFDC096DE15EBE81A47057A7232F1B8E1", PrivateKeyFile: "apiclient_key.pem",
		PublicKeys: []PublicKeyConfig{{ID: "PUB_KEY_ID_0119000000012026010100000000000001", File: "wxp_pub.pem"}}, RefundAPI: "v3",
		Quota: QuotaConfig{Rate{150, second}, Rate{6, second}, Rate{60, minute}, Rate{300, second}},
	}}
	got.origin, want.origin = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestConfigRefuses has one row for each rule: the text, and the error that names line, key and expectation.
func TestConfigRefuses(t *testing.T) {
	v2 := "    v2: {appid: wx1, api_key_file: k, client_cert_file: c, client_key_file: k}\n"
	for _, tt := range []struct{ rule, text, want string }{
		{"not YAML", "nats: [", "worker.yaml: yaml: line 1"},
		{"two documents", "nats: {}\n---\nnats: {}\n", "worker.yaml: expected one YAML document"},
		{"not a mapping", "- a\n", "worker.yaml: configuration: expected a mapping"},
		{"section is no mapping", "nats: 1\n", "worker.yaml:1: nats: expected a mapping"},
		{"unknown section", "natz: {}\n", "worker.yaml:1: natz: expected no key of this name"},
		{"unknown key", "nats:\n  uri: x\n", "worker.yaml:2: nats.uri: expected no key of this name"},
		{"unknown key in a list", aMerchant + "    mch_id: \"1\"\n", "worker.yaml:6: merchants[0].mch_id: expected no key of this name"},
		{"other letter case", "NATS: {}\n", "worker.yaml:1: NATS: expected no key of this name"},
		{"duplicate key", "nats:\n  prefix: a\n  prefix: b\n", "worker.yaml:3: nats.prefix: expected it only once"},
		{"merge key", "nats: {<<: {prefix: a}}\n", "worker.yaml:1: nats.<<: expected no key of this name"},
		{"list is a text", "merchants: x\n", "worker.yaml:1: merchants: expected a list"},
		{"list of another type", "wechatpay:\n  hosts: [1]\n", "worker.yaml:2: wechatpay.hosts[0]: expected a text, in quotes"},
		{"text is a list", "nats: {url: [a, b]}\n", "worker.yaml:1: nats.url: expected a text"},
		{"text is empty", "nats:\n  prefix:\n", "worker.yaml:2: nats.prefix: expected a text, in quotes"},
		{"boolean", strings.Replace(aMerchant, "private", "sub_merchants: maybe\n    private", 1), "merchants[0].sub_merchants: expected true or false"},
		{"integer", "consumer: {concurrency: many}\n", "consumer.concurrency: expected an integer, from 1 to 10000"},
		{"integer too small", "consumer: {concurrency: 0}\n", "consumer.concurrency: expected an integer, from 1 to 10000"},
		{"integer too large", "consumer: {concurrency: 10001}\n", "consumer.concurrency: expected an integer, from 1 to 10000"},
		{"integer with a fraction", "consumer: {concurrency: 1.5}\n", "consumer.concurrency: expected an integer, from 1 to 10000"},
		{"duration without unit", "consumer: {drain: 25}\n", "consumer.drain: expected a duration such as 90s, 5m or 2160h, from 0s to 1h"},
		{"duration in days", "outcomes: {max_age: 90d}\n", "outcomes.max_age: expected a duration"},
		{"duration negative", "consumer: {drain: -1s}\n", "consumer.drain: expected a duration"},
		{"number", "retry: {jitter: lots}\n", "retry.jitter: expected a number, from 0 to 1"},
		{"not a number", "retry: {jitter: .nan}\n", "retry.jitter: expected a number, from 0 to 1"},
		{"jitter above 1", "retry: {jitter: 1.1}\n", "retry.jitter: expected a number, from 0 to 1"},
		{"multiplier below 1", "retry: {multiplier: 0.9}\n", "retry.multiplier: expected a number, from 1 to 100"},
		{"max_attempts", "retry: {max_attempts: 0}\n", "retry.max_attempts: expected an integer, from 1"},
		{"log level", "log: {level: loud}\n", "log.level: expected debug or info or warn or error"},
		{"log format", "log: {format: xml}\n", "log.format: expected json or text"},

		{"url scheme", "nats: {url: \"http://a\"}\n", "nats.url: expected nats://HOST:PORT"},
		{"url in a list", "nats: {url: \"nats://a:1,nats://\"}\n", "nats.url: expected nats://HOST:PORT"},
		{"password in the url", "nats: {url: \"nats://u:secret@a:4222\"}\n", "nats.url: expected nats://HOST:PORT or tls://HOST:PORT, comma separated, without user or password"},
		{"two ways to log in", "nats: {creds_file: a, nkey_seed_file: b}\n", "nats: expected only one of creds_file, nkey_seed_file and user"},
		{"user alone", "nats: {user: a}\n", "nats.user: expected it together with password_file"},
		{"password alone", "nats: {password_file: a}\n", "nats.user: expected it together with password_file"},
		{"certificate without key", "nats: {tls: {cert_file: a}}\n", "nats.tls: expected cert_file together with key_file"},
		{"prefix", "nats: {prefix: a.b}\n", "nats.prefix: expected 1 to 32 characters"},
		{"replicas", "nats: {url: \"a:1\", replicas: 2}\n", "nats.replicas: expected 1 or 3"},
		{"replicas of the embedded server", "nats: {replicas: 3}\n", "nats.replicas: expected 1, since the embedded server"},
		{"max_waiting", "nats: {max_waiting: 0}\n", "nats.max_waiting: expected an integer, from 1"},
		{"embedded without port", "nats: {embedded: {listen: localhost}}\n", "nats.embedded.listen: expected HOST:PORT"},
		{"embedded without folder", "nats: {embedded: {dir: \"\"}}\n", "nats.embedded.dir: expected a folder"},
		{"http", "http: {listen: \"9464\"}\n", "http.listen: expected HOST:PORT"},

		{"no hosts", "wechatpay: {hosts: []}\n", "wechatpay.hosts: expected at least one"},
		{"host without https", "wechatpay: {hosts: [\"http://a\"]}\n", "wechatpay.hosts[0]: expected https://HOST"},
		{"host with path", "wechatpay: {hosts: [\"https://a/v3\"]}\n", "wechatpay.hosts[0]: expected https://HOST"},
		{"host twice", "wechatpay: {hosts: [\"https://a\", \"https://a\"]}\n", "wechatpay.hosts[1]: expected each host only once"},

		{"mchid is a number", strings.Replace(aMerchant, `"1900000001"`, "1900000001", 1), "worker.yaml:2: merchants[0].mchid: expected a text, in quotes"},
		{"mchid missing", "merchants:\n  - serial_no: \"00000000\"\n", "worker.yaml:2: merchants[0].mchid: expected 1 to 32 digits"},
		{"mchid with letters", strings.Replace(aMerchant, "1900000001", "19a", 1), "merchants[0].mchid: expected 1 to 32 digits"},
		{"mchid twice", aMerchant + strings.TrimPrefix(aMerchant, "merchants:\n"), "worker.yaml:6: merchants[1].mchid: expected a merchant that is not listed above"},
		{"serial_no missing", "merchants: [{mchid: \"1\"}]\n", "merchants[0].serial_no: expected the serial number"},
		{"serial_no not hex", strings.Replace(aMerchant, "5157F0", "5157X0", 1), "worker.yaml:3: merchants[0].serial_no: expected the serial number"},
		{"private_key_file missing", "merchants: [{mchid: \"1\"}]\n", "merchants[0].private_key_file: expected the file"},
		{"no public keys", strings.Replace(aMerchant, "[{id: PUB_KEY_ID_01, file: pub.pem}]", "[]", 1), "worker.yaml:5: merchants[0].public_keys: expected at least one"},
		{"public key id", strings.Replace(aMerchant, "PUB_KEY_ID_01", "KEY", 1), "merchants[0].public_keys[0].id: expected PUB_KEY_ID_"},
		{"public key id twice", strings.Replace(aMerchant, "[{", "[{id: PUB_KEY_ID_01, file: a}, {", 1), "merchants[0].public_keys[1].id: expected each id only once"},
		{"public key without file", strings.Replace(aMerchant, ", file: pub.pem", "", 1), "merchants[0].public_keys[0].file: expected the public key's file"},
		{"refund_api", aMerchant + "    refund_api: v4\n", "merchants[0].refund_api: expected v3 or v2"},
		{"quota", aMerchant + "    quota: {refunds: 150}\n", "worker.yaml:6: merchants[0].quota.refunds: expected a rate such as 150/s"},
		{"quota unit", aMerchant + "    quota: {complaints: 60/h}\n", "merchants[0].quota.complaints: expected a rate"},
		{"quota for one", aMerchant + "    quota: {queries: 1/s}\n", "merchants[0].quota.queries: expected at least 2"},
		{"quota negative", aMerchant + "    quota: {queries: -1/s}\n", "merchants[0].quota.queries: expected a rate"},
		{"api_v3_key_file missing", aMerchant + "    platform_certificates: {}\n", "merchants[0].platform_certificates.api_v3_key_file: expected the file"},
		{"v2 without appid", aMerchant + "    v2: {api_key_file: k}\n", "merchants[0].v2.appid: expected the appid"},
		{"v2 appid", aMerchant + strings.Replace(v2, "wx1", "x1", 1), "merchants[0].v2.appid: expected wx and digits or letters"},
		{"v2 sign_type", aMerchant + strings.Replace(v2, "appid", "sign_type: SHA1, appid", 1), "merchants[0].v2.sign_type: expected HMAC-SHA256 or MD5"},

		{"v2 without its section", aMerchant + "    refund_api: v2\n", "worker.yaml:2: merchants[0].v2: expected what refund_api v2 needs"},
		{"v2 without key", aMerchant + strings.Replace(v2, ", client_key_file: k", "", 1), "merchants[0].v2.client_key_file: expected the file"},
		{"nothing to verify by", strings.Replace(aMerchant, "public_keys: [{id: PUB_KEY_ID_01, file: pub.pem}]", "sub_merchants: true", 1), "merchants[0].public_keys: expected at least one"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			_, err := load(t, tt.text)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got  %v\nwant %s", err, tt.want)
			}
			if code := (&app{err: new(strings.Builder)}).finish(err); code != exitUsage {
				t.Errorf("exit code %d", code)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("shows a value: %v", err)
			}
		})
	}
}

// TestConfigListsAll: everything that is wrong is told at once.
func TestConfigListsAll(t *testing.T) {
	_, err := load(t, "nats: {prefix: a.b, replicas: 2}\nhttp: {listen: x}\n")
	if err == nil || strings.Count(err.Error(), "\n") != 3 { // replicas is wrong in two ways
		t.Errorf("got %v", err)
	}
}

// TestConfigAccepts holds what is unusual and right.
func TestConfigAccepts(t *testing.T) {
	for _, text := range []string{
		"",
		"nats:\nmerchants:\nhttp: {listen: \"\"}\n",
		"nats: {url: \"nats://a:4222, tls://b:4222,c:4222\", replicas: 3}\n",
		"consumer: {drain: 0s}\nretry: {multiplier: 1, jitter: 0, initial: 1h}\n",
		aMerchant + "    quota: {refunds: 0, queries: 10/m}\n",
		aMerchant + "    platform_certificates:\n    v2: {appid: wx8888888888888888, api_key_file: k, sign_type: MD5, client_cert_file: c, client_key_file: k}\n",
	} {
		if _, err := load(t, text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestEnvironment: every scalar outside of lists has its variable.
func TestEnvironment(t *testing.T) {
	var visit func(key string, v reflect.Value)
	visit = func(key string, v reflect.Value) {
		for _, f := range fields(v) {
			at, v := join(key, f.Tag.Get("yaml")), v.FieldByIndex(f.Index)
			switch v.Kind() {
			case reflect.Struct:
				visit(at, v)
			case reflect.Slice:
			default:
				name := "WXPAY_" + strings.ToUpper(strings.ReplaceAll(at, ".", "_"))
				t.Run(name, func(t *testing.T) {
					text := f.Tag.Get("default")
					if text == "" {
						text = "x"
					}
					t.Setenv(name, text)
					c := defaultConfig()
					c.readEnvironment(c)
					if c.where[at] != name || c.err() != nil {
						t.Errorf("set by %q, %v", c.where[at], c.err())
					}
				})
			}
		}
	}
	visit("", reflect.ValueOf(*defaultConfig()))
}

func TestEnvironmentOverrides(t *testing.T) {
	t.Setenv("WXPAY_CONSUMER_CONCURRENCY", "128")
	t.Setenv("WXPAY_NATS_EMBEDDED_LISTEN", "127.0.0.1:0")
	t.Setenv("WXPAY_WECHATPAY_TIMEOUT", "5s")
	t.Setenv("WXPAY_NATS_URL", "nats://environment:4222")
	t.Setenv("WXPAY_LOG_LEVEL", "") // as if unset
	t.Setenv("WXPAY_UNKNOWN", "x")  // not looked at
	file := writeFile(t, filepath.Join(t.TempDir(), "worker.yaml"), "consumer: {concurrency: 1}\nlog: {level: warn}\n")
	c, err := loadConfig(file, "")
	if err != nil {
		t.Fatal(err)
	}
	if c.Consumer.Concurrency != 128 || c.NATS.Embedded.Listen != "127.0.0.1:0" || c.WechatPay.Timeout != 5*time.Second ||
		c.NATS.URL != "nats://environment:4222" || c.Log.Level != "warn" {
		t.Errorf("got %+v", c)
	}
	if c, err = loadConfig(file, "nats://flag:4222"); err != nil || c.NATS.URL != "nats://flag:4222" {
		t.Errorf("--nats: %q, %v", c.NATS.URL, err)
	}
}

func TestEnvironmentRefuses(t *testing.T) {
	t.Setenv("WXPAY_CONSUMER_CONCURRENCY", "many")
	t.Setenv("WXPAY_NATS_PREFIX", "a.b")
	_, err := loadConfig("", "")
	if err == nil || !strings.Contains(err.Error(), "WXPAY_CONSUMER_CONCURRENCY: consumer.concurrency: expected an integer") {
		t.Errorf("got %v", err)
	}
	t.Setenv("WXPAY_CONSUMER_CONCURRENCY", "")
	_, err = loadConfig("", "")
	if err == nil || !strings.Contains(err.Error(), "WXPAY_NATS_PREFIX: nats.prefix: expected 1 to 32") {
		t.Errorf("got %v", err)
	}
}

// TestDefaultFile: worker.yaml in the working directory is read unasked; one that is asked for must be there.
func TestDefaultFile(t *testing.T) {
	t.Chdir(t.TempDir())
	if c, err := loadConfig("", ""); err != nil || c.file != "" {
		t.Errorf("no file: %q, %v", c.file, err)
	}
	writeFile(t, "worker.yaml", "nats: {prefix: here}\n")
	if c, err := loadConfig("", ""); err != nil || c.NATS.Prefix != "here" {
		t.Errorf("default file: %+v, %v", c, err)
	}
	if _, err := loadConfig("other.yaml", ""); err == nil || !strings.Contains(err.Error(), "other.yaml") {
		t.Errorf("missing file: %v", err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestConfigWarns has one row for each pair of times that does not go together: just beyond the bound it is told, with both keys, and
// refused by nobody; at the bound it is well.
func TestConfigWarns(t *testing.T) {
	for _, tt := range []struct{ well, odd, want string }{
		{"outcomes: {max_age: 100h1s}\nretry: {max_age: 100h}\nsettlement: {give_up: 90h}", "outcomes: {max_age: 100h}\nretry: {max_age: 100h}\nsettlement: {give_up: 90h}", "outcomes.max_age is not more than retry.max_age"},
		{"outcomes: {max_age: 361h}", "outcomes: {max_age: 360h}", "outcomes.max_age is not more than settlement.give_up"},
		{"wechatpay: {timeout: 15s}", "wechatpay: {timeout: 16s}", "wechatpay.timeout is more than a quarter of consumer.ack_wait"},
		{"wechatpay: {timeout: 3s}", "wechatpay: {timeout: 2s}", "wechatpay.connect_timeout is more than wechatpay.timeout"},
		{"consumer: {pinned_ttl: 60s}", "consumer: {pinned_ttl: 61s}", "consumer.pinned_ttl is more than consumer.ack_wait"},
		{"retry: {max: 2s}", "retry: {max: 1s}", "retry.max is less than retry.initial"},
		{"retry: {max_age: 2s}", "retry: {max_age: 1s}", "retry.max_age is less than retry.initial"},
		{"settlement: {max: 1m}", "settlement: {max: 59s}", "settlement.max is less than settlement.first"},
		{"settlement: {give_up: 6h}", "settlement: {give_up: 5h}", "settlement.give_up is less than settlement.max"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			if c, err := load(t, tt.well+"\n"); err != nil || len(c.warnings) != 0 {
				t.Errorf("at the bound: %v, %q", err, c.warnings)
			}
			if c, err := load(t, tt.odd+"\n"); err != nil || len(c.warnings) != 1 || !strings.HasPrefix(c.warnings[0], tt.want) {
				t.Errorf("beyond it: %v, %q", err, c.warnings)
			}
		})
	}
}
