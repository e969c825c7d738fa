package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

func domainRetryCommand() *cli.Command {
	return withNames(leaf("retry", "try certificates again that wait or are parked",
		"Forgets the failures of certificates and has them tried at once. One that is neither waiting nor parked is\nleft alone.",
		[]cli.Flag{
			&cli.BoolFlag{Name: "parked", Usage: "all that are parked"},
			&cli.BoolFlag{Name: "waiting", Usage: "all that wait after a failure"},
		}, domainRetry))
}

func domainRetry(c *cli.Context) error {
	states := map[issuance.State]bool{issuance.Parked: c.Bool("parked"), issuance.Waiting: c.Bool("waiting")}
	byState := states[issuance.Parked] || states[issuance.Waiting]
	var entries []domainEntry
	if byState && (c.Args().Present() || c.IsSet("file")) {
		return usageError{errors.New("domain retry takes names or states, not both"), "leave out the names, or --parked and --waiting"}
	}
	if !byState {
		var err error
		if entries, err = domainEntries(c); err != nil {
			return err
		}
		states = map[issuance.State]bool{issuance.Parked: true, issuance.Waiting: true}
	}
	con, _, err := issuingConsole(c)
	if err != nil {
		return err
	}
	list, err := domainsToRetry(c, con, entries)
	if err != nil {
		return err
	}
	alone := list
	list = slices.DeleteFunc(slices.Clone(list), func(d agent.DomainStatus) bool { return !states[d.State] })
	alone = slices.DeleteFunc(slices.Clone(alone), func(d agent.DomainStatus) bool { return states[d.State] || byState })
	if len(list) > 0 {
		if err := con.RetryDomains(c.Context, firstNames(list), operator()); err != nil {
			return explainDomain(c, nil, err)
		}
	}
	return printAgain(c, "tried again", list, alone)
}

// domainsToRetry are the certificates of the names that are given, or all.
func domainsToRetry(c *cli.Context, con *agent.Console, entries []domainEntry) ([]agent.DomainStatus, error) {
	if entries == nil {
		list, _, err := con.Domains(c.Context, agent.DomainFilter{}, false)
		return list, err
	}
	list, err := con.DomainsOf(c.Context, allNames(entries))
	return list, explainDomain(c, eachName(entries), err)
}

// domainsAgain is what `domain retry` and `domain renew` have begun.
type domainsAgain struct {
	Begun []agent.DomainStatus `json:"begun"` // as they were before
	Alone []agent.DomainStatus `json:"left_alone,omitempty"`
}

func printAgain(c *cli.Context, what string, list, alone []agent.DomainStatus) error {
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, domainsAgain{list, alone})
	}
	var lines []string
	for _, d := range alone {
		lines = append(lines, fmt.Sprintf("left alone: %s is %s", strings.Join(d.Names, " "), d.State))
	}
	return printLines(c.App.Writer, append(most(lines), what+": "+count(len(list), "certificate"))...)
}

// firstNames names certificates.
func firstNames(list []agent.DomainStatus) []string {
	names := make([]string, len(list))
	for i, d := range list {
		names[i] = d.Names[0]
	}
	return names
}

// eachName is an entry for each name.
func eachName(entries []domainEntry) []domainEntry {
	var all []domainEntry
	for _, e := range entries {
		for _, name := range e.names {
			all = append(all, domainEntry{e.where, []string{name}})
		}
	}
	return all
}
