package renderer

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/templates"
)

// Places are the servers of nginx's configuration on disk that show live
// certificates. They are read once and may be asked by several goroutines.
type Places struct{ sockets []place }

// place is one TLS socket with the servers on it, in nginx's order.
type place struct {
	listener fleet.Listener
	first    int // the default server
	servers  []display
	exact    map[string]int // server by name
	before   map[string]int // by ".example.com", of "*.example.com"
	after    map[string]int // by "www.example.", of "www.example.*"
	patterns []pattern
}

// display is what a server has for a certificate.
type display struct {
	name string   // the live one of this name
	any  bool     // the live one of the name that is asked for
	asks []string // host names for SNI that its server_name gives
	file string   // without its folder
}

type pattern struct {
	match  *regexp.Regexp // nil: one that is not understood here
	server int
}

// Places reads nginx's configuration. What cannot be read of it is left out.
func (r *Renderer) Places() (Places, error) {
	c, err := r.parse()
	if err != nil {
		return Places{}, fmt.Errorf("find servers: %w", err)
	}
	level := httpLevel(c)
	var servers []server
	for _, d := range level.servers {
		servers = append(servers, readServer(c, d, level.settings))
	}
	sockets := group(servers)
	var p Places
	for _, s := range sockets {
		def := s.servers[s.first]
		if !s.ssl && def.ssl != "on" {
			continue
		}
		network, address := dialable(s.key, sockets)
		pl := newPlace(s, fleet.Listener{
			Network: network, Address: address, Listen: s.written, File: def.file, Line: def.Line, ProxyProto: s.proxy,
		})
		for i, srv := range s.servers {
			pl.servers[i] = c.display(srv, r.cfg.liveDir())
		}
		p.sockets = append(p.sockets, pl)
	}
	return p, nil
}

// display reads a server. One with several certificates shows what the client
// can take, so nothing follows from it.
func (c *config) display(srv server, liveDir string) display {
	s := display{file: filepath.Base(srv.file)}
	if !srv.handshakes() || srv.several {
		return s
	}
	s.any = srv.isLive()
	s.name, _ = c.liveNameOf(srv.certificate, liveDir)
	if s.name == "" {
		return s
	}
	for _, written := range srv.names {
		if n, _ := probeName(written); n != "" {
			s.asks = append(s.asks, n)
		}
	}
	return s
}

func newPlace(s *socket, l fleet.Listener) place {
	p := place{
		listener: l, first: s.first, servers: make([]display, len(s.servers)),
		exact: map[string]int{}, before: map[string]int{}, after: map[string]int{},
	}
	put := func(into map[string]int, name string, server int) {
		if _, taken := into[name]; !taken { // nginx gives a name to the first server that has it
			into[name] = server
		}
	}
	for i, srv := range s.servers {
		for _, written := range srv.names {
			n := strings.ToLower(written)
			switch {
			case strings.HasPrefix(n, "~"):
				re, err := regexp.Compile(written[1:])
				if err != nil {
					re = nil
				}
				p.patterns = append(p.patterns, pattern{re, i})
			case strings.HasPrefix(n, "*."):
				put(p.before, n[1:], i)
			case strings.HasPrefix(n, "."):
				put(p.before, n, i)
				put(p.exact, n[1:], i)
			case strings.HasSuffix(n, ".*"):
				put(p.after, n[:len(n)-1], i)
			default:
				put(p.exact, n, i)
			}
		}
	}
	return p
}

// choose is the server that nginx takes for an SNI (ngx_http_core_module,
// server_name); -1 if that cannot be told.
func (p place) choose(sni string) int {
	if i, ok := p.exact[sni]; ok {
		return i
	}
	for rest := sni; ; {
		dot := strings.IndexByte(rest[min(1, len(rest)):], '.')
		if dot < 0 {
			break
		}
		rest = rest[dot+1:]
		if i, ok := p.before[rest]; ok {
			return i
		}
	}
	for rest := sni; ; {
		dot := strings.LastIndexByte(rest, '.')
		if dot < 0 {
			break
		}
		if i, ok := p.after[rest[:dot+1]]; ok {
			return i
		}
		rest = rest[:dot]
	}
	for _, pat := range p.patterns {
		switch {
		case pat.match == nil:
			return -1
		case pat.match.MatchString(sni):
			return pat.server
		}
	}
	return p.first
}

// Ask lists handshakes, one for each socket, that show the live certificate of
// a name; sni is a host name that it stands for. None: nginx does not serve it,
// or another server of the operator's answers to it.
func (p Places) Ask(name, sni string) []fleet.Listener {
	var all []fleet.Listener
	for _, s := range p.sockets {
		if with, ok := s.ask(name, sni); ok {
			l := s.listener
			l.ServerName = with
			all = append(all, l)
		}
	}
	return all
}

func (p place) ask(name, sni string) (with string, ok bool) {
	if i := p.choose(sni); i >= 0 && (p.servers[i].any || p.servers[i].name == name) {
		return sni, true
	}
	for i, s := range p.servers {
		if s.name != name {
			continue
		}
		for _, other := range s.asks {
			if p.choose(other) == i {
				return other, true
			}
		}
	}
	return "", false
}

// Site lists handshakes for a host name, one for each socket on which nginx gives
// it to a site.
func (p Places) Site(id, sni string) []fleet.Listener {
	var all []fleet.Listener
	for _, s := range p.sockets {
		if i := s.choose(sni); i >= 0 && s.servers[i].file == templates.SiteFile(id) {
			l := s.listener
			l.ServerName = sni
			all = append(all, l)
		}
	}
	return all
}

// Loads lists the names of which nginx loads a file when it reads its
// configuration, among some.
func (in Inspection) Loads(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return len(in.HeldNames[name]) == 0 })
}
