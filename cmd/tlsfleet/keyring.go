package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent/seal"
)

const defaultKeyring = "/etc/tlsfleet/keyring"

func keyringCommand() *cli.Command {
	return &cli.Command{
		Name: "keyring", Usage: "the keys that seal what is in Consul", Action: group, HideHelpCommand: true, OnUsageError: badUsage,
		Subcommands: []*cli.Command{
			leaf("init", "make a keyring file",
				"Makes a keyring with one fresh key. Copy the file to every node by a way you trust;\nwhoever has it can read the fleet's keys in Consul. A file that exists is never touched.",
				[]cli.Flag{&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Value: defaultKeyring, Usage: "keyring `FILE` to make", TakesFile: true}},
				keyringInit),
		},
	}
}

func keyringInit(c *cli.Context) error {
	path := c.String("file")
	ring, err := seal.Create(path)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.App.Writer, "made %s with key %s, readable by its owner only\n", path, ring.IDs()[0])
	return err
}
