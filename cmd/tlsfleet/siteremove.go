package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
)

func siteRemoveCommand() *cli.Command {
	return withArguments(leaf("remove", "take sites out of the fleet",
		"Takes sites out of the fleet: all, or none if one is not known. Certificates and services stay. Asks first;\nwithout a terminal --yes is needed.",
		append([]cli.Flag{configFlag(), formatFlag(), &cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"}}, waveFlags()...),
		siteRemove), "ID...", 1, int(^uint(0)>>1))
}

func siteRemove(c *cli.Context) error {
	if !c.Bool("yes") && !isTerminalInput(c.App.Reader) {
		return usageError{errors.New("site remove needs --yes where nobody can be asked"), "stdin is not a terminal"}
	}
	if err := checkTimeout(c); err != nil {
		return err
	}
	con, _, err := console(c)
	if err != nil {
		return err
	}
	ids := c.Args().Slice()
	if !c.Bool("yes") {
		list, err := con.PlanSiteRemoval(c.Context, ids)
		if err != nil {
			return explainSite(err)
		}
		if ok, err := confirmSites(c, list); err != nil || !ok {
			return err
		}
	}
	done, err := con.RemoveSites(c.Context, ids, c.Bool("now"))
	if err != nil {
		return explainSite(err)
	}
	return sitesEdited(c, con, done)
}

// confirmSites shows what would be removed and asks.
func confirmSites(c *cli.Context, list []agent.SiteStatus) (bool, error) {
	var lines []string
	for _, s := range list {
		what := "cannot be read"
		if s.Site != nil {
			what = andMore(s.Site.ServerNames)
		}
		lines = append(lines, fmt.Sprintf("  %s (%s)", s.ID, what))
	}
	return confirm(c, titled("These sites will be gone:", lines), fmt.Sprintf("Remove %s?", count(len(list), "site")))
}
