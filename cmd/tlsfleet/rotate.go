package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
)

// maxKeyFile is the largest key file in bytes that is read.
const maxKeyFile = 8 << 10

func rotateCommand() *cli.Command {
	return leaf("rotate-ticket", "rotate the fleet's session ticket keys",
		"Makes the next key current, once every node in service has proved by handshake that it holds it,\n"+
			"so that no resumption is lost. With --key-file a key made outside is handed out first and made\n"+
			"current once every node holds it. With --emergency every key is replaced at once: tickets handed\nout before are worthless afterwards.",
		[]cli.Flag{
			configFlag(),
			formatFlag(),
			&cli.BoolFlag{Name: "wait", Usage: "wait until every node has proved the result"},
			&cli.BoolFlag{Name: "emergency", Usage: "replace every key at once; waits for the proofs"},
			&cli.StringFlag{Name: "key-file", Usage: "adopt the key in `FILE`: 48 or 80 bytes, raw or in base64; - is stdin", TakesFile: true},
			&cli.DurationFlag{Name: "timeout", Value: 5 * time.Minute, Usage: "how long to wait"},
		}, rotate)
}

func rotate(c *cli.Context) error {
	q := agent.RotateRequest{By: operator(), Emergency: c.Bool("emergency"), Wait: c.Bool("wait")}
	if err := checkTimeout(c); err != nil {
		return err
	}
	if file := c.String("key-file"); file != "" {
		if q.Emergency {
			return usageError{errors.New("--emergency and --key-file exclude each other"), "an emergency makes fresh keys"}
		}
		key, err := readKey(file, c.App.Reader)
		if err != nil {
			return usageError{err: err}
		}
		q.Key = key
	}
	con, _, err := console(c)
	if err != nil {
		return err
	}
	live := newProgress(c.App.ErrWriter)
	q.Progress = live.show
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	ring, err := con.Rotate(ctx, q)
	live.end()
	if err != nil {
		return explainRotate(err)
	}
	return printRotated(c, ring, q)
}

func checkTimeout(c *cli.Context) error {
	if c.Duration("timeout") <= 0 {
		return usageError{fmt.Errorf("--timeout %s is not a time to wait", c.Duration("timeout")), "give a positive duration such as 5m"}
	}
	return nil
}

func readKey(file string, stdin io.Reader) (fleet.Secret, error) {
	in := stdin
	if file != "-" {
		f, err := os.Open(file) //nolint:gosec // the operator names the file
		if err != nil {
			return fleet.Secret{}, fmt.Errorf("read key file: %w", err)
		}
		defer f.Close() //nolint:errcheck // only read
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxKeyFile))
	if err != nil {
		return fleet.Secret{}, fmt.Errorf("read key file %s: %w", file, err)
	}
	key, err := ticket.DecodeKeyFile(data)
	if err != nil {
		return fleet.Secret{}, fmt.Errorf("read key file %s: %w", file, err)
	}
	return key, nil
}

func explainRotate(err error) error {
	switch {
	case errors.Is(err, agent.ErrHeld):
		return hinted{err, "mend the nodes named, take them out of service (consul maint), wait with --wait, or replace all keys with --emergency"}
	case errors.Is(err, agent.ErrUnproved):
		return hinted{err, "the ring is changed; `tlsfleet status` shows when the nodes named have proved it"}
	case errors.Is(err, agent.ErrWentBack):
		return hinted{err, "wait until a leader has written the newer ring again (`tlsfleet status`); if none holds it, replace all keys with --emergency"}
	case errors.Is(err, agent.ErrRaced):
		return hinted{err, "look at `tlsfleet ticket show`, and run this again if another rotation is still wanted"}
	}
	return err
}

func printRotated(c *cli.Context, r fleet.Ring, q agent.RotateRequest) error {
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, map[string]any{
			"epoch": r.Epoch, "cause": r.Cause, "current": r.Current.Name(), "next": r.Next.Name(),
			"skipped": r.Skipped, "proved": q.Wait || q.Emergency,
		})
	}
	text := fmt.Sprintf("ring epoch %d (%s): current %s, next %s\n", r.Epoch, r.Cause, r.Current.Name(), r.Next.Name())
	if len(r.Skipped) > 0 {
		text += fmt.Sprintf("passed over nodes that had not proved the ring before: %v\n", r.Skipped)
	}
	if q.Wait || q.Emergency {
		text += "proved by every node in service\n"
	}
	_, err := io.WriteString(c.App.Writer, text)
	return err
}
