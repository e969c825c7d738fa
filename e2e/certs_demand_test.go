package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// onDemand is a node that keeps what was asked for, behind a proxy.
func onDemand(t *testing.T, mib int) (*Fleet, *Node, *testkit.Proxy) {
	t.Helper()
	o := onShared(t, 1, Settings{
		"certificates.mode": "on_demand", "certificates.on_demand_mib": mib, "certificates.keep_replaced": "1s",
		"certificates.worker_group": "nogroup", "certificates.gateway_group": workers,
	})
	proxy := testkit.FaultProxy(t, o.Consul.Addr)
	o.Node = func(int) Settings { return Settings{"consul.address": proxy.Addr} }
	f := newGatewayFleet(t, o)
	return f, f.Nodes[0], proxy
}

// fetched is how many bundles the node has read from Consul so far. That a leader
// once lists whether there are any is none.
func (f *Fleet) fetched(proxy *testkit.Proxy) int {
	n := 0
	for _, digit := range "0123456789abcdef" {
		n += proxy.Read(f.path("bundles", string(digit)))
	}
	return n
}

// TestOnDemandFetchesWhatIsAskedFor takes one node through a miss, a renewal, a
// removal and a time without Consul.
func TestOnDemandFetchesWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	f, n, proxy := onDemand(t, 16)
	ca := newCA(t)
	asked, other, wild, never := ca.Issue(t, 30, "asked.test"), ca.Issue(t, 30, "other.test"), ca.Issue(t, 30, "*.wild.test"), ca.Issue(t, 30, "never.test")
	n.AwaitFollowed(t, f.Import(t, asked, other, wild, never), 0)
	for range 20 {
		n.WantGiven(t, "unknown", "unknown.test", 404, Leaf{})
	}
	f.AwaitRefused(t, ca, "unknown.test", n)
	if got := f.fetched(proxy); got != 0 || len(n.live(t)) > 0 {
		t.Errorf("%d bundles fetched, live has %v, want nothing before anybody asks", got, n.live(t))
	}

	var all sync.WaitGroup
	for range 30 {
		all.Go(func() { n.WantGiven(t, "first asked for", "Asked.test", 200, asked) })
	}
	all.Wait()
	if got := f.fetched(proxy); got != 1 {
		t.Errorf("%d bundles fetched by 30 who asked for one name at a time, want 1", got)
	}
	f.AwaitServed(t, ca, "asked.test", asked, n)
	f.AwaitServed(t, ca, "x.wild.test", wild, n)
	f.AwaitServed(t, ca, "Y.wild.test", wild, n)
	n.AwaitLive(t, 2)
	if got := f.fetched(proxy); got != 2 {
		t.Errorf("%d bundles fetched, want 2", got)
	}

	asked, other = ca.Issue(t, 60, "asked.test"), ca.Issue(t, 60, "other.test")
	f.Import(t, asked, other)
	n.AwaitGiven(t, "asked.test", 200, asked)
	if got := f.fetched(proxy); got != 3 {
		t.Errorf("%d bundles fetched, want 3: a renewal of what is kept, and not of the other", got)
	}
	f.AwaitServed(t, ca, "asked.test", asked, n)

	breaks(proxy, testkit.Rule{Fault: testkit.Cut})
	n.Agent.Stop(t)
	n.StartAgent(t)
	n.AwaitGiven(t, "asked.test", 200, asked)
	n.WantGiven(t, "with Consul away", "any.wild.test", 200, wild)
	n.WantGiven(t, "with Consul away", "unknown.test", 404, Leaf{})
	if g, err := n.Ask(t, "never.test"); err != nil || g.Code != 503 || g.Later == "" {
		t.Errorf("GET of what is not here with Consul away = %+v, %v, want 503 with Retry-After", g, err)
	}
	f.AwaitRefused(t, ca, "never.test", n)
	f.AwaitServed(t, ca, "asked.test", asked, n)
	breaks(proxy)
	n.AwaitGiven(t, "never.test", 200, never)
	f.AwaitServed(t, ca, "other.test", other, n)

	f.CLI(t, "cert", "remove", "asked.test", "--yes").Want(t, 0)
	n.AwaitGiven(t, "asked.test", 404, Leaf{})
	f.AwaitRefused(t, ca, "asked.test", n)
	n.AwaitReport(t, "three names", func(r fleet.Report) error {
		if r.Names != 3 || len(n.live(t)) != 3 {
			return fmt.Errorf("%d names, live has %v", r.Names, n.live(t))
		}
		return nil
	})
	n.AwaitNoProblem(t)
}

// AwaitLive waits until so many names are kept: who asks is answered first.
func (n *Node) AwaitLive(t *testing.T, count int) {
	t.Helper()
	testkit.Eventually(t, settle, fmt.Sprintf("%d names kept", count), func() error {
		if live := n.live(t); len(live) != count {
			return fmt.Errorf("live has %v", live)
		}
		return nil
	})
}

// TestOnDemandIsBounded asks for more than there is room for, and for one name
// again and again.
func TestOnDemandIsBounded(t *testing.T) {
	t.Parallel()
	const count, bound = 120, 1 << 20
	f, n, _ := onDemand(t, 1)
	ca := newCA(t)
	leaves := make([]Leaf, count)
	for i := range leaves {
		leaves[i] = ca.Issue(t, 30, fmt.Sprintf("n%d.test", i))
	}
	n.AwaitFollowed(t, f.Import(t, leaves...), 0)
	const hot, loaded = "n0.test", "n1.test"
	n.AwaitGiven(t, loaded, 200, leaves[1])
	live := filepath.Join(n.StateDir, "live", loaded)
	n.EditNginx(t, "http {", "http {\nserver { server_name "+loaded+"; listen "+n.Nginx.TLSAddrs[0]+" ssl; ssl_certificate "+live+
		"/fullchain.pem; ssl_certificate_key "+live+"/privkey.pem; }")
	for range 2 {
		for i, l := range leaves {
			n.AwaitGiven(t, l.Names[0], 200, leaves[i])
			n.AwaitGiven(t, hot, 200, leaves[0])
			if used := diskUse(t, filepath.Join(n.StateDir, "store")); used > bound {
				t.Fatalf("%d bytes on disk after %s, want at most %d", used, l.Names[0], bound)
			}
		}
	}
	AwaitLog(t, n.Agent, "certificates that nothing asked for lately evicted")
	testkit.Eventually(t, settle, "room", func() error {
		for _, l := range leaves {
			n.AwaitGiven(t, hot, 200, leaves[0])
			n.AwaitGiven(t, l.Names[0], 200, l)
		}
		if CountLog(n.Agent, "certificates that nothing asked for lately evicted") < 2 {
			return errors.New("evicted once")
		}
		return nil
	})
	if got := CountLog(n.Agent, "certificate asked for fetched", "name="+hot+" "); got != 1 {
		t.Errorf("%s was fetched %d times although it is asked for all the time, want once", hot, got)
	}
	kept := n.live(t)
	if !slices.Contains(kept, loaded) {
		t.Errorf("%s was evicted although nginx could not start without it", loaded)
	}
	if err := n.Nginx.Test(t); err != nil {
		t.Error(err)
	}
	if len(kept) < 20 || len(kept) > 60 {
		t.Errorf("%d names are kept in 1 MiB, want 20 to 60", len(kept))
	}
	n.Agent.Stop(t)
	kept = n.live(t) // it may have evicted once more
	n.StartAgent(t)
	AwaitLog(t, n.Agent, "inventory loaded", fmt.Sprintf("names=%d", len(kept)))
	n.AwaitNoProblem(t)
}

// diskUse is the space that a folder takes.
func diskUse(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	walk(t, dir, func(_ string, info fs.FileInfo) error {
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			bytes += st.Blocks * 512
		}
		return nil
	})
	return bytes
}

// TestOnDemandRefusesSpoiledBundles spoils what a node is asked for, and the
// renewal of what it keeps.
func TestOnDemandRefusesSpoiledBundles(t *testing.T) {
	t.Parallel()
	f, n, proxy := onDemand(t, 16)
	ca := newCA(t)
	kept, late, gone := ca.Issue(t, 30, "kept.test"), ca.Issue(t, 30, "late.test"), ca.Issue(t, 30, "gone.test")
	n.AwaitFollowed(t, f.Import(t, kept, late, gone), 0)
	f.plant(t, f.bundlePath(t, "gone.test"), nil)
	n.WantGiven(t, "deleted", "gone.test", 502, Leaf{})
	WantProblem(t, n.AwaitProblem(t, "certificate-refused"), fleet.Alarm, "gone.test")
	f.CLI(t, "cert", "remove", "gone.test", "--yes").Want(t, 0)
	n.AwaitGiven(t, "gone.test", 404, Leaf{})
	n.AwaitNoProblem(t)
	n.AwaitGiven(t, "kept.test", 200, kept)
	path := f.bundlePath(t, "late.test")
	good := f.take(t, path)
	f.plant(t, path, f.take(t, f.bundlePath(t, "kept.test")))
	before := f.fetched(proxy)
	for range 50 {
		n.WantGiven(t, "swapped", "late.test", 502, Leaf{})
	}
	if got := f.fetched(proxy) - before; got == 0 || got > 10 {
		t.Errorf("a swapped bundle asked for 50 times was fetched %d times, want few", got)
	}
	WantProblem(t, n.AwaitProblem(t, "certificate-refused"), fleet.Alarm, "late.test")
	n.WantGiven(t, "beside a swapped one", "kept.test", 200, kept)
	f.plant(t, path, good)
	n.AwaitGiven(t, "late.test", 200, late)
	n.AwaitNoProblem(t)

	n.Agent.Stop(t)
	renewed := ca.Issue(t, 60, "kept.test")
	f.Import(t, renewed)
	path = f.bundlePath(t, "kept.test")
	good = f.take(t, path)
	f.plant(t, path, good[:len(good)-1])
	n.StartAgent(t)
	WantProblem(t, n.AwaitProblem(t, "certificate-refused"), fleet.Alarm, "kept.test")
	n.WantGiven(t, "with a spoiled renewal", "kept.test", 200, kept)
	f.AwaitServed(t, ca, "kept.test", kept, n)
	f.plant(t, path, good)
	n.AwaitGiven(t, "kept.test", 200, renewed)
	n.AwaitNoProblem(t)
}
