package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

func domainCommand() *cli.Command {
	return &cli.Command{
		Name: "domain", Usage: "the certificates that the leader obtains and renews", Action: group, HideHelpCommand: true, OnUsageError: badUsage,
		Subcommands: []*cli.Command{
			domainAddCommand(), domainListCommand(), domainShowCommand(), domainRetryCommand(), domainRenewCommand(), domainRemoveCommand(), domainNewAccountCommand(),
		},
	}
}

// withNames is leaf for a command that is given names, as arguments or in a list.
func withNames(command *cli.Command) *cli.Command {
	command.ArgsUsage = "NAME..."
	command.Before = nil
	command.Flags = append(command.Flags, configFlag(), formatFlag(),
		&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "names in `FILE`, one a line; - is stdin", TakesFile: true})
	return command
}

// domainEntries are the names on the command line, each by itself, and those in
// lists, by line. "-" among the names is a list on stdin.
func domainEntries(c *cli.Context) ([]domainEntry, error) {
	var all []domainEntry
	for _, arg := range c.Args().Slice() {
		if arg != "-" {
			all = append(all, domainEntry{names: []string{arg}})
			continue
		}
		more, err := domainFile(c, arg)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	if file := c.String("file"); file != "" {
		more, err := domainFile(c, file)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	if len(all) == 0 {
		return nil, usageError{fmt.Errorf("domain %s has no names", c.Command.Name), "give them as arguments, or in a list with --file FILE or - for stdin"}
	}
	return all, nil
}

// domainFile reads a list of names; "-" is stdin.
func domainFile(c *cli.Context, file string) ([]domainEntry, error) {
	if file == "-" {
		return waitFor(c.Context, func() ([]domainEntry, error) { return readDomains("stdin", c.App.Reader) })
	}
	f, err := os.Open(file) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, usageError{fmt.Errorf("read names: %w", err), "give a file with one name a line"}
	}
	defer f.Close() //nolint:errcheck // only read
	return readDomains(file, f)
}

func readDomains(from string, in io.Reader) ([]domainEntry, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxDomainList+1))
	if err != nil {
		return nil, fmt.Errorf("read names from %s: %w", from, err)
	}
	if len(text) > maxDomainList {
		return nil, usageError{fmt.Errorf("read names from %s: it has more than %d bytes", from, maxDomainList), "split the list"}
	}
	return parseDomains(from, string(text)), nil
}

// allNames are the names of all entries.
func allNames(entries []domainEntry) []string {
	var names []string
	for _, e := range entries {
		names = append(names, e.names...)
	}
	return names
}

// issuingConsole is console for what only a leader with a CA carries out.
func issuingConsole(c *cli.Context) (*agent.Console, config.Config, error) {
	con, cfg, err := console(c)
	if err == nil && len(cfg.CAs) == 0 {
		err = usageError{fmt.Errorf("%s has no ca block, so no leader obtains certificates", c.String("config")),
			`add one on every host: ca "letsencrypt" { directory = "https://acme-v02.api.letsencrypt.org/directory" }`}
	}
	return con, cfg, err
}

// explainDomain gives advice and tells mistakes of typing from failures. entries
// are what a refusal is about, if it is about a list.
func explainDomain(c *cli.Context, entries []domainEntry, err error) error {
	var refused *agent.RefusedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return explainRefused(c, entries, refused)
	case errors.Is(err, fleet.ErrDomain), errors.Is(err, issuance.ErrItem):
		return usageError{err, "give host names such as www.example.org"}
	case errors.Is(err, agent.ErrNoLeader), errors.Is(err, store.ErrBacklog):
		return hinted{err, "what waits is done once an agent leads (`tlsfleet status`) whose configuration has a ca block: without one a leader obtains nothing"}
	case errors.Is(err, agent.ErrUnknownDomain):
		return hinted{err, "`tlsfleet domain list` shows the names; nothing was done"}
	case errors.Is(err, agent.ErrTakenDomain):
		return hinted{err, "`tlsfleet domain show NAME` shows which; all others are added"}
	}
	return err
}

// explainRefused names what in a list cannot be used, and where it is.
func explainRefused(c *cli.Context, entries []domainEntry, e *agent.RefusedError) error {
	hint := "nothing was done; give host names such as www.example.org"
	if errors.Is(e, issuance.ErrProfile) {
		hint = "nothing was done; ask for several certificates, one line of a list for each, or leave the --profile out; if the CA takes more, say so by profile_names in its ca block"
	}
	if len(entries) != e.Of {
		return usageError{e, hint} // several lines are one wish
	}
	var lines []string
	for _, w := range e.Wishes {
		lines = append(lines, "refused: "+entries[w.Index].where+w.Err.Error())
	}
	if len(lines) == 1 {
		return usageError{fmt.Errorf("%s%w", entries[e.Wishes[0].Index].where, e.Wishes[0].Err), hint}
	}
	if err := printLines(c.App.ErrWriter, most(lines)...); err != nil {
		return err
	}
	return usageError{fmt.Errorf("%d of %d cannot be used", len(e.Wishes), e.Of), hint}
}
