package store

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/site"
)

// Why a fleet is not put back.
var (
	// ErrOccupied means that the fleet in Consul is not empty.
	ErrOccupied = errors.New("the fleet in Consul is not empty")
	// ErrNewer means that the fleet in Consul is newer than the copy.
	ErrNewer = errors.New("the fleet in Consul is newer than the copy")
)

// epochLeap is by how much the inventory's epoch goes up when a fleet is put back
// whose epochs are ahead of the clock: nodes refuse what is older than what they
// follow, and the last changes before Consul's state was lost may be in no copy and in no report.
const epochLeap = 1 << 20

// epochAt is the least epoch of a fleet that is put back at a time. A copy may be
// put back more than once, and Consul takes fewer than 1,000 changes a second.
func epochAt(t time.Time) uint64 { return uint64(max(t.UnixMilli(), 0)) } //nolint:gosec // not negative

// FleetCopy is a whole fleet as it is put back, checked by the caller.
type FleetCopy struct {
	Singles map[string][]byte // sealed, by path (SinglePaths)
	Chains  map[fleet.Hash][]byte
	Bundles map[fleet.Hash][]byte
	Head    inventory.Head // epoch 0: the fleet has no certificates
	Shards  map[int]inventory.Shard
	Items   map[string][]byte // sealed, by ID

	SiteHead site.Head // epoch 0: the fleet has no sites
	Sites    map[string]site.Site
}

// Total is how many records it has, for progress.
func (c FleetCopy) Total() int {
	n := len(c.Singles) + len(c.Chains) + len(c.Bundles) + len(c.Items)
	if c.Head.Epoch > 0 {
		n += inventory.Shards
	}
	return n
}

// Restored says what was put back.
type Restored struct {
	Epoch uint64 `json:"epoch"` // of the inventory in Consul; 0: there are no certificates
	Names int    `json:"names"`
	Items int    `json:"items"`
	Sites int    `json:"sites"`
}

// CheckVacant refuses a fleet in Consul that has an inventory, sites or a journal:
// ErrNewer or ErrOccupied.
func (s *Store) CheckVacant(ctx context.Context, c FleetCopy) error {
	head, err := s.Head(ctx)
	switch {
	case err == nil && head.Head.Epoch > c.Head.Epoch:
		return fmt.Errorf("%w: its inventory is at epoch %d, the copy's at %d", ErrNewer, head.Head.Epoch, c.Head.Epoch)
	case err == nil:
		return fmt.Errorf("%w: it has an inventory at epoch %d", ErrOccupied, head.Head.Epoch)
	case errors.Is(err, ErrRecord):
		return fmt.Errorf("%w: %w", ErrOccupied, err)
	case !errors.Is(err, ErrMissing):
		return err
	}
	if err := s.sitesVacant(ctx, c.SiteHead); err != nil {
		return err
	}
	q, cancel := read(ctx)
	defer cancel()
	for _, path := range []string{issuancePath} {
		keys, meta, err := s.client.KV().Keys(s.key(path), "/", q)
		if err == nil {
			err = consul.Vouched(meta)
		}
		if err != nil {
			return fmt.Errorf("list keys of fleet %s: %w", s.fleet, denied(err))
		}
		if len(keys) > 0 {
			return fmt.Errorf("%w: it has %s", ErrOccupied, s.key(path))
		}
	}
	return nil
}

// RestoreFleet writes a copy in an order in which no reader finds a name without
// its bundle, and no leader an account without the journal of what was ordered
// with it: objects, shards, head, journal, account. The inventory gets an epoch above all that nodes may have followed, with each of
// its shards. ErrConflict if somebody else changes the inventory meanwhile; what
// was written then does no harm, and it may be done again.
func (s *Store) RestoreFleet(ctx context.Context, c FleetCopy, progress func(done, total int)) (Restored, error) {
	r := &restorer{store: s, total: c.Total(), progress: progress}
	done, err := r.run(ctx, c)
	if err != nil {
		return Restored{}, fmt.Errorf("restore fleet: %w", err)
	}
	return done, nil
}

// restorer writes records in as few transactions as they fit in.
type restorer struct {
	store       *Store
	guard       api.TxnOps // what every transaction checks
	ops         api.TxnOps
	size        int
	done, total int
	progress    func(done, total int)
}

func (r *restorer) run(ctx context.Context, c FleetCopy) (Restored, error) {
	for _, objects := range []struct {
		path func(fleet.Hash) string
		of   map[fleet.Hash][]byte
	}{{chainPath, c.Chains}, {bundlePath, c.Bundles}} {
		for hash, sealed := range objects.of {
			if err := r.put(ctx, objects.path(hash), sealed); err != nil {
				return Restored{}, err
			}
		}
	}
	if err := r.flush(ctx); err != nil {
		return Restored{}, err
	}
	epoch, err := r.inventory(ctx, c)
	if err != nil {
		return Restored{}, err
	}
	for _, id := range slices.Sorted(maps.Keys(c.Items)) {
		if err := r.put(ctx, itemPath(id), c.Items[id]); err != nil {
			return Restored{}, err
		}
	}
	for _, path := range SinglePaths() {
		if sealed := c.Singles[path]; sealed != nil {
			if err := r.put(ctx, path, sealed); err != nil {
				return Restored{}, err
			}
		}
	}
	return Restored{Epoch: epoch, Names: c.Head.Names, Items: len(c.Items)}, r.flush(ctx)
}

// inventory writes all shards, those without a name too, because a node may
// follow one that the copy has none of, and then the head.
func (r *restorer) inventory(ctx context.Context, c FleetCopy) (uint64, error) {
	if c.Head.Epoch == 0 {
		return 0, nil
	}
	epoch, index, err := r.above(ctx, c.Head.Epoch)
	if err != nil {
		return 0, err
	}
	r.guard = api.TxnOps{{KV: r.unchanged(headPath, index)}}
	head := inventory.Head{Epoch: epoch, Names: 0}
	for n := range inventory.Shards {
		shard := inventory.Shard{Number: n, Epoch: epoch, Entries: c.Shards[n].Entries}
		sealed, err := r.store.sealShard(shard)
		if err != nil {
			return 0, err
		}
		if err := r.put(ctx, shardPath(n), sealed); err != nil {
			return 0, err
		}
		head.Shards[n] = epoch
		head.Names += shard.Live()
	}
	if err := r.flush(ctx); err != nil {
		return 0, err
	}
	r.guard = nil
	sealed, err := r.store.sealHead(head)
	if err != nil {
		return 0, err
	}
	_, err = r.store.put(ctx, headPath, sealed, index, "")
	return epoch, err
}

// above is an epoch that no node has followed, and the index of the head that
// is in Consul now; 0: there is none.
func (r *restorer) above(ctx context.Context, epoch uint64) (uint64, uint64, error) {
	head, err := r.store.Head(ctx)
	if err != nil && !errors.Is(err, ErrMissing) && !errors.Is(err, ErrRecord) {
		return 0, 0, err
	}
	index := head.Index
	reports, _, err := r.store.Reports(ctx)
	if err != nil {
		return 0, 0, err
	}
	epoch = max(epoch, head.Head.Epoch)
	for _, report := range reports {
		epoch = max(epoch, report.Inventory)
	}
	epoch, err = aboveEpoch(epoch, inventory.MaxEpoch)
	return epoch, index, err
}

// aboveEpoch is an epoch well above the highest that is known.
func aboveEpoch(highest, most uint64) (uint64, error) {
	if highest > most-epochLeap {
		return 0, fmt.Errorf("no epoch is left above %d", highest)
	}
	// The time is above every epoch since a restore before, seen or not; leaps from
	// one restore to the next would get ahead of it.
	if now := epochAt(time.Now()); highest < now {
		return now, nil
	}
	return highest + epochLeap, nil
}

// put adds one record to the transaction, and carries that out when it is full.
func (r *restorer) put(ctx context.Context, path string, sealed []byte) error {
	key := r.store.key(path)
	bytes := opBody + len(key) + base64.StdEncoding.EncodedLen(len(sealed))
	if len(r.ops)+len(r.guard) >= maxOps || frameBody+r.size+bytes > maxBody {
		if err := r.flush(ctx); err != nil {
			return err
		}
	}
	r.ops = append(r.ops, &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVSet, Key: key, Value: sealed}})
	r.size += bytes
	return nil
}

// flush carries out what is left.
func (r *restorer) flush(ctx context.Context) error {
	if len(r.ops) == 0 {
		return nil
	}
	ops := append(slices.Clone(r.guard), r.ops...)
	if _, err := r.store.commit(ctx, ops); err != nil {
		return fmt.Errorf("write %s and %d more: %w", strings.TrimPrefix(r.ops[0].KV.Key, root), len(r.ops)-1, err)
	}
	r.done += len(r.ops)
	r.ops, r.size = nil, 0
	if r.progress != nil {
		r.progress(r.done, r.total)
	}
	return nil
}
