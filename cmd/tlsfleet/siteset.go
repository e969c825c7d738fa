package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

func siteSetCommand() *cli.Command {
	return withArguments(leaf("set", "put sites into the fleet, or change them",
		"Reads sites from a file, in HCL or JSON, several if there are several, checks them and puts them into\n"+
			"Consul. A site that is there is replaced as a whole; settings that the file does not have get their\n"+
			"defaults. Sites that are not in the file stay as they are. All are set, or none if one has a mistake or\n"+
			"clashes with another: every mistake is named with its line. Nothing is written for a site that is the same,\n"+
			"unless a halt keeps it from the nodes: it is tried once more then, without the sites that failed beside it.\n"+
			"One node serves the change first, its canary; once it has proved it, all do. --wait shows how far it is.",
		append([]cli.Flag{configFlag(), formatFlag()}, waveFlags()...), siteSet), "FILE", 1, 1)
}

func siteSet(c *cli.Context) error {
	sites, err := siteFile(c)
	if err != nil {
		return err
	}
	if err := checkTimeout(c); err != nil {
		return err
	}
	con, _, err := console(c)
	if err != nil {
		return err
	}
	done, err := con.SetSites(c.Context, sites, c.Bool("now"))
	if err != nil && len(done.Added)+len(done.Changed) == 0 {
		return explainSite(err)
	}
	if err != nil {
		return cmp.Or(printSitesEdited(c, done, nil), explainSite(err))
	}
	return sitesEdited(c, con, done)
}

// sitesEdited waits if that is wanted, and prints.
func sitesEdited(c *cli.Context, con *agent.Console, done store.SitesEdited) error {
	served, waited := awaitSites(c, con, done.Epoch, slices.Concat(done.Added, done.Changed, done.Unchanged, done.Again))
	return cmp.Or(printSitesEdited(c, done, served), explainSite(waited))
}

func printSitesEdited(c *cli.Context, done store.SitesEdited, served *bool) error {
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, struct {
			store.SitesEdited
			Served *bool `json:"served,omitempty"` // by every node in service
		}{done, served})
	}
	var lines []string
	for _, part := range []struct {
		what string
		ids  []string
	}{{"added", done.Added}, {"changed", done.Changed}, {"unchanged", done.Unchanged}, {"once more", done.Again}, {"removed", done.Removed}, {"removed before", done.Missing}} {
		if n := len(part.ids); n > mostShown {
			lines = append(lines, fmt.Sprintf("%s: %s", part.what, count(n, "site")))
		} else if n > 0 {
			lines = append(lines, part.what+": "+strings.Join(part.ids, " "))
		}
	}
	lines = append(lines, fmt.Sprintf("sites epoch %d", done.Epoch))
	if len(done.Added)+len(done.Changed)+len(done.Again)+len(done.Removed) > 0 || served != nil {
		lines = append(lines, onTheirWay(served)...)
	}
	return printLines(c.App.Writer, lines...)
}
