package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// domainStates are the states in the order of a certificate's life.
var domainStates = []issuance.State{
	issuance.Wanted, issuance.Preflight, issuance.Ordering, issuance.Issued, issuance.Waiting, issuance.Parked,
}

func domainListCommand() *cli.Command {
	return leaf("list", "list the certificates that are obtained",
		"Lists the certificates that the leader obtains and renews: NEXT is the next try, or the renewal. --forecast\n"+
			"says when each that waits for a first certificate will have it under the CA's limits if all goes well.",
		[]cli.Flag{
			configFlag(), formatFlag(),
			&cli.StringFlag{Name: "filter", Usage: "only certificates with `TEXT` in a name"},
			&cli.StringFlag{Name: "state", Usage: "only those in `STATE`: wanted, preflight, ordering, issued, waiting or parked"},
			&cli.StringFlag{Name: "group", Usage: "only those of `GROUP`"},
			&cli.BoolFlag{Name: "forecast", Usage: "say when each will be issued"},
		}, domainList)
}

// domainListing is what `domain list` shows.
type domainListing struct {
	Domains  []agent.DomainStatus `json:"domains"`
	Requests int                  `json:"requests"` // that wait for a leader
	Refused  map[string]string    `json:"refused,omitempty"`
}

func domainList(c *cli.Context) error {
	f := agent.DomainFilter{Match: c.String("filter"), State: issuance.State(c.String("state")), Group: c.String("group")}
	if f.State != "" && !slices.Contains(domainStates, f.State) {
		return usageError{fmt.Errorf("--state %q is not known", f.State), "use wanted, preflight, ordering, issued, waiting or parked"}
	}
	open := console
	if c.Bool("forecast") {
		open = issuingConsole
	}
	con, _, err := open(c)
	if err != nil {
		return err
	}
	list, bad, err := con.Domains(c.Context, f, c.Bool("forecast"))
	if err != nil {
		return err
	}
	l := domainListing{Domains: list}
	if l.Requests, err = con.DomainRequests(c.Context); err != nil {
		return err
	}
	err = l.refuse(bad)
	if c.String("format") == "json" {
		return cmp.Or(printJSON(c.App.Writer, l), err)
	}
	return cmp.Or(domainTable(c.App.Writer, l, c.Bool("forecast"), time.Now()), err)
}

// refuse notes the records that cannot be read, and is the error for them.
func (l *domainListing) refuse(bad map[string]error) error {
	if len(bad) == 0 {
		return nil
	}
	l.Refused = map[string]string{}
	for id, err := range bad {
		l.Refused[id] = err.Error()
	}
	first := slices.Min(slices.Collect(maps.Keys(bad)))
	err := fmt.Errorf("%s of the journal cannot be read: %s: %w", count(len(bad), "record"), first, bad[first])
	return hinted{err, "names that are missing above are not renewed: add them again"}
}

func domainTable(w io.Writer, l domainListing, forecast bool, now time.Time) error {
	header := []any{"NAMES", "STATE", "NEXT", "EXPIRES", "CA", "LAST FAILURE"}
	if forecast {
		header = append(header, "FORECAST")
	}
	t := newTable(w, header...)
	for _, d := range l.Domains {
		row := table.Row{namesOf(d), d.State, until(d.Next, now), "-", cmp.Or(d.CA, "-"), lastFailure(d)}
		if !d.NotAfter.IsZero() {
			row[3] = d.NotAfter.Format(time.DateOnly)
		}
		if forecast {
			row = append(row, until(d.Forecast, now))
		}
		t.AppendRow(row)
	}
	if len(l.Domains) > 0 {
		t.Render()
		if err := printLines(w, ""); err != nil {
			return err
		}
	}
	return printLines(w, domainTotals(l)...)
}

// domainTotals counts the certificates per state, and what waits for a leader.
func domainTotals(l domainListing) []string {
	counts := map[issuance.State]int{}
	for _, d := range l.Domains {
		counts[d.State]++
	}
	var parts []string
	for _, s := range domainStates {
		if counts[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[s], s))
		}
	}
	lines := []string{count(len(l.Domains), "certificate")}
	if len(parts) > 0 {
		lines[0] += ": " + strings.Join(parts, ", ")
	}
	if l.Requests > 0 {
		lines = append(lines, fmt.Sprintf("waiting for a leader to take: %s", count(l.Requests, "request")))
	}
	return lines
}

func namesOf(d agent.DomainStatus) string {
	if len(d.Names) == 1 {
		return d.Names[0]
	}
	return fmt.Sprintf("%s and %d more", d.Names[0], len(d.Names)-1)
}

// until says how long after now t is; "-" for the zero time.
func until(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return in(t, now)
}

// lastFailure is the last failure in a few words.
func lastFailure(d agent.DomainStatus) string {
	if d.Failure == nil {
		return "-"
	}
	const short = 60
	text := []rune(plainText(d.Failure.Detail))
	if len(text) > short {
		text = append(text[:short-3], []rune("...")...)
	}
	return fmt.Sprintf("%s: %s", d.Failure.Class, string(text))
}
