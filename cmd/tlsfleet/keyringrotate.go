package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// keyrings opens the keyring that the command is about.
func keyrings(c *cli.Context) (*agent.Keyrings, error) {
	cfg, err := load(c)
	if err != nil {
		return nil, err
	}
	log := hclog.New(&hclog.LoggerOptions{Name: "tlsfleet", Level: hclog.Error, Output: c.App.ErrWriter})
	k, err := agent.OpenKeyrings(cfg, c.Bool("leader"), log)
	if errors.Is(err, agent.ErrNoLeaderKeyring) {
		return nil, usageError{err, "run it on a host that may lead, or without --leader"}
	}
	if err != nil {
		return nil, startError(err)
	}
	return k, nil
}

func keyringRotate(c *cli.Context) error {
	if c.Duration("timeout") <= 0 {
		return usageError{fmt.Errorf("--timeout %s is not a time to wait", c.Duration("timeout")), "give a positive duration such as 30s"}
	}
	k, err := keyrings(c)
	if err != nil {
		return err
	}
	live := newProgress(c.App.ErrWriter)
	done, err := k.Rotate(c.Context, agent.KeyringRequest{
		Force: c.Bool("force"), Patience: c.Duration("timeout"), Progress: func(p agent.KeyringProgress) { live.line(keyringLine(p)) },
	})
	live.end()
	if err != nil {
		return explainKeyring(err, done, k.Path())
	}
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, done)
	}
	text := fmt.Sprintf("key %s seals everything; every node in service has it and no other\n", done.Key)
	if len(done.Passed) > 0 {
		text = fmt.Sprintf("key %s seals everything; passed over: %s. Copy %s there, they can read nothing new until then\n",
			done.Key, strings.Join(done.Passed, " "), k.Path())
	}
	if len(done.Retired) > 0 {
		text += fmt.Sprintf("backup files from before need %s: keep a copy of the old keyring for as long as you keep them\n", strings.Join(done.Retired, " "))
	}
	_, err = io.WriteString(c.App.Writer, text)
	return err
}

func keyringLine(p agent.KeyringProgress) string {
	line := "waiting until " + p.Step
	if p.Total > 0 {
		line += fmt.Sprintf(": %d of %d records", p.Seen, p.Total)
	}
	if len(p.Lacks) > 0 {
		line += ": " + handlers.DescribeKeys(p.Lacks)
	}
	return line
}

func explainKeyring(err error, done agent.KeyringRotated, path string) error {
	switch {
	case errors.Is(err, agent.ErrKeyringHeld):
		return hinted{err, fmt.Sprintf("copy %s to the nodes named and run this again, it goes on with key %s; for those that get it through Consul "+
			"see tlsfleet node list; a node that is gone: consul maint, or deregister it", path, done.Key)}
	case errors.Is(err, agent.ErrResealing):
		return hinted{err, "see that an agent leads and what it reports (`tlsfleet status`), then run this again: it goes on from here"}
	}
	return explainNode(startError(err))
}

func keyringList(c *cli.Context) error {
	k, err := keyrings(c)
	if err != nil {
		return err
	}
	live := newProgress(c.App.ErrWriter)
	show := func(seen, total int) { live.line(fmt.Sprintf("%d of %d records", seen, total)) }
	if !live.live {
		show = nil
	}
	s, err := k.List(c.Context, show)
	live.end()
	if err != nil {
		return startError(err)
	}
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, s)
	}
	tab := newTable(c.App.Writer, "KEY", "IN "+s.File, "RECORDS", "SEALS ON", "LACKING ON")
	for _, u := range s.Keys {
		role := u.Role
		if role == "" {
			role = "-"
		}
		tab.AppendRow(table.Row{u.ID, role, u.Records, orDash(u.Seals), orDash(u.Lacking)})
	}
	tab.Render()
	return printLines(c.App.Writer, keyringNotes(s)...)
}

func orDash(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, " ")
}

func keyringNotes(s agent.KeyringStatus) []string {
	var lines []string
	for _, n := range s.Nodes {
		switch {
		case !n.InService:
			lines = append(lines, n.Node+" is in maintenance: give it the keyring before it comes back")
		case len(n.Keys) == 0:
			lines = append(lines, n.Node+" does not report its keys")
		}
		if len(n.StaleCopies) > 0 {
			lines = append(lines, fmt.Sprintf("%s has copies on disk that are sealed with %s", n.Node, strings.Join(n.StaleCopies, " ")))
		}
	}
	if s.To != "" {
		lines = append(lines, "a rotation to "+s.To+" is under way: tlsfleet keyring rotate goes on with it")
	}
	if g := s.Sealing; g != nil {
		if !g.Done {
			lines = append(lines, fmt.Sprintf("the leader seals records anew with %s: %d of %d", g.Key, g.Seen, g.Total))
		}
		if g.Bad > 0 {
			lines = append(lines, fmt.Sprintf("the leader cannot open %d records, which its log names", g.Bad))
		}
		if len(g.Behind) > 0 {
			lines = append(lines, "copies outside Consul that have records under another key: "+strings.Join(g.Behind, " "))
		}
	}
	return lines
}
