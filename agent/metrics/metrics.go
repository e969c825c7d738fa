package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Metrics counts for one agent. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	reloads  *prometheus.CounterVec
	took     prometheus.Histogram
	splay    prometheus.Histogram
	slots    *prometheus.HistogramVec
	attempts *prometheus.CounterVec
	probes   *prometheus.CounterVec
}

// reloadResults are always shown, so that a rate can be taken from the first
// of each on.
var reloadResults = []fleet.ReloadResult{
	fleet.ReloadOK, fleet.ReloadRejected, fleet.ReloadRolledBack, fleet.ReloadFailed, fleet.ReloadNotRunning,
}

// New counts from zero.
func New() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tlsfleet_reloads_total", Help: "Releases carried out on this node's nginx, by result.",
		}, []string{"result"}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tlsfleet_reload_duration_seconds", Help: "From the start of a release to its proof by handshake, or to its end without one.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		splay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tlsfleet_reload_splay_seconds", Help: "Random delay before a reload.",
			Buckets: []float64{0, .5, 1, 2, 5, 10, 30, 60, 300},
		}),
		slots: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tlsfleet_reload_slot_wait_seconds", Help: "Wait for a place among the nodes that may reload at once, by its end: taken, unlimited, or the reason why the node reloaded without one.",
			Buckets: []float64{.05, .25, 1, 2.5, 5, 10, 30, 60, 300},
		}, []string{"result"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tlsfleet_issuance_attempts_total", Help: "Attempts of this node, as leader, to obtain a certificate, by outcome: issued, renewed or the class of the failure.",
		}, []string{"outcome"}),
		probes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tlsfleet_resumption_probes_total", Help: "Session tickets of this node offered to another node, by result.",
		}, []string{"result"}),
	}
	for _, r := range reloadResults {
		m.reloads.WithLabelValues(string(r))
	}
	m.registry.MustRegister(m.reloads, m.took, m.splay, m.slots, m.attempts, m.probes,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Show lets a scrape ask for facts. It is called once, before Handler serves.
func (m *Metrics) Show(facts func() Facts) { m.registry.MustRegister(collector{facts}) }

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Reloaded counts a release that was carried out.
func (m *Metrics) Reloaded(r fleet.Reload) {
	m.reloads.WithLabelValues(string(r.Result)).Inc()
	m.took.Observe(r.Took.Seconds())
}

// Splayed counts the random part of the delay before a reload.
func (m *Metrics) Splayed(d time.Duration) { m.splay.Observe(d.Seconds()) }

// SlotAwaited counts a wait for a place among the nodes that reload, by its end.
func (m *Metrics) SlotAwaited(result string, d time.Duration) {
	m.slots.WithLabelValues(result).Observe(d.Seconds())
}

// Attempted counts an attempt to obtain a certificate; an empty outcome is none.
func (m *Metrics) Attempted(outcome string) {
	if outcome != "" {
		m.attempts.WithLabelValues(outcome).Inc()
	}
}

// Probed counts a ticket that was offered to another node.
func (m *Metrics) Probed(result string) { m.probes.WithLabelValues(result).Inc() }
