package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent/status"
	"github.com/tlsfleet/tlsfleet/handlers"
)

func eventCommand() *cli.Command {
	return leaf("handle-event", "hand a Consul watch's events to the agent",
		"The handler of a Consul watch of type event: reads its JSON on stdin, gives it to the agent on\nthis host and returns at once. The agent acts on each event once, whoever brings it.",
		[]cli.Flag{
			configFlag(),
			&cli.StringFlag{Name: "socket", Usage: "the agent's `SOCKET`; default: as configured", TakesFile: true},
		}, handleEvent)
}

func handleEvent(c *cli.Context) error {
	input, err := io.ReadAll(io.LimitReader(c.App.Reader, handlers.MaxWatchInput+1))
	if err != nil {
		return fmt.Errorf("read stdin: %w", err)
	}
	events, err := handlers.ParseWatch(input)
	if err != nil {
		return err
	}
	socket := c.String("socket")
	if socket == "" {
		cfg, err := load(c)
		if err != nil {
			return err
		}
		socket = cfg.Socket
	}
	// An empty list, with which every watch starts, may come before the agent.
	if err := status.NewClient(socket).HandOver(c.Context, input); err != nil && len(events) > 0 {
		return hinted{fmt.Errorf("hand over %d events: %w", len(events), err), "is the agent running, and may this user write to its socket (socket_group)?"}
	}
	return nil
}
