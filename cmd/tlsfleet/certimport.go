package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/importer"
)

func certImportCommand() *cli.Command {
	return withArguments(leaf("import", "bring certificates into the fleet",
		"Reads certificates with their keys from files and folders: PEM, DER, PKCS#12, and the folders of certbot,\n"+
			"lego and acme.sh. Each is checked, sealed and put into Consul for all names in it; nodes serve it at once.\n"+
			"What cannot be served is refused by name, and all others go in. Passwords of PKCS#12 files are asked for,\nor read from a file.",
		append(importFlags(), configFlag(), formatFlag()), certImport), "PATH...", 1, int(^uint(0)>>1))
}

// importFlags say what is imported.
func importFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "force", Usage: "replace also certificates that end later"},
		&cli.BoolFlag{Name: "allow-expired", Usage: "take expired certificates"},
		&cli.BoolFlag{Name: "allow-self-signed", Usage: "take self-signed certificates"},
		&cli.BoolFlag{Name: "allow-no-chain", Usage: "take certificates without their chain"},
		&cli.StringFlag{Name: "password-file", Usage: "password of PKCS#12 files, the first line of `FILE`; - is stdin", TakesFile: true},
	}
}

func importOptions(c *cli.Context) agent.ImportOptions {
	return agent.ImportOptions{
		AllowExpired: c.Bool("allow-expired"), AllowSelfSigned: c.Bool("allow-self-signed"), AllowNoChain: c.Bool("allow-no-chain"), Force: c.Bool("force"),
	}
}

// findCertificates reads what the arguments name.
func findCertificates(c *cli.Context, password passwords) ([]importer.Found, []agent.ImportRefused, error) {
	reading := newCounter(c.App.ErrWriter, "read %d of %d certificates")
	found, refused, err := importer.Find(c.Context, c.Args().Slice(), importer.Options{Password: password, Progress: reading.show})
	reading.end()
	list := make([]agent.ImportRefused, 0, len(refused))
	for _, x := range refused {
		list = append(list, agent.ImportRefused{Path: x.Path, Err: x.Err, Why: x.Err.Error()})
	}
	return found, list, err
}

func certImport(c *cli.Context) error {
	password, err := passwordSource(c)
	if err != nil {
		return err
	}
	con, _, err := console(c)
	if err != nil {
		return err
	}
	found, refused, err := findCertificates(c, password)
	if err != nil {
		return err
	}
	writing := newCounter(c.App.ErrWriter, "imported %d of %d names")
	r, err := con.Import(c.Context, found, importOptions(c), writing.show)
	writing.end()
	r.Refused = append(r.Refused, refused...)
	if printed := printImport(c, r); printed != nil {
		return printed
	}
	if err == nil && len(r.Refused) > 0 {
		err = fmt.Errorf("import certificates: %s", count(len(r.Refused), "refusal"))
	}
	return explainCert(err)
}

func printImport(c *cli.Context, r agent.ImportResult) error {
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, r)
	}
	var replaced, surpassed []string
	for _, x := range r.Replacements {
		replaced = append(replaced, fmt.Sprintf("  %s: %s until %s, was %s %s until %s", x.Before.Name, x.Bundle.String()[:8],
			x.NotAfter.Format(time.DateOnly), x.Before.Source, x.Before.Bundle.String()[:8], x.Before.NotAfter.Format(time.DateOnly)))
	}
	for _, x := range r.Surpassed {
		surpassed = append(surpassed, fmt.Sprintf("  %s for %s: %s is newer", x.Path, briefly(x.Names), strings.Join(x.By, " ")))
	}
	lines := titled("replaced:", replaced)
	lines = append(lines, titled("not used:", surpassed)...)
	total := fmt.Sprintf("imported %s: %s added, %d replaced, %d unchanged", count(r.Certificates, "certificate"), count(r.Added, "name"), r.Replaced, r.Unchanged)
	if r.Epoch > 0 {
		total += fmt.Sprintf("; inventory epoch %d", r.Epoch)
	}
	return cmp.Or(printLines(c.App.ErrWriter, refusals(r)...), printLines(c.App.Writer, append(lines, total)...))
}

// refusals lists what is not imported.
func refusals(r agent.ImportResult) []string {
	var lines []string
	for _, x := range r.Refused {
		line := fmt.Sprintf("refused: %s: %s", x.Path, x.Why)
		if len(x.Names) > 0 {
			line = fmt.Sprintf("refused: %s for %s: %s", x.Path, briefly(x.Names), x.Why)
		}
		lines = append(lines, line)
	}
	return lines
}

// titled is a list with a title, cut for people; nothing if it is empty.
func titled(title string, lines []string) []string {
	if len(lines) == 0 {
		return nil
	}
	return append([]string{title}, most(lines)...)
}

// briefly names the first few.
func briefly(names []string) string {
	const few = 5
	if len(names) <= few {
		return strings.Join(names, " ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], " "), len(names)-few)
}
