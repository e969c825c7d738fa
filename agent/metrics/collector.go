package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// collector turns facts into metrics at each scrape.
type collector struct{ facts func() Facts }

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tlsfleet_"+name, help, labels, nil)
}

var (
	buildInfo      = gauge("build_info", "Versions of tlsfleet and of the nginx beside it.", "version", "nginx_version")
	contact        = gauge("consul_contact_timestamp_seconds", "When Consul was last reached.")
	seenEpoch      = gauge("ring_seen_epoch", "Highest epoch of the ring of ticket keys that was read from Consul and accepted.")
	appliedEpoch   = gauge("ring_applied_epoch", "Epoch of the ring in the active release; 0 with keys of nginx's own.")
	provedEpoch    = gauge("ring_proved_epoch", "Epoch of the ring that handshakes have shown on every TLS listen socket; 0 for none.")
	ringChanged    = gauge("ring_changed_timestamp_seconds", "When the ring in the active release was made.")
	keyPromoted    = gauge("ring_key_promoted_timestamp_seconds", "Since when the current ticket key seals.")
	ringKeys       = gauge("ring_keys", "Ticket keys in the active release, by role.", "role")
	perHost        = gauge("ring_per_host", "1 if nginx seals with keys of its own, which no other node opens.")
	release        = gauge("release", "Number of the active release.")
	lastReload     = gauge("reload_last_timestamp_seconds", "When the last release was carried out, by result.", "result")
	problems       = gauge("problems", "Problems on this node now, by code.", "code", "severity")
	inventory      = gauge("inventory_epoch", "Epoch of the inventory of certificates that is followed.")
	names          = gauge("certificates", "Names with a certificate on this node.")
	pending        = gauge("certificates_pending", "Names whose wanted certificate is not in place on this node yet.")
	expiring       = gauge("certificates_expiring", "Certificates in the inventory that end within a time; 0d: that have ended.", "within")
	notAfter       = gauge("certificate_not_after_timestamp_seconds", "End of a certificate, of those that end first.", "name")
	leads          = gauge("leader", "1 if this node leads the fleet.")
	nodes          = gauge("nodes", "Nodes of the fleet, as its leader sees them.", "state")
	items          = gauge("issuance_certificates", "Certificates obtained by ACME, by state, as the leader sees them.", "state")
	archivePending = gauge("archive_pending_objects", "Objects known to wait for their copy in an archive, as the leader sees it.", "archive")
	ordersLeft     = gauge("ca_orders_left", "New orders that the CA's limit allows now, as the leader sees it; none if it has no limit.", "ca")
	archiveLag     = gauge("archive_lag_seconds", "For how long a change has not been copied to an archive, as the leader sees it; 0 if all is copied.", "archive")
	sites          = gauge("sites_epoch", "Epoch of the sites that nginx serves; 0: none.")
	wave           = gauge("sites_wave_epoch", "Epoch of the sites that is on its way to the nodes, or was last, by how far it is, as the leader sees it.", "state")
	held           = gauge("ca_held_until_timestamp_seconds", "Until when no order is placed because the CA has said so.", "ca")
)

// Describe sends nothing: what is there depends on the facts.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends what is known now.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	f := c.facts()
	s := sender(ch)
	s.put(buildInfo, 1, f.Report.Version, f.Report.NginxVersion)
	s.time(contact, f.Contact)
	s.ring(f)
	s.put(release, float64(f.Report.Release))
	if r := f.Report.Reload; r.Result != fleet.ReloadNone {
		s.time(lastReload, r.At, string(r.Result))
	}
	s.problems(f.Report.Problems)
	s.certificates(f)
	s.put(sites, float64(f.Report.Sites))
	s.leading(f.Leading)
}

// sender sends gauges of one scrape.
type sender chan<- prometheus.Metric

func (s sender) put(d *prometheus.Desc, v float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

// time leaves out what never was.
func (s sender) time(d *prometheus.Desc, t time.Time, labels ...string) {
	if !t.IsZero() {
		s.put(d, float64(t.UnixMilli())/1000, labels...)
	}
}

func (s sender) ring(f Facts) {
	s.put(seenEpoch, float64(f.Report.Seen))
	s.put(appliedEpoch, float64(f.Report.Applied))
	s.put(provedEpoch, float64(f.Report.Proved))
	s.put(perHost, truth(f.Report.Mode == fleet.ModePerHost))
	if f.Ring == nil {
		return
	}
	s.time(ringChanged, f.Ring.Changed)
	s.time(keyPromoted, f.Ring.Current.Promoted)
	s.put(ringKeys, 1, string(fleet.RoleCurrent))
	s.put(ringKeys, 1, string(fleet.RoleNext))
	s.put(ringKeys, float64(len(f.Ring.Previous)), string(fleet.RolePrevious))
}

func (s sender) problems(list []fleet.Problem) {
	count := map[fleet.Problem]int{}
	for _, p := range list {
		count[fleet.Problem{Code: p.Code, Severity: p.Severity}]++
	}
	for p, n := range count {
		s.put(problems, float64(n), p.Code, string(p.Severity))
	}
}

func (s sender) certificates(f Facts) {
	s.put(inventory, float64(f.Report.Inventory))
	s.put(names, float64(f.Report.Names))
	s.put(pending, float64(f.Certificates.Pending))
	for within := range Windows {
		s.put(expiring, float64(f.Certificates.Expiring[within]), within)
	}
	for _, e := range f.Certificates.Soonest {
		s.time(notAfter, e.NotAfter, e.Name)
	}
}

func (s sender) leading(l *Leading) {
	s.put(leads, truth(l != nil))
	if l == nil {
		return
	}
	s.put(nodes, float64(l.Serving), "in_service")
	s.put(nodes, float64(l.Proved), "proved")
	s.put(nodes, float64(l.Alive), "alive")
	for state, n := range l.Issuance {
		s.put(items, float64(n), state)
	}
	for _, a := range l.Archives {
		s.put(archiveLag, a.Lag.Seconds(), a.Name)
		s.put(archivePending, float64(a.Pending), a.Name)
	}
	if l.Wave.Epoch > 0 {
		s.put(wave, float64(l.Wave.Epoch), l.Wave.State)
	}
	for _, b := range l.Budgets {
		if b.Left >= 0 {
			s.put(ordersLeft, b.Left, b.CA)
		}
		s.time(held, b.Held, b.CA)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
