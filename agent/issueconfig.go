package agent

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/issuer"
	"github.com/tlsfleet/tlsfleet/agent/issuer/dns01"
)

// issuing is what the configuration says about obtaining certificates.
func issuing(cfg config.Config, log hclog.Logger) (issueRules, error) {
	a := cfg.ACME
	rules := issueRules{parallel: a.Parallel, nodes: a.PreflightNodes, soon: windowSoon, retry: issueRetry, published: a.HTTP01 == config.HTTP01Agent}
	rules.stagings = map[string]issuer.CA{}
	if a.Preflight {
		rules.preflight = &issuer.Preflight{Resolver: a.Resolver, Port: a.HTTPPort}
	}
	var err error
	if rules.responder, err = responder(cfg, log); err != nil {
		return issueRules{}, err
	}
	for _, c := range cfg.CAs {
		ca := issuer.CA{
			Name: c.Name, Directory: c.Directory, Contact: a.Contact, RootFile: c.RootFile, EABKeyID: c.EABKeyID,
			Limits: limits(c), ProfileNames: c.ProfileNames,
		}
		if ca.EABKey, err = readEAB(c); err != nil {
			return issueRules{}, err
		}
		rules.cas = append(rules.cas, ca)
		if c.Staging != "" {
			rules.stagings[c.Name] = issuer.CA{
				Name: stagingName(c.Name), Directory: c.Staging, Contact: a.Contact, RootFile: c.RootFile, Limits: stagingLimits,
				ProfileNames: c.ProfileNames,
			}
		}
	}
	return rules, nil
}

// responder is what answers challenges. A node that never leads needs none of the
// files that it is made of.
func responder(cfg config.Config, log hclog.Logger) (issuer.Responder, error) {
	zones := zones(cfg)
	if len(zones) == 0 || len(cfg.CAs) == 0 || !cfg.Leader.Eligible {
		return issuer.Stateless{}, nil
	}
	var all error
	for n, z := range zones {
		if err := z.Check(); err != nil {
			all = errors.Join(all, fmt.Errorf("%s: dns %q: %w", cfg.DNS[n].At, z.Name, err))
		}
	}
	return dns01.New(zones, cfg.ACME.Resolver, log), all
}

// chooser says which names can be proved, without what proves them.
func chooser(cfg config.Config) issuer.Chooser { return zones(cfg) }

// profileNames is how many names the CA that is asked first takes into a
// certificate of a profile.
func profileNames(cfg config.Config) map[string]int {
	if len(cfg.CAs) == 0 {
		return nil
	}
	return cfg.CAs[0].ProfileNames
}

func zones(cfg config.Config) dns01.Zones {
	var all dns01.Zones
	for _, d := range cfg.DNS {
		all = append(all, dns01.Zone{
			Name: d.Name, Domains: d.Domains, WildcardsOnly: d.WildcardsOnly, Provider: d.Provider,
			Settings: d.Settings, SettingsFile: d.SettingsFile, Propagation: d.Propagation, Nameservers: d.Nameservers,
		})
	}
	return all
}

func limits(c config.CA) issuance.Limits {
	return issuance.Limits{
		Orders: issuance.Limit(c.OrderLimit), Domain: issuance.Limit(c.DomainLimit),
		Set: issuance.Limit(c.SetLimit), Failures: issuance.Limit(c.FailureLimit),
	}
}

// errEAB is a file without a key.
var errEAB = errors.New("it is empty")

// readEAB reads the key of an external account binding, base64url as CAs give it.
func readEAB(c config.CA) (fleet.Secret, error) {
	if c.EABKeyFile == "" {
		return fleet.Secret{}, nil
	}
	text, err := os.ReadFile(c.EABKeyFile)
	if err != nil {
		return fleet.Secret{}, fmt.Errorf("read eab_key_file of CA %s: %w", c.Name, err)
	}
	defer clear(text)
	key := bytes.TrimSpace(text)
	if len(key) == 0 {
		return fleet.Secret{}, fmt.Errorf("read eab_key_file of CA %s: %s: %w", c.Name, c.EABKeyFile, errEAB)
	}
	return fleet.NewSecret(key), nil
}
