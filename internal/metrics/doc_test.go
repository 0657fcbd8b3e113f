package metrics

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the table of metrics into doc/operations.md")

// described is a metric as its registration describes it.
type described struct{ name, kind, labels, help string }

var descText = regexp.MustCompile(`^Desc\{fqName: "(.*)", help: "(.*)", unit: "", constLabels: \{\}, variableLabels: \{(.*)\}\}$`)

// registered lists the metrics that there are.
func registered(t *testing.T) (all []described) {
	t.Helper()
	for _, c := range New(Build{}).own {
		ch := make(chan *prometheus.Desc, 64)
		c.Describe(ch)
		close(ch)
		for d := range ch {
			part := descText.FindStringSubmatch(d.String())
			if part == nil {
				t.Fatalf("cannot read %s", d)
			}
			kind := "gauge"
			if _, ok := c.(*prometheus.HistogramVec); ok {
				kind = "histogram"
			} else if strings.HasSuffix(part[1], "_total") {
				kind = "counter"
			}
			all = append(all, described{part[1], kind, part[3], part[2]})
		}
	}
	slices.SortFunc(all, func(a, b described) int { return strings.Compare(a.name, b.name) })
	return all
}

const (
	operations = "../../doc/operations.md"
	tableBegin = "<!-- metrics: written by go test ./internal/metrics -update -->\n"
	tableEnd   = "<!-- end of metrics -->\n"
)

// The table of metrics says what there is: every metric is documented, every documented one exists.
func TestEveryMetricIsDocumented(t *testing.T) {
	var table strings.Builder
	table.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, d := range registered(t) {
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", d.name, d.kind, strings.ReplaceAll(d.labels, ",", ", "), d.help)
	}
	data, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), tableBegin)
	have, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s: no place for the table", operations)
	}
	if *update {
		text := before + tableBegin + table.String() + tableEnd + after
		if err := os.WriteFile(operations, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have != table.String() {
		t.Errorf("%s does not tell the truth; go test ./internal/metrics -update writes:\n%s", operations, table.String())
	}
}

// Names follow the conventions, and labels are of the few whose values are bounded.
func TestNamesAndLabels(t *testing.T) {
	bounded := []string{"mchid", "kind", "status", "settlement", "verdict", "reason", "endpoint", "code", "result", "lane", "family", "host", "certificate", "version", "commit", "goversion"}
	for _, d := range registered(t) {
		if !strings.HasPrefix(d.name, "wxpay_") || d.help == "" {
			t.Errorf("%+v", d)
		}
		for label := range strings.SplitSeq(d.labels, ",") {
			if label != "" && !slices.Contains(bounded, label) {
				t.Errorf("%s: label %s is not one of those that are known to be bounded", d.name, label)
			}
		}
	}
}

// metricName finds what may be a metric of ours in a PromQL expression.
var metricName = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*`)

// unknown returns the names in an expression that begin as ours do and are none, and those of other programs that are not known to
// be told.
func unknown(t *testing.T, expr string) (names []string) {
	t.Helper()
	known := map[string]bool{"process_resident_memory_bytes": true, "process_cpu_seconds_total": true, "go_goroutines": true}
	for _, d := range registered(t) {
		known[d.name] = true
		if d.kind == "histogram" {
			known[d.name+"_bucket"], known[d.name+"_sum"], known[d.name+"_count"] = true, true, true
		}
	}
	for _, name := range metricName.FindAllString(expr, -1) {
		if ours := strings.HasPrefix(name, "wxpay_") || strings.HasPrefix(name, "process_") || strings.HasPrefix(name, "go_"); ours && !known[name] {
			names = append(names, name)
		}
	}
	return names
}

// Alert rules speak of metrics that exist, and each says what to do.
func TestAlertRules(t *testing.T) {
	data, err := os.ReadFile("../../deploy/prometheus/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if names := unknown(t, r.Expr); len(names) > 0 {
				t.Errorf("%s: no such metric: %q", r.Alert, names)
			}
			if r.Alert == "" || seen[r.Alert] || !strings.Contains(r.Expr, "wxpay") || r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("incomplete, or there twice: %+v", r)
			}
			seen[r.Alert] = true
		}
	}
	if len(seen) < 10 {
		t.Errorf("%d alerts", len(seen))
	}
}

// The dashboard's panels speak of metrics that exist.
func TestDashboard(t *testing.T) {
	data, err := os.ReadFile("../../deploy/grafana/wxpay-worker.json")
	if err != nil {
		t.Fatal(err)
	}
	type panel struct {
		ID      int
		Title   string
		Type    string
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ Expr string }
	}
	var board struct {
		Title, UID string
		Panels     []panel
		Templating struct {
			List []struct{ Name, Query string }
		}
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	ids := map[int]bool{}
	for _, p := range board.Panels {
		if ids[p.ID] || p.ID == 0 || p.Title == "" || p.GridPos.W == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d %q: no number of its own, no title or no place", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			if names := unknown(t, target.Expr); len(names) > 0 || !strings.Contains(target.Expr, "_") {
				t.Errorf("panel %q: no such metric: %q in %s", p.Title, names, target.Expr)
			}
		}
	}
	for _, v := range board.Templating.List {
		if names := unknown(t, v.Query); len(names) > 0 {
			t.Errorf("variable %s: no such metric: %q", v.Name, names)
		}
	}
	if board.Title == "" || board.UID == "" || len(ids) < 15 {
		t.Errorf("%q, %q, %d panels", board.Title, board.UID, len(ids))
	}
}
