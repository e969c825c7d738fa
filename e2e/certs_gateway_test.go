package e2e

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
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

// TestGatewayWithoutConsulOrAgent takes Consul away, and then the agent, from an
// nginx that asks for its certificates.
func TestGatewayWithoutConsulOrAgent(t *testing.T) {
	t.Parallel()
	o := onShared(t, 1, nil)
	proxy := testkit.FaultProxy(t, o.Consul.Addr)
	o.Node = func(int) Settings { return Settings{"consul.address": proxy.Addr} }
	f, ca := newGatewayFleet(t, o), newCA(t)
	n := f.Nodes[0]
	a, b := ca.Issue(t, 30, "a-away.test"), ca.Issue(t, 30, "b-away.test")
	n.AwaitFollowed(t, f.Import(t, a, b), 2)
	breaks(proxy, testkit.Rule{Fault: testkit.Cut})
	f.AwaitServed(t, ca, "a-away.test", a, n)
	n.Agent.Stop(t)
	testkit.Eventually(t, settle, "a handshake for which the agent was asked in vain", func() error {
		f.WantServed(t, ca, "with the agent away", "a-away.test", a, n)
		if !strings.Contains(n.Nginx.ErrorLog(), "tlsfleet: certificate of a-away.test") {
			return errors.New("nginx has not asked")
		}
		return nil
	})
	f.AwaitRefused(t, ca, "b-away.test", n)
	n.StartAgent(t)
	f.AwaitServed(t, ca, "b-away.test", b, n)
	f.AwaitRefused(t, ca, "c-away.test", n)
	n.WantGiven(t, "with Consul away", "c-away.test", 404, Leaf{})
}

// TestGatewayByName asks for every kind of name, good and bad.
func TestGatewayByName(t *testing.T) {
	t.Parallel()
	f, ca := newGatewayFleet(t, onShared(t, 1, nil)), newCA(t)
	n := f.Nodes[0]
	own, wild, gone, idn := ca.Issue(t, 30, "own.test"), ca.Issue(t, 30, "*.own.test"), ca.Issue(t, 30, "gone.test"), ca.Issue(t, 30, "xn--bcher-kva.test")
	epoch := f.Import(t, own, wild, gone, idn)
	f.CLI(t, "cert", "remove", "gone.test", "--yes").Want(t, 0)
	n.AwaitFollowed(t, epoch+1, 3)
	n.AwaitGiven(t, "own.test", 200, own)
	n.AwaitGiven(t, "gone.test", 404, Leaf{})
	tests := map[string]struct {
		name string
		code int
		want Leaf
	}{
		"exact":                   {"own.test", 200, own},
		"upper case":              {"OWN.Test", 200, own},
		"trailing dot":            {"own.test.", 200, own},
		"wildcard":                {"www.own.test", 200, wild},
		"wildcard in upper case":  {"WWW.OWN.TEST", 200, wild},
		"the wildcard itself":     {"*.own.test", 200, wild},
		"wildcard, encoded":       {"%2A.own.test", 200, wild},
		"A-label":                 {"xn--bcher-kva.test", 200, idn},
		"two below a wildcard":    {"a.b.own.test", 404, Leaf{}},
		"tombstone":               {"gone.test", 404, Leaf{}},
		"unknown":                 {"other.test", 404, Leaf{}},
		"suffix":                  {"notown.test", 404, Leaf{}},
		"empty":                   {"", 404, Leaf{}},
		"dots":                    {"..", 404, Leaf{}},
		"above":                   {"../x", 404, Leaf{}},
		"above in the store":      {"../store", 404, Leaf{}},
		"encoded dots":            {"%2e%2e", 404, Leaf{}},
		"encoded slash":           {"..%2fown.test", 404, Leaf{}},
		"slash":                   {"own.test/", 404, Leaf{}},
		"NUL":                     {"own.test%00", 404, Leaf{}},
		"newline":                 {"own.test%0a", 404, Leaf{}},
		"two dots at the end":     {"own.test..", 404, Leaf{}},
		"the folder of wildcards": {"+.own.test", 404, Leaf{}},
		"300 characters":          {strings.Repeat("x", 300), 404, Leaf{}},
		"9,000 characters":        {strings.Repeat("x.", 4500) + "test", 404, Leaf{}},
		"IP address":              {"127.0.0.1", 404, Leaf{}},
		"a query":                 {"own.test?x=1", 200, own},
		"bad encoding":            {"%zz", 400, Leaf{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { n.WantGiven(t, "known names", tt.name, tt.code, tt.want) })
	}
	tag := n.WantGiven(t, "for its tag", "own.test", 200, own)
	if g, err := n.Ask(t, "own.test", "If-None-Match: "+tag); err != nil || g.Code != 304 || g.Body != "" || g.ETag != tag {
		t.Errorf("GET with the tag %s = %+v, %v, want 304", tag, g, err)
	}
	if g, err := n.Ask(t, "www.own.test", "If-None-Match: "+tag); err != nil || g.is(200, wild) != nil {
		t.Errorf("GET with another's tag = %+v, %v, want 200", g, err)
	}
	if text := n.Agent.Log(); strings.Contains(text, "PRIVATE KEY") {
		t.Error("the agent's log has a private key")
	}
	n.wantGatewayFor(t, workers)
}

// wantGatewayFor fails the test unless the gateway's socket is for root and the
// group of a user.
func (n *Node) wantGatewayFor(t *testing.T, name string) {
	t.Helper()
	account, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(n.gatewaySocket())
	if err != nil {
		t.Fatal(err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode() != fs.ModeSocket|0o660 || st.Uid != 0 || strconv.Itoa(int(st.Gid)) != account.Gid {
		t.Errorf("%s is %s of %+v, want 0660 of root and group %s", n.gatewaySocket(), info.Mode(), st, account.Gid)
	}
}
