package main

import (
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
)

func ticketCommand() *cli.Command {
	return &cli.Command{
		Name: "ticket", Usage: "the session ticket keys", Action: group, HideHelpCommand: true, OnUsageError: badUsage,
		Subcommands: []*cli.Command{
			leaf("show", "show the keys' names, roles and ages",
				"Shows the ring in force. Key bytes are never shown.",
				[]cli.Flag{configFlag(), formatFlag()}, ticketShow),
		},
	}
}

func ticketShow(c *cli.Context) error {
	con, _, err := console(c)
	if err != nil {
		return err
	}
	t, err := con.Ticket(c.Context)
	if err != nil {
		return err
	}
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, t)
	}
	now := time.Now()
	tab := newTable(c.App.Writer, "ROLE", "KEY NAME", "CIPHER", "ORIGIN", "BORN", "SEALS SINCE", "SEALED UNTIL")
	for _, k := range t.Keys {
		tab.AppendRow(table.Row{k.Role, k.Name, fmt.Sprintf("AES-%d", k.Bits), k.Origin, ago(k.Born, now), ago(k.Promoted, now), ago(k.Retired, now)})
	}
	tab.Render()
	return printLines(c.App.Writer, ticketNotes(t, now)...)
}

func ticketNotes(t agent.TicketStatus, now time.Time) []string {
	lines := []string{
		"",
		fmt.Sprintf("fleet %s, ring epoch %d, made %s by %s (%s)", t.Fleet, t.Epoch, ago(t.Changed, now), t.By, t.Cause),
		fmt.Sprintf("%d previous keys are kept; no key stays in the ring longer than %s while rotations run on schedule, and in a draining nginx worker until it exits (worker_shutdown_timeout)", t.Keep, t.LifeBound),
	}
	if t.Promote {
		lines = append(lines, "next was adopted and becomes current once every node has proved this epoch")
	}
	return lines
}
