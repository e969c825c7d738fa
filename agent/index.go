package agent

import (
	"iter"
	"math/rand/v2"
	"slices"
	"sort"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// index is names with a hash each, in little memory: 36 bytes besides the name,
// and nothing that the garbage collector has to follow. A change moves what
// else its shard has. The zero value is empty.
type index struct {
	parts [inventory.Shards]part
	count int
}

// part is the names of one shard.
type part struct {
	text   []byte // the names, sorted, one behind the other
	ends   []uint32
	hashes []fleet.Hash
}

func (x *index) get(name string) (fleet.Hash, bool) {
	p := &x.parts[inventory.ShardOf(name)]
	i, found := p.search(name)
	if !found {
		return fleet.Hash{}, false
	}
	return p.hashes[i], true
}

func (x *index) put(name string, hash fleet.Hash) {
	p := &x.parts[inventory.ShardOf(name)]
	i, found := p.search(name)
	if !found {
		p.insert(i, name)
		x.count++
	}
	p.hashes[i] = hash
}

func (x *index) drop(name string) {
	p := &x.parts[inventory.ShardOf(name)]
	if i, found := p.search(name); found {
		p.remove(i)
		x.count--
	}
}

// replace puts others in the place of all names of a shard: sorted, each once.
func (x *index) replace(shard int, names iter.Seq2[string, fleet.Hash]) {
	var p part
	for name, hash := range names {
		p.text = append(p.text, name...)
		p.ends = append(p.ends, uint32(len(p.text))) //nolint:gosec // far below 4 GiB
		p.hashes = append(p.hashes, hash)
	}
	x.count += len(p.ends) - len(x.parts[shard].ends)
	x.parts[shard] = p.compact()
}

// compact gives back the room that is kept for more names.
func (x *index) compact() {
	for n := range x.parts {
		x.parts[n] = x.parts[n].compact()
	}
}

// all is every name, in no order. The index must not change meanwhile.
func (x *index) all() iter.Seq2[string, fleet.Hash] {
	return func(yield func(string, fleet.Hash) bool) {
		first := rand.IntN(inventory.Shards) //nolint:gosec // no secret
		for n := range inventory.Shards {
			for name, hash := range x.shard((first + n) % inventory.Shards) {
				if !yield(name, hash) {
					return
				}
			}
		}
	}
}

// shard is the names of one shard, sorted.
func (x *index) shard(n int) iter.Seq2[string, fleet.Hash] {
	return func(yield func(string, fleet.Hash) bool) {
		p := &x.parts[n]
		for i, hash := range p.hashes {
			if !yield(string(p.name(i)), hash) {
				return
			}
		}
	}
}

// compact is the part in its own memory, without room for more.
func (p *part) compact() part {
	return part{slices.Clone(p.text), slices.Clone(p.ends), slices.Clone(p.hashes)}
}

func (p *part) start(i int) uint32 {
	if i == 0 {
		return 0
	}
	return p.ends[i-1]
}

func (p *part) name(i int) []byte { return p.text[p.start(i):p.ends[i]] }

// search finds where a name is, or where it would be.
func (p *part) search(name string) (int, bool) {
	i := sort.Search(len(p.ends), func(i int) bool { return string(p.name(i)) >= name })
	return i, i < len(p.ends) && string(p.name(i)) == name
}

func (p *part) insert(i int, name string) {
	at := p.start(i)
	p.text = slices.Insert(p.text, int(at), []byte(name)...)
	p.ends = slices.Insert(p.ends, i, at)
	p.hashes = slices.Insert(p.hashes, i, fleet.Hash{})
	for j := range p.ends[i:] {
		p.ends[i+j] += uint32(len(name)) //nolint:gosec // a name
	}
}

func (p *part) remove(i int) {
	from, to := p.start(i), p.ends[i]
	p.text = slices.Delete(p.text, int(from), int(to))
	p.ends = slices.Delete(p.ends, i, i+1)
	p.hashes = slices.Delete(p.hashes, i, i+1)
	for j := range p.ends[i:] {
		p.ends[i+j] -= to - from
	}
}
