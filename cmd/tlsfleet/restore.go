package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
)

func restoreCommand() *cli.Command {
	return leaf("restore", "make this host ready for nginx at boot",
		"Runs before nginx starts: ticket keys live on tmpfs and are gone after a reboot. Takes the ring\nfrom Consul if it answers in time, else the sealed local copy, else lets nginx use keys of its own.",
		[]cli.Flag{
			configFlag(), formatFlag(),
			&cli.DurationFlag{Name: "wait", Value: 3 * time.Second, Usage: "how long to wait for Consul"},
		}, restore)
}

func restore(c *cli.Context) error {
	cfg, err := load(c)
	if err != nil {
		return err
	}
	if c.Duration("wait") <= 0 {
		return usageError{fmt.Errorf("--wait %s is not a time to wait", c.Duration("wait")), "give a positive duration such as 3s"}
	}
	res, err := agent.Restore(c.Context, cfg, c.Duration("wait"), agent.Options{Version: version, Log: logger(cfg.Log, c.App.ErrWriter)})
	if err != nil {
		return startError(err)
	}
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, res)
	}
	_, err = fmt.Fprintf(c.App.Writer, "ready: mode %s, ring epoch %d, from %s\n", res.Mode, res.Epoch, res.Source)
	if err == nil && res.Note != "" {
		_, err = fmt.Fprintf(c.App.ErrWriter, "note: %s\n", res.Note)
	}
	return err
}
