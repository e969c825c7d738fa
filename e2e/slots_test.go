package e2e

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// logTime is the time at which hclog begins a line.
var logTime = regexp.MustCompile(`^\S+`)

// span is the time between two lines of a log.
type span struct {
	node       string
	begin, end time.Time
}

// reloads are the times at which a node's agent was at work on nginx.
func reloads(t *testing.T, n *Node) []span {
	t.Helper()
	at := func(line string) time.Time {
		when, err := time.Parse("2006-01-02T15:04:05.000Z0700", logTime.FindString(line))
		if err != nil {
			t.Fatalf("read log of %s: %v", n.Name, err)
		}
		return when
	}
	var all []span
	var begin time.Time
	for line := range strings.Lines(n.Agent.Log()) {
		switch {
		case strings.Contains(line, "follow: applying:"):
			begin = at(line)
		case strings.Contains(line, "renderer: release ended:"):
			all = append(all, span{n.Name, begin, at(line)})
		}
	}
	return all
}

// wantApart wants no two nodes to have reloaded at the same time, and each of
// them so often.
func (f *Fleet) wantApart(t *testing.T, each int) {
	t.Helper()
	var all []span
	for _, n := range f.Nodes {
		own := reloads(t, n)
		if len(own) != each {
			t.Errorf("%s has reloaded %d times, want %d", n.Name, len(own), each)
		}
		for _, a := range own {
			for _, b := range all {
				if a.begin.Before(b.end) && b.begin.Before(a.end) {
					t.Errorf("%s reloaded from %s to %s and %s from %s to %s, want one after the other", a.node, a.begin, a.end, b.node, b.begin, b.end)
				}
			}
		}
		all = append(all, own...)
	}
}

// TestNodesTakeTurns rotates a fleet without splay: by default three nodes reload
// one by one, once for each rotation, and together when they may.
func TestNodesTakeTurns(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{})
	const rotations = 4
	for range rotations {
		f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	}
	f.AwaitProved(t, 1+rotations)
	f.wantApart(t, 1+rotations)

	const lifted = "slots: waiting for a reload slot:"
	limit := func() string {
		pair, _, err := f.Consul.Client(t).KV().Get("tlsfleet/"+f.Name+"/reload/limit", nil)
		if err != nil || pair == nil {
			t.Fatalf("limit of reloads: %v, %v", pair, err)
		}
		return string(pair.Value)
	}
	before := limit()
	for _, n := range f.Nodes {
		n.Settings["reload.max_share"] = "100%"
		n.WriteConfig(t)
	}
	testkit.Eventually(t, settle, "the new limit", func() error {
		if limit() == before {
			return errors.New("the leader has not written it")
		}
		return nil
	})
	waits := 0
	for _, n := range f.Nodes {
		waits -= CountLog(n.Agent, lifted)
	}
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	f.AwaitProved(t, 2+rotations)
	for _, n := range f.Nodes {
		waits += CountLog(n.Agent, lifted)
	}
	if waits != 0 {
		t.Errorf("nodes looked for slots %d times without a limit, want never", waits)
	}
}

// TestUrgentReloadTakesNoTurn replaces all keys while somebody holds the only
// slot.
func TestUrgentReloadTakesNoTurn(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{})
	client := f.Consul.Client(t)
	session, _, err := client.Session().Create(&api.SessionEntry{Name: t.Name(), TTL: "10m"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, settle, "the slot", func() error {
		slot := &api.KVPair{Key: "tlsfleet/" + f.Name + "/reload/slots/0", Value: []byte("somebody"), Session: session}
		got, _, err := client.KV().Acquire(slot, nil)
		if err == nil && !got {
			err = errors.New("it is held")
		}
		return err
	})
	f.CLI(t, "rotate-ticket").Want(t, 0)
	testkit.Eventually(t, settle, "all nodes to wait for the slot", func() error {
		for _, n := range f.Nodes {
			if CountLog(n.Agent, "slots: waiting for a reload slot:", "somebody") == 0 {
				return fmt.Errorf("%s does not", n.Name)
			}
		}
		return nil
	})
	f.CLI(t, "rotate-ticket", "--emergency").Want(t, 0)
	f.AwaitProved(t, 3)
}

// TestNodeThatDiesReloadingLetsOthersGoOn kills the agent that holds the only
// slot in the middle of a release, and starts it again no sooner than the others
// have gone on.
func TestNodeThatDiesReloadingLetsOthersGoOn(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{})
	n := f.Nodes[0]
	n.Agent.Stop(t)
	armed := n.startMortal(t, renderer.StepFlipped)
	f.AwaitProved(t, 1)
	if err := os.WriteFile(armed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.CLI(t, "rotate-ticket").Want(t, 0)
	testkit.Eventually(t, settle, "the death of the agent", func() error {
		if n.Agent.Running() {
			return errors.New("it runs")
		}
		return nil
	})
	for _, other := range f.Nodes[1:] {
		testkit.Eventually(t, 2*settle, other.Name+" to prove the ring", func() error {
			r, err := other.Report(t)
			if err == nil && r.Proved != 2 {
				err = fmt.Errorf("it has proved %d", r.Proved)
			}
			return err
		})
	}
	n.StartAgent(t)
	f.AwaitProved(t, 2)
}
