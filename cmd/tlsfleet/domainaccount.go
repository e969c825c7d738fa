package main

import (
	"errors"

	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
)

func domainNewAccountCommand() *cli.Command {
	return leaf("new-account", "make an ACME account where Consul has lost the fleet's and no copy is left",
		"A leader makes the account of a new fleet by itself. Of one that had an account it makes none when Consul\n"+
			"has lost that, because `tlsfleet restore-fleet` brings the old one back: with certificates to be renewed, and\n"+
			"without orders at the CA. This is for a fleet without a copy. What is added to it again is ordered again.\n"+
			"Run it with the configuration of a host that may lead; the leader goes on within 10 s.",
		[]cli.Flag{configFlag()}, domainNewAccount)
}

func domainNewAccount(c *cli.Context) error {
	x, err := copies(c)
	if err != nil {
		return err
	}
	if err := x.NewAccount(c.Context); err != nil {
		if errors.Is(err, agent.ErrAccount) {
			return hinted{err, "nothing was written; if it cannot be read, give this host the keyring it is sealed with"}
		}
		return explainCopy(err)
	}
	return printLines(c.App.Writer, "made an ACME account")
}
