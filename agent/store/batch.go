package store

import (
	"context"
	"encoding/base64"
	"maps"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// Consul's limits of one transaction: operations (maxTxnOps), and bytes of the
// body as it is sent, with values in base64 (txn_max_req_len).
const (
	maxOps  = 128
	maxBody = 512 << 10
)

// What the fence and the head take of that at most, and what an operation takes
// in the body beside its key and its value.
const (
	frameOps  = 2
	frameBody = 16 << 10 // a head has at most 8 bytes for each of its shards
	opBody    = 256
)

// batch is one transaction in the making.
type batch struct {
	*editor
	stock    stock
	lost     map[fleet.Hash]bool // bundles that have to be written anew
	head     inventory.Head      // with the shards so far
	objects  api.TxnOps          // bundles and chains
	shards   api.TxnOps
	size     int             // of both in the body
	changed  map[int]bool    // shards in it
	inserted map[string]bool // paths of the objects in it
	counts   Edited
	settled  []settlement
	refused  []error // why groups were left out
}

// add puts one group into the transaction, as a whole or, when it does not fit,
// not at all. A group that cannot be carried out is left out.
func (b *batch) add(g shardEdit) (fits bool) {
	old, was := b.stock.shards[g.number], b.stock.bad[g.number]
	if was != nil {
		b.refused = append(b.refused, was)
		return true
	}
	r, err := g.apply(old.Shard, b.stock.head.Head.Epoch+1, b.lost)
	if err != nil {
		b.refused = append(b.refused, err)
		return true
	}
	if r.counts.changes() == 0 {
		b.count(r)
		return true
	}
	if b.changed[g.number] {
		return false
	}
	next := b.clone()
	if err := next.include(r, old); err != nil {
		b.refused = append(b.refused, err)
		return true
	}
	if next.tooLarge() {
		return false
	}
	*b = *next
	return true
}

// tooLarge reports whether Consul would refuse the transaction.
func (b *batch) tooLarge() bool {
	return frameOps+len(b.objects)+len(b.shards) > maxOps || frameBody+b.size > maxBody
}

// clone is a copy that can be given up.
func (b *batch) clone() *batch {
	c := *b
	c.changed, c.inserted = maps.Clone(b.changed), maps.Clone(b.inserted)
	return &c
}

// include adds the new version of a shard and what its names are served with.
func (b *batch) include(r shardResult, old ShardRecord) error {
	for _, change := range r.puts {
		if err := b.object(change); err != nil {
			return err
		}
	}
	sealed, err := b.store.sealShard(r.shard)
	if err != nil {
		return err
	}
	b.shards = append(b.shards, b.op(api.KVCAS, shardPath(r.shard.Number), sealed, old.Index))
	b.head, err = b.head.With(r.shard, r.shard.Live()-old.Shard.Live())
	if err != nil {
		return err
	}
	b.changed[r.shard.Number] = true
	b.count(r)
	return nil
}

func (b *batch) count(r shardResult) {
	b.counts = b.counts.plus(r.counts)
	b.settled = append(b.settled, r.settled...)
}

// object adds a bundle and its chain unless they were written before by the
// same edit. They are set without a look at what is there: that is either the
// same, under another nonce, or spoiled.
func (b *batch) object(change nameEdit) error {
	hash, bun := change.entry.Bundle, change.cert.Bundle
	if path := bundlePath(hash); b.absent(path) {
		sealed, err := b.store.sealBundle(hash, bun)
		if err != nil {
			return err
		}
		b.objects = append(b.objects, b.op(api.KVSet, path, sealed, 0))
	}
	chain := bundle.ChainHash(bun.Chain)
	if path := chainPath(chain); !chain.IsZero() && b.absent(path) {
		sealed, err := b.store.sealChain(chain, bun.Chain)
		if err != nil {
			return err
		}
		b.objects = append(b.objects, b.op(api.KVSet, path, sealed, 0))
	}
	return nil
}

// absent reports whether an object has to be written, once.
func (b *batch) absent(path string) bool {
	if b.written[path] || b.inserted[path] {
		return false
	}
	b.inserted[path] = true
	return true
}

func (b *batch) op(verb api.KVOp, path string, value []byte, index uint64) *api.TxnOp {
	key := b.store.key(path)
	b.size += opBody + len(key) + base64.StdEncoding.EncodedLen(len(value))
	return &api.TxnOp{KV: &api.KVTxnOp{Verb: verb, Key: key, Value: value, Index: index}}
}

// commit writes the batch, if there is anything to write, and tells the editor
// what is done.
func (b *batch) commit(ctx context.Context) error {
	if len(b.shards) > 0 {
		sealed, err := b.store.sealHead(b.head)
		if err != nil {
			return err
		}
		head := b.op(api.KVCAS, headPath, sealed, b.stock.head.Index)
		ops := append(b.store.fence(b.session), b.objects...)
		ops = append(append(ops, b.shards...), head)
		if _, err := b.store.commit(ctx, ops); err != nil {
			return err
		}
	}
	maps.Copy(b.written, b.inserted)
	b.edited = b.edited.plus(b.counts)
	b.edited.Epoch = b.head.Epoch
	b.errs = append(b.errs, b.refused...)
	if b.editor.settled != nil {
		for _, x := range b.settled {
			b.editor.settled(x.was, x.now, x.kept)
		}
	}
	return nil
}
