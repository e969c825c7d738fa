package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// open is nodes that serve any name that has a certificate.
var open = Settings{"certificates.mode": "variable", "certificates.names": "open"}

func (f *Fleet) path(parts ...string) string {
	return "tlsfleet/" + f.Name + "/" + strings.Join(parts, "/")
}

func shardOf(name string) string { return fmt.Sprint(inventory.ShardOf(name)) }

// take is a record as it stands in KV.
func (f *Fleet) take(t *testing.T, path string) []byte {
	t.Helper()
	pair, _, err := f.Consul.Client(t).KV().Get(path, nil)
	if err != nil || pair == nil {
		t.Fatalf("read %s: %v, %v", path, pair, err)
	}
	return pair.Value
}

// plant writes a record, or deletes it if record is nil.
func (f *Fleet) plant(t *testing.T, path string, record []byte) {
	t.Helper()
	kv := f.Consul.Client(t).KV()
	var err error
	if record == nil {
		_, err = kv.Delete(path, nil)
	} else {
		_, err = kv.Put(&api.KVPair{Key: path, Value: record}, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// bundlePath is where the certificate that serves a name lives in KV.
func (f *Fleet) bundlePath(t *testing.T, name string) string {
	t.Helper()
	var shown struct{ Bundle fleet.Hash }
	if err := f.askJSON(t, &shown, "cert", "show", name); err != nil {
		t.Fatal(err)
	}
	return f.path("bundles", shown.Bundle.String())
}

// TestSpoiledInventoryRecordsRemoveNothing spoils one record while a node is
// behind: it keeps what it has for the names of that record, says so, and
// follows the rest. With the record mended it follows all.
func TestSpoiledInventoryRecordsRemoveNothing(t *testing.T) {
	t.Parallel()
	const victim, beside = "victim.test", "beside.test"
	shard := func(f *Fleet, _ *testing.T) string { return f.path("inventory", "shards", shardOf(victim)) }
	bundle := func(f *Fleet, t *testing.T) string { return f.bundlePath(t, victim) }
	tests := map[string]struct {
		path  func(*Fleet, *testing.T) string
		spoil func(f *Fleet, t *testing.T, older []byte) []byte
		code  string
		says  string
	}{
		"shard deleted": {shard, func(*Fleet, *testing.T, []byte) []byte { return nil }, "shard-" + shardOf(victim) + "-refused", "shards/" + shardOf(victim)},
		"shard older":   {shard, func(_ *Fleet, _ *testing.T, older []byte) []byte { return older }, "shard-" + shardOf(victim) + "-refused", "shard " + shardOf(victim)},
		"shard cut":     {shard, func(f *Fleet, t *testing.T, _ []byte) []byte { return cut(f.take(t, shard(f, t))) }, "shard-" + shardOf(victim) + "-refused", "shards/" + shardOf(victim)},
		"shard swapped": {shard, func(f *Fleet, t *testing.T, _ []byte) []byte {
			return f.take(t, f.path("inventory", "shards", shardOf(beside)))
		}, "shard-" + shardOf(victim) + "-refused", "shards/" + shardOf(victim)},
		"shard without the name": {shard, func(f *Fleet, t *testing.T, _ []byte) []byte { return f.emptyShard(t, victim) }, "names-lost", victim},
		"bundle cut":             {bundle, func(f *Fleet, t *testing.T, _ []byte) []byte { return cut(f.take(t, bundle(f, t))) }, "certificate-refused", victim},
		"bundle of another hash": {bundle, func(f *Fleet, t *testing.T, _ []byte) []byte {
			plain, epoch := f.unseal(t, f.bundlePath(t, beside))
			return f.seal(t, bundle(f, t), epoch, plain)
		}, "certificate-refused", "another hash"},
		"bundle deleted": {bundle, func(*Fleet, *testing.T, []byte) []byte { return nil }, "certificate-refused", victim},
		"bundle swapped": {bundle, func(f *Fleet, t *testing.T, _ []byte) []byte { return f.take(t, f.bundlePath(t, beside)) }, "certificate-refused", victim},
	}
	if shardOf(victim) == shardOf(beside) {
		t.Fatal("both names are in one shard")
	}
	f, ca := newCertFleet(t, onShared(t, 2, open)), newCA(t)
	late, days := f.Nodes[1], 30
	kept, other := ca.Issue(t, days, victim), ca.Issue(t, days, beside)
	f.Import(t, kept, other)
	start := func() { late.StartAgent(t) } // for longer than one subtest
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f.AwaitServed(t, ca, victim, kept, f.Nodes...)
			older := f.take(t, shard(f, t))
			late.Agent.Stop(t)
			days++
			renewed := ca.Issue(t, days, victim)
			other = ca.Issue(t, days, beside)
			f.Import(t, renewed, other)
			f.AwaitServed(t, ca, victim, renewed, f.Nodes[0])
			f.AwaitServed(t, ca, beside, other, f.Nodes[0])
			path := tt.path(f, t)
			good := f.take(t, path)
			f.plant(t, path, tt.spoil(f, t, older))
			start()
			WantProblem(t, late.AwaitProblem(t, tt.code), fleet.Alarm, tt.says)
			f.AwaitServed(t, ca, beside, other, f.Nodes...)
			f.WantServed(t, ca, "with a spoiled record", victim, kept, late)
			f.WantServed(t, ca, "with a spoiled record", victim, renewed, f.Nodes[0])
			f.plant(t, path, good)
			f.AwaitServed(t, ca, victim, renewed, late)
			late.AwaitNoProblem(t)
			kept = renewed
		})
	}
}

// cut is a record without its last byte.
func cut(record []byte) []byte { return record[:len(record)-1] }

// emptyShard is the shard of a name as it stands in KV, sealed by who has the
// keyring, without any entry.
func (f *Fleet) emptyShard(t *testing.T, name string) []byte {
	t.Helper()
	path, number := f.path("inventory", "shards", shardOf(name)), inventory.ShardOf(name)
	_, epoch := f.unseal(t, path)
	plain, err := inventory.EncodeShard(inventory.Shard{Number: number, Epoch: epoch})
	if err != nil {
		t.Fatal(err)
	}
	return f.seal(t, path, epoch, plain)
}

// TestDeletedHeadRemovesNothing takes the one record away that nodes watch,
// and then puts an older one in its place.
func TestDeletedHeadRemovesNothing(t *testing.T) {
	t.Parallel()
	f, ca := newCertFleet(t, onShared(t, 2, open)), newCA(t)
	leaf := ca.Issue(t, 30, "a-head.test")
	f.Import(t, leaf)
	f.AwaitServed(t, ca, "a-head.test", leaf, f.Nodes...)
	head := f.take(t, f.path("inventory", "head"))
	f.plant(t, f.path("inventory", "head"), nil)
	for _, n := range f.Nodes {
		WantProblem(t, n.AwaitProblem(t, "inventory-missing"), fleet.Alarm, "keeping every certificate")
	}
	f.WantServed(t, ca, "without a head", "a-head.test", leaf, f.Nodes...)
	second := ca.Issue(t, 30, "b-head.test")
	f.CLI(t, "cert", "import", folder(t, second)).Want(t, 1)
	f.Nodes[1].Agent.Stop(t)
	f.Nodes[1].StartAgent(t)
	f.Nodes[1].AwaitProblem(t, "inventory-missing")
	f.WantServed(t, ca, "after a start without a head", "a-head.test", leaf, f.Nodes...)
	f.plant(t, f.path("inventory", "head"), head)
	f.Import(t, second)
	f.AwaitServed(t, ca, "b-head.test", second, f.Nodes...)
	for _, n := range f.Nodes {
		n.AwaitNoProblem(t)
	}

	newer := f.take(t, f.path("inventory", "head"))
	f.plant(t, f.path("inventory", "head"), head)
	f.Nodes[1].Agent.Stop(t)
	f.Nodes[1].StartAgent(t)
	for _, n := range f.Nodes {
		WantProblem(t, n.AwaitProblem(t, "inventory-refused"), fleet.Alarm, "older than the one")
	}
	f.WantServed(t, ca, "with an older head", "b-head.test", second, f.Nodes...)
	f.plant(t, f.path("inventory", "head"), newer)
	for _, n := range f.Nodes {
		n.AwaitNoProblem(t)
	}
}

// TestHeadThatLosesMostNamesIsHeldBack lets an inventory with most names gone
// wait for an operator.
func TestHeadThatLosesMostNamesIsHeldBack(t *testing.T) {
	t.Parallel()
	f, ca := newCertFleet(t, onShared(t, 2, open)), newCA(t)
	var names []string
	var leaves []Leaf
	for i := range 12 {
		names = append(names, fmt.Sprintf("n%d.test", i))
		leaves = append(leaves, ca.Issue(t, 30, names[i]))
	}
	f.Import(t, leaves...)
	for _, n := range f.Nodes {
		f.AwaitServed(t, ca, names[11], leaves[11], n)
	}
	good := f.take(t, f.path("inventory", "head"))
	f.plant(t, f.path("inventory", "head"), f.headWith(t, 1))
	for _, n := range f.Nodes {
		WantProblem(t, n.AwaitProblem(t, "inventory-refused"), fleet.Alarm, "from 12 to 1 names")
		testkit.Eventually(t, settle, "another look at the head by "+n.Name, func() error {
			if got := CountLog(n.Agent, "inventory refused"); got < 2 {
				return fmt.Errorf("it looked %d times", got)
			}
			return nil
		})
		n.AwaitProblem(t, "inventory-refused")
	}
	f.plant(t, f.path("inventory", "head"), good)
	for _, n := range f.Nodes {
		n.AwaitNoProblem(t)
	}

	f.CLI(t, append([]string{"cert", "remove", "--yes"}, names[:11]...)...).Want(t, 0)
	for _, n := range f.Nodes {
		WantProblem(t, n.AwaitProblem(t, "inventory-refused"), fleet.Alarm, "from 12 to 1 names")
		for i, name := range names {
			f.WantServed(t, ca, "held back", name, leaves[i], n)
		}
	}
	f.Nodes[0].Settings["certificates.max_loss_percent"] = 100
	f.Nodes[0].WriteConfig(t)
	f.AwaitRefused(t, ca, names[0], f.Nodes[0])
	f.WantServed(t, ca, "followed by another", names[0], leaves[0], f.Nodes[1])
	f.WantServed(t, ca, "all others gone", names[11], leaves[11], f.Nodes...)
	f.Nodes[0].AwaitNoProblem(t)
	testkit.Eventually(t, settle, "one name", func() error {
		if live := f.Nodes[0].live(t); len(live) != 1 {
			return fmt.Errorf("live has %v", live)
		}
		return nil
	})
}

// headWith is a head one epoch later that says it has so many names.
func (f *Fleet) headWith(t *testing.T, names int) []byte {
	t.Helper()
	path := f.path("inventory", "head")
	plain, epoch := f.unseal(t, path)
	head, err := inventory.DecodeHead(plain)
	if err != nil {
		t.Fatal(err)
	}
	head.Epoch, head.Names = epoch+1, names
	if plain, err = inventory.EncodeHead(head); err != nil {
		t.Fatal(err)
	}
	return f.seal(t, path, epoch+1, plain)
}

// unseal opens a record as it stands in KV.
func (f *Fleet) unseal(t *testing.T, path string) (plain []byte, epoch uint64) {
	t.Helper()
	plain, epoch, err := f.loadKeyring(t).Open(f.Name, path, f.take(t, path))
	if err != nil {
		t.Fatal(err)
	}
	return plain, epoch
}

// seal makes a record as only a holder of the keyring can.
func (f *Fleet) seal(t *testing.T, path string, epoch uint64, plain []byte) []byte {
	t.Helper()
	record, err := f.loadKeyring(t).Seal(f.Name, path, epoch, plain)
	if err != nil {
		t.Fatal(err)
	}
	return record
}
