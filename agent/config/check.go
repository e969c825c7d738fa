package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// maxSocketPath is the longest path of a unix socket on Linux: sun_path with
// its closing zero byte (unix(7)).
const maxSocketPath = 107

func isName(s string) *mistake {
	if err := fleet.CheckName(s); err != nil {
		return &mistake{err.Error(), "start with a letter or digit and keep to those and '.', '_', '-'"}
	}
	return nil
}

func isPath(s string) *mistake {
	if !filepath.IsAbs(s) {
		return &mistake{fmt.Sprintf("%q is a relative path", s), "give the path from /"}
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return &mistake{fmt.Sprintf("%q has a control character", s), "remove it"}
	}
	if clean := filepath.Clean(s); clean != s {
		return &mistake{fmt.Sprintf("%q is not in its shortest form", s), fmt.Sprintf("write %q", clean)}
	}
	if s == "/" {
		return &mistake{"it is the root of the file system", "name a file or folder of its own"}
	}
	return nil
}

// isNginxPath accepts what stands in an nginx configuration without quotes:
// nothing that ends a word, begins a variable or is a pattern for include.
func isNginxPath(s string) *mistake {
	if m := isPath(s); m != nil {
		return m
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return !isPlain(r, "/._-+@:,=") }); i >= 0 {
		return &mistake{fmt.Sprintf("%q has a character that nginx would read as more than a path", s),
			"keep to letters, digits and / . _ - + @ : , ="}
	}
	return nil
}

func isSocketPath(s string) *mistake {
	if m := isPath(s); m != nil {
		return m
	}
	if len(s) > maxSocketPath {
		return &mistake{fmt.Sprintf("%q has %d bytes", s, len(s)),
			fmt.Sprintf("a unix socket can have %d: choose a shorter path", maxSocketPath)}
	}
	return nil
}

// isHost accepts an IP address that can be dialled or a DNS name, without port.
func isHost(s string) *mistake {
	const hint = "give an IP address or a host name, without port"
	if ip, err := netip.ParseAddr(s); err == nil {
		if ip.IsUnspecified() || ip.IsMulticast() {
			return &mistake{fmt.Sprintf("%q is no address of one host", s), hint}
		}
		return nil
	}
	bad := strings.ContainsFunc(s, func(r rune) bool { return !isPlain(r, ".-_") })
	if bad || len(s) > 253 || strings.HasPrefix(s, "-") || strings.Trim(s, ".") != s || strings.Contains(s, "..") {
		return &mistake{fmt.Sprintf("%q is not an address", s), hint}
	}
	return nil
}

// isConsulAddress accepts what Consul's API client does.
func isConsulAddress(s string) *mistake {
	bad := &mistake{fmt.Sprintf("%q is not an address of Consul", s),
		`write "host:port", "https://host:port" or "unix:///path"`}
	scheme, rest, found := strings.Cut(s, "://")
	switch {
	case !found:
		rest = s
	case scheme == "unix":
		return isSocketPath(rest)
	case scheme != "http" && scheme != "https":
		return bad
	}
	u, err := url.Parse("http://" + rest)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !found && u.Path != "" {
		return bad
	}
	if isHost(u.Hostname()) != nil || !isPort(u.Port()) {
		return bad
	}
	return nil
}

func isLoopback(s string) *mistake {
	ap, err := netip.ParseAddrPort(s)
	if err != nil || !ap.Addr().IsLoopback() || ap.Port() == 0 || ap.Addr().Zone() != "" {
		return &mistake{fmt.Sprintf("%q is not a loopback address with a port", s), `write one such as "127.0.0.1:9181"`}
	}
	return nil
}

// isTLSListen accepts the parameters of a listen directive for TLS, without
// default_server, which the release adds.
func isTLSListen(s string) *mistake {
	const example = `write the parameters of listen, such as "443 ssl" or "[::]:443 ssl"`
	words := strings.Fields(s)
	if len(words) == 0 || strings.Join(words, " ") != s ||
		strings.ContainsFunc(s, func(r rune) bool { return !isPlain(r, " ._-:/[]*=") }) {
		return &mistake{fmt.Sprintf("%q is no listen socket", s), example}
	}
	if !strings.HasPrefix(words[0], "unix:/") {
		port := words[0][strings.LastIndex(words[0], ":")+1:]
		if !isPort(port) {
			return &mistake{fmt.Sprintf("%q has no port", s), example}
		}
	}
	var tls bool
	for _, w := range words[1:] {
		if w == "default_server" || w == "default" {
			return &mistake{fmt.Sprintf("%q says %s", s, w), "leave it out: it is added"}
		}
		tls = tls || w == "ssl"
	}
	if !tls {
		return &mistake{fmt.Sprintf("%q is without ssl", s), example}
	}
	return nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// isPlain reports whether r is an ASCII letter or digit or in extra.
func isPlain(r rune, extra string) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(extra, r)
}
