package store

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// group sorts an edit by shards and refuses one that contradicts itself or has
// names that cannot be stored.
func group(e Edit) ([]shardEdit, error) {
	all := make(map[string]nameEdit, len(e.Remove)+len(e.Put))
	for i := range e.Put {
		if err := e.put(&e.Put[i], all); err != nil {
			return nil, err
		}
	}
	for _, name := range e.Remove {
		if err := fleet.CheckDomain(name); err != nil {
			return nil, err
		}
		if other, ok := all[name]; ok && other.cert != nil {
			return nil, fmt.Errorf("%s is both put and removed", name)
		}
		all[name] = nameEdit{name: name}
	}
	shards := map[int]*shardEdit{}
	for name, change := range all {
		n := inventory.ShardOf(name)
		if shards[n] == nil {
			shards[n] = &shardEdit{number: n, now: e.Now, keep: e.Keep}
		}
		shards[n].changes = append(shards[n].changes, change)
	}
	groups := make([]shardEdit, 0, len(shards))
	for _, g := range shards {
		slices.SortFunc(g.changes, func(a, b nameEdit) int { return strings.Compare(a.name, b.name) })
		groups = append(groups, *g)
	}
	slices.SortFunc(groups, func(a, b shardEdit) int { return cmp.Compare(a.number, b.number) })
	return groups, nil
}

// put adds the names of one certificate.
func (e Edit) put(c *Certificate, all map[string]nameEdit) error {
	if len(c.Names) == 0 {
		return errors.New("a certificate without a name to serve")
	}
	entry := c.Entry
	entry.Bundle, entry.Removed = bundle.Hash(c.Bundle), false
	if entry.Changed.IsZero() {
		entry.Changed = e.Now
	}
	for _, name := range c.Names {
		if err := fleet.CheckDomain(name); err != nil {
			return err
		}
		if other, ok := all[name]; ok && other.entry.Bundle != entry.Bundle {
			return fmt.Errorf("%s is given two certificates", name)
		}
		entry.Name = name
		all[name] = nameEdit{name: name, cert: c, entry: entry}
	}
	return nil
}
