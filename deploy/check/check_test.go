// Package check reads the files for Prometheus and Grafana with Prometheus' own parsers, of the version that docker-compose.yml runs.
// It is a module of its own, run by `make check-deploy`, since Prometheus is 800 MB of modules that the worker has no use for. That the
// metrics exist which these files name is a test of internal/metrics.
package check

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

var promQL = parser.NewParser(parser.Options{})

// TestPrometheus: it loads its configuration, and the alert rules that this names: expressions, durations and templates.
func TestPrometheus(t *testing.T) {
	c, err := config.LoadFile("../prometheus/prometheus.yml", false, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.RuleFiles) != 1 || len(c.ScrapeConfigs) != 1 {
		t.Errorf("%d rule files, %d jobs", len(c.RuleFiles), len(c.ScrapeConfigs))
	}
	alerts := 0
	for _, file := range c.RuleFiles {
		groups, errs := rulefmt.ParseFile(file, false, model.UTF8Validation, promQL, slog.Default())
		for _, err := range errs {
			t.Error(err)
		}
		if groups == nil {
			continue
		}
		for _, g := range groups.Groups {
			alerts += len(g.Rules)
		}
	}
	if alerts < 10 {
		t.Errorf("%d alerts", alerts)
	}
}

// TestDashboards: every panel's query is PromQL once Grafana has put in what its variables stand for.
func TestDashboards(t *testing.T) {
	files, err := filepath.Glob("../grafana/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d dashboards: %v", len(files), err)
	}
	variables := strings.NewReplacer("$__rate_interval", "1m", "$mchid", ".*")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var board struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(data, &board); err != nil {
			t.Fatal(err)
		}
		queries := 0
		for _, p := range board.Panels {
			for _, target := range p.Targets {
				queries++
				if _, err := promQL.ParseExpr(variables.Replace(target.Expr)); err != nil {
					t.Errorf("%s: panel %q: %v in %s", file, p.Title, err, target.Expr)
				}
			}
		}
		if queries == 0 {
			t.Errorf("%s: no queries", file)
		}
	}
}
