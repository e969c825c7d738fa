package main

import (
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/site"
)

func siteListCommand() *cli.Command {
	return leaf("list", "list the sites of the fleet",
		"Lists all sites with their names, sockets and backends. A site whose record cannot be read is listed with\nthe reason; setting it again replaces the record.",
		[]cli.Flag{configFlag(), formatFlag()}, siteList)
}

func siteList(c *cli.Context) error {
	con, _, err := console(c)
	if err != nil {
		return err
	}
	list, err := con.Sites(c.Context)
	if err != nil {
		return explainSite(err)
	}
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, list)
	}
	t := newTable(c.App.Writer, "ID", "NAMES", "LISTEN", "BACKENDS", "TLS", "EPOCH")
	for _, s := range list {
		t.AppendRow(siteRow(s))
	}
	if len(list) > 0 {
		t.Render()
	}
	return printLines(c.App.Writer, "", count(len(list), "site"))
}

func siteRow(s agent.SiteStatus) table.Row {
	if s.Site == nil {
		return table.Row{s.ID, "cannot be read: " + plainText(s.Problem), "-", "-", "-", s.Epoch}
	}
	listen := "the node's"
	if len(s.Site.Listen) > 0 {
		listen = strings.Join(s.Site.Listen, " ")
	}
	return table.Row{s.ID, andMore(s.Site.ServerNames), listen, backendsText(s.Site.Backends), s.Site.TLS.Policy, s.Epoch}
}

// andMore is the first of some names and how many follow.
func andMore(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return fmt.Sprintf("%s and %d more", names[0], len(names)-1)
}

func backendsText(b site.Backends) string {
	if b.Service == "" {
		return fmt.Sprintf("%d fixed, %s", len(b.Addresses), b.Method)
	}
	text := "service " + b.Service
	if b.Tag != "" {
		text += " with " + b.Tag
	}
	if b.Datacenter != "" {
		text += " in " + b.Datacenter
	}
	return text + ", " + string(b.Method)
}

func siteShowCommand() *cli.Command {
	return withArguments(leaf("show", "show a site as a file",
		"Prints a site with all its settings, as HCL or, with --format json, as JSON: what it prints can be changed\nand given to site set.",
		[]cli.Flag{configFlag(), formatFlag()}, siteShow), "ID", 1, 1)
}

func siteShow(c *cli.Context) error {
	con, _, err := console(c)
	if err != nil {
		return err
	}
	s, err := con.Site(c.Context, c.Args().First())
	if err != nil {
		return explainSite(err)
	}
	if s.Site == nil {
		return hinted{fmt.Errorf("site %s cannot be read: %s", s.ID, s.Problem), "set it again, or remove it"}
	}
	write := site.FileHCL
	if c.String("format") == "json" {
		write = site.FileJSON
	}
	text, err := write([]site.Site{*s.Site})
	if err != nil {
		return err
	}
	return printLines(c.App.Writer, strings.TrimSuffix(string(text), "\n"))
}
