package main

import (
	"cmp"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent/seal"
)

// Where keyrings are by default.
const (
	defaultKeyring = "/etc/tlsfleet/keyring"
	leaderKeyring  = "/etc/tlsfleet/leader.keyring"
)

func keyringCommand() *cli.Command {
	return &cli.Command{
		Name: "keyring", Usage: "the keys that seal what is in Consul", Action: group, HideHelpCommand: true, OnUsageError: badUsage,
		Subcommands: []*cli.Command{
			leaf("init", "make a keyring file",
				"Makes a keyring with one fresh key. Copy the file to every node by a way you trust;\nwhoever has it can read the fleet's keys in Consul. With --leader it is for the hosts that may lead only,\nand seals the ACME account key. A file that exists is never touched.",
				[]cli.Flag{
					&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "keyring `FILE` to make; default: " + defaultKeyring + ", or with --leader " + leaderKeyring, TakesFile: true},
					&cli.BoolFlag{Name: "leader", Usage: "make one for the hosts that may lead: leader.keyring_file in the configuration"},
				},
				keyringInit),
		},
	}
}

func keyringInit(c *cli.Context) error {
	path := defaultKeyring
	if c.Bool("leader") {
		path = leaderKeyring
	}
	path = cmp.Or(c.String("file"), path)
	ring, err := seal.Create(path)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.App.Writer, "made %s with key %s, readable by its owner only\n", path, ring.IDs()[0])
	return err
}
