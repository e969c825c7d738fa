package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// waveWorld is a leader's work on sites, with a real Consul and no agents.
type waveWorld struct {
	*waves
	t       *testing.T
	client  *api.Client
	keyring *seal.Keyring
	fleet   string
	session string
}

func newWaveWorld(t *testing.T, atOnce bool) *waveWorld {
	t.Helper()
	keyring, err := seal.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x := &waveWorld{t: t, keyring: keyring, fleet: testkit.FleetName(t), client: testkit.SharedConsul(t).Client(t)}
	st := x.open(testkit.SharedConsul(t).Addr)
	x.waves = &waves{
		log: testkit.Logger(t), store: st, problems: newProblems(func() {}), wake: newWake(), seen: &leading{}, atOnce: atOnce,
		rules: handlers.WaveRules{Canaries: fleet.Share{Nodes: 1}, Deadline: time.Minute},
	}
	x.followed.Store(true)
	x.session, _, err = x.client.Session().Create(&api.SessionEntry{TTL: "1h"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ok, _, err := x.client.KV().Acquire(&api.KVPair{Key: st.LeaderKey(), Session: x.session}, nil); err != nil || !ok {
		t.Fatalf("acquire the lock: %t, %v", ok, err)
	}
	return x
}

// open is the fleet's store at an address.
func (x *waveWorld) open(addr string) *store.Store {
	x.t.Helper()
	st, err := store.Open(store.Config{Address: addr, Fleet: x.fleet, Log: testkit.Logger(x.t)}, x.keyring)
	if err != nil {
		x.t.Fatal(err)
	}
	return st
}

func (x *waveWorld) key(path string) string { return "tlsfleet/" + x.fleet + "/" + path }

// set puts sites with one address into the fleet.
func (x *waveWorld) set(port int, ids ...string) {
	x.t.Helper()
	if _, err := x.store.EditSites(x.t.Context(), store.SiteEdit{Put: sitesAt(port, ids...)}); err != nil {
		x.t.Fatal(err)
	}
}

// sitesAt are sites with one address.
func sitesAt(port int, ids ...string) []site.Site {
	var list []site.Site
	for _, id := range ids {
		s := site.New(id)
		s.ServerNames = []string{id + ".test"}
		s.Backends.Addresses = []site.Backend{{Address: fmt.Sprintf("127.0.0.1:%d", port), Weight: 1}}
		list = append(list, s)
	}
	return list
}

// halt has the wave be one whose canary could not serve these sites, set at its epoch.
func (x *waveWorld) halt(ids ...string) {
	x.t.Helper()
	w := x.last.Wave
	out := maps.Clone(w.Out)
	if out == nil {
		out = map[string]uint64{}
	}
	for _, id := range ids {
		out[id] = w.Epoch
	}
	w.State, w.Reason, w.Out = handlers.WaveHalted, "it is broken", out
	if _, err := x.store.PutWave(x.t.Context(), w, x.last, x.session); err != nil {
		x.t.Fatal(err)
	}
}

// looks takes one look, and wants this wave and these problems.
func (x *waveWorld) looks(when string, epoch, base uint64, state handlers.WaveState, codes ...string) {
	x.t.Helper()
	if _, err := x.look(x.t.Context(), x.session); err != nil {
		x.t.Fatalf("look() %s = %v", when, err)
	}
	rec, err := x.store.Wave(x.t.Context())
	if w := rec.Wave; err != nil || w.Epoch != epoch || w.Base != base || w.State != state {
		x.t.Errorf("wave %s = %+v, %v, want epoch %d from %d %s", when, w, err, epoch, base, state)
	}
	var got []string
	for _, p := range x.problems.list() {
		got = append(got, p.Code)
	}
	if !slices.Equal(got, codes) {
		x.t.Errorf("problems %s = %q, want %q", when, got, codes)
	}
}

// pinned are the keys of what nodes may serve.
func (x *waveWorld) pinned() string {
	x.t.Helper()
	keys, _, err := x.client.KV().Keys(x.key("waves/"), "", nil)
	if err != nil {
		x.t.Fatal(err)
	}
	var got []string
	for _, k := range keys {
		if path := strings.TrimPrefix(k, x.key("waves/")); path != "current" {
			got = append(got, path)
		}
	}
	return strings.Join(got, " ")
}

func (x *waveWorld) wantPinned(when, want string) {
	x.t.Helper()
	if got := x.pinned(); got != want {
		x.t.Errorf("pinned %s: %s, want %s", when, got, want)
	}
}

// TestLeaderPinsWhatMayBeServed: the epoch on its way and the one to go back to,
// and nothing else.
func TestLeaderPinsWhatMayBeServed(t *testing.T) {
	t.Parallel()
	x := newWaveWorld(t, true)
	if _, err := x.look(t.Context(), x.session); err != nil || x.pinned() != "" {
		t.Errorf("look() without sites = %v, pinned %s, want nothing", err, x.pinned())
	}
	x.set(1, "a", "b")
	x.looks("at once", 1, 0, handlers.WaveRolled)
	x.wantPinned("at once", "heads/1 sites/a/1 sites/b/1")
	x.atOnce = false
	x.set(2, "a")
	x.looks("without a node", 2, 1, handlers.WaveCanary)
	x.wantPinned("in a wave", "heads/1 heads/2 sites/a/1 sites/a/2 sites/b/1")
	x.set(3, "a")
	x.looks("overtaken", 3, 1, handlers.WaveCanary)
	x.wantPinned("overtaken", "heads/1 heads/3 sites/a/1 sites/a/3 sites/b/1")
	if _, err := x.store.AgainSites(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	x.looks("now", 4, 1, handlers.WaveRolled)
	x.wantPinned("now", "heads/4 sites/a/3 sites/b/1")

	if _, err := x.client.KV().Delete(x.key("sites/a"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := x.store.AgainSites(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	x.looks("of a lost site", 5, 4, handlers.WaveRolled)
	x.set(4, "c")
	if _, err := x.client.KV().Put(&api.KVPair{Key: x.key("sites/c"), Value: []byte("}")}, nil); err != nil {
		t.Fatal(err)
	}
	x.looks("with a damaged site", 6, 5, handlers.WaveCanary, "site-unreadable")
	x.wantPinned("with a damaged site", "heads/5 heads/6 sites/a/3 sites/b/1")
}

// TestSitesThatFailedHoldUpNoOthers: a later change goes to the nodes without them,
// until they are tried once more.
func TestSitesThatFailedHoldUpNoOthers(t *testing.T) {
	t.Parallel()
	x := newWaveWorld(t, true)
	x.set(1, "a", "bad")
	x.looks("at first", 1, 0, handlers.WaveRolled)
	x.atOnce = false
	x.set(2, "bad", "new")
	x.looks("of the second epoch", 2, 1, handlers.WaveCanary)
	x.halt("bad", "new")
	x.looks("that is halted", 2, 1, handlers.WaveHalted, "wave-halted")
	x.set(3, "a")
	x.looks("without what failed", 3, 1, handlers.WaveCanary, "sites-out")
	x.wantPinned("without what failed", "heads/1 heads/3 sites/a/1 sites/a/3 sites/bad/1")
	x.set(4, "new")
	x.looks("with one of them set again", 4, 1, handlers.WaveCanary, "sites-out")
	x.wantPinned("with one of them set again", "heads/1 heads/4 sites/a/1 sites/a/3 sites/bad/1 sites/new/4")
	if _, err := x.store.AgainSites(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	x.looks("once more", 5, 1, handlers.WaveCanary)
	x.wantPinned("once more", "heads/1 heads/5 sites/a/1 sites/a/3 sites/bad/1 sites/bad/2 sites/new/4")
}

// TestHeldSitesAreSetAgain: what a halt keeps from the nodes beside a site that
// failed goes to them without it when it is set again as it is, at once too.
func TestHeldSitesAreSetAgain(t *testing.T) {
	t.Parallel()
	x := newWaveWorld(t, true)
	console := &Console{cfg: config.Default(), store: x.store}
	again := func(when string, now bool, want string, ids ...string) {
		t.Helper()
		done, err := console.SetSites(t.Context(), sitesAt(2, ids...), now)
		if got := strings.Join(done.Again, " "); err != nil || got != want || len(done.Added)+len(done.Changed) > 0 {
			t.Errorf("SetSites(%v) %s = %+v, %v, want %q once more", ids, when, done, err, want)
		}
	}
	x.set(1, "bad", "good")
	x.looks("at first", 1, 0, handlers.WaveRolled)
	x.atOnce = false
	x.set(2, "bad", "good", "new")
	again("before the leader has seen them", false, "", "good")
	x.looks("of the second epoch", 2, 1, handlers.WaveCanary)
	again("on trial", false, "", "bad", "good", "new")
	x.halt("bad")
	x.looks("that is halted", 2, 1, handlers.WaveHalted, "wave-halted")

	again("after the halt", false, "good", "bad", "good")
	x.looks("with one that did not fail", 3, 1, handlers.WaveCanary, "sites-out")
	x.wantPinned("with one that did not fail", "heads/1 heads/3 sites/bad/1 sites/good/1 sites/good/3 sites/new/2")
	x.halt()
	again("now", true, "new", "new")
	x.looks("at once", 4, 1, handlers.WaveRolled, "sites-out")
	x.wantPinned("at once", "heads/4 sites/bad/1 sites/good/3 sites/new/4")

	again("that are served", true, "", "good", "new")
	again("with one that failed", false, "bad", "bad", "good")
	x.looks("with the one that failed", 5, 4, handlers.WaveCanary)
	x.wantPinned("with the one that failed", "heads/4 heads/5 sites/bad/1 sites/bad/5 sites/good/3 sites/new/4")
}

// inWave brings the world to the middle of a wave: canary is on trial, spent was.
func (x *waveWorld) inWave(canary, spent string) handlers.Wave {
	x.t.Helper()
	x.set(1, "a")
	x.looks("at first", 1, 0, handlers.WaveRolled)
	x.atOnce = false
	x.set(2, "a")
	for _, node := range []string{canary, spent, "other"} {
		if err := x.store.Register(x.t.Context(), store.Registration{Node: node, TTL: time.Minute}); err != nil {
			x.t.Fatal(err)
		}
		x.t.Cleanup(func() {
			if err := x.store.Deregister(context.WithoutCancel(x.t.Context()), node); err != nil {
				x.t.Error(err)
			}
		})
	}
	x.looks("of the second epoch", 2, 1, handlers.WaveCanary)
	w := x.last.Wave
	w.Canaries, w.Spent = []string{canary}, []string{spent}
	rec, err := x.store.PutWave(x.t.Context(), w, x.last, x.session)
	if err != nil {
		x.t.Fatal(err)
	}
	return rec.Wave
}

// wants takes one look, and wants this wave with a higher serial than before, or
// with the same if it is not to be written.
func (x *waveWorld) wants(when string, want handlers.Wave, written bool, serial uint64) {
	x.t.Helper()
	if _, err := x.look(x.t.Context(), x.session); err != nil {
		x.t.Fatalf("look() %s = %v", when, err)
	}
	rec, err := x.store.Wave(x.t.Context())
	if err != nil || !reflect.DeepEqual(rec.Wave, want) {
		x.t.Errorf("wave %s = %+v, %v, want %+v", when, rec.Wave, err, want)
	}
	if written && rec.Serial <= serial || !written && rec.Serial != serial {
		x.t.Errorf("serial %s = %d after %d, want it written: %t", when, rec.Serial, serial, written)
	}
}

// TestLostWaveIsWrittenAgain: in the middle of a wave, by the leader that has it,
// as it was and with a higher serial, and by no other session.
func TestLostWaveIsWrittenAgain(t *testing.T) {
	t.Parallel()
	x := newWaveWorld(t, true)
	want := x.inWave("canary", "spent")
	x.looks("that was read", 2, 1, handlers.WaveCanary)
	serial := x.last.Serial
	x.wants("without news", want, false, serial)
	for name, spoil := range map[string]func() error{
		"deleted": func() error { _, err := x.client.KV().Delete(x.key("waves/current"), nil); return err },
		"damaged": func() error {
			_, err := x.client.KV().Put(&api.KVPair{Key: x.key("waves/current"), Value: []byte("{}")}, nil)
			return err
		},
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		x.wants("that was "+name, want, true, serial)
		serial = x.last.Serial
	}
	if _, err := x.client.KV().Delete(x.key("waves/current"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := x.look(t.Context(), "8a7b2a3c-0000-0000-0000-000000000000"); !errors.Is(err, store.ErrFenced) {
		t.Errorf("look() of no leader = %v, want %v", err, store.ErrFenced)
	}
}

// TestNextLeaderGoesOnWithTheWave: it takes the record as it is; without one it
// rolls nothing out, and wants a canary to prove what no node was seen to have
// proved.
func TestNextLeaderGoesOnWithTheWave(t *testing.T) {
	t.Parallel()
	x := newWaveWorld(t, true)
	want := x.inWave("canary", "spent")
	x.last = store.WaveRecord{}
	rec, err := x.store.Wave(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	x.wants("of the leader before", want, false, rec.Serial)

	x.last = store.WaveRecord{}
	if _, err := x.client.KV().Delete(x.key("waves/current"), nil); err != nil {
		t.Fatal(err)
	}
	x.looks("that nobody has", 2, 0, handlers.WaveCanary)
	if w := x.last.Wave; len(w.Canaries) != 1 || len(w.Spent) != 0 {
		t.Errorf("wave that nobody has = %+v, want one canary", w)
	}
}

// TestWithoutWavesNothingIsWritten: as long as no node has them and none ever had,
// whatever the token may. What there is from before is kept up.
func TestWithoutWavesNothingIsWritten(t *testing.T) {
	t.Parallel()
	x := newWaveWorld(t, true)
	x.followed.Store(false)
	quiet := func(when string) {
		t.Helper()
		if _, err := x.look(t.Context(), x.session); err != nil || len(x.problems.list()) > 0 {
			t.Errorf("look() %s = %v, problems %+v, want nothing", when, err, x.problems.list())
		}
		if keys, _, err := x.client.KV().Keys(x.key("waves/"), "", nil); err != nil || len(keys) > 0 {
			t.Errorf("keys %s = %q, %v, want none", when, keys, err)
		}
	}
	x.set(1, "a")
	quiet("with sites")
	x.reported([]fleet.Report{{Node: "a"}, {Node: "b"}})
	quiet("with nodes")
	direct := x.store
	proxy := testkit.FaultProxy(t, testkit.SharedConsul(t).Addr)
	proxy.Set(testkit.Rule{Path: "/v1/kv/" + x.key("waves/"), Fault: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		http.Error(w, "Permission denied: token lacks permission", http.StatusForbidden)
	}})
	x.store = x.open(proxy.Addr)
	quiet("with a token that may not read them")
	x.store = direct

	x.reported([]fleet.Report{{Node: "a"}, {Node: "b", Waves: true}})
	x.looks("that a node follows", 1, 0, handlers.WaveRolled)
	x.reported([]fleet.Report{{Node: "a"}, {Node: "b"}})
	x.set(2, "a")
	x.looks("that no node follows any more", 2, 1, handlers.WaveRolled)
	x.store = x.open(proxy.Addr)
	if _, err := x.look(t.Context(), x.session); err != nil || len(x.problems.list()) > 0 {
		t.Errorf("look() at a wave of before that may not be read = %v, problems %+v, want nothing", err, x.problems.list())
	}
}

// TestOlderListOfSitesIsTold: sites of a restored snapshot take nothing from the nodes.
func TestOlderListOfSitesIsTold(t *testing.T) {
	t.Parallel()
	x := newWaveWorld(t, true)
	x.set(1, "a")
	old, _, err := x.client.KV().Get(x.key("sites/head"), nil)
	if err != nil {
		t.Fatal(err)
	}
	x.set(2, "a")
	x.looks("at first", 2, 0, handlers.WaveRolled)
	if _, err := x.client.KV().Put(old, nil); err != nil {
		t.Fatal(err)
	}
	x.looks("of an older list", 2, 0, handlers.WaveRolled, "sites-refused")
}

// TestOlderWaveIsRefused: a node takes no record from before the one it has accepted.
func TestOlderWaveIsRefused(t *testing.T) {
	f := &siteFollower{problems: newProblems(func() {})}
	newer := store.WaveRecord{Serial: 7, Wave: handlers.Wave{Epoch: 3, State: handlers.WaveRolled}}
	f.accept(newer)
	f.accept(store.WaveRecord{Serial: 6, Wave: handlers.Wave{Epoch: 4, State: handlers.WaveRolled}})
	if list := f.problems.list(); f.wave.Serial != 7 || f.behind || len(list) != 1 || list[0].Code != "sites-refused" {
		t.Errorf("accept(older) = serial %d, behind %t, problems %v, want it refused", f.wave.Serial, f.behind, list)
	}
	newer.Serial = 8
	if f.accept(newer); f.wave.Serial != 8 || !f.behind {
		t.Errorf("accept(newer) = serial %d, behind %t, want it taken", f.wave.Serial, f.behind)
	}
}

// TestNodeWithoutAWordFollowsSites: once a leader had its time, as they are set; no
// longer than until it has a word, and never after that.
func TestNodeWithoutAWordFollowsSites(t *testing.T) {
	t.Parallel()
	x := newWaveWorld(t, true)
	cfg := config.Default()
	cfg.Node = "node1"
	f := &siteFollower{
		log: testkit.Logger(t), store: x.store, view: &view{waves: true, changed: func() {}, problems: newProblems(func() {})},
		problems: newProblems(func() {}), cfg: cfg,
	}
	now := fleet.Beat(time.Now(), unledLook).Add(unledLook / 3) // sites are found at any time
	look := func(when string, alone bool, target uint64, codes ...string) {
		t.Helper()
		_, err := x.store.Wave(t.Context())
		f.unheard(err)
		f.lookUnled(t.Context(), now)
		var got []string
		for _, p := range f.problems.list() {
			got = append(got, p.Code)
		}
		if f.led() == alone || f.view.Report().Waves == alone || f.target.Head.Epoch != target || !slices.Equal(got, codes) {
			t.Errorf("%s = led %t, waves %t, epoch %d, problems %q, want alone %t, epoch %d, %q", when, f.led(), f.view.Report().Waves, f.target.Head.Epoch, got, alone, target, codes)
		}
		now = now.Add(unledLook - time.Second)
	}
	if look("without sites", false, 0); !f.ready {
		t.Error("a fleet without sites is not ready")
	}
	x.set(1, "a")
	found := now
	look("with sites", false, 0)
	look("before the leader had its time", false, 0)
	now = found.Add(firstWord)
	look("after the leader had its time", true, 1, "sites-unled")
	x.set(2, "a")
	now = now.Add(time.Second)
	if look("with newer sites", true, 2, "sites-unled"); !f.behind {
		t.Error("sites without a word are not followed")
	}

	f.accept(store.WaveRecord{Serial: 1, Wave: handlers.Wave{Epoch: 2, State: handlers.WaveRolled}})
	f.tellContact(nil)
	look("with a word", false, 2)
	x.set(3, "a")
	now = now.Add(time.Hour)
	look("without it again", false, 2)
	now = now.Add(time.Hour)
	look("without it for long", false, 2)
}

// TestSitesReportOfAnEpoch: a proof counts for the epoch that it is of.
func TestSitesReportOfAnEpoch(t *testing.T) {
	for name, tt := range map[string]struct {
		sites uint64
		proof fleet.SitesProof
		want  handlers.SitesReport
	}{
		"served":              {7, fleet.SitesProof{}, handlers.SitesReport{Node: "n", Epoch: 7}},
		"proved":              {7, fleet.SitesProof{Epoch: 7, Proved: true}, handlers.SitesReport{Node: "n", Epoch: 7, Proved: true}},
		"another was proved":  {7, fleet.SitesProof{Epoch: 6, Proved: true}, handlers.SitesReport{Node: "n", Epoch: 7}},
		"failed before it":    {6, fleet.SitesProof{Epoch: 7, Failed: "x", Bad: "a b"}, handlers.SitesReport{Node: "n", Epoch: 7, Failed: "x", Bad: []string{"a", "b"}}},
		"failed as a whole":   {6, fleet.SitesProof{Epoch: 7, Failed: "x"}, handlers.SitesReport{Node: "n", Epoch: 7, Failed: "x", Bad: []string{}}},
		"another one failed":  {7, fleet.SitesProof{Epoch: 6, Failed: "x"}, handlers.SitesReport{Node: "n", Epoch: 7}},
		"proved and not here": {6, fleet.SitesProof{Epoch: 7, Proved: true}, handlers.SitesReport{Node: "n", Epoch: 6}},
	} {
		got := sitesReport(fleet.Report{Node: "n", Sites: tt.sites, SitesProof: tt.proof}, 7)
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("sitesReport() of one that has %s = %+v, want %+v", name, got, tt.want)
		}
	}
}
