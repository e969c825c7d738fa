package renderer

import (
	"net"
	"strings"

	"github.com/tlsfleet/tlsfleet/templates"
)

// probeLabel is the host label used under a wildcard name.
const probeLabel = "tlsfleet-probe"

// Ranks of a name for a handshake: lower is surer to be answered. A name
// whose certificate is found by variable (nginx, ssl_certificate) comes after
// every name with a fixed one, because its file may not exist.
const (
	rankExact = iota
	rankWildcard
	rankNone // no SNI: the default server answers
	ranks
)

// serverName chooses a name for SNI with which a handshake on the socket can
// be completed; "" for none or if none is known. some reports whether any
// server on the socket completes handshakes at all.
func serverName(s *socket, live served) (name string, some bool) {
	best := 2 * ranks
	taken := map[string]bool{}
	consider := func(srv server, n string, rank int) {
		if !srv.handshakes() || srv.isLive() {
			return
		}
		if strings.Contains(srv.certificate, "$") {
			rank += ranks
		}
		if rank < best {
			name, best = n, rank
		}
	}
	consider(s.servers[s.first], "", rankNone)
	for _, srv := range s.servers {
		if srv.isLive() {
			if n := live.pick(srv.names); n != "" {
				some = true
				if ranks <= best {
					name, best = n, ranks
				}
			}
			continue
		}
		for _, written := range srv.names {
			n, rank := probeName(written)
			// nginx gives a name to the first server that has it.
			if n != "" && !taken[written] {
				taken[written] = true
				consider(srv, n, rank)
			}
		}
		some = some || srv.handshakes()
	}
	return name, some
}

// probeName turns a server_name into a host name for SNI with its rank; "" if
// none follows from it.
func probeName(written string) (name string, rank int) {
	n := strings.ToLower(written)
	if wildcard, ok := templates.NameOf(written); ok {
		n = wildcard
	}
	switch {
	case strings.HasPrefix(n, "*."):
		return probeLabel + n[1:], rankWildcard
	case strings.HasSuffix(n, ".*"):
		return n[:len(n)-1] + "test", rankWildcard
	case strings.HasPrefix(n, "~"), strings.ContainsAny(n, "$*"), n == "_", net.ParseIP(n) != nil:
		return "", 0
	}
	return strings.TrimPrefix(n, "."), rankExact
}
