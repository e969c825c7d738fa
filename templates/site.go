package templates

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// SiteFile is the name of a site's file in a release. Each site has a file of
// its own, so that one that nginx refuses can be left out.
func SiteFile(id string) string { return "40-site-" + id + ".conf" }

// Site is what the file of one site is rendered from.
type Site struct {
	ID      string
	Version string // nginx's: what it does not know is left out
	Names   []SiteName
	Listen  []string // parameters with TLS, such as "443 ssl"
	Plain   []string // parameters without TLS; none: no such server

	Redirect     bool // the plain server sends clients to https
	RedirectPort int  // 0: 443
	HTTP2        bool
	WebSocket    bool // needs SitesFile with WebSocket

	Variable bool   // certificates by DirVariable: the release has TLSFile, not static
	Live     string // absolute path of the folder with one entry for each name

	Balance  string // directive of the upstream without its end; empty: nginx's default
	Backends []SiteBackend

	Protocols   []string
	Ciphers     string // empty: nginx's default
	Curves      string // empty: nginx's default
	ServerOrder bool
	HSTS        string // value of the header; empty: none
	Clients     *SiteClients

	MaxBody                                                     string // as nginx writes a size
	ConnectTimeout, SendTimeout, ReadTimeout, ClientBodyTimeout string // as nginx writes a time

	Snippets   []string    // absolute paths
	Challenges *Challenges // answers to challenges on the plain server; nil for none
}

// SiteName is one server name and the entry in the live folder of what serves it.
type SiteName struct{ Name, Folder string }

// SiteBackend is one server of the upstream.
type SiteBackend struct {
	Address string
	Weight  int
	Backup  bool
}

// SiteClients is the verification of client certificates.
type SiteClients struct {
	CA       string // absolute path
	Optional bool
	Depth    int
}

// balances are the directives that Balance may be; a hash is by one variable.
var balances = regexp.MustCompile(`^(|least_conn|ip_hash|random two least_conn|hash \$[a-z0-9_]+ consistent)$`)

// check refuses what would make no servers, or what is printed as it is.
func (s Site) check() error {
	switch {
	case len(s.Names) == 0:
		return errors.New("no server names")
	case len(s.Listen) == 0:
		return errors.New("no listen")
	case !filepath.IsAbs(s.Live):
		return fmt.Errorf("live folder %q is not an absolute path", s.Live)
	case !balances.MatchString(s.Balance), strings.Contains(s.Balance, placeholder):
		return fmt.Errorf("%.80q is no way to balance", s.Balance)
	case len(s.Protocols) == 0:
		return errors.New("no TLS versions")
	}
	if s.Challenges != nil {
		if err := s.Challenges.check(); err != nil {
			return err
		}
	}
	for _, l := range slices.Concat(s.Listen, s.Plain) {
		if len(strings.Fields(l)) == 0 {
			return errors.New("a server without listen parameters")
		}
	}
	for _, n := range s.Names {
		// nginx reads names that begin so as something else.
		if n.Name == "" || strings.HasPrefix(n.Name, "~") || strings.HasPrefix(n.Name, ".") || n.Name == "_" {
			return fmt.Errorf("server name %.80q", n.Name)
		}
		if !s.Variable && (n.Folder == "" || strings.Contains(n.Folder, "/") || n.Folder == "." || n.Folder == "..") {
			return fmt.Errorf("name %q with the entry %q", n.Name, n.Folder)
		}
	}
	for _, p := range s.files() {
		if !filepath.IsAbs(p) || strings.ContainsAny(p, "*?[") {
			return fmt.Errorf("%.200q is not the absolute path of one file", p)
		}
	}
	return nil
}

// files are the operator's files that the site includes.
func (s Site) files() []string {
	files := s.Snippets
	if s.Clients != nil {
		files = append(slices.Clone(files), s.Clients.CA)
	}
	return files
}

// SiteView is what a template of a site is given. A Value prints as one word of
// nginx's configuration and in no other way; an empty one is nil.
type SiteView struct {
	ID, Upstream, ProxyPass Value
	Names                   []Value
	Listen, Plain           [][]Value // words of each listen directive
	HTTP2On                 bool      // by directive; before nginx 1.25.1 it is in Listen
	WebSocket               bool
	Redirect                bool
	RedirectPort            string // ":8443"; empty: 443
	Variable, Cache         bool
	Live                    Value
	Certificates            []SiteCertificate
	Balance                 string
	Backends                []SiteServer
	Protocols               []Value
	Ciphers, Curves, HSTS   *Value
	ServerOrder             bool
	Clients                 *SiteVerify
	MaxBody                 Value

	ConnectTimeout, SendTimeout, ReadTimeout, ClientBodyTimeout Value

	Snippets   []Value
	Challenges *Challenges
}

// SiteCertificate is the names of one server, and the entry in the live folder.
type SiteCertificate struct {
	Names  []Value
	Folder Value
}

// SiteServer is one server of the upstream.
type SiteServer struct {
	Address Value
	Weight  int
	Backup  bool
}

// SiteVerify is the verification of client certificates.
type SiteVerify struct {
	CA       Value
	Optional bool
	Depth    int
}

func (s Site) view() SiteView {
	upstream := "tlsfleet_" + s.ID
	on := AtLeast(s.Version, 1, 25, 1)
	v := SiteView{
		ID: V(s.ID), Upstream: V(upstream), ProxyPass: V("http://" + upstream),
		HTTP2On: s.HTTP2 && on, WebSocket: s.WebSocket, Redirect: s.Redirect,
		Variable: s.Variable, Cache: s.Variable && AtLeast(s.Version, 1, 27, 4), Live: V(s.Live), Certificates: s.certificates(),
		Balance: s.Balance, Protocols: vs(s.Protocols), Ciphers: optional(s.Ciphers), Curves: optional(s.Curves), HSTS: optional(s.HSTS), ServerOrder: s.ServerOrder,
		Clients: s.Clients.view(), MaxBody: V(s.MaxBody), ConnectTimeout: V(s.ConnectTimeout), SendTimeout: V(s.SendTimeout), ReadTimeout: V(s.ReadTimeout),
		ClientBodyTimeout: V(s.ClientBodyTimeout), Snippets: vs(s.Snippets), Challenges: s.Challenges,
	}
	if s.RedirectPort != 0 && s.RedirectPort != 443 {
		v.RedirectPort = fmt.Sprintf(":%d", s.RedirectPort)
	}
	for _, n := range s.Names {
		v.Names = append(v.Names, V(n.Name))
	}
	for _, l := range s.Listen {
		words := again(l)
		words = append(words[:1:1], slices.DeleteFunc(words[1:], func(w string) bool { return w == "http2" })...)
		if s.HTTP2 && !on {
			words = append(words, "http2")
		}
		v.Listen = append(v.Listen, vs(words))
	}
	for _, l := range s.Plain {
		v.Plain = append(v.Plain, vs(again(l)))
	}
	for _, b := range s.Backends {
		v.Backends = append(v.Backends, SiteServer{V(b.Address), b.Weight, b.Backup})
	}
	return v
}

func (c *SiteClients) view() *SiteVerify {
	if c == nil {
		return nil
	}
	return &SiteVerify{V(c.CA), c.Optional, c.Depth}
}

// certificates are the servers: one by variable, else one for each entry in the
// live folder.
func (s Site) certificates() []SiteCertificate {
	var all []SiteCertificate
	at := map[string]int{}
	for _, n := range s.Names {
		folder := n.Folder
		if s.Variable {
			folder = ""
		}
		i, ok := at[folder]
		if !ok {
			i = len(all)
			at[folder] = i
			all = append(all, SiteCertificate{Folder: V(folder)})
		}
		all[i].Names = append(all[i].Names, V(n.Name))
	}
	return all
}

func optional(text string) *Value {
	if text == "" {
		return nil
	}
	v := V(text)
	return &v
}
