package main

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"wxpay-worker/messages"
)

// check applies the rules that tags cannot express: forms of texts, and how keys go together.
func (c *Config) check() {
	c.checkNATS()
	c.checkWechatPay()
	known := map[string]bool{}
	for i := range c.Merchants {
		c.checkMerchant(fmt.Sprintf("merchants[%d]", i), &c.Merchants[i], known)
	}
	c.checkTimes()
	if c.HTTP.Listen != "" {
		c.must(isHostPort(c.HTTP.Listen), "http.listen", "HOST:PORT, or \"\" for none")
	}
}

func (c *Config) must(ok bool, key, expected string) {
	if !ok {
		c.fail(key, "%s", expected)
	}
}

func (c *Config) checkNATS() {
	n := &c.NATS
	if n.URL != "" {
		for server := range strings.SplitSeq(n.URL, ",") {
			c.must(isNATSURL(strings.TrimSpace(server)), "nats.url",
				"nats://HOST:PORT or tls://HOST:PORT, comma separated, without user or password (they go into creds_file, nkey_seed_file, or user and password_file)")
		}
	}
	ways := 0
	for _, way := range []string{n.CredsFile, n.NkeySeedFile, n.User} {
		if way != "" {
			ways++
		}
	}
	c.must(ways <= 1, "nats", "only one of creds_file, nkey_seed_file and user")
	c.must((n.User == "") == (n.PasswordFile == ""), "nats.user", "it together with password_file, or neither")
	c.must(n.InboxPrefix == "" || isAll(n.InboxPrefix, isInboxByte) && !strings.Contains("."+n.InboxPrefix+".", ".."), "nats.inbox_prefix",
		"subject tokens of A-Z a-z 0-9 _ - =, separated by dots")
	c.must((n.TLS.CertFile == "") == (n.TLS.KeyFile == ""), "nats.tls", "cert_file together with key_file, or neither")
	if _, err := messages.NewSubjects(n.Prefix); err != nil {
		c.fail("nats.prefix", "1 to 32 characters of A-Z a-z 0-9 _ -")
	}
	c.must(n.Replicas == 1 || n.Replicas == 3, "nats.replicas", "1 or 3")
	c.must(n.URL != "" || n.Replicas == 1, "nats.replicas", "1, since the embedded server (no nats.url) is alone")
	c.must(isHostPort(n.Embedded.Listen), "nats.embedded.listen", "HOST:PORT")
	c.must(n.Embedded.Dir != "", "nats.embedded.dir", "a folder")
}

func (c *Config) checkWechatPay() {
	w := &c.WechatPay
	c.must(len(w.Hosts) > 0, "wechatpay.hosts", "at least one")
	seen := map[string]bool{}
	for i, host := range w.Hosts {
		key := fmt.Sprintf("wechatpay.hosts[%d]", i)
		u, err := url.Parse(host)
		c.must(err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && strings.Trim(u.Path, "/") == "" &&
			u.RawQuery == "" && u.Fragment == "", key, "https://HOST, without path, query or user")
		c.must(!seen[host], key, "each host only once")
		seen[host] = true
	}
}

func (c *Config) checkMerchant(key string, m *MerchantConfig, known map[string]bool) {
	c.must(messages.ValidMchID(m.MchID), key+".mchid", "1 to 32 digits in quotes")
	c.must(!known[m.MchID], key+".mchid", "a merchant that is not listed above: each only once")
	known[m.MchID] = true
	c.must(len(m.SerialNo) >= 8 && len(m.SerialNo) <= 64 && isAll(m.SerialNo, isHex), key+".serial_no",
		"the serial number of the merchant API certificate, in hex (openssl x509 -serial -noout -in apiclient_cert.pem)")
	c.must(m.Quota.Queries.Calls != 1, key+".quota.queries", "at least 2: looks at accepted refunds and read-backs have a share each")
	ids := map[string]bool{}
	for i, k := range m.PublicKeys {
		at := fmt.Sprintf("%s.public_keys[%d].id", key, i)
		rest, ok := strings.CutPrefix(k.ID, "PUB_KEY_ID_")
		c.must(ok && len(k.ID) <= 128 && isAll(rest, isAlphanumeric), at, "PUB_KEY_ID_ and digits or letters")
		c.must(!ids[k.ID], at, "each id only once")
		ids[k.ID] = true
	}
	if v := m.V2; v != nil {
		c.must(strings.HasPrefix(v.AppID, "wx") && len(v.AppID) <= 32 && isAll(v.AppID, isAlphanumeric), key+".v2.appid", "wx and digits or letters")
		c.must(v.SubAppID == "" || len(v.SubAppID) <= 32 && isAll(v.SubAppID, isAlphanumeric), key+".v2.sub_appid", "digits or letters")
		c.must(v.ClientKeyFile != "" || v.isPKCS12(), key+".v2.client_key_file", "the file of the merchant API private key, apiclient_key.pem (only a .p12 certificate holds it)")
	}
	c.must(len(m.PublicKeys) > 0 || m.PlatformCertificates != nil, key+".public_keys", "at least one WeChat Pay public key, or platform_certificates")
	c.must(m.RefundAPI != "v2" || m.V2 != nil, key+".v2", "what refund_api v2 needs: appid, api_key_file, client_cert_file, client_key_file")
}

// checkTimes warns of times that do not go together. They are not refused: who sets one for a try-out need not set the others as well.
func (c *Config) checkTimes() {
	warnIf := func(odd bool, text string) {
		if odd {
			c.warnings = append(c.warnings, text)
		}
	}
	warnIf(c.Outcomes.MaxAge <= c.Retry.MaxAge, "outcomes.max_age is not more than retry.max_age: a command may be forgotten while it is still tried")
	warnIf(c.Outcomes.MaxAge <= c.Settlement.GiveUp, "outcomes.max_age is not more than settlement.give_up: a refund may be forgotten while it is still followed")
	// A call may begin after three quarters of a delivery's time, and is cut when that ends.
	warnIf(c.WechatPay.Timeout > c.Consumer.AckWait/4, "wechatpay.timeout is more than a quarter of consumer.ack_wait: slow calls may be cut before it")
	warnIf(c.WechatPay.ConnectTimeout > c.WechatPay.Timeout, "wechatpay.connect_timeout is more than wechatpay.timeout: an attempt ends before its connection is given up")
	warnIf(c.Consumer.PinnedTTL > c.Consumer.AckWait, "consumer.pinned_ttl is more than consumer.ack_wait: the commands of a worker that is gone are due again before another one may take its lanes")
	warnIf(c.Retry.Max < c.Retry.Initial, "retry.max is less than retry.initial: the first wait is longer than those that follow")
	warnIf(c.Retry.MaxAge < c.Retry.Initial, "retry.max_age is less than retry.initial: a command is given up before it was tried again")
	warnIf(c.Settlement.Max < c.Settlement.First, "settlement.max is less than settlement.first: the first queries are further apart than those that follow")
	warnIf(c.Settlement.GiveUp < c.Settlement.Max, "settlement.give_up is less than settlement.max: a refund may be given up before its next query")
}

// isNATSURL also takes what nats.go takes: HOST:PORT alone.
func isNATSURL(s string) bool {
	if !strings.Contains(s, "://") {
		s = "nats://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return false
	}
	switch u.Scheme {
	case "nats", "tls", "ws", "wss":
		return u.Hostname() != "" && u.User == nil
	}
	return false
}

// isHostPort takes an empty host, which is every address of the machine.
func isHostPort(s string) bool {
	_, port, err := net.SplitHostPort(s)
	_, bad := strconv.ParseUint(port, 10, 16)
	return err == nil && bad == nil
}

func isAll(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return s != ""
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func isInboxByte(c byte) bool { return isAlphanumeric(c) || strings.IndexByte("_-=.", c) >= 0 }

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
