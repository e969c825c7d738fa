package e2e

import (
	"cmp"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// serverName is the name that the nginx of every fleet serves.
const serverName = "a.test"

// settle is how long a fleet may take for what it should do at once. It is
// only reached by a test that fails.
const settle = 90 * time.Second

// Settings are attributes of tlsfleet.hcl by "block.attribute", or
// "attribute" at the top: string, bool, []string or a map of strings.
type Settings map[string]any

// FleetOptions says how a fleet is made. The zero value is three nodes on a
// `consul agent -dev` of their own.
type FleetOptions struct {
	Name     string // empty: one of its own
	Nodes    int
	Consul   *testkit.ConsulServer // nil: one of its own
	Settings Settings              // of every node, over the fast defaults
	Node     func(i int) Settings  // of node i alone, over those; may be nil
	Nginx    func(i int, o *testkit.NginxOptions)
	Env      []string // of agents and commands
	Operator Settings // nil: commands run with the first node's configuration, else with one of their own
	Idle     bool     // start neither nginx nor agents
}

// Fleet is nodes with nginx and agents on one Consul.
type Fleet struct {
	Name   string
	Nodes  []*Node
	Consul *testkit.ConsulServer
	Roots  *x509.CertPool
	Dir    string // keyring and whatever the test puts there

	keyring  string
	operator string // configuration of commands; empty: the first node's
	env      []string

	mu      sync.Mutex
	outputs []Result // of every command so far
}

// Node is one nginx with its agent.
type Node struct {
	Name     string
	Nginx    *testkit.Nginx
	RunDir   string // on tmpfs
	StateDir string
	Config   string   // path of tlsfleet.hcl
	Settings Settings // what it is written from
	Agent    *Child   // nil before the first start

	fleet *Fleet
}

// tlsfleet builds the binary once per run, with the race detector, into a
// folder that is removed with the process.
// TLSFLEET_BINARY names one that is there already.
var tlsfleet = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("TLSFLEET_BINARY"); path != "" {
		return path, nil
	}
	path := filepath.Join(binDir, "tlsfleet")
	cmd := exec.Command("go", "build", "-race", "-o", path, "./cmd/tlsfleet")
	cmd.Dir = ".." // the product's own module
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build tlsfleet: %w\n%s", err, out)
	}
	return path, nil
})

var binDir string

// TestMain holds the folder for the binary.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "tlsfleet-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "make folder for tlsfleet:", err)
		os.Exit(1)
	}
	binDir = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "remove folder of tlsfleet:", err)
	}
	os.Exit(code)
}

// binary is the path of a tlsfleet built from this tree.
func binary(t *testing.T) string {
	t.Helper()
	path, err := tlsfleet()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// NewFleet makes a fleet, starts nginx and the agent of each node and waits
// until all have proved the first ring, epoch 1. With Idle it starts nothing.
func NewFleet(t *testing.T, o FleetOptions) *Fleet {
	t.Helper()
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	if o.Consul == nil {
		o.Consul = testkit.Consul(t, testkit.ConsulDev(), testkit.ConsulSessionTTLMin(time.Second))
	}
	f := &Fleet{Name: cmp.Or(o.Name, testkit.FleetName(t)), Consul: o.Consul, Roots: x509.NewCertPool(), Dir: t.TempDir()}
	// The race detector would hold every exit up for a second.
	if err := os.Mkdir(f.tempDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	f.env = slices.Concat([]string{"GORACE=atexit_sleep_ms=10", "TMPDIR=" + f.tempDir()}, f.Consul.Env(), o.Env)
	f.keyring = filepath.Join(f.Dir, "keyring")
	runToEnd(t, f.env, "", binary(t), "keyring", "init", "--file", f.keyring).Want(t, 0)
	cert, key := testkit.SelfSigned(t, serverName)
	if !f.Roots.AppendCertsFromPEM(cert) {
		t.Fatal("read certificate: none in it")
	}
	if o.Operator != nil {
		f.operator = filepath.Join(f.Dir, "operator.hcl")
		writeConfig(t, f.operator, with(Settings{"fleet": f.Name, "keyring_file": f.keyring}, o.Settings, o.Operator))
	}
	for i := range o.Nodes {
		f.Nodes = append(f.Nodes, f.newNode(t, i, o, cert, key))
	}
	if o.Idle {
		return f
	}
	for _, n := range f.Nodes {
		n.Nginx.Start(t)
	}
	for _, n := range f.Nodes {
		n.StartAgent(t)
	}
	f.AwaitProved(t, 1)
	return f
}

// tempDir is where agents and commands put temporary files.
func (f *Fleet) tempDir() string { return filepath.Join(f.Dir, "tmp") }

func (f *Fleet) newNode(t *testing.T, i int, o FleetOptions, cert, key []byte) *Node {
	t.Helper()
	no := testkit.NginxOptions{Names: []string{serverName}, CertPEM: cert, KeyPEM: key, HTTP: "ssl_session_timeout 1h;"}
	if o.Nginx != nil {
		o.Nginx(i, &no)
	}
	ng := testkit.NewNginx(t, no)
	n := &Node{
		Name: fmt.Sprintf("node%d", i+1), Nginx: ng, RunDir: testkit.TmpfsDir(t), StateDir: ng.StateDir,
		Config: filepath.Join(ng.Dir, "tlsfleet.hcl"), fleet: f,
	}
	n.Settings = Settings{
		"fleet": f.Name, "node": n.Name, "keyring_file": f.keyring, "state_dir": n.StateDir, "run_dir": n.RunDir,
		"consul.service_ttl":     "10s",
		"nginx.binary":           ng.Binary,
		"nginx.config_file":      ng.ConfigFile,
		"nginx.pid_file":         ng.PIDFile,
		"nginx.default_servers":  []string{ng.TLSAddrs[0] + " ssl"},
		"nginx.release_address":  net.JoinHostPort(ng.Address, strconv.Itoa(testkit.FreePort(t, ng.Address))),
		"nginx.verify_timeout":   "15s",
		"nginx.old_worker_limit": "2s",
		"nginx.reprove_every":    "5s",
		"ticket.rotate_every":    "12h",
		"ticket.session_timeout": "1h",
		"reload.splay":           "0s",
		"reload.quiet":           "10ms",
		"reload.max_quiet":       "100ms",
		"reload.min_interval":    "0s",
		"leader.ttl":             "10s",
		"http.address":           "", // all nodes are on one host
		"log.level":              "debug",
	}
	maps.Copy(n.Settings, o.Settings)
	if o.Node != nil {
		maps.Copy(n.Settings, o.Node(i))
	}
	n.WriteConfig(t)
	return n
}

// WriteConfig writes tlsfleet.hcl from the settings, by rename, as editors do.
func (n *Node) WriteConfig(t *testing.T) {
	t.Helper()
	writeConfig(t, n.Config, n.Settings)
}

func writeConfig(t *testing.T, path string, s Settings) {
	t.Helper()
	text, err := s.hcl()
	if err == nil {
		err = os.WriteFile(path+".new", []byte(text), 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		t.Fatalf("write %s: %v", path, err)
	}
}

// hcl is the settings as a configuration file.
func (s Settings) hcl() (string, error) {
	blocks := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(s)) {
		value, err := json.Marshal(s[name]) // also HCL, for these types
		if err != nil {
			return "", err
		}
		block, attr, nested := strings.Cut(name, ".")
		if !nested {
			block, attr = "", name
		}
		blocks[block] = append(blocks[block], fmt.Sprintf("%s = %s\n", attr, value))
	}
	var text strings.Builder
	for _, b := range slices.Sorted(maps.Keys(blocks)) {
		body := strings.Join(blocks[b], "")
		if b != "" {
			body = b + " {\n" + body + "}\n"
		}
		text.WriteString(body)
	}
	return text.String(), nil
}

// StartAgent starts the node's agent, again after Agent.Stop or Agent.Kill. A
// data race that it reports fails the test.
func (n *Node) StartAgent(t *testing.T) {
	t.Helper()
	n.Agent = startChild(t, "agent of "+n.Name, filepath.Join(n.Nginx.Dir, "agent.log"), n.fleet.env, binary(t), "agent", "--config", n.Config)
	t.Cleanup(func() {
		if strings.Contains(n.Agent.Log(), "WARNING: DATA RACE") {
			t.Errorf("agent of %s has a data race", n.Name)
		}
	})
}

// ServiceID is the id of the node's service in Consul.
func (n *Node) ServiceID() string { return "tlsfleet-" + n.fleet.Name + "-" + n.Name }

// Reloads is how often nginx was told to reload since it started.
func (n *Node) Reloads() int { return strings.Count(n.Nginx.ErrorLog(), "signal 1 (SIGHUP) received") }

// KeyFiles is the content of the ticket key files on tmpfs, by file name.
func (n *Node) KeyFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(n.RunDir, "tickets", "*.key"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			continue // removed meanwhile
		}
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(file)] = text
	}
	return out
}
