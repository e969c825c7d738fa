package agent

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// suspects are what the guard takes for foreign edits, for the one who writes
// there: only that one can tell for sure.
type suspects struct {
	wake wake

	mu  sync.Mutex
	all bool // look at every name
	odd oddities

	// flood is on while so much is written that the kernel's events tell nothing:
	// they are not asked for, and all is looked at when it ends.
	flood  atomic.Bool
	turned wake // flood has been turned on or off
}

// floods turns flood on or off.
func (s *suspects) floods(on bool) {
	s.flood.Store(on)
	s.turned.give()
}

// oddities are entries of live and bundles.
type oddities struct {
	live    map[string]bool
	bundles map[fleet.Hash]bool
}

// add passes on what was found; all asks for a look at every name.
func (s *suspects) add(live []string, bundles []fleet.Hash, all bool) {
	if len(live)+len(bundles) == 0 && !all {
		return
	}
	s.putBack(live, bundles, all)
	s.wake.give()
}

// putBack is add for what could not be looked at: nobody is woken, the caller
// looks again when it is time.
func (s *suspects) putBack(live []string, bundles []fleet.Hash, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.odd.live == nil {
		s.odd = oddities{map[string]bool{}, map[fleet.Hash]bool{}}
	}
	for _, x := range live {
		s.odd.live[x] = true
	}
	for _, x := range bundles {
		s.odd.bundles[x] = true
	}
	s.all = s.all || all
}

func (s *suspects) take() (odd oddities, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	odd, all = s.odd, s.all
	s.odd, s.all = oddities{map[string]bool{}, map[fleet.Hash]bool{}}, false
	return odd, all
}

// odd reports whether an entry of live is not as the names served say.
func (s *served) odd(e renderer.LiveEntry) bool {
	want, ok := s.bundle(e.Name)
	return e.Here != ok || ok && e.Hash != want
}

// hashes are the bundles that names are served with, at most so many.
func (s *served) hashes(most int) map[fleet.Hash]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[fleet.Hash]bool{}
	for _, hash := range s.live.all() {
		if len(all) == most {
			break
		}
		all[hash] = true
	}
	return all
}

// with lists the names that are served with one of the bundles.
func (s *served) with(bundles map[fleet.Hash]bool) map[string]fleet.Hash {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]fleet.Hash{}
	for name, hash := range s.live.all() {
		if bundles[hash] {
			all[name] = hash
		}
	}
	return all
}

// releaseSuspect says that something changed where releases and ticket keys
// are, and since when.
type releaseSuspect struct {
	wake wake

	mu    sync.Mutex
	since time.Time // zero: nobody knows
	given bool
}

func (s *releaseSuspect) give(since time.Time) {
	s.note(since)
	s.wake.give()
}

// note is give for the one who takes it.
func (s *releaseSuspect) note(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.given || since.Before(s.since) {
		s.since = since
	}
	s.given = true
}

func (s *releaseSuspect) take() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	since := s.since
	s.since, s.given = time.Time{}, false
	return since
}
