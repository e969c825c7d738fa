package site

import (
	"slices"
	"strings"
)

func (c *checker) backends(b Backends) {
	oneOf(c, "backends.method", b.Method, RoundRobin, LeastConn, IPHash, Random, Hash)
	const either = `give service = "web", or addresses = ["192.0.2.1:8080"]`
	switch {
	case b.Service == "" && len(b.Addresses) == 0:
		c.add("backends", either, "it has neither a service nor addresses")
	case b.Service != "" && len(b.Addresses) > 0:
		c.add("backends", either+", not both", "it has a service and addresses")
	case b.Service == "" && (b.Tag != "" || b.Datacenter != ""):
		c.add("backends", "give service too", "tag and datacenter are about a service")
	}
	for _, f := range []struct{ field, v string }{
		{"backends.service", b.Service}, {"backends.tag", b.Tag}, {"backends.datacenter", b.Datacenter},
	} {
		c.consulName(f.field, f.v)
	}
	c.addresses(b)
	switch {
	case b.Method == Hash:
		c.addErr("backends.hash_key", CheckHashKey(b.HashKey), "use uri, path, client_ip, host, header:NAME, cookie:NAME or argument:NAME")
	case b.HashKey != "":
		c.add("backends.hash_key", `set method = "hash", or remove it`, "it is for the method hash only")
	}
}

// consulName takes what names of services, tags and datacenters look like. Tags
// may have more in Consul, but a filter is written with them.
func (c *checker) consulName(field, v string) {
	if len(v) > 128 || strings.Trim(v, fileWord+"/:=") != "" {
		c.add(field, "use letters, digits and . _ - / : =, at most 128", "%.140q is not a name in Consul", v)
	}
}

func (c *checker) addresses(b Backends) {
	const field = "backends.addresses"
	const hint = `give an IP address with a port, and perhaps weight=N or backup: "192.0.2.1:8080 weight=2"; name a host as a service in Consul`
	plain, backups := make([]string, len(b.Addresses)), 0
	for i, a := range b.Addresses {
		c.addErr(field, a.Check(), hint)
		plain[i] = a.Address
		if a.Backup {
			backups++
		}
	}
	c.each(field, plain, MaxAddresses)
	if backups == 0 {
		return
	}
	if backups == len(b.Addresses) {
		c.add(field, "leave one without it", "every address is a backup")
	}
	if b.Method != RoundRobin && b.Method != LeastConn {
		c.add(field, "use round_robin or least_conn", "nginx knows no backup with the method %.20s", b.Method)
	}
}

func (c *checker) tls(s Site) {
	t := s.TLS
	oneOf(c, "tls.policy", t.Policy, Modern, Intermediate, Custom)
	if t.Policy != Custom {
		if len(t.Protocols) > 0 || t.Ciphers != "" || t.Curves != "" || t.ServerOrder {
			c.add("tls", `set policy = "custom", or remove them`, "protocols, ciphers, curves and prefer_server_ciphers are for the policy custom")
		}
	} else {
		c.customTLS(t)
	}
	if p := t.Settings().Protocols; !slices.Contains(p, TLS12) && len(p) > 0 && len(s.Listen) == 0 {
		c.add("tls", `give the site a socket of its own, such as listen = ["8443"]`,
			"without TLS 1.2 a site cannot share the node's sockets: which versions a socket speaks is up to its default server")
	}
}

func (c *checker) customTLS(t TLS) {
	if len(t.Protocols) == 0 {
		c.add("tls.protocols", `give ["TLSv1.2", "TLSv1.3"] or one of them`, "the policy custom needs them")
	}
	for _, p := range t.Protocols {
		oneOf(c, "tls.protocols", p, TLS12, TLS13)
	}
	c.each("tls.protocols", t.Protocols, 2)
	for _, f := range []struct{ field, v string }{{"tls.ciphers", t.Ciphers}, {"tls.curves", t.Curves}} {
		if len(f.v) > maxListText || strings.Trim(f.v, fileWord+":!+@=") != "" {
			c.add(f.field, `give a list as OpenSSL takes it, such as "ECDHE+AESGCM:!aNULL"`, "%.80q is not a list of OpenSSL", f.v)
		}
	}
}

// ineffective is what a site asks of a socket that it would not get, or with
// which the agent could not prove the ticket keys there. Parse alone refuses it:
// a site that is kept as it was set is served, with what its socket has.
func ineffective(s Site) []*FieldError {
	c := &checker{site: s.ID}
	if s.TLS.Policy != Custom {
		return nil
	}
	const hint = `, or give the site a socket of its own, such as listen = ["8443"]`
	mine, node := s.TLS.Settings(), NodeSettings()
	if !slices.ContainsFunc(strings.Split(mine.Curves, ":"), func(name string) bool { return slices.Contains(provable, strings.ToLower(name)) }) {
		c.add("tls.curves", "have X25519 or prime256v1 in it", "%.80q has no curve with which tlsfleet could look at what is served", mine.Curves)
	}
	if len(s.Listen) > 0 {
		return c.list
	}
	if mine.Curves != node.Curves {
		c.add("tls.curves", "remove it"+hint, "a site on the node's sockets has the curves of these, %s: which ones a socket takes is up to its default server", node.Curves)
	}
	if slices.Contains(mine.Protocols, TLS12) && versions(mine) != versions(node) {
		c.add("tls.protocols", `give ["TLSv1.2", "TLSv1.3"]`+hint, "a site on the node's sockets has the versions of these: which ones a socket speaks is up to its default server")
	}
	return c.list
}

// provable are the curves that the handshakes of the agent offer in every
// version of TLS, as OpenSSL names them, in lower case.
var provable = []string{"x25519", "prime256v1", "secp256r1", "p-256", "secp384r1", "p-384", "secp521r1", "p-521"}

func (c *checker) hsts(s Site) {
	h := s.HSTS
	if h == nil {
		return
	}
	if h.MaxAge < 0 || h.MaxAge > maxHSTS || h.MaxAge%second != 0 {
		c.add("hsts.max_age", `give whole seconds from 0 to ten years, such as "8760h"`, "%s is out of range", h.MaxAge)
	}
	if !h.Preload {
		return
	}
	const list = "browsers have this in their builds for years: see https://hstspreload.org"
	switch {
	case h.MaxAge < preloadAge:
		c.add("hsts.preload", `set max_age = "8760h" or more; `+list, "the preload list wants a max_age of a year, this is %s", h.MaxAge)
	case !h.IncludeSubdomains:
		c.add("hsts.preload", "set include_subdomains = true; "+list, "the preload list wants include_subdomains")
	case s.HTTP == HTTPServe:
		c.add("hsts.preload", `set http = "redirect"; `+list, "the preload list wants a redirect to https")
	}
}

func (c *checker) clients(s Site) {
	k := s.Clients
	if k == nil {
		return
	}
	c.addErr("client_certificates.ca", CheckFile(k.CA), "give the name of a file with the CA's certificates in the folder for snippets")
	oneOf(c, "client_certificates.mode", k.Mode, ClientRequired, ClientOptional)
	if k.Depth < 1 || k.Depth > maxDepth {
		c.add("client_certificates.depth", "give a whole number from 1 to 10", "%d is out of range", k.Depth)
	}
	if len(s.Listen) == 0 {
		c.add("client_certificates", `give the site a socket of its own, such as listen = ["8443"]`,
			"a session of another name on the node's sockets would be resumed without a certificate")
	}
	if s.HTTP == HTTPServe {
		c.add("http", `use "redirect" or "off"`, "without TLS no client has a certificate")
	}
}
