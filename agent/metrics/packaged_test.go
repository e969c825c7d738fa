package metrics_test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/metrics"
)

const (
	rulesFile   = "../../packaging/prometheus/alerts.yml"
	casesFile   = "../../packaging/prometheus/alerts_test.yml"
	grafanaFile = "../../packaging/grafana/tlsfleet.json"
	manual      = "../../docs/operations.md"
)

func text(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// scraped is the metrics of a scrape in which everything is known; of a
// histogram without its suffixes.
func scraped(t *testing.T) map[string]bool {
	t.Helper()
	m := metrics.New()
	m.Show(full)
	m.Reloaded(fleet.Reload{Result: fleet.ReloadOK, Took: time.Second})
	m.Splayed(time.Second)
	m.SlotAwaited("taken", time.Second)
	m.Attempted("issued")
	m.Probed("resumed")
	found := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^# TYPE (tlsfleet_\w+) `).FindAllStringSubmatch(scrape(t, m), -1) {
		found[match[1]] = true
	}
	return found
}

// named is the metrics that a text names.
func named(s string) map[string]bool {
	found := map[string]bool{}
	for _, name := range regexp.MustCompile(`\btlsfleet_[a-z_]+`).FindAllString(s, -1) {
		found[strings.TrimSuffix(name, "_bucket")] = true
	}
	return found
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatalf("find promtool: %v: run 'make deps'", err)
	}
	if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestAlertsFire(t *testing.T) {
	promtool(t, "check", "rules", rulesFile)
	promtool(t, "test", "rules", casesFile)
	cases := text(t, casesFile)
	for _, match := range regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(text(t, rulesFile), -1) {
		if !strings.Contains(cases, "alertname: "+match[1]+"\n        exp_alerts:\n          - exp_labels:") {
			t.Errorf("%s has no case in which %s fires", filepath.Base(casesFile), match[1])
		}
		if !strings.Contains(text(t, manual), "`"+match[1]+"`") {
			t.Errorf("%s does not describe %s", filepath.Base(manual), match[1])
		}
	}
}

func TestFilesNameMetricsThatAreThere(t *testing.T) {
	there := scraped(t)
	if len(there) < 25 {
		t.Fatalf("the scrape has %d metrics, want all of them", len(there))
	}
	for _, path := range []string{rulesFile, casesFile, grafanaFile} {
		for name := range named(text(t, path)) {
			if !there[name] {
				t.Errorf("%s names %s, which no scrape has", filepath.Base(path), name)
			}
		}
	}
	described, drawn := named(text(t, manual)), named(text(t, grafanaFile))
	for _, name := range slices.Sorted(maps.Keys(there)) {
		if !described[name] {
			t.Errorf("%s does not describe %s", filepath.Base(manual), name)
		}
		if !drawn[name] {
			t.Errorf("%s does not show %s", filepath.Base(grafanaFile), name)
		}
	}
}

func TestGrafanaExpressionsAreValid(t *testing.T) {
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(text(t, grafanaFile)), &dashboard); err != nil {
		t.Fatal(err)
	}
	rules := strings.Builder{}
	rules.WriteString("groups: [{name: panels, rules: [")
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "5m", "$job", "tlsfleet").Replace(target.Expr)
			quoted, err := json.Marshal(expr)
			if err != nil {
				t.Fatal(err)
			}
			rules.WriteString(`{record: "panel", labels: {of: "` + p.Title + expr[:1] + `"}, expr: ` + string(quoted) + "},\n")
		}
	}
	rules.WriteString("]}]")
	path := filepath.Join(t.TempDir(), "panels.yml")
	if err := os.WriteFile(path, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", "--lint=none", path)
}
