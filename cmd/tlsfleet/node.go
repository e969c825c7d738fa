package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/seal"
)

func nodeCommand() *cli.Command {
	return &cli.Command{
		Name: "node", Usage: "nodes that get the keyring through Consul, wrapped for each", Action: group, HideHelpCommand: true, OnUsageError: badUsage,
		Subcommands: []*cli.Command{
			leaf("init", "on a node: make its identity and print the recipient",
				"Makes the node's identity (keyring.identity_file), which never leaves the host, unless it is there, and prints its public part\nfor `tlsfleet node admit`. An agent with keyring.from = \"consul\" does so at its first start.",
				[]cli.Flag{configFlag()}, nodeInit),
			leaf("operator", "on the operator's host: print the key that nodes trust",
				"Prints what nodes need as keyring.operator, and makes the operator's key (keyring.operator_key_file) unless it is there.\nKeep that file off the nodes: whoever has it and can write to Consul can give nodes a keyring.",
				[]cli.Flag{configFlag()}, nodeOperator),
			withArguments(leaf("admit", "give a node the keyring",
				"tlsfleet node admit NODE RECIPIENT wraps the keyring of this host for the node, signs it and writes it to Consul. Take the\nrecipient from the node by a way you trust: whoever has its secret part reads everything of the fleet.",
				[]cli.Flag{configFlag()}, nodeAdmit), "NODE RECIPIENT", 2, 2),
			withArguments(leaf("revoke", "take the keyring from a node, and replace all that it knew of it",
				"Takes a node's keyring out of Consul, rotates the keyring without it, and replaces all ticket keys, so that the node opens\nnothing that is written from then on. Take it out of service first, and its Consul token away. What it has read it\nkeeps: the certificates that it served have to be replaced. Run it again if it stops: it goes on.",
				[]cli.Flag{
					configFlag(), formatFlag(),
					&cli.DurationFlag{Name: "timeout", Value: time.Minute, Usage: "how long to wait for nodes without any news of them"},
				}, nodeRevoke), "NODE", 1, 1),
			leaf("list", "show the nodes that get the keyring through Consul", "Shows them with the ids of the keys that were wrapped for them and that they report.",
				[]cli.Flag{configFlag(), formatFlag()}, nodeList),
		},
	}
}

func nodeInit(c *cli.Context) error {
	cfg, err := load(c)
	if err != nil {
		return err
	}
	id, _, err := agent.NodeIdentity(cfg)
	if err != nil {
		return startError(err)
	}
	return printLines(c.App.Writer, id.Recipient(), "on the operator's host: tlsfleet node admit "+cfg.Node+" "+id.Recipient())
}

func nodeOperator(c *cli.Context) error {
	cfg, err := load(c)
	if err != nil {
		return err
	}
	o, made, err := seal.EnsureOperator(cfg.Keyring.OperatorKeyFile)
	if err != nil {
		return explainNode(err)
	}
	if made {
		if err := printLines(c.App.ErrWriter, "made "+cfg.Keyring.OperatorKeyFile+": keep a copy of it, and of what node admit writes beside it, where you keep the keyring's"); err != nil {
			return err
		}
	}
	return printLines(c.App.Writer, o.String())
}

func nodeAdmit(c *cli.Context) error {
	k, err := keyrings(c)
	if err != nil {
		return err
	}
	node := c.Args().Get(0)
	done, err := k.Admit(c.Context, node, c.Args().Get(1))
	if err != nil {
		return explainNode(err)
	}
	lines := []string{
		"admitted " + node + ". Its configuration has to have",
		fmt.Sprintf("keyring {\n  from     = \"consul\"\n  operator = %q\n}", done.Operator.String()),
	}
	if done.Before != "" {
		lines = append(lines, "it had another identity before, "+done.Before+", which gets nothing newer: if somebody else may have that, tlsfleet keyring rotate")
	}
	return printLines(c.App.Writer, lines...)
}

func nodeRevoke(c *cli.Context) error {
	if c.Duration("timeout") <= 0 {
		return usageError{fmt.Errorf("--timeout %s is not a time to wait", c.Duration("timeout")), "give a positive duration such as 1m"}
	}
	k, err := keyrings(c)
	if err != nil {
		return err
	}
	live := newProgress(c.App.ErrWriter)
	tickets := func(p agent.Progress) { live.show(p) }
	q := agent.RevokeRequest{
		Node: c.Args().First(), By: operator(), Tickets: tickets,
		Keyring: agent.KeyringRequest{Patience: c.Duration("timeout"), Progress: func(p agent.KeyringProgress) { live.line(keyringLine(p)) }},
	}
	ctx, cancel := context.WithTimeout(c.Context, 20*c.Duration("timeout"))
	defer cancel()
	done, err := k.Revoke(ctx, q)
	live.end()
	if err != nil {
		return explainNode(explainKeyring(err, agent.KeyringRotated{Key: done.Key}, k.Path()))
	}
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, done)
	}
	return printLines(c.App.Writer,
		fmt.Sprintf("revoked %s: everything is sealed with key %s, and the ticket keys are new (epoch %d)", done.Node, done.Key, done.Epoch),
		"what it has read it keeps: replace the certificates that it served (tlsfleet domain renew, tlsfleet cert import), delete its Consul token,",
		"and if it could lead, rotate the leaders' keyring (tlsfleet keyring rotate --leader)")
}

func explainNode(err error) error {
	switch {
	case errors.Is(err, agent.ErrServing):
		return hinted{err, "stop its nginx and its agent, delete its Consul token, and deregister it: consul services deregister -id=..., or consul maint -enable"}
	case errors.Is(err, agent.ErrNoOperator):
		return hinted{err, "run it on the host where nodes are admitted; if there is none yet, tlsfleet node operator makes the key"}
	case errors.Is(err, agent.ErrHandedOut):
		return hinted{err, "run it on the operator's host, where the keyring is a file"}
	case errors.Is(err, agent.ErrRevoking):
		return hinted{err, "end that first, with tlsfleet node revoke"}
	case errors.Is(err, agent.ErrAdmittedAs):
		return hinted{err, "each node has an identity of its own: remove identity_file on one of them, and admit it by what tlsfleet node init prints then"}
	case errors.Is(err, agent.ErrRevoked):
		return hinted{err, "if the host is sound again, remove its identity_file there, and admit it by what tlsfleet node init prints then"}
	case errors.Is(err, seal.ErrIdentity):
		return usageError{err, ""}
	}
	return err
}

func nodeList(c *cli.Context) error {
	k, err := keyrings(c)
	if err != nil {
		return err
	}
	list, err := k.Admitted(c.Context)
	if err != nil {
		return explainNode(err)
	}
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, list)
	}
	tab := newTable(c.App.Writer, "NODE", "WRAPPED", "HAS", "RECIPIENT")
	for _, n := range list {
		what := strings.Join(n.Keys, " ")
		if n.Err != "" {
			what = n.Err
		}
		tab.AppendRow(table.Row{n.Node, what, orDash(n.Has), n.Recipient})
	}
	tab.Render()
	return nil
}
