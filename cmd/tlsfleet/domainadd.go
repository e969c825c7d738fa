package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

func domainAddCommand() *cli.Command {
	return withNames(leaf("add", "have certificates obtained and renewed",
		"Asks the leader for a certificate for each name: it is obtained from the first CA of the configuration and\n"+
			"renewed from then on. In a list, names in one line, separated by spaces or commas, are one certificate, and\n"+
			"# begins a comment. If one name cannot be used, nothing is asked for. A name that is obtained already stays\n"+
			"as it is. A wildcard needs a dns block for it in the configuration; its name itself (example.org beside\n"+
			"*.example.org) can be in the same certificate: --san. --wait ends when each certificate is issued, parked,\n"+
			"or not tried again before the --timeout.",
		[]cli.Flag{
			&cli.BoolFlag{Name: "san", Usage: "one certificate for all names that are given"},
			&cli.StringFlag{Name: "group", Usage: "customer or `GROUP` that they belong to, for fair turns; default: the registered domain"},
			&cli.StringFlag{Name: "profile", Usage: "the CA's `PROFILE` to ask for"},
			&cli.BoolFlag{Name: "wait", Usage: "wait until they are issued"},
			&cli.DurationFlag{Name: "timeout", Value: 2 * time.Minute, Usage: "how long to wait"},
		}, domainAdd))
}

func domainAdd(c *cli.Context) error {
	if c.Duration("timeout") <= 0 {
		return usageError{fmt.Errorf("--timeout %s is not a time to wait", c.Duration("timeout")), "give a positive duration such as 2m"}
	}
	entries, err := domainEntries(c)
	if err != nil {
		return err
	}
	con, _, err := issuingConsole(c)
	if err != nil {
		return err
	}
	wishes := domainWishes(entries, c.Bool("san"), c.String("group"), c.String("profile"))
	added := domainsAdded{}
	taking := newCounter(c.App.ErrWriter, "%d of %d certificates are with the leader")
	err = con.AddDomains(c.Context, wishes, operator(), func(done, total int) {
		added.Certificates = total
		taking.show(done, total)
	})
	taking.end()
	if err != nil {
		return explainDomain(c, entries, err)
	}
	if c.Bool("wait") {
		if err := awaitDomains(c, con, wishes, &added); err != nil {
			return err
		}
	}
	return printAdded(c, added)
}

// domainWishes makes a wish of each entry, or one of all.
func domainWishes(entries []domainEntry, together bool, group, profile string) []issuance.Wish {
	if together {
		entries = []domainEntry{{names: allNames(entries)}}
	}
	wishes := make([]issuance.Wish, len(entries))
	for i, e := range entries {
		wishes[i] = issuance.Wish{Names: e.names, Group: group, Profile: profile}
	}
	return wishes
}

// domainsAdded is what `domain add` has done.
type domainsAdded struct {
	Certificates int                  `json:"certificates"`
	Tally        *agent.DomainsTally  `json:"tally,omitempty"` // with --wait
	Open         []agent.DomainStatus `json:"open,omitempty"`  // those that are not issued
}

func awaitDomains(c *cli.Context, con *agent.Console, wishes []issuance.Wish, added *domainsAdded) error {
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	live := newProgress(c.App.ErrWriter)
	var next time.Time
	rest, err := con.AwaitDomains(ctx, wishes, func(t agent.DomainsTally) {
		added.Tally = &t
		if now := time.Now(); live.live || now.After(next) || t.Issued+t.Parked == t.All {
			next = now.Add(time.Second)
			live.line(fmt.Sprintf("issued %d, waiting %d, parked %d of %d", t.Issued, t.Waiting, t.Parked, t.All))
		}
	})
	live.end()
	added.Open = rest
	return explainDomain(c, nil, err)
}

func printAdded(c *cli.Context, added domainsAdded) error {
	if err := writeAdded(c, added); err != nil {
		return err
	}
	if len(added.Open) == 0 {
		return nil
	}
	now := time.Now()
	var open []string
	for _, d := range added.Open {
		open = append(open, fmt.Sprintf("%s: %s", strings.Join(d.Names, " "), fateOf(d, now)))
	}
	if err := printLines(c.App.ErrWriter, most(open)...); err != nil {
		return err
	}
	return hinted{fmt.Errorf("await certificates: %d of %d are not issued", len(added.Open), added.Tally.All), "`tlsfleet domain list` shows them and when they are tried again"}
}

func writeAdded(c *cli.Context, added domainsAdded) error {
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, added)
	}
	line := "asked for " + count(added.Certificates, "certificate")
	if t := added.Tally; t != nil {
		line = fmt.Sprintf("issued %d of %s", t.Issued, count(t.All, "certificate"))
	}
	return printLines(c.App.Writer, line)
}

// fateOf says why a certificate is not issued.
func fateOf(d agent.DomainStatus, now time.Time) string {
	switch {
	case d.State == "":
		return "removed meanwhile"
	case d.Failure == nil:
		return "still " + string(d.State)
	default:
		return fmt.Sprintf("%s, %s, %s: %s", d.State, in(d.Next, now), d.Failure.Class, plainText(d.Failure.Detail))
	}
}
