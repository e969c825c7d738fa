package main

import (
	"cmp"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
)

// exitDiffers is the exit code of `site diff` where there is something to set.
const exitDiffers = 3

func siteDiffCommand() *cli.Command {
	return withArguments(leaf("diff", "show what site set would change",
		"Compares the sites of a file with those of the fleet, setting by setting, and writes nothing. Exit code 0:\n"+
			"all are the same; 3: site set would change something; 1: it would refuse them because they clash, or\nConsul cannot be asked; 2: the file has a mistake.",
		[]cli.Flag{configFlag(), formatFlag()}, siteDiff), "FILE", 1, 1)
}

func siteDiff(c *cli.Context) error {
	sites, err := siteFile(c)
	if err != nil {
		return err
	}
	con, _, err := console(c)
	if err != nil {
		return err
	}
	diffs, err := con.DiffSites(c.Context, sites)
	if err != nil && diffs == nil {
		return explainSite(err)
	}
	return cmp.Or(printDiffs(c, diffs), explainSite(err), differs(diffs))
}

func printDiffs(c *cli.Context, diffs []agent.SiteDiff) error {
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, diffs)
	}
	same, rows := 0, 0
	t := newTable(c.App.Writer, "SITE", "CHANGE", "SETTING", "FROM", "TO")
	for _, d := range diffs {
		if d.Change == agent.SiteSame {
			same++
			continue
		}
		if len(d.Fields) == 0 {
			t.AppendRow(table.Row{d.ID, d.Change, "-", cmp.Or(plainText(d.Problem), "-"), "-"})
			rows++
		}
		for _, f := range d.Fields {
			t.AppendRow(table.Row{d.ID, d.Change, f.Field, cmp.Or(f.From, "-"), cmp.Or(f.To, "-")})
			rows++
		}
	}
	if rows > 0 {
		t.Render()
	}
	lines := []string{count(len(diffs)-same, "site") + " to set, " + count(same, "site") + " the same"}
	if rows > 0 {
		lines = append([]string{""}, lines...)
	}
	return printLines(c.App.Writer, lines...)
}

// differs is the exit code for a difference.
func differs(diffs []agent.SiteDiff) error {
	for _, d := range diffs {
		if d.Change != agent.SiteSame {
			return quiet{exitDiffers}
		}
	}
	return nil
}
