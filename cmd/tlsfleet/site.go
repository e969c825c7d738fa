package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

func siteCommand() *cli.Command {
	return &cli.Command{
		Name: "site", Usage: "the virtual hosts that are described in Consul", Action: group, HideHelpCommand: true, OnUsageError: badUsage,
		Subcommands: []*cli.Command{siteSetCommand(), siteListCommand(), siteShowCommand(), siteDiffCommand(), siteRemoveCommand(), siteRetryCommand()},
	}
}

// siteFile reads the sites of the file that the command is given; "-" is stdin.
func siteFile(c *cli.Context) ([]site.Site, error) {
	name, in := c.Args().First(), c.App.Reader
	if name == "-" {
		name = "stdin"
	} else {
		f, err := os.Open(name) //nolint:gosec // the operator names the file
		if err != nil {
			return nil, usageError{fmt.Errorf("read sites: %w", err), "give a file with sites, or - for stdin"}
		}
		defer f.Close() //nolint:errcheck // only read
		in = f
	}
	text, err := waitFor(c.Context, func() ([]byte, error) { return io.ReadAll(io.LimitReader(in, site.MaxFile+1)) })
	if err != nil {
		return nil, fmt.Errorf("read sites from %s: %w", name, err)
	}
	sites, err := agent.ReadSites(text, name)
	return sites, explainSite(err)
}

// explainSite gives advice and tells mistakes in what was written from failures.
func explainSite(err error) error {
	var clash site.Clash
	switch {
	case err == nil:
		return nil
	case errors.As(err, &clash):
		return hinted{err, "nothing was done; change or remove one of them: `tlsfleet site show ID`"}
	case errors.Is(err, site.ErrSite):
		return usageError{err, "nothing was done"}
	case errors.Is(err, agent.ErrUnknownSite):
		return hinted{err, "`tlsfleet site list` shows all; nothing was done"}
	case errors.Is(err, agent.ErrNoSites):
		return hinted{err, "`tlsfleet site set FILE` makes the first one"}
	case errors.Is(err, agent.ErrHalted):
		return hinted{err, "mend the sites that are named and set them again; others of the change go without them once they are set again as they are; " +
			"`tlsfleet site retry` tries all of them once more, with --now on every node at once"}
	case errors.Is(err, agent.ErrUnserved):
		return hinted{err, "the sites are set; `tlsfleet status` shows how far they are"}
	case errors.Is(err, site.ErrHead):
		return hinted{err, fmt.Sprintf("a fleet has at most %d sites", site.MaxSites)}
	case errors.Is(err, store.ErrDenied):
		return hinted{err, "`tlsfleet policy operator` prints the rules that the token needs"}
	}
	return err
}
