package agent

import (
	"container/list"
	"sync"
)

// kept is the names that a node on demand keeps, by when they were last asked
// for, within a bound of bytes on disk. A quarter of the bound is for bundles that
// are evicted or replaced and not yet collected.
type kept struct {
	bound int64 // bytes

	mu    sync.Mutex
	used  int64
	order *list.List // of keptName, the one asked for last in front
	at    map[string]*list.Element
}

type keptName struct {
	name string
	size int64
}

func newKept(bound int64) *kept {
	return &kept{bound: bound, order: list.New(), at: map[string]*list.Element{}}
}

// add takes a name in, or gives one that is in another size. It reports false
// if there is no room, and changes nothing then.
func (k *kept) add(name string, size int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	more := size
	if e, in := k.at[name]; in {
		more -= sizeOf(e)
	}
	if k.used+more > k.bound*3/4 {
		return false
	}
	k.put(name, size)
	return true
}

// set is add without a bound, for what is on disk already.
func (k *kept) set(name string, size int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.put(name, size)
}

func (k *kept) put(name string, size int64) {
	e, in := k.at[name]
	if !in {
		e = k.order.PushFront(keptName{name, 0})
		k.at[name] = e
	}
	k.used += size - sizeOf(e)
	e.Value = keptName{name, size}
}

func (k *kept) touch(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e, in := k.at[name]; in {
		k.order.MoveToFront(e)
	}
}

func (k *kept) drop(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e, in := k.at[name]; in {
		k.used -= sizeOf(e)
		k.order.Remove(e)
		delete(k.at, name)
	}
}

// full reports whether something should be evicted to make room.
func (k *kept) full() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.used > k.bound*13/20
}

// surplus is the names to be evicted so that 55 % of the bound are in use: those
// that were not asked for the longest. They stay in. Where add alone has put
// names in, they take no more than a fifth of the bound.
func (k *kept) surplus() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var names []string
	left := k.used
	for e := k.order.Back(); e != nil && left > k.bound*11/20; e = e.Prev() {
		left -= sizeOf(e)
		names = append(names, e.Value.(keptName).name) //nolint:errcheck,forcetypeassert // nothing else is put in
	}
	return names
}

func sizeOf(e *list.Element) int64 {
	return e.Value.(keptName).size //nolint:errcheck,forcetypeassert // nothing else is put in
}
