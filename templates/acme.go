package templates

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"text/template"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Files about HTTP-01 challenges; a release without Challenges has neither.
const (
	// ChallengeFile is for servers of the operator, inside server{}. It is no
	// .conf, so that the include of a release leaves it out.
	ChallengeFile = "acme-challenge.inc"
	// ACMEFile has a server of its own; only with a Listen.
	ACMEFile = "15-acme.conf"
)

// Challenges is how nginx answers HTTP-01 challenges (RFC 8555, section 8.3): by
// itself, before it looks at allow, deny and auth_basic, or by asking the agent.
type Challenges struct {
	Thumbprint string   // of the ACME account key, as fleet.IsThumbprint takes it; empty with Proxy
	Proxy      string   // loopback address:port of the agent; empty: nginx answers by itself
	Listen     []string // listen parameters, such as "80"; none: no ACMEFile
}

func (c Challenges) check() error {
	if c.Proxy != "" {
		if a, err := netip.ParseAddrPort(c.Proxy); err != nil || !a.Addr().IsLoopback() || c.Thumbprint != "" {
			return fmt.Errorf("%.60q is no loopback address, or there is a thumbprint too", c.Proxy)
		}
	} else if !fleet.IsThumbprint(c.Thumbprint) {
		return fmt.Errorf("%.60q is no thumbprint of a key", c.Thumbprint)
	}
	for _, l := range c.Listen {
		if len(strings.Fields(l)) == 0 {
			return errors.New("a server without listen parameters")
		}
	}
	return nil
}

// renderChallenges makes ChallengeFile and ACMEFile; no file without Challenges.
func renderChallenges(set *template.Template, c *Challenges) ([]File, error) {
	if c == nil {
		return nil, nil
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("render %s: %w", ChallengeFile, err)
	}
	names := []string{ChallengeFile}
	if len(c.Listen) > 0 {
		names = append(names, ACMEFile)
	}
	var files []File
	for _, name := range names {
		var text bytes.Buffer
		if err := set.ExecuteTemplate(&text, name, c); err != nil {
			return nil, fmt.Errorf("render %s: %w", name, err)
		}
		files = append(files, File{Name: name, Text: text.Bytes()})
	}
	return files, nil
}
