package e2e

import (
	"strings"
	"testing"
)

// TestPlanShowsSites: what changes in files of sites, and why that needs a reload,
// is told before it is done, and then it is what is done.
func TestPlanShowsSites(t *testing.T) {
	t.Parallel()
	f, ca := newSiteFleet(t, onShared(t, 1, with(listed, Settings{"sites.waves": false}))), newCA(t) // no leader while the agent is stopped
	n := f.Nodes[0]
	f.Import(t, ca.Issue(t, 30, "shop.test", "blog.test", "gone.test"))
	a, b := backendThat(t, "A"), backendThat(t, "B")
	service := f.Name + "-web"
	f.Join(t, service, a)
	f.SetSites(t, siteTo("gone", "gone.test", a, "")+siteTo("shop", "shop.test", a, `snippets = ["x.conf"]`))
	f.put(t, "snippets", "x.conf", "add_header X-Extra one;\n")
	f.AwaitAnswer(t, ca, "shop.test", f.Nodes, "X-Extra: one")
	n.AwaitNoProblem(t)
	n.Plan(t, 0).want(t, "with nothing to do", PlanCount{})

	n.Agent.Stop(t)
	f.put(t, "snippets", "x.conf", "add_header X-Extra two;\n")
	p := n.Plan(t, 0)
	p.want(t, "with another snippet", PlanCount{Reload: 1})
	if !strings.Contains(p.Reasons[0], "files that sites include") {
		t.Errorf("reason = %q, want the files that sites include", p.Reasons)
	}

	f.SetSites(t, siteTo("shop", "shop.test", b, `snippets = ["x.conf"]`)+siteOn("blog", "blog.test", service)+siteTo("late", "late.test", a, `snippets = ["none.conf"]`))
	f.CLI(t, "site", "remove", "gone", "--yes").Want(t, 0)
	p = n.Plan(t, 0)
	p.want(t, "with other sites", PlanCount{Reload: 3})
	for i, want := range []struct{ name, from, to, diff string }{
		{"blog", "", "served", "+    server " + a + ";"}, {"gone", "served", "", "-    server_name gone.test;"},
		{"shop", "served", "served", "-    server " + a + ";\n+    server " + b + ";"},
	} {
		got := p.Changes[i]
		if got.Name != want.name || got.From != want.from || got.To != want.to || got.Subject != "site" || !strings.Contains(got.Diff, want.diff) {
			t.Errorf("change = %+v, want %+v", got, want)
		}
	}
	if len(p.Problems) != 1 || p.Problems[0].Code != "site-refused" || !strings.Contains(p.Problems[0].Message, "none.conf") {
		t.Errorf("problems = %+v, want the snippet that is not there", p.Problems)
	}
	text := n.CLI(t, "plan").Want(t, 0).Stdout
	for _, want := range []string{"+    server " + b + ";", "1 reload of nginx for 3 of them: 3 files of sites change: nginx reads virtual hosts when it starts"} {
		if !strings.Contains(text, want) {
			t.Errorf("plan = %s, want %q in it", text, want)
		}
	}

	n.StartAgent(t)
	f.AwaitAnswer(t, ca, "shop.test", f.Nodes, "backend B.", "X-Extra: two")
	n.AwaitSites(t, 3)
	n.Plan(t, 0).want(t, "after that", PlanCount{})
}
