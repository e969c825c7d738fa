package site

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Sockets is what a node opens for sites that name none of their own, as Socket
// spells it.
type Sockets struct {
	TLS  []string
	HTTP []string
}

// DefaultSockets is for where a node's configuration says nothing else.
func DefaultSockets() Sockets { return Sockets{TLS: []string{"*:443"}, HTTP: []string{"*:80"}} }

// Clash is what two sites cannot both have.
type Clash struct {
	A, B string // IDs; A is the one before in the list. B is empty for a clash with the node's own sockets
	What string
}

// Error says what clashes, and with what.
func (c Clash) Error() string {
	if c.B == "" {
		return fmt.Sprintf("site %s clashes with the node's own sockets: %s", c.A, c.What)
	}
	return fmt.Sprintf("sites %s and %s clash: %s", c.A, c.B, c.What)
}

// Unwrap is ErrSite.
func (c Clash) Unwrap() error { return ErrSite }

// Clashes finds the sites that nginx could not serve, or not safely, beside each
// other: the same server name on one socket, where nginx would silently take the
// first; one socket with and without TLS, or with two rules about client
// certificates, TLS versions, curves or the PROXY protocol, which are those of
// its default server whatever a site says. The sites have passed Validate.
func Clashes(sites []Site, node Sockets) []Clash {
	c := clashes{names: map[[2]string]string{}, sockets: map[string]socketUse{}}
	for _, socket := range node.TLS {
		c.sockets[socket] = socketUse{rules: rulesOf(New(""))}
	}
	for _, socket := range node.HTTP {
		c.sockets[socket] = socketUse{rules: plainRules}
	}
	for _, s := range sites {
		tls, plain := s.On(node)
		for _, socket := range tls {
			rules := rulesOf(s)
			if len(s.Listen) == 0 {
				rules = c.sockets[socket].rules // the node's
			}
			c.use(s, socket, rules)
		}
		for _, socket := range plain {
			c.use(s, socket, plainRules)
		}
	}
	slices.SortStableFunc(c.list, func(a, b Clash) int { return cmp.Or(cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B)) })
	return c.list
}

// On is the sockets that the site is served on, with and without TLS.
func (s Site) On(node Sockets) (tls, plain []string) {
	tls, plain = s.Listen, s.HTTPListen
	if len(tls) == 0 {
		tls = node.TLS
	}
	switch {
	case s.HTTP == HTTPOff:
		plain = nil
	case len(plain) == 0:
		plain = node.HTTP
	}
	return tls, plain
}

// rules are what all sites on a socket have to agree in.
type rules struct {
	plain, proxy               bool
	protocols, curves, clients string
}

var plainRules = rules{plain: true}

func rulesOf(s Site) rules {
	tls := s.TLS.Settings()
	r := rules{proxy: s.ProxyProtocol, protocols: versions(tls), curves: tls.Curves}
	if k := s.Clients; k != nil {
		r.clients = fmt.Sprintf("%s, %s, depth %d", k.CA, k.Mode, k.Depth)
	}
	return r
}

func versions(s Settings) string { return strings.Join(slices.Sorted(slices.Values(s.Protocols)), " ") }

type socketUse struct {
	rules rules
	site  string // the first one; empty: the node
}

type clashes struct {
	names   map[[2]string]string // socket and name -> site
	sockets map[string]socketUse
	list    []Clash
}

func (c *clashes) use(s Site, socket string, r rules) {
	first, used := c.sockets[socket]
	if !used {
		c.sockets[socket] = socketUse{r, s.ID}
		first = c.sockets[socket]
	}
	for _, d := range []struct {
		differ bool
		what   string
	}{
		{first.rules.plain != r.plain, "%s is with TLS for one and without for the other"},
		{!r.plain && !first.rules.plain && first.rules.clients != r.clients,
			"the rules about client certificates differ on %s: a session of one would be resumed with the other"},
		{!r.plain && !first.rules.plain && first.rules.protocols != r.protocols, "the TLS versions differ on %s, where only those of its default server count"},
		{!r.plain && !first.rules.plain && first.rules.curves != r.curves, "the curves differ on %s, where only those of its default server count"},
		{!r.plain && !first.rules.plain && first.site != "" && first.rules.proxy != r.proxy, "the PROXY protocol is for one only on %s"},
	} {
		if d.differ {
			c.add(first.site, s.ID, d.what+": give one of them another listen", socket)
			break
		}
	}
	for _, name := range s.ServerNames {
		key := [2]string{socket, strings.TrimSuffix(strings.ToLower(name), ".")}
		if other, taken := c.names[key]; taken && other != s.ID {
			c.add(other, s.ID, "both answer to %s on %s: nginx would serve only one of them", key[1], socket)
			continue
		}
		c.names[key] = s.ID
	}
}

func (c *clashes) add(a, b, what string, args ...any) {
	if a == "" {
		a, b = b, ""
	}
	c.list = append(c.list, Clash{a, b, fmt.Sprintf(what, args...)})
}
