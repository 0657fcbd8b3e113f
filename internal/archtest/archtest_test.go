// Package archtest holds the rules of the house that a compiler does not check: who may import whom, and what no tracked file
// may hold.
package archtest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "wxpay-worker/"

// Who may import what, besides the standard library. Tests may import more.
var allowed = map[string][]string{
	"messages":           {},
	"wxpay":              {},
	"wxpay/wxpaytest":    {}, // never wxpay: one misreading must not pass on both sides
	"internal/stored":    {"github.com/nats-io/nats.go"},
	"dlq":                {module + "messages", module + "internal/stored", "github.com/nats-io/nats.go"},
	"consumer":           {module + "messages", module + "wxpay", module + "dlq", module + "internal/stored", "github.com/nats-io/nats.go", "github.com/nats-io/nuid", "github.com/cenkalti/backoff/v4", "github.com/sirupsen/logrus"},
	"internal/calls":     {module + "consumer", module + "wxpay"},
	"internal/metrics":   {module + "consumer", module + "messages", module + "internal/calls", module + "internal/stored", "github.com/nats-io/nats.go", "github.com/prometheus/client_golang"},
	"internal/tracing":   {module + "consumer", module + "messages", module + "internal/calls", "go.opentelemetry.io/otel"},
	"internal/natsembed": {"github.com/nats-io/nats.go", "github.com/nats-io/nats-server/v2/server"},

	"internal/opensslkey": {}, // and OpenSSL itself
}

func TestImports(t *testing.T) {
	for pkg, may := range allowed {
		for _, imported := range lines(t, "go", "list", "-f", `{{join .Imports "\n"}}`, module+pkg) {
			if !strings.Contains(strings.Split(imported, "/")[0], ".") && !strings.HasPrefix(imported, module) {
				continue // the standard library
			}
			if !slices.ContainsFunc(may, func(m string) bool {
				return imported == m || strings.HasPrefix(imported, m+"/") && !strings.HasPrefix(m, module)
			}) {
				t.Errorf("%s imports %s", pkg, imported)
			}
		}
	}
}

// Test helpers and the embedded server stay out of the packages that other programs use; test helpers stay out of the binary.
func TestDependencies(t *testing.T) {
	for _, pkg := range []string{"messages", "wxpay", "dlq", "consumer"} {
		for _, dep := range lines(t, "go", "list", "-deps", module+pkg) {
			if strings.Contains(dep, "nats-server") || strings.Contains(dep, "wxpaytest") || strings.Contains(dep, "natstest") {
				t.Errorf("%s links %s", pkg, dep)
			}
		}
	}
	for _, dep := range lines(t, "go", "list", "-deps", module+"cmd/worker") {
		if dep == "testing" || strings.HasSuffix(dep, "/natstest") {
			t.Errorf("the binary links %s", dep)
		}
	}
}

// No private key, no path of a machine and no registry's host is in a tracked file.
func TestTrackedFiles(t *testing.T) {
	root := lines(t, "git", "rev-parse", "--show-toplevel")[0]
	forbidden := map[string]*regexp.Regexp{
		"a private key":       regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE` + ` KEY-----\s+[A-Za-z0-9+/=]{20}`),
		"a path of a machine": regexp.MustCompile(`(^|[^a-zA-Z0-9_.-])/(work|farm|root|home/[a-z]+)/[a-z]`),
		"a registry's host":   regexp.MustCompile(`proxy\.golang\.org` + `|registry\.npmjs\.` + `org|deb\.debian\.` + `org`),
	}
	for _, name := range lines(t, "git", "-C", root, "ls-files") {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			continue // deleted and not yet committed
		}
		for what, pattern := range forbidden {
			if pattern.Match(data) && !strings.HasSuffix(name, "archtest_test.go") {
				t.Errorf("%s holds %s: %q", name, what, bytes.TrimSpace(pattern.Find(data))[:20])
			}
		}
	}
}

func lines(t *testing.T, name string, args ...string) []string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return strings.Fields(string(out))
}
