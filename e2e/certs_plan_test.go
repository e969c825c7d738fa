package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// Plan is the answer of `tlsfleet plan --format json`.
type Plan struct {
	Nginx    string `json:"nginx"`
	Followed uint64 `json:"followed"`
	Wanted   uint64 `json:"wanted"`
	Reloads  int    `json:"reloads"`
	Reasons  []string
	Changes  []struct{ Subject, Name, From, To, Effect, Reason, Diff string }
	Total    PlanCount
	Omitted  PlanCount
	Problems []struct{ Code, Message string }
	Import   *struct {
		Refused []struct{ Path, Error string }
	}
}

// PlanCount counts changes by effect.
type PlanCount struct{ Reload, Files, Nothing int }

// Plan asks what the node would do.
func (n *Node) Plan(t *testing.T, code int, args ...string) Plan {
	t.Helper()
	r := n.CLI(t, append([]string{"plan", "--format", "json"}, args...)...).Want(t, code)
	var p Plan
	if err := json.Unmarshal([]byte(r.Stdout), &p); err != nil {
		t.Fatalf("read %s: %v", r, err)
	}
	return p
}

// want fails the test unless the plan has so many changes of each kind, and a
// reload if one of them needs it.
func (p Plan) want(t *testing.T, when string, want PlanCount) {
	t.Helper()
	if p.Total != want || p.Reloads != min(want.Reload, 1) || len(p.Reasons) != p.Reloads {
		t.Errorf("plan %s = %+v, %d reloads, because of %q, problems %+v, want %+v", when, p.Total, p.Reloads, p.Reasons, p.Problems, want)
	}
}

// handWritten makes the operator's nginx serve one name by files it holds, and
// starts it again.
func (n *Node) handWritten(t *testing.T, name string) {
	t.Helper()
	live := n.StateDir + "/live/" + name + "/"
	n.EditNginx(t, "\tserver {", fmt.Sprintf("\tserver {\n\t\tlisten %s ssl;\n\t\tserver_name %s;\n\t\tssl_certificate %sfullchain.pem;\n\t\tssl_certificate_key %sprivkey.pem;\n\t}\n\tserver {",
		n.Nginx.TLSAddrs[0], name, live, live))
	n.Nginx.Stop(t)
	n.Nginx.Start(t)
}

// restart starts the node's agent again and waits until it has followed this
// epoch and has nothing more to do.
func (n *Node) restart(t *testing.T, epoch uint64, names int) {
	t.Helper()
	n.StartAgent(t)
	n.AwaitFollowed(t, epoch, names)
	n.AwaitNoProblem(t)
}

// TestPlanSaysWhatTheAgentThenDoes has one name's files in the operator's
// configuration: it costs one reload, whatever changes with it, and no other
// name does. The plan said so before.
func TestPlanSaysWhatTheAgentThenDoes(t *testing.T) {
	t.Parallel()
	f, ca := NewFleet(t, onShared(t, 1, nil)), newCA(t)
	n := f.Nodes[0]
	const others = 49
	renewed := func(days int) []Leaf {
		var leaves []Leaf
		for i := range others {
			leaves = append(leaves, ca.Issue(t, days, fmt.Sprintf("n%d.test", i)))
		}
		return leaves
	}
	all := append(renewed(30), ca.Issue(t, 30, "own.test"))
	dir := folder(t, all...)
	n.Plan(t, 0, "--import", dir).want(t, "of the first import", PlanCount{Files: others + 1})
	epoch := f.Import(t, all...)
	n.AwaitFollowed(t, epoch, others+1)
	n.Plan(t, 0, "--import", dir).want(t, "of the same import", PlanCount{Nothing: others + 1})
	n.handWritten(t, "own.test")
	n.AwaitNoProblem(t)
	n.Plan(t, 0).want(t, "without news", PlanCount{})
	before := n.release(t)

	n.Agent.Stop(t)
	one := ca.Issue(t, 40, "n0.test")
	n.Plan(t, 0, "--import", folder(t, one)).want(t, "of importing another name", PlanCount{Files: 1})
	n.Plan(t, 0).want(t, "after a plan", PlanCount{})
	epoch = f.Import(t, one)
	p := n.Plan(t, 0)
	p.want(t, "of another name", PlanCount{Files: 1})
	if len(p.Changes) != 1 || p.Changes[0].Name != "n0.test" || p.Changes[0].From == p.Changes[0].To || p.Wanted != epoch || p.Followed >= epoch || p.Nginx != "running" {
		t.Errorf("plan = %+v, want n0.test with another bundle at epoch %d", p, epoch)
	}
	n.restart(t, epoch, others+1)
	f.AwaitServed(t, ca, "own.test", all[others], n)
	if got := n.release(t); got != before {
		t.Errorf("release and reloads = %v after a change of n0.test, want %v as before", got, before)
	}

	own := ca.Issue(t, 50, "own.test")
	p = n.Plan(t, 0, folder(t, own), "--import")
	p.want(t, "of importing own.test", PlanCount{Reload: 1})
	if len(p.Reasons) != 1 || !strings.Contains(p.Reasons[0], "own.test") || !strings.Contains(p.Reasons[0], n.Nginx.ConfigFile+":") {
		t.Errorf("reasons = %q, want own.test and its place in %s", p.Reasons, n.Nginx.ConfigFile)
	}
	f.Import(t, own)
	f.AwaitServed(t, ca, "own.test", own, n)
	n.AwaitReleased(t, before)
	before = n.release(t)

	n.Agent.Stop(t)
	own = ca.Issue(t, 60, "own.test")
	all = append(renewed(60), own)
	n.Plan(t, 0, "--import", folder(t, all...)).want(t, "of importing 50 names", PlanCount{Reload: 1, Files: others})
	epoch = f.Import(t, all...)
	p = n.Plan(t, 0)
	p.want(t, "of 50 names", PlanCount{Reload: 1, Files: others})
	if len(p.Changes) != 21 || p.Omitted != (PlanCount{Files: others - 20}) {
		t.Errorf("plan lists %d changes, omits %+v, want 21 and the others", len(p.Changes), p.Omitted)
	}
	if p = n.Plan(t, 0, "--all"); len(p.Changes) != others+1 || p.Omitted != (PlanCount{}) {
		t.Errorf("plan --all lists %d changes, omits %+v, want all", len(p.Changes), p.Omitted)
	}
	n.StartAgent(t)
	f.AwaitServed(t, ca, "own.test", own, n)
	n.AwaitFollowed(t, epoch, others+1)
	n.AwaitReleased(t, before)
	n.Plan(t, 0).want(t, "after it was followed", PlanCount{})
	before[0], before[1] = before[0]+1, before[1]+1
	one = ca.Issue(t, 70, "n1.test")
	n.AwaitFollowed(t, f.Import(t, one), others+1)
	n.AwaitNoProblem(t)
	if got := n.release(t); got != before {
		t.Errorf("release and reloads = %v, want %v: one reload for 50 names and none for n1.test", got, before)
	}
}

// TestPlanTellsWhatElseIsNew has a new ring, another kind of servers and an
// inventory that the node holds back.
func TestPlanTellsWhatElseIsNew(t *testing.T) {
	t.Parallel()
	f, ca := newCertFleet(t, onShared(t, 1, listed)), newCA(t)
	n := f.Nodes[0]
	var leaves []Leaf
	var names []string
	for i := range 12 {
		names = append(names, fmt.Sprintf("n%d.test", i))
		leaves = append(leaves, ca.Issue(t, 30, names[i]))
	}
	epoch := f.Import(t, leaves...)
	n.AwaitFollowed(t, epoch, 12)
	f.AwaitServed(t, ca, "n11.test", leaves[11], n)
	n.AwaitNoProblem(t)
	n.Agent.Stop(t)
	n.Nginx.Stop(t)

	f.Import(t, ca.Issue(t, 30, "new.test"), ca.Issue(t, 60, "n0.test"))
	p := n.Plan(t, 0)
	p.want(t, "of a new name and a renewal", PlanCount{Reload: 1, Files: 1})
	if p.Nginx != "not running" || len(p.Changes) != 2 || p.Changes[0].Name != "new.test" || !strings.Contains(p.Changes[0].Reason, "list of names") {
		t.Errorf("plan = %+v, want new.test first, in the list of names, and no nginx", p)
	}
	n.Settings["certificates.names"] = "open"
	n.WriteConfig(t)
	p = n.Plan(t, 0)
	if p.Reloads != 1 || len(p.Reasons) != 1 || p.Total.Reload != 1 || p.Total.Files != 2 || p.Changes[2].Subject != "servers" {
		t.Errorf("plan for open names = %+v, want a reload for other servers alone", p)
	}
	f.CLI(t, "rotate-ticket", "--emergency", "--timeout", "5s").Want(t, 1) // nobody confirms it
	if p = n.Plan(t, 0); p.Changes[0].Subject != "ring" || p.Changes[0].Effect != "reload" || p.Total.Reload != 2 || p.Reloads != 1 {
		t.Errorf("plan of another ring = %+v, want it first, and one reload", p)
	}
	f.CLI(t, append([]string{"cert", "remove", "--yes"}, names...)...).Want(t, 0)
	p = n.Plan(t, 0)
	if len(p.Problems) == 0 || p.Problems[0].Code != "inventory-refused" || p.Total.Files != 0 {
		t.Errorf("plan of a loss = %+v, want the inventory refused", p)
	}
	bad := ca.Issue(t, -1, "expired.test")
	r := n.CLI(t, "plan", "--import", folder(t, bad)).Want(t, 1)
	if !strings.Contains(r.Stderr, "refused: ") || !strings.Contains(r.Stderr, "expired") {
		t.Errorf("plan --import = %s, want the expired one refused", r)
	}
	n.CLI(t, "plan", "--import").Want(t, 2)
	n.CLI(t, "plan", "some.pem").Want(t, 2)
	n.Nginx.Start(t)
	testkit.Eventually(t, settle, "nginx", func() error { return n.Nginx.Test(t) })
}
