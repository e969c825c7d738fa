package config

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// ACME is how the leader obtains certificates. Without a CA it obtains none.
type ACME struct {
	HTTP01           HTTP01 // who answers challenges
	ChallengeAddress string // loopback address:port of the agent, with HTTP01Agent

	HTTPListen     []string // parameters of the directive listen, for rendered servers that answer HTTP-01
	Parallel       int      // certificates worked on at a time
	Preflight      bool     // names are shown to lead here before a CA is asked
	PreflightNodes bool     // through each node too, by its address in the catalog
	Resolver       string   // DNS server that preflights ask, host:port; empty: the host's
	HTTPPort       int      // where HTTP-01 challenges come in from outside
	Contact        []string // of the account, "mailto:..."

	DomainsSocket string // unix socket for programs that have certificates obtained; empty: none
	DomainsGroup  string // group that may use it; empty: the owner only
}

// HTTP01 is who answers HTTP-01 challenges.
type HTTP01 string

// Who answers.
const (
	HTTP01Stateless HTTP01 = "stateless" // each nginx by itself
	HTTP01Agent     HTTP01 = "agent"     // each node's agent, with what is in Consul
)

// CA is one CA, asked in the order of the file.
type CA struct {
	Name         string
	Directory    string // URL
	Staging      string // URL of the directory of its staging; empty: it has none
	RootFile     string // roots of its HTTPS; empty: the system's
	EABKeyID     string
	EABKeyFile   string
	OrderLimit   Limit
	DomainLimit  Limit
	SetLimit     Limit
	FailureLimit Limit
	ProfileNames map[string]int // most names in a certificate of a profile
}

// Limit is a limit of a CA: so many at once, refilled evenly over a time; zero
// is none.
type Limit struct {
	Count int
	Per   time.Duration
}

// defaultCA is a CA of which only the directory is given: the limits are those
// that Let's Encrypt publishes, of profiles on https://letsencrypt.org/docs/profiles/.
func defaultCA(name string) CA {
	return CA{
		Name: name, OrderLimit: Limit{300, 3 * time.Hour}, DomainLimit: Limit{50, 7 * day},
		SetLimit: Limit{5, 7 * day}, FailureLimit: Limit{5, time.Hour},
		ProfileNames: map[string]int{"tlsserver": 25, "shortlived": 25},
	}
}

func acmeLayout(a *ACME) []attribute {
	return []attribute{
		oneOf("http01", &a.HTTP01, HTTP01Stateless, HTTP01Agent),
		required("challenge_address", &a.ChallengeAddress, isLoopback),
		list("http_listen", &a.HTTPListen, isPlainListen),
		number("parallel", &a.Parallel, 1, 256),
		flag("preflight", &a.Preflight),
		flag("preflight_nodes", &a.PreflightNodes),
		optional("resolver", &a.Resolver, isHostPort),
		number("http_port", &a.HTTPPort, 1, 65535),
		list("contact", &a.Contact, isContact),
		optional("domains_socket", &a.DomainsSocket, isSocketPath),
		optional("domains_group", &a.DomainsGroup, isName),
	}
}

func caLayout(ca *CA) []attribute {
	return []attribute{
		required("directory", &ca.Directory, isDirectory),
		optional("staging", &ca.Staging, isDirectory),
		optional("root_file", &ca.RootFile, isPath),
		optional("eab_key_id", &ca.EABKeyID, isPrintable),
		optional("eab_key_file", &ca.EABKeyFile, isPath),
		limit("order_limit", &ca.OrderLimit),
		limit("domain_limit", &ca.DomainLimit),
		limit("set_limit", &ca.SetLimit),
		limit("failure_limit", &ca.FailureLimit),
		numbers("profile_names", &ca.ProfileNames, 1, issuance.MaxNames),
	}
}

// ca reads one block with a CA.
func (r *reader) ca(labels []string, line int, read func(b block)) {
	full, ok := r.label("ca", labels, line, `ca "letsencrypt" { ... }`)
	if !ok {
		return
	}
	name := labels[0]
	ca := defaultCA(name)
	read(block{full, caLayout(&ca)})
	if !r.given(full + ".directory") {
		r.add(line, fmt.Sprintf("ca %q has no directory", name), "give the URL of its ACME directory")
	}
	if (ca.EABKeyID == "") != (ca.EABKeyFile == "") && r.sound(full+".eab_key_id", full+".eab_key_file") {
		r.add(r.line(full+".eab_key_id", full+".eab_key_file"), "eab_key_id and eab_key_file need each other", "give both or none")
	}
	if ca.Staging == ca.Directory && ca.Staging != "" {
		r.add(r.line(full+".staging"), "staging is the directory itself", "give the URL of the CA's test environment, or leave it out")
	}
	r.cfg.CAs = append(r.cfg.CAs, ca)
}

// limit is a Limit written as "300/3h", or "none".
func limit(name string, dst *Limit) attribute {
	return attribute{name, dst, func(v cty.Value) *mistake {
		s, m := asString(v)
		if m != nil {
			return m
		}
		if s == "none" {
			*dst = Limit{}
			return nil
		}
		count, per, _ := strings.Cut(s, "/")
		n, err := strconv.Atoi(count)
		d, perErr := time.ParseDuration(per)
		if err != nil || perErr != nil || n < 1 || n > 1e6 || d < time.Second || d > 365*day {
			return &mistake{fmt.Sprintf("%q is not a limit", s), `write how many in which time, such as "300/3h", or "none"`}
		}
		*dst = Limit{n, d}
		return nil
	}}
}

func isDirectory(s string) *mistake {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return &mistake{fmt.Sprintf("%q is not the URL of an ACME directory", s), `write one such as "https://acme-v02.api.letsencrypt.org/directory"`}
	}
	return isPrintable(s)
}

func isPrintable(s string) *mistake {
	if len(s) > 500 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return &mistake{fmt.Sprintf("%.100q has characters that cannot stand there, or too many", s), "keep to printable ASCII without spaces"}
	}
	return nil
}

func isContact(s string) *mistake {
	if address, ok := strings.CutPrefix(s, "mailto:"); !ok || !strings.Contains(address, "@") {
		return &mistake{fmt.Sprintf("%q is no contact", s), `write one such as "mailto:ops@example.org"`}
	}
	return isPrintable(s)
}

func isHostPort(s string) *mistake {
	host, port, ok := strings.Cut(s, ":")
	if i := strings.LastIndex(s, ":"); i > 0 {
		host, port, ok = strings.Trim(s[:i], "[]"), s[i+1:], true
	}
	if !ok || isHost(host) != nil || !isPort(port) {
		return &mistake{fmt.Sprintf("%q is no address with a port", s), `write one such as "9.9.9.9:53"`}
	}
	return nil
}

// isPlainListen accepts the parameters of a listen directive without TLS.
func isPlainListen(s string) *mistake {
	words := strings.Fields(s)
	const example = `write the parameters of listen, such as "80" or "[::]:80"`
	if len(words) == 0 || strings.Join(words, " ") != s ||
		strings.ContainsFunc(s, func(r rune) bool { return !isPlain(r, " ._-:/[]*=") }) {
		return &mistake{fmt.Sprintf("%q is no listen socket", s), example}
	}
	if port := words[0][strings.LastIndex(words[0], ":")+1:]; !isPort(port) {
		return &mistake{fmt.Sprintf("%q has no port", s), example}
	}
	for _, w := range words[1:] {
		if w == "ssl" || w == "quic" {
			return &mistake{fmt.Sprintf("%q has TLS", s), "HTTP-01 challenges come in clear, on port 80"}
		}
	}
	return nil
}
