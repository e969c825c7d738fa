package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

func domainShowCommand() *cli.Command {
	return withArguments(leaf("show", "show the certificate of a name that is obtained",
		"Shows what is known about the certificate that a name is obtained in: its state, the last failure in full,\nand what happens next and when. The key is never shown.",
		[]cli.Flag{configFlag(), formatFlag()}, domainShow), "NAME", 1, 1)
}

func domainShow(c *cli.Context) error {
	con, _, err := console(c)
	if err != nil {
		return err
	}
	d, err := con.Domain(c.Context, c.Args().First())
	if err != nil {
		return explainDomain(c, nil, err)
	}
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, d)
	}
	return printLines(c.App.Writer, domainLines(d, time.Now())...)
}

func domainLines(d agent.DomainStatus, now time.Time) []string {
	lines := []string{
		"names:       " + strings.Join(d.Names, " "),
		fmt.Sprintf("state:       %s, %s", d.State, ago(d.Since, now)),
		"next:        " + nextStep(d, now),
		"group:       " + d.Group,
	}
	if d.Profile != "" {
		lines = append(lines, "profile:     "+d.Profile)
	}
	lines = append(lines, fmt.Sprintf("added:       %s, %s", d.Added.Format(time.RFC3339), ago(d.Added, now)))
	if d.NotAfter.IsZero() {
		lines = append(lines, "certificate: none so far")
	} else {
		lines = append(lines, fmt.Sprintf("certificate: from %s, to %s (%s)", d.CA, d.NotAfter.Format(time.RFC3339), left(d.NotAfter, now)))
	}
	if w := d.Window; w != nil {
		lines = append(lines, fmt.Sprintf("window:      the CA suggests %s to %s; asked again %s", w.Start.Format(time.RFC3339), w.End.Format(time.RFC3339), in(w.Check, now)))
	}
	if o := d.Order; o != nil {
		lines = append(lines, fmt.Sprintf("order:       at %s, begun %s %s", o.CA, ago(o.Begun, now), plainText(o.URL)))
	}
	return append(lines, failureLines(d, now)...)
}

func failureLines(d agent.DomainStatus, now time.Time) []string {
	f := d.Failure
	if f == nil {
		return nil
	}
	from := ""
	if f.CA != "" {
		from = " at " + f.CA
	}
	lines := []string{
		fmt.Sprintf("failures:    %d in a row", d.Failures),
		fmt.Sprintf("last:        %s, in stage %s%s, %s", f.Class, f.Stage, from, ago(f.At, now)),
	}
	switch {
	case f.Type != "" && f.Status != 0:
		lines = append(lines, fmt.Sprintf("problem:     %s, HTTP status %d", f.Type, f.Status))
	case f.Type != "":
		lines = append(lines, "problem:     "+f.Type)
	case f.Status != 0:
		lines = append(lines, fmt.Sprintf("problem:     HTTP status %d", f.Status))
	}
	return append(lines, "reason:      "+plainText(f.Detail))
}

// nextStep is what will happen to a certificate, and when.
func nextStep(d agent.DomainStatus, now time.Time) string {
	when := fmt.Sprintf("%s (%s)", in(d.Next, now), d.Next.Format(time.RFC3339))
	switch d.State {
	case issuance.Wanted:
		return "obtained when it is its turn under the CA's limits (`tlsfleet domain list --forecast`)"
	case issuance.Preflight:
		return "under way: whether the names lead to this fleet"
	case issuance.Ordering:
		return "under way: the order at the CA"
	case issuance.Issued:
		return "renewed " + when
	case issuance.Waiting:
		return "tried again " + when + ", or by `tlsfleet domain retry`"
	case issuance.Parked:
		return "no CA is asked; whether the names lead here is looked at " + when + "; `tlsfleet domain retry` tries at once"
	default:
		return "-"
	}
}

// plainText is what others have said, without what a terminal would act on.
func plainText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}
