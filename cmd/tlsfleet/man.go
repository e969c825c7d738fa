package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

// manCommand writes the manual pages that the packages ship, so that they say
// what --help says.
func manCommand() *cli.Command {
	return &cli.Command{
		Name: "man", Usage: "write manual pages", Hidden: true, Action: group, HideHelpCommand: true, OnUsageError: badUsage,
		Subcommands: []*cli.Command{
			leaf("program", "tlsfleet(8), on standard output", "", nil, func(c *cli.Context) error {
				return writeText(c.App.Writer, programPage(c.App))
			}),
			leaf("configuration", "tlsfleet.hcl(5), from the commented configuration on standard input", "", nil, func(c *cli.Context) error {
				text, err := io.ReadAll(c.App.Reader)
				if err != nil {
					return fmt.Errorf("read stdin: %w", err)
				}
				return writeText(c.App.Writer, configurationPage(string(text)))
			}),
		},
	}
}

func writeText(w io.Writer, text string) error {
	_, err := io.WriteString(w, text)
	return err
}

// page builds a manual page in roff (man(7)).
type page struct{ text string }

func (p *page) add(format string, args ...any) { p.text += fmt.Sprintf(format, args...) }

func newPage(title, section string) *page {
	p := &page{}
	p.add(".TH %s %s \"\" \"tlsfleet %s\" \"tlsfleet\"\n.nh\n.ad l\n", title, section, roff(version))
	return p
}

// roff escapes text for a line of its own.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return text
}

func (p *page) heading(text string) { p.add(".SH %s\n", roff(strings.ToUpper(text))) }

func (p *page) paragraph(text string) {
	p.add(".PP\n")
	p.lines(text)
}

func (p *page) lines(text string) {
	for line := range strings.Lines(text) {
		p.add("%s\n", roff(strings.TrimRight(line, "\n")))
	}
}

// entry is a term with what it means.
func (p *page) entry(term, text string) {
	p.add(".TP\n\\fB%s\\fR\n", roff(term))
	p.lines(text)
}

// verbatim keeps line ends and spaces.
func (p *page) verbatim(text string) {
	p.add(".PP\n.nf\n")
	p.lines(text)
	p.add(".fi\n")
}

// programPage is tlsfleet(8).
func programPage(app *cli.App) string {
	p := newPage("TLSFLEET", "8")
	p.heading("name")
	p.lines(app.Name + " - " + app.Usage)
	p.heading("synopsis")
	p.lines(app.Name + " COMMAND [OPTION...] [ARGUMENT...]")
	p.heading("description")
	p.lines("An agent beside each nginx follows the fleet's state in Consul, writes it to disk, reloads nginx only when\n" +
		"nginx needs it, and proves by TLS handshakes that nginx does what it was told.\n" +
		"Options may stand before and after arguments.")
	p.heading("commands")
	p.commands(app.Name, app.Commands)
	p.heading("exit status")
	p.entry("0", "Done, or nothing to do.")
	p.entry("1", "Failed.")
	p.entry("2", "A mistake on the command line or in the configuration.")
	p.heading("files")
	p.entry(defaultConfig, "The configuration, see tlsfleet.hcl(5).")
	p.entry(defaultKeyring, "The keys that seal what is in Consul, the same on all nodes.")
	p.entry(leaderKeyring, "The same for what hosts alone need that may lead.")
	p.entry("/etc/tlsfleet/operator.key", "On the operator's host: signs the keyrings that nodes get through Consul; beside it, with the name of a fleet at its end, which nodes were admitted.")
	p.entry("/var/lib/tlsfleet", "What survives a reboot: certificates, rendered configuration of nginx, a sealed copy of the ring.")
	p.entry("/run/tlsfleet", "Ticket keys in clear for nginx, and the agent's socket.")
	p.heading("environment")
	p.entry("TLSFLEET_CONFIG", "Another configuration file.")
	p.entry("CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN_FILE, ...", "Consul's own variables, for what the configuration does not give.")
	p.heading("signals")
	p.paragraph("SIGHUP lets the agent read its configuration again, SIGTERM ends it. nginx is left as it is.")
	p.heading("see also")
	p.lines("tlsfleet.hcl(5), nginx(8), consul(1)")
	return p.text
}

// commands describes commands and what is below them.
func (p *page) commands(above string, commands []*cli.Command) {
	for _, c := range commands {
		name := above + " " + c.Name
		if c.Hidden {
			continue
		}
		if len(c.Subcommands) > 0 {
			p.commands(name, c.Subcommands)
			continue
		}
		p.add(".SS %s\n", roff(strings.TrimSpace(name+" "+c.ArgsUsage)))
		p.lines(sentence(c.Usage))
		if c.Description != "" {
			p.paragraph(c.Description)
		}
		for _, f := range c.Flags {
			p.flag(f)
		}
	}
}

// flag says what --help says of a flag.
func (p *page) flag(f cli.Flag) {
	term, text, found := strings.Cut(strings.TrimSpace(f.String()), "\t")
	if !found {
		term, text = f.Names()[0], ""
	}
	p.entry(term, strings.TrimSpace(text))
}

// sentence makes one of a line of help.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// configurationPage is tlsfleet.hcl(5): the commented file is its own
// description.
func configurationPage(example string) string {
	p := newPage("TLSFLEET.HCL", "5")
	p.heading("name")
	p.lines("tlsfleet.hcl - configuration of the tlsfleet agent")
	p.heading("description")
	p.lines("The file is in HCL. This is the one that comes with tlsfleet, with every setting, its meaning and its default:")
	p.verbatim(example)
	p.heading("see also")
	p.lines("tlsfleet(8)")
	return p.text
}
