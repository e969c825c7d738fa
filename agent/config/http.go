package config

import (
	"fmt"
	"net/netip"
)

// HTTP is the local HTTP address: metrics, health, the dashboard.
type HTTP struct {
	Address      string // IP address and port; empty: none
	CertFile     string // TLS, needed beyond loopback
	KeyFile      string
	ClientCAFile string // issuers of client certificates, one of which is asked for
	TokenFile    string // what clients without such a certificate give as bearer token or password
}

func httpLayout(h *HTTP) []attribute {
	return []attribute{
		optional("address", &h.Address, isIPPort),
		optional("cert_file", &h.CertFile, isPath),
		optional("key_file", &h.KeyFile, isPath),
		optional("client_ca_file", &h.ClientCAFile, isPath),
		optional("token_file", &h.TokenFile, isPath),
	}
}

func isIPPort(s string) *mistake {
	if ap, err := netip.ParseAddrPort(s); err != nil || ap.Port() == 0 {
		return &mistake{fmt.Sprintf("%q is no IP address with a port", s), `write one such as "127.0.0.1:9180", or "" for none`}
	}
	return nil
}

// checkHTTP keeps what the fleet is from being read by everybody.
func (r *reader) checkHTTP() {
	if !r.sound("http.address", "http.cert_file", "http.key_file", "http.client_ca_file", "http.token_file") {
		return
	}
	h := r.cfg.HTTP
	if (h.CertFile == "") != (h.KeyFile == "") {
		r.add(r.line("http.cert_file", "http.key_file"), "http.cert_file and http.key_file need each other", "give both or none")
		return
	}
	if h.ClientCAFile != "" && h.CertFile == "" {
		r.add(r.line("http.client_ca_file"), "http.client_ca_file needs TLS", "give cert_file and key_file")
		return
	}
	ap, err := netip.ParseAddrPort(h.Address)
	if err != nil || ap.Addr().IsLoopback() {
		return
	}
	if h.CertFile == "" || h.ClientCAFile == "" && h.TokenFile == "" {
		r.add(r.line("http.address"), fmt.Sprintf("http.address %q is not loopback", h.Address),
			"give cert_file and key_file, and token_file or client_ca_file: anybody who reaches it could read which names and nodes there are")
	}
}
