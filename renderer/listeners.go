package renderer

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// server is one server block.
type server struct {
	settings
	at
	listens []listen
	names   []string
}

// listen is one listen directive, or one of its ports.
type listen struct {
	written   string // "443", as in the configuration
	key       string // the socket address nginx makes of it
	ssl       bool
	isDefault bool
	proxy     bool
}

// socket is one listen address with every server on it, in nginx's order.
type socket struct {
	listen
	servers []server
	first   int // index of the default server
}

// listeners makes the TLS sockets of the http servers, in the order of the
// configuration, and the longest session timeout of their default servers.
func listeners(c *config, l level, live served) ([]fleet.Listener, time.Duration) {
	var servers []server
	for _, d := range l.servers {
		servers = append(servers, readServer(c, d, l.settings))
	}
	sockets := group(servers)
	var ls []fleet.Listener
	var longest time.Duration
	for _, s := range sockets {
		def := s.servers[s.first]
		if !s.ssl && def.ssl != "on" {
			continue
		}
		longest = max(longest, sessionTimeout(def.timeout))
		name, some := serverName(s, live)
		network, address := dialable(s.key, sockets)
		ls = append(ls, fleet.Listener{
			Network: network, Address: address, Listen: s.written,
			ServerName: name, RejectsAll: !some,
			File: def.file, Line: def.Line,
			HiddenBy:   hiddenBy(def, l),
			TicketsOff: def.tickets == "off",
			ProxyProto: s.proxy,
		})
	}
	return ls, longest
}

// hiddenBy is the place of the directive whose key seals instead of the
// ring's; "" if the ring's does.
func hiddenBy(def server, l level) string {
	switch {
	case def.ownKey != nil:
		return def.ownKey.place()
	case l.keyBefore != nil:
		return l.keyBefore.place()
	}
	return ""
}

func readServer(c *config, d at, outer settings) server {
	s := server{at: d}
	for _, in := range c.block(d) {
		switch in.Directive.Directive {
		case "listen":
			s.listens = append(s.listens, readListen(in.Args)...)
		case "server_name":
			s.names = append(s.names, in.Args...)
		}
		s.read(in)
	}
	if len(s.listens) == 0 {
		s.listens = readListen([]string{"80"})
	}
	s.settings = s.under(outer)
	return s
}

// group collects servers by socket. ssl and proxy_protocol given once hold
// for the whole socket; the default server is the flagged one, else the first.
func group(servers []server) []*socket {
	var sockets []*socket
	byKey := map[string]*socket{}
	for _, srv := range servers {
		for _, ln := range srv.listens {
			s := byKey[ln.key]
			if s == nil {
				s = &socket{listen: ln}
				byKey[ln.key] = s
				sockets = append(sockets, s)
			}
			s.ssl, s.proxy = s.ssl || ln.ssl, s.proxy || ln.proxy
			if ln.isDefault {
				s.first = len(s.servers)
			}
			s.servers = append(s.servers, srv)
		}
	}
	return sockets
}

// maxPorts is how many ports of one listen directive are looked at.
const maxPorts = 64

// readListen reads the parameters of one listen directive (nginx,
// ngx_http_core_module). A QUIC socket gives nothing.
func readListen(args []string) []listen {
	if len(args) == 0 || slices.Contains(args[1:], "quic") {
		return nil
	}
	ln := listen{
		written:   args[0],
		ssl:       slices.Contains(args[1:], "ssl"),
		isDefault: slices.Contains(args[1:], "default_server") || slices.Contains(args[1:], "default"),
		proxy:     slices.Contains(args[1:], "proxy_protocol"),
	}
	if strings.HasPrefix(strings.ToLower(args[0]), "unix:") {
		ln.key = "unix:" + args[0][len("unix:"):]
		return []listen{ln}
	}
	host, ports := splitListen(args[0])
	var lns []listen
	for _, port := range ports {
		ln.key = net.JoinHostPort(host, port)
		if len(ports) > 1 {
			ln.written = strings.TrimSuffix(args[0], portText(args[0])) + port
		}
		lns = append(lns, ln)
	}
	return lns
}

// splitListen gives the host, "0.0.0.0" for the wildcard, and the ports.
func splitListen(addr string) (host string, ports []string) {
	text := portText(addr)
	host = strings.TrimSuffix(strings.TrimSuffix(addr, text), ":")
	if text == "" {
		text = "80"
	}
	host = strings.Trim(host, "[]")
	if ip := net.ParseIP(host); ip != nil {
		host = ip.String()
	}
	if host == "" || host == "*" {
		host = "0.0.0.0"
	}
	from, to, isRange := strings.Cut(text, "-")
	lo, err := strconv.Atoi(from)
	if err != nil || !isRange {
		return host, []string{from}
	}
	hi, err := strconv.Atoi(to)
	if err != nil || hi < lo {
		return host, []string{from}
	}
	for p := lo; p <= min(hi, lo+maxPorts-1); p++ {
		ports = append(ports, strconv.Itoa(p))
	}
	return host, ports
}

// portText is the port or port range an address ends with; "" if none.
func portText(addr string) string {
	rest := addr
	if i := strings.LastIndexByte(addr, ']'); i >= 0 {
		rest = addr[i+1:]
		if rest == "" {
			return ""
		}
	}
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		return rest[i+1:]
	}
	if strings.Trim(rest, "0123456789-") == "" {
		return rest
	}
	return ""
}

// dialable is the address at which this host reaches the socket. A wildcard
// is reached through loopback, past sockets of loopback's own address.
func dialable(key string, sockets []*socket) (network, address string) {
	if path, ok := strings.CutPrefix(key, "unix:"); ok {
		return "unix", path
	}
	host, port, err := net.SplitHostPort(key)
	if err != nil {
		return "tcp", key
	}
	switch host {
	case "::":
		host = "::1"
	case "0.0.0.0":
		for i := 1; i < 255; i++ {
			host = fmt.Sprintf("127.0.0.%d", i)
			if !slices.ContainsFunc(sockets, func(s *socket) bool { return s.key == net.JoinHostPort(host, port) }) {
				break
			}
		}
	}
	return "tcp", net.JoinHostPort(host, port)
}
