package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// firstRing is how long a fleet of agents may take, from their start, to prove
// a ring on every node.
const firstRing = 60 * time.Second

// Agents is one running `tlsfleet agent` per node of a fleet.
type Agents struct {
	Binary  string
	Keyring string   // file
	Configs []string // configuration file of each node's agent
	Procs   []*Process
}

// StartAgents makes a keyring, starts an agent beside each running nginx of
// the fleet and waits until every node has proved the first ring.
func (f *Fleet) StartAgents(ctx context.Context, tb testkit.TB, o AgentOptions) (*Agents, error) {
	binary, err := filepath.Abs(o.Binary)
	if err != nil {
		return nil, fmt.Errorf("find tlsfleet: %w", err)
	}
	if _, err := os.Stat(binary); err != nil {
		return nil, fmt.Errorf("find tlsfleet: %w: run 'make build'", err)
	}
	a := &Agents{Binary: binary, Keyring: filepath.Join(tb.TempDir(), "keyring")}
	if _, err := Run(ctx, nil, binary, "keyring", "init", "--file", a.Keyring); err != nil {
		return nil, err
	}
	for _, n := range f.Nodes {
		config, err := n.configureAgent(tb, o, a.Keyring)
		if err != nil {
			return nil, fmt.Errorf("configure agent of %s: %w", n.Name, err)
		}
		a.Configs = append(a.Configs, config)
		a.Procs = append(a.Procs, a.start(tb, n, config))
	}
	return a, a.awaitProved(ctx, len(f.Nodes))
}

func (a *Agents) start(tb testkit.TB, n *Node, config string) *Process {
	return Start(tb, "agent of "+n.Name, filepath.Join(n.Nginx.Dir, "agent.log"), nil, a.Binary, "agent", "--config", config)
}

// Restart starts the agent of the ith node again after it was killed.
func (f *Fleet) Restart(tb testkit.TB, a *Agents, i int) {
	a.Procs[i] = a.start(tb, f.Nodes[i], a.Configs[i])
}

// Rotate runs `tlsfleet rotate-ticket --wait`, which returns once every node
// has proved the new ring.
func (a *Agents) Rotate(ctx context.Context) error {
	if _, err := Run(ctx, nil, a.Binary, "rotate-ticket", "--wait", "--config", a.Configs[0]); err != nil {
		return errors.Join(err, a.ended())
	}
	return nil
}

// Import runs `tlsfleet cert import`, tells each line of its progress and
// returns what it says at the end.
func (a *Agents) Import(ctx context.Context, tell func(line string), path string) (string, error) {
	said, err := RunTelling(ctx, nil, tell, a.Binary, "cert", "import", path, "--config", a.Configs[0])
	if err != nil {
		return said, errors.Join(err, a.ended())
	}
	return said, nil
}

// Domain runs a `tlsfleet domain` command and returns what it says.
func (a *Agents) Domain(ctx context.Context, args ...string) (string, error) {
	return a.command(ctx, append([]string{"domain"}, args...))
}

// Site runs a `tlsfleet site` command and returns what it says.
func (a *Agents) Site(ctx context.Context, args ...string) (string, error) {
	return a.command(ctx, append([]string{"site"}, args...))
}

func (a *Agents) command(ctx context.Context, args []string) (string, error) {
	argv := append([]string{a.Binary}, args...)
	said, err := Run(ctx, nil, append(argv, "--config", a.Configs[0])...)
	if err != nil {
		return said, errors.Join(err, a.ended())
	}
	return said, nil
}

// ended is why an agent does not run any more; nil if all do.
func (a *Agents) ended() error {
	for _, p := range a.Procs {
		if err := p.Ended(); err != nil {
			return err
		}
	}
	return nil
}

// awaitProved waits until size nodes have proved the ring in force.
func (a *Agents) awaitProved(ctx context.Context, size int) error {
	ctx, cancel := context.WithTimeout(ctx, firstRing)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := a.Status(ctx)
		if err == nil && s.Epoch > 0 && s.Serving == size && s.Proved == size {
			return nil
		}
		if err := a.ended(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the first ring on %d nodes, proved on %d: %w", size, s.Proved, errors.Join(err, context.Cause(ctx)))
		case <-tick.C:
		}
	}
}
