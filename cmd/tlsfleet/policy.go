package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
)

func policyCommand() *cli.Command {
	role := func(name, usage, description string, flags ...cli.Flag) *cli.Command {
		flags = append(flags,
			&cli.StringFlag{Name: "fleet", Usage: "`NAME` of the fleet; without it that of the configuration"},
			&cli.StringFlag{Name: "format", Value: "hcl", Usage: "`hcl` or json, both as Consul takes them", Action: policyFormat},
			configFlag())
		return leaf(name, usage, description, flags, func(c *cli.Context) error { return printPolicy(c, name) })
	}
	node := func() []cli.Flag {
		return []cli.Flag{
			&cli.StringFlag{Name: "node", Usage: "`NAME` of the node; without it that of the configuration"},
			&cli.StringFlag{Name: "consul-node", Usage: "`NAME` of the node's Consul agent, where it is another"},
			&cli.StringSliceFlag{Name: "service", Usage: "`NAME` of a service that sites have backends from; may be repeated"},
		}
	}
	return &cli.Command{
		Name: "policy", Usage: "print the Consul ACL rules that a role needs", Action: group, HideHelpCommand: true, OnUsageError: badUsage,
		Subcommands: []*cli.Command{
			role("agent", "for the agent of a node that never leads",
				"What one node's agent needs to follow the fleet, and nothing else: it writes its own report only,\nand ends no sessions but those of its own Consul node. Set leader { eligible = false } there.", node()...),
			role("leader", "for the agent of a node that may lead",
				"What one node's agent needs that also rotates the keys and obtains certificates: the fleet's records\nand the ACME account. It ends no sessions but those of its own Consul node.", node()...),
			role("operator", "for the command line",
				"What rotate-ticket, cert, domain, site, keyring, node, ticket and status need: no ACME account, no sessions,\nno events. backup and restore-fleet need what a node that may lead does."),
		},
	}
}

func policyFormat(_ *cli.Context, v string) error {
	if v != "hcl" && v != "json" {
		return usageError{fmt.Errorf("--format %q is not known", v), "use --format hcl or --format json"}
	}
	return nil
}

func printPolicy(c *cli.Context, role string) error {
	fleet, node := c.String("fleet"), c.String("node")
	if fleet == "" || node == "" && role != "operator" {
		cfg, err := load(c)
		if err != nil {
			return usageError{err, "or say it all here: --fleet NAME" + map[bool]string{true: " --node NAME"}[role != "operator"]}
		}
		if fleet == "" {
			fleet = cfg.Fleet
		}
		if node == "" {
			node = cfg.Node
		}
	}
	p, err := agent.PolicyFor(role, fleet, node, c.String("consul-node"), c.StringSlice("service")...)
	if err != nil {
		return usageError{err, "start names with a letter or digit and keep to those and '.', '_', '-'"}
	}
	if c.String("format") == "json" {
		if _, err := c.App.Writer.Write(p.JSON); err != nil {
			return err
		}
		return printLines(c.App.ErrWriter, apply(p)...)
	}
	lines := []string{"# Consul ACL rules: role " + role + " of the fleet " + fleet}
	for _, l := range apply(p) {
		lines = append(lines, "# "+l)
	}
	return printLines(c.App.Writer, append(lines, strings.TrimSuffix(p.HCL, "\n"))...)
}

// apply says what to do with a policy.
func apply(p agent.Policy) []string {
	return []string{
		"save this as FILE, then: consul acl policy create -name " + p.Name + " -rules @FILE",
		"and: consul acl token create -description " + p.Name + " -policy-name " + p.Name,
	}
}
