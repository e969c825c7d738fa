package main

import (
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/doctor"
)

func doctorCommand() *cli.Command {
	return leaf("doctor", "look for what breaks a promise on this host",
		"Checks this host, its nginx, Consul, the token and the fleet, and says what to do. Changes nothing.\nAs root it sees more; what cannot be looked at is skipped, never passed. Exit code 1 on a failure.",
		[]cli.Flag{configFlag(), formatFlag()}, examine)
}

func examine(c *cli.Context) error {
	list := agent.Examine(c.Context, c.String("config"), "/")
	var err error
	if c.String("format") == "json" {
		err = printJSON(c.App.Writer, list)
	} else {
		err = printFindings(c.App.Writer, list)
	}
	if n := doctor.Count(list, doctor.Failure); n > 0 && err == nil {
		err = fmt.Errorf("doctor: %s", count(n, "failure"))
	}
	return err
}

func printFindings(w io.Writer, list []doctor.Finding) error {
	t := newTable(w, "LEVEL", "CHECK", "FOUND")
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 3, WidthMax: 120, WidthMaxEnforcer: text.WrapSoft}})
	var mends []string
	for _, f := range list {
		t.AppendRow(table.Row{f.Level, f.ID, f.Text})
		if f.Mend != "" {
			mends = append(mends, fmt.Sprintf("%s: %s", f.ID, f.Mend))
		}
	}
	t.Render()
	if len(mends) > 0 {
		mends = append([]string{"", "What to do:"}, mends...)
	}
	sum := fmt.Sprintf("%s, %s, %d skipped, %d ok", count(doctor.Count(list, doctor.Failure), "failure"),
		count(doctor.Count(list, doctor.Warning), "warning"), doctor.Count(list, doctor.Skipped), doctor.Count(list, doctor.OK))
	return printLines(w, append(mends, "", sum)...)
}
