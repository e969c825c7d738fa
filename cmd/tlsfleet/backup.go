package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

func backupCommand() *cli.Command {
	return withArguments(leaf("backup", "copy the fleet's certificates and sites out of Consul into one file",
		"Writes certificates with their names, sites, the ACME account and the journal of issuance into one file, readable\n"+
			"by its owner only, everything sealed as it is in Consul: without the keyring it is of no use, and without\n"+
			"the file neither is the keyring. Ticket keys are not in it: they live for hours. FILE - is standard output.\n"+
			"Run it with the configuration of a host that may lead.",
		[]cli.Flag{
			configFlag(), formatFlag(),
			&cli.StringFlag{Name: "from", Usage: "take it from the `ARCHIVE` of this name in the configuration, not from Consul"},
		}, backup), "FILE", 1, 1)
}

// copies opens what backup and restore-fleet work with.
func copies(c *cli.Context) (*agent.Copies, error) {
	cfg, err := load(c)
	if err != nil {
		return nil, err
	}
	log := hclog.New(&hclog.LoggerOptions{Name: "tlsfleet", Level: hclog.Error, Output: c.App.ErrWriter})
	x, err := agent.OpenCopies(cfg, log)
	if err != nil {
		return nil, startError(err)
	}
	return x, nil
}

func backup(c *cli.Context) error {
	x, err := copies(c)
	if err != nil {
		return err
	}
	reading := newCounter(c.App.ErrWriter, "read %d of %d objects")
	write := func(w io.Writer) (agent.CopyInfo, error) {
		info, err := x.Backup(c.Context, w, c.String("from"), reading.show)
		reading.end()
		return info, err
	}
	path := c.Args().First()
	if path == "-" {
		if isTerminal(c.App.Writer) {
			return usageError{errors.New("a backup is not written to a terminal"), "name a file, or send the output to one"}
		}
		_, err := write(c.App.Writer)
		return explainCopy(err)
	}
	info, err := toFile(path, write)
	if err != nil {
		return explainCopy(err)
	}
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, info)
	}
	return printLines(c.App.Writer, fmt.Sprintf("wrote %s: %s", path, contents(info)))
}

// toFile writes a file whole, or leaves what is there.
func toFile(path string, write func(io.Writer) (agent.CopyInfo, error)) (info agent.CopyInfo, err error) {
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(0o600), renameio.IgnoreUmask())
	if err != nil {
		return info, fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, f.Cleanup()) }()
	if info, err = write(f); err != nil {
		return info, err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return info, fmt.Errorf("write %s: %w", path, err)
	}
	return info, nil
}

func contents(i agent.CopyInfo) string {
	text := fmt.Sprintf("fleet %s at %s, inventory epoch %d with %s, %s obtained by ACME, %s", i.Fleet, i.At.UTC().Format(time.RFC3339), i.Epoch, count(i.Names, "name"), count(i.Items, "certificate"), count(i.Sites, "site"))
	if i.Lost > 0 {
		text += fmt.Sprintf("; %s missing because Consul had lost them", count(i.Lost, "certificate"))
	}
	return text
}

func restoreFleetCommand() *cli.Command {
	return withArguments(leaf("restore-fleet", "put a copy of the fleet back into Consul",
		"Puts certificates, sites, the ACME account and the journal of issuance back into a Consul that has lost them, from\n"+
			"a file that `tlsfleet backup` wrote or from an archive. The whole copy is checked first: one that is torn,\n"+
			"damaged or of another fleet is refused, and nothing is written. Nodes go on with what they serve, and no CA\n"+
			"is asked for anything. Run it with the configuration of a host that may lead.",
		[]cli.Flag{
			configFlag(), formatFlag(),
			&cli.StringFlag{Name: "from", Usage: "the `ARCHIVE` of this name in the configuration, instead of a file"},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"},
			&cli.BoolFlag{Name: "force", Usage: "replace a fleet in Consul that is not empty or newer"},
		}, restoreFleet), "[FILE]", 0, 1)
}

func restoreFleet(c *cli.Context) error {
	if c.Args().Present() == (c.String("from") != "") {
		return usageError{errors.New("restore-fleet needs a FILE or --from ARCHIVE"), "give one of the two"}
	}
	x, err := copies(c)
	if err != nil {
		return err
	}
	copied, err := readFleet(c, x)
	if err != nil {
		return explainCopy(err)
	}
	err = copied.CheckVacant(c.Context)
	if taken := errors.Is(err, store.ErrOccupied) || errors.Is(err, store.ErrNewer); err != nil && (!taken || !c.Bool("force")) {
		return explainCopy(err)
	}
	if !c.Bool("yes") {
		yes, err := ask(c, []string{contents(copied.Info)}, "Put it back into Consul?")
		if err == nil && !yes {
			err = printLines(c.App.ErrWriter, "nothing was written")
		}
		if err != nil || !yes {
			return err
		}
	}
	writing := newCounter(c.App.ErrWriter, "wrote %d of %d records")
	done, err := copied.Restore(c.Context, operator(), writing.show)
	writing.end()
	if errors.Is(err, agent.ErrSitesLeft) {
		return hinted{err, fmt.Sprintf("let the token do key_prefix \"tlsfleet/%s/sites/\" { policy = \"write\" } as well, and run this again with --force, before anything else changes: it puts the whole copy back", copied.Info.Fleet)}
	}
	if err != nil {
		return explainCopy(err)
	}
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, done)
	}
	return printLines(c.App.Writer, fmt.Sprintf("restored %s, %s obtained by ACME and %s; inventory epoch %d",
		count(done.Names, "name"), count(done.Items, "certificate"), count(done.Sites, "site"), done.Epoch))
}

func readFleet(c *cli.Context, x *agent.Copies) (_ *agent.FleetCopy, err error) {
	reading := newCounter(c.App.ErrWriter, "checked %d of %d objects")
	defer reading.end()
	if from := c.String("from"); from != "" {
		return x.ReadArchive(c.Context, from, reading.show)
	}
	f, err := os.Open(c.Args().First())
	if err != nil {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return x.ReadFile(c.Context, f, reading.show)
}

// explainCopy adds what to do.
func explainCopy(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNewer), errors.Is(err, store.ErrOccupied):
		return hinted{err, "nothing was written; --force replaces what is in Consul with the copy, which names since then are not in"}
	case errors.Is(err, agent.ErrCopy):
		return hinted{err, "nothing was written; use another copy, or the keyrings (keyring_file, leader.keyring_file) that this one was sealed with"}
	case errors.Is(err, agent.ErrNoArchive):
		return usageError{err, "name an archive block of the configuration"}
	case errors.Is(err, store.ErrDenied):
		return hinted{err, "run it with the configuration and token of a host that may lead: tlsfleet policy leader"}
	case errors.Is(err, store.ErrConflict):
		return hinted{err, "see who else changes the fleet, then run it again, with --force if some of it was written"}
	}
	return err
}
