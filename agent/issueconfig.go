package agent

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/issuer"
)

// issuing is what the configuration says about obtaining certificates.
func issuing(cfg config.Config) (issueRules, error) {
	a := cfg.ACME
	rules := issueRules{parallel: a.Parallel, nodes: a.PreflightNodes, soon: windowSoon, retry: issueRetry, responder: responder(cfg), published: a.HTTP01 == config.HTTP01Agent}
	rules.stagings = map[string]issuer.CA{}
	if a.Preflight {
		rules.preflight = &issuer.Preflight{Resolver: a.Resolver, Port: a.HTTPPort}
	}
	for _, c := range cfg.CAs {
		ca := issuer.CA{
			Name: c.Name, Directory: c.Directory, Contact: a.Contact, RootFile: c.RootFile, EABKeyID: c.EABKeyID,
			Limits: limits(c),
		}
		var err error
		if ca.EABKey, err = readEAB(c); err != nil {
			return issueRules{}, err
		}
		rules.cas = append(rules.cas, ca)
		if c.Staging != "" {
			rules.stagings[c.Name] = issuer.CA{
				Name: stagingName(c.Name), Directory: c.Staging, Contact: a.Contact, RootFile: c.RootFile, Limits: stagingLimits,
			}
		}
	}
	return rules, nil
}

// responder is what answers challenges.
func responder(config.Config) issuer.Responder { return issuer.Stateless{} }

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
