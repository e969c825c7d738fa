package dns01

import (
	"strings"
	"time"

	"github.com/go-acme/lego/v4/challenge"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// AllNames as a domain stands for every name.
const AllNames = "*"

// Zone is one provider with its settings, and the names it is for.
type Zone struct {
	Name          string   // in messages
	Domains       []string // in stored form, with all names below them; or AllNames
	WildcardsOnly bool     // other names are proved by HTTP-01

	Provider     string
	Settings     map[string]fleet.Secret // by lego's names; NAME_FILE names a file with the value of NAME
	SettingsFile string                  // more of them, NAME=value in each line; empty: none
	Propagation  time.Duration           // how long to wait until name servers show a record; 0: not at all
	Nameservers  []string                // host:port, asked instead of those that the zone names
}

// Zones decide which names are proved by DNS-01.
type Zones []Zone

// Kind is the type of challenge for a name: by the zone with the longest domain
// that the name is in, HTTP-01 for a name that is in none.
func (zs Zones) Kind(name string, wildcard bool) string {
	n, ok := zs.find(name)
	if !ok || zs[n].WildcardsOnly && !wildcard {
		return challenge.HTTP01.String()
	}
	return challenge.DNS01.String()
}

// find is the index of the zone for a name.
func (zs Zones) find(name string) (index int, ok bool) {
	longest := -1
	for n, z := range zs {
		for _, domain := range z.Domains {
			length := len(domain)
			if domain == AllNames {
				length = 0
			} else if name != domain && !strings.HasSuffix(name, "."+domain) {
				continue
			}
			if length > longest {
				index, longest = n, length
			}
		}
	}
	return index, longest >= 0
}
