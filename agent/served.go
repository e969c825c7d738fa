package agent

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// served is which names have a certificate on this node, kept so that one
// change costs the same however many there are. The zero value has none.
type served struct {
	mu   sync.Mutex
	live index
	wild map[string]bool // wildcards without their "*."

	going map[string]bool // to be dropped once no release names them
}

func (s *served) reset(live map[string]fleet.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live, s.wild = index{}, map[string]bool{}
	for name, hash := range live {
		s.put(name, hash)
	}
	s.live.compact()
}

func (s *served) change(put map[string]fleet.Hash, drop []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, hash := range put {
		s.put(name, hash)
		delete(s.going, name)
	}
	for _, name := range drop {
		s.live.drop(name)
		delete(s.going, name)
		if base, ok := strings.CutPrefix(name, "*."); ok {
			delete(s.wild, base)
		}
	}
}

// compact gives back the room that is kept for more names.
func (s *served) compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live.compact()
}

func (s *served) put(name string, hash fleet.Hash) {
	s.live.put(name, hash)
	if base, ok := strings.CutPrefix(name, "*."); ok {
		s.wild[base] = true
	}
}

// leave takes a name out of those that a release lists, while its files are
// still there because nginx may load them. It reports whether it was in.
func (s *served) leave(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.going[name] {
		return false
	}
	if s.going == nil {
		s.going = map[string]bool{}
	}
	s.going[name] = true
	return true
}

func (s *served) leaving(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.going[name]
}

func (s *served) bundle(name string) (fleet.Hash, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live.get(name)
}

func (s *served) all() map[string]fleet.Hash {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Collect(s.live.all())
}

func (s *served) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live.count
}

// names are the names of a release made now, sorted.
func (s *served) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, s.live.count)
	for name := range s.live.all() {
		if !s.going[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (s *served) wildcards() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.wild)
}

// few is some names with their bundles, except those that are going and some.
func (s *served) few(most int, except func(name string) bool) map[string]fleet.Hash {
	s.mu.Lock()
	defer s.mu.Unlock()
	some := map[string]fleet.Hash{}
	for name, hash := range s.live.all() {
		if len(some) >= most {
			break
		}
		if !s.going[name] && !except(name) {
			some[name] = hash
		}
	}
	return some
}
