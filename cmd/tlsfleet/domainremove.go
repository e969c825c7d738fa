package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
)

func domainRemoveCommand() *cli.Command {
	return withNames(leaf("remove", "obtain and renew certificates no more",
		"Ends the certificates of names, each with all its names: they are not renewed, and no node serves what was\n"+
			"obtained for them any more, unless --keep-certificate leaves that in place until it expires. Certificates\n"+
			"that were imported stay. All are ended, or none if a name is not known. Asks first; without a terminal\n--yes is needed.",
		[]cli.Flag{
			&cli.BoolFlag{Name: "keep-certificate", Usage: "leave the certificates in service until they expire"},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"},
		}, domainRemove))
}

func domainRemove(c *cli.Context) error {
	if !c.Bool("yes") && !isTerminalInput(c.App.Reader) {
		return usageError{errors.New("domain remove needs --yes where nobody can be asked"), "stdin is not a terminal"}
	}
	entries, err := domainEntries(c)
	if err != nil {
		return err
	}
	con, _, err := issuingConsole(c)
	if err != nil {
		return err
	}
	list, err := con.DomainsOf(c.Context, allNames(entries))
	if err != nil {
		return explainDomain(c, eachName(entries), err)
	}
	keep := c.Bool("keep-certificate")
	if !c.Bool("yes") {
		if ok, err := confirmEnd(c, list, keep); err != nil || !ok {
			return err
		}
	}
	if err := con.EndDomains(c.Context, firstNames(list), keep, operator()); err != nil {
		return explainDomain(c, nil, err)
	}
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, map[string]any{"ended": list, "kept_in_service": keep})
	}
	return printLines(c.App.Writer, "not obtained any more: "+count(len(list), "certificate"))
}

// confirmEnd shows what would end and asks.
func confirmEnd(c *cli.Context, list []agent.DomainStatus, keep bool) (bool, error) {
	title := "These certificates will not be renewed, and no node will serve them any more:"
	if keep {
		title = "These certificates will not be renewed; nodes serve them until they expire:"
	}
	var lines []string
	for _, d := range list {
		lines = append(lines, fmt.Sprintf("  %s (%s)", strings.Join(d.Names, " "), d.State))
	}
	return confirm(c, titled(title, lines), fmt.Sprintf("Remove %s?", count(len(list), "certificate")))
}
