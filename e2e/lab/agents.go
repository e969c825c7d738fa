package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// firstRing is how long a fleet of agents may take, from their start, to prove
// a ring on every node.
const firstRing = 60 * time.Second

// FleetName is the name of every fleet of the lab in its Consul.
const FleetName = "lab"

// AgentOptions says how the agents of a fleet are configured. Everything else
// is tlsfleet's default.
type AgentOptions struct {
	Binary          string // tlsfleet
	Consul          string // "address:port" of its HTTP API
	Splay           time.Duration
	MinInterval     time.Duration
	RotateEvery     time.Duration // 0: the default
	TicketLife      time.Duration // how long clients keep a ticket; 0: as long as the fleet's nginx lets them
	AcceptEventKeys bool
	Certificates    bool          // serve the inventory too, any name in it, on the socket of ServerName
	CA              *CA           // obtain certificates there; nil: nowhere
	LeaderTTL       time.Duration // 0: the default
}

// CA is where the leader obtains certificates.
type CA struct {
	Directory string // URL
	RootFile  string // of its own HTTPS
	HTTPPort  int    // where it looks for challenges, and where each node answers them
	Resolver  string // "address:port" of the DNS server for names
	Unlimited bool   // the CA has no limits
	Parallel  int    // certificates worked on at a time; 0: the default
}

// Agents is one running `tlsfleet agent` per node of a fleet.
type Agents struct {
	Binary  string
	Keyring string   // file
	Configs []string // configuration file of each node's agent
	Procs   []*Process
}

var agentConfig = template.Must(template.New("tlsfleet.hcl").Parse(`fleet        = "{{.Fleet}}"
node         = "{{.Node.Name}}"
address      = "{{.Node.Nginx.Address}}"
keyring_file = "{{.Keyring}}"
state_dir    = "{{.Node.Nginx.StateDir}}"
run_dir      = "{{.RunDir}}"
consul {
  address = "{{.O.Consul}}"
}
nginx {
  binary          = "{{.Node.Nginx.Binary}}"
  config_file     = "{{.Node.Nginx.ConfigFile}}"
  pid_file        = "{{.Node.Nginx.PIDFile}}"
  release_address = "{{.Release}}"
}
ticket {
{{- if .O.TicketLife}}
  session_timeout   = "{{.O.TicketLife}}"
  apply_lag         = "10s"
{{- else}}
  session_timeout   = "1h"
{{- end}}
  accept_event_keys = {{.O.AcceptEventKeys}}
{{- if .O.RotateEvery}}
  rotate_every      = "{{.O.RotateEvery}}"
{{- end}}
}
{{- if .Include}}
certificates {
  mode           = "variable"
  names          = "open"
  listen         = ["{{index .Node.Nginx.TLSAddrs 0}} ssl"]
  server_include = "{{.Include}}"
}
{{- end}}
{{- with .O.CA}}
ca "pebble" {
  directory = "{{.Directory}}"
  root_file = "{{.RootFile}}"
{{- if .Unlimited}}
  order_limit   = "none"
  domain_limit  = "none"
  set_limit     = "none"
  failure_limit = "none"
{{- end}}
}
acme {
  http_listen = ["{{$.Node.Nginx.Address}}:{{.HTTPPort}}"]
  http_port   = {{.HTTPPort}}
  resolver    = "{{.Resolver}}"
{{- if .Parallel}}
  parallel    = {{.Parallel}}
{{- end}}
}
{{- end}}
{{- if .O.LeaderTTL}}
leader {
  ttl = "{{.O.LeaderTTL}}"
}
{{- end}}
reload {
  splay        = "{{.O.Splay}}"
  min_interval = "{{.O.MinInterval}}"
}
`))

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

// configureAgent writes the configuration of the node's agent and returns its
// path.
func (n *Node) configureAgent(tb testkit.TB, o AgentOptions, keyring string) (string, error) {
	include := ""
	if o.Certificates {
		include = filepath.Join(n.Nginx.Dir, "servers.conf")
		if err := os.WriteFile(include, []byte("location / {\n\treturn 200 \"$ssl_server_name on "+n.Name+"\\n\";\n}\n"), 0o600); err != nil {
			return "", err
		}
	}
	var text strings.Builder
	if err := agentConfig.Execute(&text, map[string]any{
		"Fleet": FleetName, "Node": n, "O": o, "Keyring": keyring, "Include": include, "RunDir": testkit.TmpfsDir(tb),
		"Release": net.JoinHostPort(n.Nginx.Address, strconv.Itoa(testkit.FreePort(tb, n.Nginx.Address))),
	}); err != nil {
		return "", err
	}
	file := filepath.Join(n.Nginx.Dir, "tlsfleet.hcl")
	return file, os.WriteFile(file, []byte(text.String()), 0o600)
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
	argv := append([]string{a.Binary, "domain"}, args...)
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
