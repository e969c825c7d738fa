package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// CLI runs tlsfleet with the operator's configuration, or the first node's if
// there is none.
func (f *Fleet) CLI(t *testing.T, args ...string) Result {
	t.Helper()
	if f.operator == "" {
		return f.Nodes[0].CLI(t, args...)
	}
	return f.run(t, f.operator, "", args...)
}

// CLI runs tlsfleet with this node's configuration. It may be called from any
// goroutine.
func (n *Node) CLI(t *testing.T, args ...string) Result {
	t.Helper()
	return n.CLIWithInput(t, "", args...)
}

// CLIWithInput is CLI with something on standard input.
func (n *Node) CLIWithInput(t *testing.T, stdin string, args ...string) Result {
	t.Helper()
	return n.fleet.run(t, n.Config, stdin, args...)
}

func (f *Fleet) run(t *testing.T, config, stdin string, args ...string) Result {
	r := runToEnd(t, append([]string{"TLSFLEET_CONFIG=" + config}, f.env...), stdin, append([]string{binary(t)}, args...)...)
	f.keep(r)
	return r
}

// ConsulCLI runs the consul binary against the fleet's Consul, with its
// management token.
func (f *Fleet) ConsulCLI(t *testing.T, args ...string) Result {
	t.Helper()
	return runToEnd(t, f.env, "", append([]string{testkit.ConsulBinary(t)}, args...)...)
}

func (f *Fleet) keep(r Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.outputs = append(f.outputs, r)
}

// Outputs is the result of every tlsfleet command so far.
func (f *Fleet) Outputs() []Result {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Result(nil), f.outputs...)
}

// Status is the answer of `tlsfleet status --format json`.
type Status struct {
	Fleet   string       `json:"fleet"`
	Leader  string       `json:"leader"`
	Epoch   uint64       `json:"epoch"`
	Proved  int          `json:"proved"`
	Serving int          `json:"in_service"`
	Cause   fleet.Cause  `json:"cause"`
	By      string       `json:"by"`
	Skipped []string     `json:"skipped"`
	Policy  string       `json:"policy"`
	Due     time.Time    `json:"rotation_due"`
	RingErr string       `json:"ring_error"`
	Nodes   []NodeStatus `json:"nodes"`

	Archives []agent.ArchiveStatus `json:"archives"`
}

// NodeStatus is one node of Status.
type NodeStatus struct {
	Node    string        `json:"node"`
	Proved  bool          `json:"proved"`
	Waiting bool          `json:"waiting"`
	Alive   bool          `json:"alive"`
	Drained bool          `json:"drained"`
	Leader  bool          `json:"leader"`
	Epoch   uint64        `json:"epoch"`
	Why     string        `json:"why"`
	BadErr  string        `json:"report_err"`
	Report  *fleet.Report `json:"report"`
}

// Status asks for the state of the fleet.
func (f *Fleet) Status(t *testing.T) Status {
	t.Helper()
	s, err := f.TryStatus(t)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TryStatus is Status for a fleet that may not answer.
func (f *Fleet) TryStatus(t *testing.T) (Status, error) {
	t.Helper()
	var s Status
	return s, f.askJSON(t, &s, "status")
}

// Node is the status of one node; the test ends if there is none.
func (s Status) Node(t *testing.T, name string) NodeStatus {
	t.Helper()
	for _, n := range s.Nodes {
		if n.Node == name {
			return n
		}
	}
	t.Fatalf("status has no node %s: %+v", name, s)
	return NodeStatus{}
}

// Problem is the node's problem with this code; false if it has none.
func (n NodeStatus) Problem(code string) (fleet.Problem, bool) {
	if n.Report != nil {
		for _, p := range n.Report.Problems {
			if p.Code == code {
				return p, true
			}
		}
	}
	return fleet.Problem{}, false
}

// Ring is the answer of `tlsfleet ticket show --format json`.
type Ring struct {
	Epoch   uint64      `json:"epoch"`
	Cause   fleet.Cause `json:"cause"`
	By      string      `json:"by"`
	Promote bool        `json:"promote"`
	Keys    []RingKey   `json:"keys"`
	Keep    int         `json:"keep"`
}

// RingKey is one key of Ring.
type RingKey struct {
	Role   fleet.Role    `json:"role"`
	Name   fleet.KeyName `json:"name"`
	Bits   int           `json:"aes_bits"`
	Origin fleet.Origin  `json:"origin"`
}

// Ring asks for the ring in force.
func (f *Fleet) Ring(t *testing.T) Ring {
	t.Helper()
	var r Ring
	if err := f.askJSON(t, &r, "ticket", "show"); err != nil {
		t.Fatal(err)
	}
	return r
}

// Key is the name of the first key with this role; the test ends without one.
func (r Ring) Key(t *testing.T, role fleet.Role) fleet.KeyName {
	t.Helper()
	for _, k := range r.Keys {
		if k.Role == role {
			return k.Name
		}
	}
	t.Fatalf("ring has no %s key: %+v", role, r)
	return fleet.KeyName{}
}

func (f *Fleet) askJSON(t *testing.T, into any, args ...string) error {
	t.Helper()
	r := f.CLI(t, append(args, "--format", "json")...)
	if r.Code != 0 {
		return fmt.Errorf("%s", r)
	}
	if err := json.Unmarshal([]byte(r.Stdout), into); err != nil {
		return fmt.Errorf("%w: %s", err, r)
	}
	return nil
}

// AwaitProved waits until every node in service has proved one ring of at
// least this epoch, and returns the status that said so.
func (f *Fleet) AwaitProved(t *testing.T, epoch uint64) Status {
	t.Helper()
	return f.Await(t, fmt.Sprintf("the proof of epoch %d or later", epoch), func(s Status) error {
		if s.Epoch < epoch || s.Serving == 0 || s.Proved != s.Serving {
			return fmt.Errorf("epoch %d is proved by %d of %d nodes in service", s.Epoch, s.Proved, s.Serving)
		}
		for _, n := range f.Nodes {
			if n.Agent != nil && !n.Agent.Running() {
				continue
			}
			if s := findNode(s, n.Name); s == nil || !s.Proved && !s.Drained {
				return fmt.Errorf("%s is not there: %+v", n.Name, s)
			}
		}
		return nil
	})
}

func findNode(s Status, name string) *NodeStatus {
	for i := range s.Nodes {
		if s.Nodes[i].Node == name {
			return &s.Nodes[i]
		}
	}
	return nil
}

// Await waits until cond accepts the status of the fleet, and returns it.
func (f *Fleet) Await(t *testing.T, what string, cond func(Status) error) Status {
	t.Helper()
	var s Status
	testkit.Eventually(t, settle, what, func() error {
		var err error
		if s, err = f.TryStatus(t); err != nil {
			return err
		}
		return cond(s)
	})
	return s
}

// Leader is the node that leads, waited for.
func (f *Fleet) Leader(t *testing.T) *Node {
	t.Helper()
	var leader *Node
	f.Await(t, "a leader", func(s Status) error {
		for _, n := range f.Nodes {
			if n.Name == s.Leader {
				leader = n
				return nil
			}
		}
		return fmt.Errorf("leader is %q", s.Leader)
	})
	return leader
}

// AwaitLog waits until a child has logged a line with all the words since it was
// started; what an earlier run on the same file logged does not count.
func AwaitLog(t *testing.T, c *Child, words ...string) {
	t.Helper()
	testkit.Eventually(t, settle, fmt.Sprintf("a log line of %s with %q", c.Name, words), func() error {
		if CountLog(c, words...) == 0 {
			return fmt.Errorf("no such line")
		}
		return nil
	})
}

// CountLog counts the lines with all the words that a child has logged since it
// was started.
func CountLog(c *Child, words ...string) int {
	count, log := 0, c.Log()
lines:
	for line := range strings.Lines(log[min(c.began, len(log)):]) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue lines
			}
		}
		count++
	}
	return count
}
