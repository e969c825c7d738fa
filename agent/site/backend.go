package site

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"
)

// Backend is one address that requests go to.
type Backend struct {
	Address string // "192.0.2.1:8080", "[2001:db8::1]:8080" or "unix:/run/app.sock"
	Weight  int    // share of the requests; from 1
	Backup  bool   // only while no other works
}

const maxWeight = 65535 // as in Consul

// ParseBackend reads an address, and after it "weight=N" and "backup".
func ParseBackend(text string) (Backend, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return Backend{}, errors.New("an address is empty")
	}
	b := Backend{Address: words[0], Weight: 1}
	for _, word := range words[1:] {
		n, weight := strings.CutPrefix(word, "weight=")
		switch {
		case word == "backup":
			b.Backup = true
		case weight:
			v, err := strconv.Atoi(n)
			if err != nil {
				return Backend{}, fmt.Errorf("%.40q is not a weight", n)
			}
			b.Weight = v
		default:
			return Backend{}, fmt.Errorf("%.40q after an address is neither weight=N nor backup", word)
		}
	}
	return b, b.Check()
}

// String is what ParseBackend reads, in one spelling.
func (b Backend) String() string {
	s := b.Address
	if b.Weight != 1 {
		s += " weight=" + strconv.Itoa(b.Weight)
	}
	if b.Backup {
		s += " backup"
	}
	return s
}

// MarshalText implements encoding.TextMarshaler.
func (b Backend) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText is ParseBackend.
func (b *Backend) UnmarshalText(text []byte) error {
	v, err := ParseBackend(string(text))
	if err == nil {
		*b = v
	}
	return err
}

// Check refuses what nginx might have to resolve: a host name that does not
// resolve keeps nginx from starting.
func (b Backend) Check() error {
	if b.Weight < 1 || b.Weight > maxWeight {
		return fmt.Errorf("weight %d is not from 1 to %d", b.Weight, maxWeight)
	}
	if file, ok := strings.CutPrefix(b.Address, "unix:"); ok {
		return checkSocketFile(file)
	}
	a, err := netip.ParseAddrPort(b.Address)
	if err != nil || a.Port() == 0 || a.Addr().Zone() != "" {
		return fmt.Errorf("%.80q is not an IP address with a port", b.Address)
	}
	if a.String() != b.Address {
		return fmt.Errorf("%.80q is spelled %s", b.Address, a)
	}
	return nil
}

const pathCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-@+"

func checkSocketFile(file string) error {
	if !path.IsAbs(file) || path.Clean(file) != file || len(file) > 100 || strings.Trim(file, pathCharacters) != "" {
		return fmt.Errorf("%.120q is not the absolute path of a unix socket", file)
	}
	return nil
}

// hashKeys are what a request may be hashed by, without and with a name.
var (
	hashKeys      = []string{"uri", "path", "client_ip", "host"}
	namedHashKeys = []string{"header", "cookie", "argument"}
)

// CheckHashKey takes uri, path, client_ip, host, header:NAME, cookie:NAME and
// argument:NAME.
func CheckHashKey(key string) error {
	kind, name, named := strings.Cut(key, ":")
	known := hashKeys
	if named {
		known = namedHashKeys
		if len(name) > 64 || name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" {
			return fmt.Errorf("%.80q is not a name", name)
		}
		if kind != "header" && strings.Contains(name, "-") {
			return fmt.Errorf("nginx has no variable for the %s %s: it has a '-'", kind, name)
		}
	}
	for _, k := range known {
		if k == kind {
			return nil
		}
	}
	return fmt.Errorf("%.80q is not known", key)
}
