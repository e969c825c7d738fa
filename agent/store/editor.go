package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// editor carries out one edit.
type editor struct {
	store   *Store
	session string
	settled func(was, now fleet.Entry, kept bool) // may be nil
	groups  []shardEdit                           // what is left to do
	written map[string]bool                       // paths of the bundles and chains that are in
	edited  Edited
	errs    []error // of the shards that were left out
}

// left is how many names are left to do.
func (ed *editor) left() int {
	n := 0
	for _, g := range ed.groups {
		n += len(g.changes)
	}
	return n
}

// step carries out as many of the first groups as fit into one transaction.
func (ed *editor) step(ctx context.Context) error {
	groups := ed.groups[:ed.reach()]
	stock, err := ed.store.stock(ctx, groups)
	if err != nil {
		return err
	}
	lost, err := ed.lost(ctx, groups, stock)
	if err != nil {
		return err
	}
	b := &batch{
		editor: ed, stock: stock, lost: lost, head: stock.head.Head,
		changed: map[int]bool{}, inserted: map[string]bool{},
	}
	done := 0
	for done < len(groups) && b.add(groups[done]) {
		done++
	}
	if done == 0 {
		return ed.split()
	}
	if err := b.commit(ctx); err != nil {
		return err
	}
	ed.groups = ed.groups[done:]
	return nil
}

// reach is how many of the first groups may fit into one transaction, by the
// number of its operations, and how many it is worth to read shards for.
func (ed *editor) reach() int {
	bundles := map[fleet.Hash]bool{}
	for i, g := range ed.groups {
		for _, c := range g.changes {
			if c.cert != nil && !ed.written[bundlePath(c.entry.Bundle)] {
				bundles[c.entry.Bundle] = true
			}
		}
		if i > 0 && (i == maxGets || frameOps+i+1+len(bundles) > maxOps) {
			return i
		}
	}
	return len(ed.groups)
}

// lost finds the bundles of the groups that the inventory names already but
// that are not there, or spoiled: putting a certificate again repairs it.
func (ed *editor) lost(ctx context.Context, groups []shardEdit, st stock) (map[fleet.Hash]bool, error) {
	named := map[fleet.Hash]bool{}
	for _, g := range groups {
		for _, c := range g.changes {
			was, _ := st.shards[g.number].Shard.Lookup(c.name)
			if c.cert != nil && was.Bundle == c.entry.Bundle && !ed.written[bundlePath(was.Bundle)] {
				named[was.Bundle] = true
			}
		}
	}
	_, bad, err := ed.store.Bundles(ctx, slices.Collect(maps.Keys(named)))
	lost := map[fleet.Hash]bool{}
	for hash, err := range bad {
		lost[hash] = errors.Is(err, ErrMissing) || errors.Is(err, ErrRecord)
	}
	return lost, err
}

// split makes two of the first group, which is too large for one transaction.
func (ed *editor) split() error {
	g := ed.groups[0]
	half := len(g.changes) / 2
	if half == 0 {
		return fmt.Errorf("%s: with its shard and its bundle it is larger than a Consul transaction", g.changes[0].name)
	}
	first, second := g, g
	first.changes, second.changes = g.changes[:half], g.changes[half:]
	ed.groups = append([]shardEdit{first, second}, ed.groups[1:]...)
	return nil
}
