package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
)

func planCommand() *cli.Command {
	command := leaf("plan", "show what this node would do, and do nothing",
		"Compares Consul with what this node has on disk and says for each change what it needs: nothing, files, or\n"+
			"a reload of nginx, and why; of sites it shows what changes in their files. It runs beside the agent or without one, takes no lock and writes nothing. With\n"+
			"--import it plans what `cert import` of these files and folders would do here, with the same flags.",
		append([]cli.Flag{
			configFlag(), formatFlag(),
			&cli.BoolFlag{Name: "all", Usage: "list every change, however many there are, and all lines of the files of sites"},
			&cli.BoolFlag{Name: "import", Usage: "plan the import of the `PATH`s given"},
		}, importFlags()...), showPlan)
	command.ArgsUsage = "[--import PATH...]"
	command.Before = func(c *cli.Context) error {
		switch paths := c.Args().Present(); {
		case c.Bool("import") && !paths:
			return usageError{errors.New("plan --import needs a path"), "give files or folders with certificates, as to cert import"}
		case !c.Bool("import") && paths:
			return usageError{fmt.Errorf("plan takes no argument, got %q", c.Args().First()), "to plan an import: tlsfleet plan --import PATH..."}
		}
		return nil
	}
	return command
}

func showPlan(c *cli.Context) error {
	password, err := passwordSource(c)
	if err != nil {
		return err
	}
	con, _, err := console(c)
	if err != nil {
		return err
	}
	o := agent.PlanOptions{All: c.Bool("all"), Import: c.Bool("import"), ImportOptions: importOptions(c)}
	var refused []agent.ImportRefused
	if o.Import {
		if o.Found, refused, err = findCertificates(c, password); err != nil {
			return err
		}
	}
	p, err := con.Plan(c.Context, o)
	if err != nil && !errors.Is(err, agent.ErrPartial) && !errors.Is(err, agent.ErrBlind) {
		return explainPlan(err)
	}
	if p.Import != nil {
		p.Import.Refused = append(p.Import.Refused, refused...)
		if n := len(p.Import.Refused); err == nil && n > 0 {
			err = fmt.Errorf("plan import: %s", count(n, "refusal"))
		}
	}
	return cmp.Or(printPlan(c, p), explainPlan(err))
}

func explainPlan(err error) error {
	switch {
	case errors.Is(err, agent.ErrNotAllowed):
		return hinted{err, "run it as root: it reads the folder of the agent and nginx's configuration"}
	case errors.Is(err, agent.ErrBlind):
		return hinted{err, "a change may need a reload although it is not shown; run it as root, and check nginx -t"}
	}
	return explainCert(err)
}

func printPlan(c *cli.Context, p agent.NodePlan) error {
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, p)
	}
	if p.Import != nil {
		if err := printLines(c.App.ErrWriter, refusals(*p.Import)...); err != nil {
			return err
		}
	}
	if len(p.Changes) > 0 {
		planTable(c.App.Writer, p)
		if err := printLines(c.App.Writer, planDiffs(p, c.Bool("all"))...); err != nil {
			return err
		}
	}
	return printLines(c.App.Writer, planSum(p)...)
}

func planTable(w io.Writer, p agent.NodePlan) {
	t := newTable(w, "CHANGE", "FROM", "TO", "EFFECT", "REASON")
	for _, x := range p.Changes {
		t.AppendRow(table.Row{x.Name, versionText(x.Subject, x.From, x.Until), versionText(x.Subject, x.To, x.NewEnd), x.Effect, x.Reason})
	}
	t.Render()
}

// versionText shows a bundle by the head of its hash and its end; others as they are.
func versionText(subject, what string, end time.Time) string {
	switch {
	case what == "":
		return "-"
	case subject != agent.PlanName:
		return what
	case end.IsZero():
		return what[:8]
	}
	return fmt.Sprintf("%s until %s", what[:8], end.Format(time.DateOnly))
}

// planDiffs is what changes in files of sites.
func planDiffs(p agent.NodePlan, all bool) []string {
	const few = 40
	var lines []string
	for _, x := range p.Changes {
		if x.Diff == "" {
			continue
		}
		diff := strings.Split(strings.TrimRight(x.Diff, "\n"), "\n")
		if left := len(diff) - few; left > 0 && !all {
			diff = append(diff[:few], fmt.Sprintf("and %s (--all shows them)", count(left, "more line")))
		}
		lines = append(append(lines, ""), diff...)
	}
	return lines
}

// planSum is what it comes to.
func planSum(p agent.NodePlan) []string {
	var lines []string
	for _, x := range []struct {
		n      int
		effect string
	}{{p.Omitted.Reload, "reload"}, {p.Omitted.Files, "files"}, {p.Omitted.Nothing, "nothing"}} {
		if x.n > 0 {
			lines = append(lines, fmt.Sprintf("and %s: %s (--all lists them)", count(x.n, "more change"), x.effect))
		}
	}
	if len(p.Changes) > 0 {
		lines = append(lines, "")
	}
	for _, x := range p.Problems {
		lines = append(lines, fmt.Sprintf("%s: %s", x.Severity, x.Message))
	}
	if p.Pending > 0 {
		lines = append(lines, fmt.Sprintf("%s in Consul come first: `tlsfleet plan` shows them", count(p.Pending, "change")))
	}
	total := p.Total.Reload + p.Total.Files + p.Total.Nothing
	what := fmt.Sprintf("%s, inventory epoch %d of %d", p.Node, p.Followed, p.Wanted)
	if total == 0 {
		return append(lines, what+": nothing to do")
	}
	lines = append(lines, fmt.Sprintf("%s: %s: %d nothing, %d files, %d reload", what, count(total, "change"), p.Total.Nothing, p.Total.Files, p.Total.Reload))
	if p.Reloads == 0 {
		return append(lines, "no reload of nginx")
	}
	line := fmt.Sprintf("%s of nginx for %d of them: %s", count(p.Reloads, "reload"), p.Total.Reload, strings.Join(p.Reasons, "; "))
	if p.Nginx != "running" {
		line += fmt.Sprintf(" (nginx: %s)", p.Nginx)
	}
	return append(lines, line)
}
