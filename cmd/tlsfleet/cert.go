package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func certCommand() *cli.Command {
	return &cli.Command{
		Name: "cert", Usage: "the certificates of the fleet", Action: group, HideHelpCommand: true, OnUsageError: badUsage,
		Subcommands: []*cli.Command{
			certImportCommand(), certListCommand(), certShowCommand(), certExportCommand(), certRemoveCommand(),
		},
	}
}

// withArguments is leaf for a command with arguments, from least to most.
func withArguments(command *cli.Command, text string, least, most int) *cli.Command {
	command.ArgsUsage = text
	command.Before = func(c *cli.Context) error {
		switch n := c.Args().Len(); {
		case n < least:
			return usageError{fmt.Errorf("%s needs %s", c.Command.FullName(), text), "run it with --help for its flags"}
		case n > most:
			return usageError{fmt.Errorf("%s takes one %s, got also %q", c.Command.FullName(), text, c.Args().Get(most)), "run it once for each"}
		}
		return nil
	}
	return command
}

func certListCommand() *cli.Command {
	return leaf("list", "list the names with their certificates",
		"Lists every name of the inventory with the end of its certificate. --filter is a part of the name, or a\n"+
			"pattern for all of it: '*.example.org', 'www?.*'. --expires-within 720h also lists what has expired.",
		[]cli.Flag{
			configFlag(), formatFlag(),
			&cli.StringFlag{Name: "filter", Usage: "only names with `TEXT` in them, or that match the pattern"},
			&cli.DurationFlag{Name: "expires-within", Usage: "only certificates that end within this `TIME`, such as 720h"},
			&cli.StringFlag{Name: "source", Usage: "only certificates from `SOURCE`: import or acme"},
			&cli.StringFlag{Name: "sort", Value: "name", Usage: "by `name` or expiry"},
		}, certList)
}

func certList(c *cli.Context) error {
	f := agent.CertificateFilter{Match: c.String("filter"), Source: fleet.Source(c.String("source"))}
	if err := f.Check(); err != nil {
		return usageError{err, "a pattern has *, ? and [a-z]"}
	}
	if f.Source != "" && f.Source != fleet.SourceImport && f.Source != fleet.SourceACME {
		return usageError{fmt.Errorf("--source %q is not known", f.Source), "use --source import or --source acme"}
	}
	by := c.String("sort")
	if by != "name" && by != "expiry" {
		return usageError{fmt.Errorf("--sort %q is not known", by), "use --sort name or --sort expiry"}
	}
	now := time.Now()
	if c.IsSet("expires-within") {
		if c.Duration("expires-within") <= 0 {
			return usageError{fmt.Errorf("--expires-within %s is not a time ahead", c.Duration("expires-within")), "give a positive duration such as 720h"}
		}
		f.Until = now.Add(c.Duration("expires-within"))
	}
	con, _, err := console(c)
	if err != nil {
		return err
	}
	list, err := con.Certificates(c.Context, f)
	if err != nil && !errors.Is(err, agent.ErrPartial) {
		return explainCert(err)
	}
	if by == "expiry" {
		slices.SortStableFunc(list, func(a, b agent.CertificateStatus) int { return a.NotAfter.Compare(b.NotAfter) })
	}
	if c.String("format") == "json" {
		return cmp.Or(printJSON(c.App.Writer, list), explainCert(err))
	}
	return cmp.Or(certTable(c.App.Writer, list, now), explainCert(err))
}

func certTable(w io.Writer, list []agent.CertificateStatus, now time.Time) error {
	t := newTable(w, "NAME", "EXPIRES", "LEFT", "SOURCE", "ISSUER")
	for _, s := range list {
		t.AppendRow(table.Row{s.Name, s.NotAfter.Format(time.DateOnly), left(s.NotAfter, now), s.Source, s.Issuer})
	}
	if len(list) > 0 {
		t.Render()
	}
	return printLines(w, "", count(len(list), "name"))
}

// left says how long a certificate has to go.
func left(end, now time.Time) string {
	if end.Before(now) {
		return "EXPIRED"
	}
	return brief(end.Sub(now))
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func certShowCommand() *cli.Command {
	return withArguments(leaf("show", "show the certificate of a name",
		"Shows the certificate that serves a name: its own, else that of the wildcard above it. The key is never\nshown.",
		[]cli.Flag{configFlag(), formatFlag()}, certShow), "NAME", 1, 1)
}

func certShow(c *cli.Context) error {
	con, _, err := console(c)
	if err != nil {
		return err
	}
	d, err := con.Certificate(c.Context, c.Args().First())
	if err != nil {
		return explainCert(err)
	}
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, d)
	}
	return printLines(c.App.Writer, detailLines(d, time.Now())...)
}

func detailLines(d agent.CertificateDetail, now time.Time) []string {
	name := d.Name
	if d.Asked != d.Name {
		name = fmt.Sprintf("%s, which serves %s", d.Name, d.Asked)
	}
	lines := []string{
		"name:      " + name,
		"names:     " + strings.Join(d.Names, " "),
		"valid:     " + d.NotBefore.Format(time.RFC3339) + " to " + d.NotAfter.Format(time.RFC3339) + " (" + left(d.NotAfter, now) + ")",
		"issuer:    " + d.Issuer,
		"serial:    " + d.Serial,
		"key:       " + d.KeyKind,
		fmt.Sprintf("source:    %s, %s", d.Source, ago(d.Changed, now)),
		"bundle:    " + d.Bundle.String(),
	}
	for i, x := range d.Chain {
		lines = append(lines, fmt.Sprintf("chain %d:   %s, to %s", i+1, x.Subject, x.NotAfter.Format(time.DateOnly)))
		if i == len(d.Chain)-1 {
			lines = append(lines, "root:      "+x.Issuer)
		}
	}
	if d.Problem != "" {
		lines = append(lines, "problem:   "+d.Problem)
	}
	return lines
}

// explainCert gives advice and tells mistakes of typing from failures.
func explainCert(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fleet.ErrDomain):
		return usageError{err, "give a host name such as www.example.org or *.example.org"}
	case errors.Is(err, agent.ErrUnknownCertificate):
		return hinted{err, "`tlsfleet cert list` shows the names"}
	case errors.Is(err, agent.ErrNoInventory):
		return hinted{err, "`tlsfleet cert import` brings the first ones; if there are some, the Consul token may not read them"}
	case errors.Is(err, agent.ErrPartial):
		return hinted{err, "names in the parts that cannot be read are not listed; they are served as before"}
	case errors.Is(err, agent.ErrExists):
		return hinted{err, "choose another folder with --out, or replace the files with --force"}
	}
	return err
}
