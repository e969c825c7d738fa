package main

import (
	"cmp"
	"fmt"
	"time"

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
			leaf("rotate", "replace the key that seals, while the fleet runs",
				"Goes through a rotation of the keyring in the file that the configuration names, and through it again from\n"+
					"where it stopped: adds a new key, which opens only; when every node has it, lets it seal; when every node seals\n"+
					"with it, has all records in Consul sealed anew, with their contents, so that no nginx reloads; then takes the\n"+
					"old key away. Each step changes the file on this host: bring it to the other hosts, by a way you trust, and run\n"+
					"this again, or while it waits; nodes that were admitted (`tlsfleet node`) get it through Consul. It names the\n"+
					"nodes that it waits for. Nothing is lost by stopping it anywhere.",
				[]cli.Flag{
					configFlag(), formatFlag(),
					&cli.BoolFlag{Name: "leader", Usage: "the keyring of the hosts that may lead, leader.keyring_file"},
					&cli.DurationFlag{Name: "timeout", Value: 30 * time.Second, Usage: "how long to wait for nodes without any news of them"},
					&cli.BoolFlag{Name: "force", Usage: "go on although nodes lack the key: they can read NOTHING new of the fleet until they have the file,\nneither ticket keys nor certificates; and although copies outside Consul still need the old key"},
				}, keyringRotate),
			leaf("list", "show the keys by their ids, who has them and what is sealed with them",
				"Shows which key seals, how many records in Consul are sealed with each, and which nodes lack it. Never shows a key.",
				[]cli.Flag{
					configFlag(), formatFlag(),
					&cli.BoolFlag{Name: "leader", Usage: "the keyring of the hosts that may lead, leader.keyring_file"},
				}, keyringList),
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
