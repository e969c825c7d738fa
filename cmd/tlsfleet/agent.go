package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v2"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/config"
)

// stopLimit is how long the agent may take to stop. What it leaves half done
// then is mended at the next start.
const stopLimit = 4500 * time.Millisecond

// gcPercent lets the heap of an agent grow by less than Go's 100 before it is
// collected: the agent is idle nearly always, and nginx needs the memory. GOGC
// in the environment decides instead.
const gcPercent = 25

var errSlowStop = errors.New("not everything stopped in time; the next start mends what was left")

func agentCommand() *cli.Command {
	return leaf("agent", "run the agent beside nginx",
		"Follows the fleet in Consul and keeps this host's nginx on it. SIGHUP and a change of the\nconfiguration file, keyring_file or token_file reload the configuration; SIGTERM stops. nginx is left as it is.",
		[]cli.Flag{configFlag()}, runAgent)
}

func runAgent(c *cli.Context) error {
	cfg, err := load(c)
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	var processors *agent.Processors
	if os.Getenv("GOMAXPROCS") == "" {
		processors = new(agent.Processors)
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	reload := make(chan struct{})
	go forward(c.Context, hup, reload)

	newLog := func(l config.Log) hclog.Logger { return logger(l, c.App.ErrWriter) }
	ended := make(chan error, 1)
	go func() {
		ended <- agent.Supervise(c.Context, c.String("config"), cfg, reload, agent.Options{
			Version: version, Log: newLog(cfg.Log), NewLog: newLog, Processors: processors,
		})
	}()
	select {
	case err := <-ended:
		return startError(err)
	case <-c.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(stopLimit):
		return errSlowStop
	}
}

// startError tells mistakes of configuration from failures.
func startError(err error) error {
	if advice, ok := agent.Misconfigured(err); ok {
		return usageError{err, advice}
	}
	return err
}

func forward(ctx context.Context, from <-chan os.Signal, to chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-from:
		}
		select {
		case <-ctx.Done():
			return
		case to <- struct{}{}:
		}
	}
}
