package store

import (
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// nameEdit is what an edit wants of one name.
type nameEdit struct {
	name  string
	cert  *Certificate // nil: remove it
	entry fleet.Entry
}

// shardEdit is what an edit wants of one shard, by name.
type shardEdit struct {
	number  int
	changes []nameEdit
	now     time.Time
	keep    func(was, now fleet.Entry) bool // Edit.Keep
}

// keeps reports whether a name keeps the entry it has.
func (g shardEdit) keeps(was, now fleet.Entry) bool {
	return g.keep != nil && was.Bundle != now.Bundle && g.keep(was, now)
}

// settlement is a name that had another bundle than it was to get.
type settlement struct {
	was, now fleet.Entry
	kept     bool
}

// shardResult is what came of it.
type shardResult struct {
	shard  inventory.Shard
	puts   []nameEdit // those that changed something
	counts Edited

	settled []settlement
}

// apply makes the shard's next version. Bundles in lost are put again even if
// the shard names them already, so that nodes look for them again.
func (g shardEdit) apply(s inventory.Shard, epoch uint64, lost map[fleet.Hash]bool) (shardResult, error) {
	var r shardResult
	wanted, err := s.Put(epoch, entries(g.changes)...)
	if err != nil {
		return shardResult{}, err
	}
	var removed []string
	for _, c := range g.changes {
		was, found := s.Lookup(c.name)
		served := found && !was.Removed
		now, _ := wanted.Lookup(c.name)
		switch {
		case c.cert == nil && served:
			removed = append(removed, c.name)
			r.counts.Removed++
		case c.cert == nil, served && serves(was, now) && !lost[now.Bundle]:
			r.counts.Unchanged++
		case served && g.keeps(was, now):
			r.settled = append(r.settled, settlement{was, now, true})
			r.counts.Kept++
		case served:
			if was.Bundle != now.Bundle {
				r.settled = append(r.settled, settlement{was, now, false})
			}
			r.puts = append(r.puts, c)
			r.counts.Replaced++
		default:
			r.puts = append(r.puts, c)
			r.counts.Added++
		}
	}
	r.shard, err = s.Put(epoch, entries(r.puts)...)
	if err != nil || len(removed) == 0 {
		return r, err
	}
	r.shard.Epoch = s.Epoch // both are one version
	r.shard, err = r.shard.Remove(epoch, g.now, removed...)
	return r, err
}

// entries are those of the changes that put one.
func entries(changes []nameEdit) []fleet.Entry {
	var es []fleet.Entry
	for _, c := range changes {
		if c.cert != nil {
			es = append(es, c.entry)
		}
	}
	return es
}

// serves reports whether two entries differ in nothing but when they were
// written.
func serves(a, b fleet.Entry) bool {
	return a.Bundle == b.Bundle && a.NotAfter.Equal(b.NotAfter) && a.Source == b.Source && a.Issuer == b.Issuer
}

func (e Edited) changes() int { return e.Added + e.Replaced + e.Removed }

// plus adds up the names.
func (e Edited) plus(o Edited) Edited {
	e.Added += o.Added
	e.Replaced += o.Replaced
	e.Removed += o.Removed
	e.Unchanged += o.Unchanged
	e.Kept += o.Kept
	return e
}
