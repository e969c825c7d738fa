package e2e

import (
	"testing"
)

// TestGatewayServesLua has an nginx that loads every certificate in Lua, through
// import, renewal, removal and a time without Consul.
func TestGatewayServesLua(t *testing.T) {
	t.Parallel()
	f, ca := newGatewayFleet(t, onShared(t, 2, nil)), newCA(t)
	shop, wild, exact := ca.Issue(t, 30, "shop.test"), ca.Issue(t, 30, "*.wild.test"), ca.Issue(t, 30, "own.wild.test")
	f.AwaitRefused(t, ca, "shop.test", f.Nodes...)
	epoch := f.Import(t, shop, wild, exact)
	for _, n := range f.Nodes {
		n.AwaitFollowed(t, epoch, 3)
	}
	for name, leaf := range map[string]Leaf{"shop.test": shop, "SHOP.Test": shop, "any.wild.test": wild, "Own.wild.TEST": exact} {
		f.AwaitServed(t, ca, name, leaf, f.Nodes...)
	}
	for _, name := range []string{"wild.test", "a.b.wild.test", "unknown.test", "x-shop.test"} {
		f.AwaitRefused(t, ca, name, f.Nodes...)
	}
	tickets := f.ticketsFor(t, ca, "shop.test", "any.wild.test")
	var before [][2]uint64
	for _, n := range f.Nodes {
		before = append(before, n.release(t))
	}

	shop = ca.Issue(t, 60, "shop.test")
	f.Import(t, shop)
	f.AwaitServed(t, ca, "shop.test", shop, f.Nodes...)
	f.wantResumed(t, ca, "after the renewal", tickets)
	f.CLI(t, "cert", "remove", "own.wild.test", "--yes").Want(t, 0)
	f.AwaitServed(t, ca, "own.wild.test", wild, f.Nodes...)
	f.CLI(t, "cert", "remove", "*.wild.test", "--yes").Want(t, 0)
	f.AwaitRefused(t, ca, "own.wild.test", f.Nodes...)
	f.WantServed(t, ca, "after a removal", "shop.test", shop, f.Nodes...)
	for i, n := range f.Nodes {
		if got := n.release(t); got != before[i] {
			t.Errorf("release and reloads of %s = %v, want %v as before", n.Name, got, before[i])
		}
		n.AwaitNoProblem(t)
	}
}
