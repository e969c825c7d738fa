package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/templates"
)

// TestTicketsOutliveRenewals renews, on one node of two and then on both, the
// names of clients that hold tickets, and the name that sorts first, which
// would be the default certificate of a plain nginx.
func TestTicketsOutliveRenewals(t *testing.T) {
	t.Parallel()
	for name, serving := range map[string]Settings{
		"static": {"certificates.mode": "static"},
		"listed": listed,
		"open":   open,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, ca := newCertFleet(t, onShared(t, 2, serving)), newCA(t)
			r, err := f.Nodes[0].Report(t)
			if err != nil {
				t.Fatal(err)
			}
			if name == "static" && templates.AtLeast(r.NginxVersion, 1, 29, 2) {
				t.Skipf("nginx %s ends the tickets of a name when it loads another certificate for it: auto never picks static there", r.NginxVersion)
			}
			early, late := f.Nodes[0], f.Nodes[1]
			keep := ca.Issue(t, 30, "keep.test")
			issue := func(days int) map[string]Leaf {
				return map[string]Leaf{"aaa.test": ca.Issue(t, days, "aaa.test"), "shop.test": ca.Issue(t, days, "shop.test"), "x.w.test": ca.Issue(t, days, "*.w.test")}
			}
			renew := func(leaves map[string]Leaf, nodes ...*Node) {
				f.Import(t, leaves["aaa.test"], leaves["shop.test"], leaves["x.w.test"])
				for name, leaf := range leaves {
					f.AwaitServed(t, ca, name, leaf, nodes...)
				}
				awaitOldWorkersLeave(t, nodes...)
			}
			f.Import(t, keep)
			f.AwaitServed(t, ca, "keep.test", keep, f.Nodes...)
			renew(issue(30), f.Nodes...)
			names := []string{"aaa.test", "keep.test", "shop.test", "x.w.test"}
			before := f.ticketsFor(t, ca, names...)
			f.wantResumed(t, ca, "before any renewal", before)

			late.Agent.Kill(t)
			second := issue(60)
			renew(second, early)
			if err := late.serves(t, ca, "shop.test", second["shop.test"]); err == nil {
				t.Error("the node without an agent is renewed, want it to be behind")
			}
			f.wantResumed(t, ca, "with one node renewed, tickets of before", before)
			between := f.ticketsFor(t, ca, names...)
			f.wantResumed(t, ca, "with one node renewed, tickets of now", between)

			late.StartAgent(t)
			for name, leaf := range second {
				f.AwaitServed(t, ca, name, leaf, late)
			}
			awaitOldWorkersLeave(t, late)
			f.wantResumed(t, ca, "with both renewed, tickets of before", before)
			f.wantResumed(t, ca, "with both renewed, tickets of between", between)
		})
	}
}

// awaitOldWorkersLeave waits until the worker of before each reload has
// stopped accepting: it may take a last connection after the next one does.
func awaitOldWorkersLeave(t *testing.T, nodes ...*Node) {
	t.Helper()
	for _, n := range nodes {
		testkit.Eventually(t, settle, "the end of the old workers of "+n.Name, func() error {
			if told, left := n.Reloads(), strings.Count(n.Nginx.ErrorLog(), "gracefully shutting down"); told != left {
				return fmt.Errorf("%d reloads, %d workers have left", told, left)
			}
			return nil
		})
	}
}
