package site

import "cmp"

// Policy is a choice of TLS versions and ciphers.
type Policy string

// The policies.
const (
	Modern       Policy = "modern"       // TLS 1.3 only
	Intermediate Policy = "intermediate" // TLS 1.2 and 1.3
	Custom       Policy = "custom"       // as the site says
)

// Versions of TLS, by their names in nginx.
const (
	TLS12 = "TLSv1.2"
	TLS13 = "TLSv1.3"
)

// TLS is how a site speaks TLS. All but Policy is for Custom only.
type TLS struct {
	Policy      Policy   `json:"policy"`
	Protocols   []string `json:"protocols,omitempty"`
	Ciphers     string   `json:"ciphers,omitempty"` // of TLS 1.2, as OpenSSL lists them
	ServerOrder bool     `json:"prefer_server_ciphers,omitempty"`
	Curves      string   `json:"curves,omitempty"` // as OpenSSL lists them; empty: Mozilla's
}

// Settings is what a policy comes to. Which protocols and curves a socket takes
// is up to its default server, so that sites which share one have the same.
type Settings struct {
	Protocols   []string
	Ciphers     string // empty: nginx's default
	Curves      string
	ServerOrder bool
}

// Both policies as Mozilla publishes them: "Server Side TLS", version 5.7,
// https://wiki.mozilla.org/Security/Server_Side_TLS. The ciphers with DHE are
// used only where the operator has an ssl_dhparam. Tickets stay on, other than
// there: they are what tlsfleet rotates.
const (
	mozillaCiphers = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:" +
		"ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:" +
		"DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"
	mozillaCurves = "X25519:prime256v1:secp384r1"
)

// NodeSettings is what the sockets speak that sites share without naming them.
func NodeSettings() Settings { return New("").TLS.Settings() }

// Settings is what the policy comes to.
func (t TLS) Settings() Settings {
	switch t.Policy {
	case Modern:
		return Settings{Protocols: []string{TLS13}, Curves: mozillaCurves}
	case Custom:
		return Settings{t.Protocols, t.Ciphers, cmp.Or(t.Curves, mozillaCurves), t.ServerOrder}
	case Intermediate:
	}
	return Settings{Protocols: []string{TLS12, TLS13}, Ciphers: mozillaCiphers, Curves: mozillaCurves}
}
