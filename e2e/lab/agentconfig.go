package lab

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

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
http {
  address = "" # all nodes are on one host
}
reload {
  splay        = "{{.O.Splay}}"
  min_interval = "{{.O.MinInterval}}"
}
`))

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
