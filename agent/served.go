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
	live map[string]fleet.Hash
	wild map[string]bool // wildcards without their "*."

	leaving map[string]bool // to be dropped once no release names them
}

func (s *served) reset(live map[string]fleet.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live, s.wild = map[string]fleet.Hash{}, map[string]bool{}
	for name, hash := range live {
		s.put(name, hash)
	}
}

func (s *served) change(put map[string]fleet.Hash, drop []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, hash := range put {
		s.put(name, hash)
	}
	for _, name := range drop {
		delete(s.live, name)
		delete(s.leaving, name)
		if base, ok := strings.CutPrefix(name, "*."); ok {
			delete(s.wild, base)
		}
	}
}

func (s *served) put(name string, hash fleet.Hash) {
	s.live[name] = hash
	if base, ok := strings.CutPrefix(name, "*."); ok {
		s.wild[base] = true
	}
}

func (s *served) bundle(name string) (fleet.Hash, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hash, ok := s.live[name]
	return hash, ok
}

func (s *served) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.live)
}

// leave keeps names out of the releases to come.
func (s *served) leave(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = map[string]bool{}
	for _, name := range names {
		s.leaving[name] = true
	}
}

// names are the names of a release made now, sorted.
func (s *served) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := slices.Collect(maps.Keys(s.live))
	names = slices.DeleteFunc(names, func(name string) bool { return s.leaving[name] })
	slices.Sort(names)
	return names
}

func (s *served) wildcards() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.wild)
}
