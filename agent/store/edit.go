package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Certificate is a bundle and the names, in stored form, it is to serve. It is
// stored as it is: checking it is for the caller.
type Certificate struct {
	Bundle bundle.Bundle
	Names  []string
	Entry  fleet.Entry // NotAfter, Source and Issuer of the names' entries, and Changed unless it is to be Edit.Now
}

// Edit is a change of the inventory. No name may be given two different
// bundles, or be put and removed.
type Edit struct {
	Put    []Certificate
	Remove []string  // names in stored form; those that are not there stay so
	Now    time.Time // when the edit is made
}

// Edited says what an edit did, by names.
type Edited struct {
	Epoch                               uint64 // of the head that has all of it; 0 if no head was read
	Added, Replaced, Removed, Unchanged int
}

// EditInventory carries out the edit, in as few transactions as Consul's limits
// allow, each with the bundles, their shards and the head: a reader never sees
// a name without its bundle. With a session, that session must hold the leader
// lock (ErrFenced). When somebody else was first, it reads again and tries
// anew, a bounded number of times (ErrConflict). What is there already is not
// written. progress, if not nil, is told how many of the names are done.
//
// Edited says what is done even when there is an error: what belongs to shards
// that cannot be read (ErrMissing, ErrRecord, ErrDenied) is left out, the rest
// is done, and the same edit may be made again. A fleet without a head gets one
// only if it has no other record of certificates.
func (s *Store) EditInventory(ctx context.Context, e Edit, session string, progress func(done, total int)) (Edited, error) {
	groups, err := group(e)
	if err != nil {
		return Edited{}, fmt.Errorf("edit inventory: %w", err)
	}
	ed := &editor{store: s, session: session, groups: groups, written: map[string]bool{}}
	total := ed.left()
	for len(ed.groups) > 0 {
		if err := retry(ctx, func() error { return ed.step(ctx) }); err != nil {
			ed.errs = append(ed.errs, err)
			break
		}
		if progress != nil {
			progress(total-ed.left(), total)
		}
	}
	if len(ed.errs) > 0 {
		return ed.edited, fmt.Errorf("edit inventory: %w", errors.Join(ed.errs...))
	}
	return ed.edited, nil
}

// editor carries out one edit.
type editor struct {
	store   *Store
	session string
	groups  []shardEdit     // what is left to do
	written map[string]bool // paths of the bundles and chains that are in
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
