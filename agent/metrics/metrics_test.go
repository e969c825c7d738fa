package metrics_test

import (
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/metrics"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// full has something to say of everything.
func full() metrics.Facts {
	return metrics.Facts{
		Report: fleet.Report{
			Version: "1.0", NginxVersion: "1.22.1", Mode: fleet.ModeRing, Seen: 7, Applied: 6, Proved: 5, Release: 9, Inventory: 11, Names: 3, Sites: 2,
			Reload:   fleet.Reload{At: noon, Result: fleet.ReloadOK},
			Problems: []fleet.Problem{{Code: "a", Severity: fleet.Alarm}, {Code: "a", Severity: fleet.Alarm, Message: "again"}, {Code: "b", Severity: fleet.Warning}},
		},
		Contact: noon,
		Ring:    &fleet.Ring{Changed: noon.Add(time.Hour), Current: fleet.TicketKey{Promoted: noon}, Previous: make([]fleet.TicketKey, 2)},
		Certificates: metrics.Certificates{
			Pending: 1, Expiring: map[string]int{"7d": 2}, Soonest: []metrics.Expiry{{Name: "a.test", NotAfter: noon}},
		},
		Leading: &metrics.Leading{
			Serving: 3, Proved: 2, Alive: 1, Issuance: map[string]int{"parked": 4}, Wave: metrics.Wave{Epoch: 7, State: "halted"},
			Budgets:  []metrics.Budget{{CA: "le", Left: 12.5, Held: noon}, {CA: "free", Left: -1}},
			Archives: []metrics.Archive{{Name: "disk", Lag: 90 * time.Second, Pending: 8}, {Name: "bucket"}},
		},
	}
}

func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	text, err := io.ReadAll(w.Result().Body)
	if err != nil || w.Code != 200 {
		t.Fatalf("GET /metrics = %d, %v:\n%s", w.Code, err, text)
	}
	return string(text)
}

func TestScrapeHasEveryFact(t *testing.T) {
	m := metrics.New()
	m.Show(full)
	m.Reloaded(fleet.Reload{Result: fleet.ReloadRejected, Took: 80 * time.Millisecond})
	m.Splayed(3 * time.Second)
	m.SlotAwaited("taken", 2*time.Second)
	m.Attempted("issued")
	m.Attempted("") // none
	m.Probed("resumed")
	want := []string{
		`tlsfleet_build_info{nginx_version="1.22.1",version="1.0"} 1`,
		`tlsfleet_consul_contact_timestamp_seconds 1.7935344e+09`,
		`tlsfleet_ring_seen_epoch 7`, `tlsfleet_ring_applied_epoch 6`, `tlsfleet_ring_proved_epoch 5`, `tlsfleet_ring_per_host 0`,
		`tlsfleet_ring_changed_timestamp_seconds 1.793538e+09`, `tlsfleet_ring_key_promoted_timestamp_seconds 1.7935344e+09`,
		`tlsfleet_ring_keys{role="current"} 1`, `tlsfleet_ring_keys{role="next"} 1`, `tlsfleet_ring_keys{role="previous"} 2`,
		`tlsfleet_release 9`, `tlsfleet_reload_last_timestamp_seconds{result="ok"} 1.7935344e+09`,
		`tlsfleet_problems{code="a",severity="alarm"} 2`, `tlsfleet_problems{code="b",severity="warning"} 1`,
		`tlsfleet_inventory_epoch 11`, `tlsfleet_certificates 3`, `tlsfleet_certificates_pending 1`,
		`tlsfleet_certificates_expiring{within="0d"} 0`, `tlsfleet_certificates_expiring{within="1d"} 0`, `tlsfleet_certificates_expiring{within="7d"} 2`,
		`tlsfleet_certificates_expiring{within="14d"} 0`, `tlsfleet_certificates_expiring{within="30d"} 0`,
		`tlsfleet_certificate_not_after_timestamp_seconds{name="a.test"} 1.7935344e+09`,
		`tlsfleet_leader 1`, `tlsfleet_nodes{state="in_service"} 3`, `tlsfleet_nodes{state="proved"} 2`, `tlsfleet_nodes{state="alive"} 1`,
		`tlsfleet_issuance_certificates{state="parked"} 4`, `tlsfleet_sites_wave_epoch{state="halted"} 7`, `tlsfleet_sites_epoch 2`,
		`tlsfleet_ca_orders_left{ca="le"} 12.5`, `tlsfleet_ca_held_until_timestamp_seconds{ca="le"} 1.7935344e+09`,
		`tlsfleet_archive_lag_seconds{archive="bucket"} 0`, `tlsfleet_archive_lag_seconds{archive="disk"} 90`,
		`tlsfleet_archive_pending_objects{archive="bucket"} 0`, `tlsfleet_archive_pending_objects{archive="disk"} 8`,
		`tlsfleet_reloads_total{result="failed"} 0`, `tlsfleet_reloads_total{result="not-running"} 0`, `tlsfleet_reloads_total{result="ok"} 0`,
		`tlsfleet_reloads_total{result="rejected"} 1`, `tlsfleet_reloads_total{result="rolled-back"} 0`,
		`tlsfleet_issuance_attempts_total{outcome="issued"} 1`, `tlsfleet_resumption_probes_total{result="resumed"} 1`,
	}
	var got, histograms []string
	for line := range strings.Lines(scrape(t, m)) {
		switch line = strings.TrimSuffix(line, "\n"); {
		case !strings.HasPrefix(line, "tlsfleet_"):
		case strings.Contains(line, "_bucket{"):
			histograms = append(histograms, line)
		case !strings.Contains(line, "_sum") && !strings.Contains(line, "_count"):
			got = append(got, line)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the scrape has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, want := range []string{
		`tlsfleet_reload_duration_seconds_bucket{le="0.05"} 0`, `tlsfleet_reload_duration_seconds_bucket{le="0.1"} 1`,
		`tlsfleet_reload_splay_seconds_bucket{le="2"} 0`, `tlsfleet_reload_splay_seconds_bucket{le="5"} 1`,
		`tlsfleet_reload_slot_wait_seconds_bucket{result="taken",le="1"} 0`, `tlsfleet_reload_slot_wait_seconds_bucket{result="taken",le="2.5"} 1`,
	} {
		if !slices.Contains(histograms, want) {
			t.Errorf("the scrape has no line %s", want)
		}
	}
}

func TestScrapeLeavesOutWhatIsNotKnown(t *testing.T) {
	m := metrics.New()
	m.Show(func() metrics.Facts { return metrics.Facts{} })
	text := scrape(t, m)
	for _, absent := range []string{"ring_changed", "consul_contact", "reload_last", "tlsfleet_nodes", "ca_orders_left", "certificate_not_after"} {
		if strings.Contains(text, absent) {
			t.Errorf("the scrape has %s, which is not known", absent)
		}
	}
	if !strings.Contains(text, "tlsfleet_leader 0\n") {
		t.Error("the scrape does not say that the node does not lead")
	}
}

func TestMetricsAreLintClean(t *testing.T) {
	m := metrics.New()
	m.Show(full)
	m.Attempted("issued")
	m.Probed("resumed")
	var own strings.Builder
	for line := range strings.Lines(scrape(t, m)) {
		if strings.Contains(line, "tlsfleet_") {
			own.WriteString(line)
		}
	}
	problems, err := promlint.New(strings.NewReader(own.String())).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
