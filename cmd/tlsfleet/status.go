package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func statusCommand() *cli.Command {
	return leaf("status", "show the nodes and what they have proved",
		"Reads the whole fleet from Consul: each node with the ring epoch it applied and proved, its last\nreload and its problems, and the leader; how far the sites are and the copies in\narchives, and who reloads now.",
		[]cli.Flag{configFlag(), formatFlag()}, showStatus)
}

func showStatus(c *cli.Context) error {
	con, _, err := console(c)
	if err != nil {
		return err
	}
	s, err := con.Status(c.Context)
	if err != nil {
		return err
	}
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, s)
	}
	now := time.Now()
	if err := printLines(c.App.Writer, headline(s, now)...); err != nil {
		return err
	}
	if len(s.Nodes) > 0 {
		nodeTable(c.App.Writer, s, now)
	}
	return printLines(c.App.Writer, problemLines(s, now)...)
}

func headline(s agent.FleetStatus, now time.Time) []string {
	leader := s.Leader
	if leader == "" {
		leader = "none"
	}
	ring := "no ring"
	if s.Epoch > 0 {
		ring = fmt.Sprintf("ring epoch %d (%s by %s, %s), next rotation %s", s.Epoch, s.Cause, s.By, ago(s.Changed, now), in(s.Due, now))
	}
	lines := []string{
		fmt.Sprintf("fleet %s, leader %s, policy %s", s.Fleet, leader, s.Policy),
		fmt.Sprintf("%s, proved by %d of %d nodes in service", ring, s.Proved, s.Serving),
	}
	if s.Inventory > 0 {
		lines = append(lines, fmt.Sprintf("inventory epoch %d, %d names, followed by %d of %d nodes", s.Inventory, s.Names, following(s), len(s.Nodes)))
	}
	if v := s.Sites; v != nil && v.Error != "" {
		lines = append(lines, "sites: "+plainText(v.Error))
	} else if v != nil {
		lines = append(lines, "sites "+plainText(v.Text()))
	}
	if v := s.Slots; v != nil && len(v.Holders) > 0 {
		lines = append(lines, "reloading now: "+strings.Join(v.Holders, " ")+ofSlots(v.Slots))
	}
	if offered, resumed := resumptions(s); offered > 0 {
		lines = append(lines, fmt.Sprintf("%d of %d tickets resumed at another node", resumed, offered))
	}
	for _, a := range s.Archives {
		lines = append(lines, archiveLine(a, now))
	}
	if len(s.Skipped) > 0 {
		lines = append(lines, "the last change passed over: "+strings.Join(s.Skipped, " "))
	}
	if s.RingErr != "" {
		lines = append(lines, "ring: "+s.RingErr)
	}
	return append(lines, "")
}

// archiveLine is how far the copy in an archive is.
func archiveLine(a agent.ArchiveStatus, now time.Time) string {
	if a.Behind == 0 {
		return fmt.Sprintf("archive %s: all is copied, seen %s", a.Name, ago(a.Copied, now))
	}
	line := fmt.Sprintf("archive %s: behind for %s, %s to copy", a.Name, brief(time.Duration(a.Behind)*time.Second), count(a.Pending, "object"))
	if a.Err != "" {
		line += ": " + plainText(a.Err)
	}
	return line
}

// ofSlots is how many may reload at once.
func ofSlots(n int) string {
	if n == 0 {
		return ""
	}
	return ", in " + count(n, "slot")
}

// following counts the nodes that have all certificates of the inventory.
func following(s agent.FleetStatus) int {
	n := 0
	for _, node := range s.Nodes {
		if node.Report != nil && node.Report.Inventory == s.Inventory {
			n++
		}
	}
	return n
}

// resumptions adds up what the nodes found out about each other.
func resumptions(s agent.FleetStatus) (offered, resumed int) {
	for _, n := range s.Nodes {
		if n.Report != nil {
			offered += n.Report.Resumption.Offered
			resumed += n.Report.Resumption.Resumed
		}
	}
	return offered, resumed
}

func nodeTable(w io.Writer, s agent.FleetStatus, now time.Time) {
	t := newTable(w, "NODE", "ROLE", "STATE", "APPLIED", "PROVED", "RELEASE", "CERTS", "SITES", "LAST RELOAD", "NGINX", "REPORT")
	for _, n := range s.Nodes {
		role := "follower"
		if n.Leader {
			role = "leader"
		}
		if n.Report == nil {
			t.AppendRow(table.Row{n.Node, "-", state(n), "-", "-", "-", "-", "-", "-", "-", "none"})
			continue
		}
		r := n.Report
		t.AppendRow(table.Row{n.Node, role, state(n), r.Applied, r.Proved, r.Release, r.Names, r.Sites, reload(r.Reload, now), r.NginxVersion, ago(r.At, now)})
	}
	t.Render()
}

func state(n agent.NodeStatus) string {
	switch {
	case n.Drained:
		return "drained"
	case n.Proved:
		return "proved"
	case !n.Alive:
		return "silent"
	default:
		return "waiting"
	}
}

func reload(r fleet.Reload, now time.Time) string {
	if r.Result == fleet.ReloadNone {
		return "none"
	}
	return fmt.Sprintf("%s %s", r.Result, ago(r.At, now))
}

// problemLines lists what is wrong, node by node, with the advice.
func problemLines(s agent.FleetStatus, now time.Time) []string {
	var lines []string
	for _, n := range s.Nodes {
		if n.BadErr != "" {
			lines = append(lines, fmt.Sprintf("%s: alarm: its report is refused: %s", n.Node, n.BadErr))
		}
		if n.Report == nil {
			if n.Waiting {
				lines = append(lines, fmt.Sprintf("%s: %s", n.Node, n.Why))
			}
			continue
		}
		for _, p := range n.Report.Problems {
			lines = append(lines, fmt.Sprintf("%s: %s: %s (%s)", n.Node, p.Severity, p.Message, ago(p.Since, now)))
			if p.Hint != "" {
				lines = append(lines, "  hint: "+p.Hint)
			}
		}
	}
	if len(lines) > 0 {
		lines = append([]string{""}, lines...)
	}
	return lines
}
