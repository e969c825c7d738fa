package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
)

// waveFlags are those of commands that change what nodes serve.
func waveFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "now", Usage: "on every node at once, without a canary"},
		&cli.BoolFlag{Name: "wait", Usage: "wait until every node serves the result, or it is halted"},
		&cli.DurationFlag{Name: "timeout", Value: 10 * time.Minute, Usage: "how long to wait"},
	}
}

// awaitSites waits if the command line wants that, and tells what came of it;
// nil: nobody has waited. ids are the sites that every node has to serve then.
func awaitSites(c *cli.Context, con *agent.Console, epoch uint64, ids []string) (*bool, error) {
	if !c.Bool("wait") || epoch == 0 {
		return nil, nil //nolint:nilnil // not waited
	}
	live := newProgress(c.App.ErrWriter)
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	err := con.AwaitSites(ctx, epoch, ids, func(s agent.SitesState) { live.line("sites " + plainText(s.Text())) })
	live.end()
	served := err == nil
	return &served, err
}

func siteRetryCommand() *cli.Command {
	return leaf("retry", "take the sites as they are to the nodes once more",
		"Has the nodes, a canary first, try the sites as they are in Consul once more, those that failed too: after a\n"+
			"halt whose cause is gone, or after Consul was put back from a snapshot. With --now every node serves them\n"+
			"at once.",
		append([]cli.Flag{configFlag(), formatFlag()}, waveFlags()...), siteRetry)
}

func siteRetry(c *cli.Context) error {
	if err := checkTimeout(c); err != nil {
		return err
	}
	con, _, err := console(c)
	if err != nil {
		return err
	}
	epoch, err := con.RetrySites(c.Context, c.Bool("now"))
	if err != nil {
		return explainSite(err)
	}
	served, waited := awaitSites(c, con, epoch, nil)
	return cmp.Or(printRetried(c, epoch, served), explainSite(waited))
}

func printRetried(c *cli.Context, epoch uint64, served *bool) error {
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, struct {
			Epoch  uint64 `json:"epoch"`
			Served *bool  `json:"served,omitempty"`
		}{epoch, served})
	}
	return printLines(c.App.Writer, append([]string{fmt.Sprintf("sites epoch %d", epoch)}, onTheirWay(served)...)...)
}

// onTheirWay says where sites are that were set; nil: nobody has waited. An error
// says the rest.
func onTheirWay(served *bool) []string {
	switch {
	case served == nil:
		return []string{"on their way to the nodes: `tlsfleet status` shows how far"}
	case *served:
		return []string{"served by every node in service"}
	}
	return nil
}
