package store

import (
	"context"
	"errors"
	"fmt"
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

	// Keep, if not nil, says whether a name that has another bundle keeps the
	// entry it has. It decides on the entry that the transaction replaces, so
	// that no change of somebody else comes between; it may be asked again.
	Keep func(was, now fleet.Entry) bool
	// Settled, if not nil, is told of each name that had another bundle, once
	// that is decided and, unless it was kept, written.
	Settled func(was, now fleet.Entry, kept bool)
}

// Edited says what an edit did, by names.
type Edited struct {
	Epoch                               uint64 // of the head that has all of it; 0 if no head was read
	Added, Replaced, Removed, Unchanged int
	Kept                                int // by Edit.Keep
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
	ed := &editor{store: s, session: session, settled: e.Settled, groups: groups, written: map[string]bool{}}
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
