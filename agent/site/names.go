package site

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

const (
	lowerLetters = "abcdefghijklmnopqrstuvwxyz"
	digits       = "0123456789"
	fileWord     = lowerLetters + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + digits + "._-"
)

// CheckID takes a fleet.CheckName in lower case: an ID is part of a KV path, of
// a file name and of a name in nginx.
func CheckID(id string) error {
	if err := fleet.CheckName(id); err != nil {
		return err
	}
	if strings.ToLower(id) != id {
		return fmt.Errorf("%w: %q has upper case", fleet.ErrName, id)
	}
	if id == "head" {
		return fmt.Errorf("%w: %q is the key of the list of sites", fleet.ErrName, id)
	}
	return nil
}

// CheckFile takes the name of a file in the operator's folder: 1 to 64 of
// letters, digits, '.', '_' and '-', beginning with a letter or a digit. It can
// be neither a path nor a pattern.
func CheckFile(name string) error {
	switch {
	case name == "" || len(name) > 64:
		return fmt.Errorf("a name has %d characters, want 1 to 64", len(name))
	case strings.Contains(name, "/"):
		return fmt.Errorf("%.80q is a path, want the name of a file", name)
	case strings.Trim(name, fileWord) != "":
		return fmt.Errorf("%.80q has characters other than letters, digits, '.', '_' and '-'", name)
	case strings.ContainsRune("._-", rune(name[0])):
		return fmt.Errorf("%.80q begins with %q, want a letter or a digit", name, name[0])
	}
	return nil
}

// Socket is a listen address in one spelling, so that two that nginx opens once
// are equal: "443" and "0.0.0.0:443" are "*:443", "[::]:443" is another.
func Socket(listen string) (string, error) {
	if n, err := strconv.ParseUint(listen, 10, 16); err == nil && n > 0 {
		return "*:" + strconv.FormatUint(n, 10), nil
	}
	if port, ok := strings.CutPrefix(listen, "*:"); ok {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return "", fmt.Errorf("%.80q has no port", listen)
		}
		return "*:" + strconv.FormatUint(n, 10), nil
	}
	a, err := netip.ParseAddrPort(listen)
	switch {
	case err != nil:
		return "", fmt.Errorf("%.80q is neither a port nor an IP address with a port", listen)
	case a.Port() == 0:
		return "", errors.New("port 0 is no port")
	case a.Addr().Zone() != "":
		return "", fmt.Errorf("%.80q has a zone", listen)
	case a.Addr().Is4() && a.Addr().IsUnspecified():
		return fmt.Sprintf("*:%d", a.Port()), nil
	}
	return a.String(), nil
}

// lowerName is what a name is stored as when nobody can do better: in lower
// case and without a trailing dot.
func lowerName(name string) (string, error) {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	return name, fleet.CheckDomain(name)
}
