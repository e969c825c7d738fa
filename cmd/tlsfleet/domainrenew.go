package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

func domainRenewCommand() *cli.Command {
	return withNames(leaf("renew", "renew certificates now",
		"Renews certificates at once, whatever the CA has suggested. A renewal before that counts against the limits\n"+
			"of the CA. One that is not issued is left alone.", nil, domainRenew))
}

func domainRenew(c *cli.Context) error {
	entries, err := domainEntries(c)
	if err != nil {
		return err
	}
	con, _, err := issuingConsole(c)
	if err != nil {
		return err
	}
	list, err := domainsToRetry(c, con, entries)
	if err != nil {
		return err
	}
	issued := func(d agent.DomainStatus) bool { return d.State == issuance.Issued }
	alone := slices.DeleteFunc(slices.Clone(list), issued)
	list = slices.DeleteFunc(slices.Clone(list), func(d agent.DomainStatus) bool { return !issued(d) })
	if len(list) > 0 {
		if err := con.RenewDomains(c.Context, firstNames(list), operator()); err != nil {
			return explainDomain(c, nil, err)
		}
	}
	return printAgain(c, "to be renewed", list, alone)
}
