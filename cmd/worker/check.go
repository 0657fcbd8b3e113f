package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"strings"
	"time"
	"unicode"

	"wxpay-worker/consumer"
)

type checkCmd struct {
	Online bool `xor:"what" help:"Also ask WeChat Pay, for each merchant, about a refund that cannot exist, and compare the clocks."`
	Ready  bool `xor:"what" help:"Only ask the worker that runs on this machine, at http.listen, whether it is ready."`
	output
}

// Run checks everything that can be checked from here, and changes nothing. What it prints holds no secret.
func (k *checkCmd) Run(a *app) error {
	c, err := loadConfig(a.config, a.nats)
	if c == nil {
		return err
	}
	if k.Ready {
		return k.checking(a, c).ready(a.ctx)
	}
	if c.file == "" && len(c.Merchants) == 0 {
		return noMerchants(c)
	}
	all := k.checking(a, c)
	if all.configuration(); err == nil { // otherwise half of it would be checked against nothing
		keys := all.merchants()
		all.nats(a.ctx)
		if k.Online {
			all.online(a.ctx, keys)
		}
	}
	return all.verdict()
}

func (k *checkCmd) checking(a *app, c *Config) *checking {
	return &checking{printer: printer{a.out, k.json()}, config: c, denied: &denials{}, now: time.Now()}
}

// checkStatus is how a check ended.
type checkStatus string

const (
	checkOK      checkStatus = "ok"
	checkWarn    checkStatus = "warn"    // right as it is, but not for long, or perhaps not what was meant
	checkWrong   checkStatus = "wrong"   // the only one that makes the exit code 1
	checkUnknown checkStatus = "unknown" // cannot be found out from here
)

// finding is one line.
type finding struct {
	Check   string      `json:"check"`
	Subject string      `json:"subject"` // what was checked: a key, a merchant, a stream, …
	Status  checkStatus `json:"status"`
	Detail  string      `json:"detail"`
	Mend    string      `json:"mend"` // what to do about it; "" where there is nothing to do
}

// checking is one run of check.
type checking struct {
	printer
	config       *Config
	denied       *denials
	roots        *x509.CertPool // of WeChat Pay's hosts; nil: the system's
	now          time.Time
	count, wrong int
}

// verdict is the error of the run: nil if nothing is wrong.
func (k *checking) verdict() error {
	if k.wrong > 0 {
		return fmt.Errorf("%d of %d checks are wrong", k.wrong, k.count)
	}
	return nil
}

// add prints a finding.
func (k *checking) add(f finding) {
	k.count++
	if f.Status == checkWrong {
		k.wrong++
	}
	// Names and reasons that come from a server could hold anything, also what a terminal obeys.
	f.Subject, f.Detail, f.Mend = printable(f.Subject), printable(f.Detail), printable(f.Mend)
	if k.json {
		k.object(f)
		return
	}
	line := fmt.Sprintf("%-7s  %-21s  %-36s  %s", f.Status, f.Check, f.Subject, f.Detail)
	if f.Mend != "" {
		line += " → " + f.Mend
	}
	fmt.Fprintln(k.w, strings.TrimRight(line, " "))
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '\ufffd'
		}
		return r
	}, s)
}

func (k *checking) ok(check, subject, detail string) {
	k.add(finding{Check: check, Subject: subject, Status: checkOK, Detail: detail})
}

func (k *checking) warn(check, subject, detail, mend string) {
	k.add(finding{check, subject, checkWarn, detail, mend})
}

func (k *checking) bad(check, subject, detail, mend string) {
	k.add(finding{check, subject, checkWrong, detail, mend})
}

func (k *checking) unknown(check, subject, detail, mend string) {
	k.add(finding{check, subject, checkUnknown, detail, mend})
}

// ask makes one request to NATS.
func (k *checking) ask(ctx context.Context, do func(context.Context) error) error {
	return k.denied.ask(ctx, do)
}

// configuration checks what can be seen in it alone.
func (k *checking) configuration() {
	c := k.config
	file := cmp.Or(c.file, "environment")
	for _, err := range c.problems {
		k.bad("configuration", file, err.Error(), "see the README, Configuration")
	}
	for _, warning := range c.warnings {
		k.warn("configuration", file, warning, "")
	}
	if len(c.problems) == 0 && len(c.Merchants) == 0 {
		k.bad("configuration", file, "no merchants: worker run does not start", "list at least one under merchants")
	} else if len(c.problems) == 0 {
		k.ok("configuration", file, fmt.Sprintf("merchants: %d", len(c.Merchants)))
	}
	c.warnings = nil
}

// installation is what the configuration wants at the NATS server.
func (k *checking) installation() consumer.Installation { return k.config.installation() }
