package site

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Most of each in one site.
const (
	MaxNames     = 100
	MaxListen    = 16
	MaxSnippets  = 32
	MaxAddresses = 512
	maxListText  = 2000 // of OpenSSL's lists, in bytes
)

const (
	maxTimeout = 24 * hour
	maxBody    = 1 << 40
	maxHSTS    = 10 * 365 * 24 * hour
	maxDepth   = 10
	// preloadAge is the least max-age of https://hstspreload.org.
	preloadAge = 365 * 24 * hour
)

// Validate refuses a site that breaks any of its rules, with one *FieldError for
// each. What two sites break together is for Clashes.
func Validate(s Site) error { return joined(problems(s)) }

// checker collects what is wrong with a site.
type checker struct {
	site string
	list []*FieldError
}

func (c *checker) add(field, hint, what string, args ...any) {
	c.list = append(c.list, &FieldError{Site: c.site, Field: field, What: fmt.Sprintf(what, args...), Hint: hint})
}

func (c *checker) addErr(field string, err error, hint string) {
	if err != nil {
		c.add(field, hint, "%v", err)
	}
}

func problems(s Site) []*FieldError {
	c := &checker{site: s.ID}
	if err := CheckID(s.ID); err != nil {
		c.site = ""
		c.addErr("", err, `begin with site "shop" { ... }: 1 to 63 of a-z, 0-9, '.', '_' and '-'`)
	}
	c.names(s)
	c.sockets(s)
	c.backends(s.Backends)
	c.tls(s)
	c.hsts(s)
	c.clients(s)
	c.limits(s)
	for _, name := range s.Snippets {
		c.addErr("snippets", CheckFile(name), "give the name of a file in the folder for snippets")
	}
	c.each("snippets", s.Snippets, MaxSnippets)
	return c.list
}

// each refuses a list that is too long or has something twice.
func (c *checker) each(field string, list []string, most int) {
	if len(list) > most {
		c.add(field, "split the site", "it has %d entries, at most %d", len(list), most)
	}
	seen := map[string]bool{}
	for _, v := range list {
		if seen[v] {
			c.add(field, "remove one", "%.80q is there twice", v)
		}
		seen[v] = true
	}
}

func oneOf[T ~string](c *checker, field string, v T, words ...T) {
	if slices.Contains(words, v) {
		return
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", string(w))
	}
	c.add(field, "use one of "+strings.Join(quoted, ", "), "%.80q is not known", string(v))
}

func (c *checker) names(s Site) {
	if len(s.ServerNames) == 0 {
		c.add("server_names", `give at least one, such as server_names = ["www.example.org"]`, "a site needs a name")
	}
	for _, name := range s.ServerNames {
		c.addErr("server_names", fleet.CheckDomain(name), "give host names such as www.example.org or *.example.org")
	}
	c.each("server_names", s.ServerNames, MaxNames)
}

func (c *checker) sockets(s Site) {
	oneOf(c, "http", s.HTTP, HTTPRedirect, HTTPServe, HTTPOff)
	const hint = `give a port or an address with a port: "8443", "192.0.2.1:443", "[::]:443"`
	for _, f := range []struct {
		field string
		list  []string
	}{{"listen", s.Listen}, {"http_listen", s.HTTPListen}} {
		same := make([]string, 0, len(f.list))
		for _, l := range f.list {
			socket, err := Socket(l)
			c.addErr(f.field, err, hint)
			if err == nil {
				same = append(same, socket)
			}
		}
		c.each(f.field, same, MaxListen)
	}
	if s.HTTP == HTTPOff && len(s.HTTPListen) > 0 {
		c.add("http_listen", `remove it, or set http = "redirect"`, `nothing is answered without TLS, because http is "off"`)
	}
	if s.ProxyProtocol && len(s.Listen) == 0 {
		c.add("proxy_protocol", "give listen too; the node's own sockets have their parameters in its configuration", "it is about sockets of the site's own")
	}
}

func (c *checker) limits(s Site) {
	if s.MaxBody < 0 || s.MaxBody > maxBody {
		c.add("max_body_size", `give a size such as "10m", or "0" for no limit`, "%s is out of range", s.MaxBody)
	}
	for _, t := range []struct {
		field string
		d     Duration
	}{
		{"timeouts.connect", s.Timeouts.Connect}, {"timeouts.send", s.Timeouts.Send},
		{"timeouts.read", s.Timeouts.Read}, {"timeouts.client_body", s.Timeouts.ClientBody},
	} {
		if t.d < second || t.d > maxTimeout || t.d%second != 0 {
			c.add(t.field, "give whole seconds from 1s to 24h", "%s is out of range", t.d)
		}
	}
}
