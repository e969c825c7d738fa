package agent

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// How the sweep goes on. A step is followed by a pause of so many times its
// length, so that it costs 0.005 % of a core however much there is to sweep.
const (
	sweepBundles = 25  // compared in a step, 0.1 ms each
	sweepNames   = 200 // entries of live in a step, 3 us each
	sweepRest    = 20000
	sweepLeast   = 10 * time.Second
	sweepMost    = 10 * time.Minute // also after a step that the disk or the machine held up
	firstRest    = 20               // as long as the bundles found at the start are compared
	releaseEvery = 10 * time.Minute
	restBeat     = 15 * time.Second // a long pause ends with other things that wake an idle agent
)

// sweeper compares bit by bit what no event tells of: bundles that are not
// watched, file systems whose changes the kernel does not see.
type sweeper struct {
	renderer *renderer.Renderer
	served   *served
	certs    *suspects
	release  *releaseSuspect

	first       []fleet.Hash // to be compared before all others
	store, live *os.File     // where the sweep is; nil between two
	right       int          // entries of live that were right in this sweep
	looked      time.Time    // at the release
}

// step compares the next few, and returns how long to pause.
func (s *sweeper) step() time.Duration {
	began := time.Now()
	if len(s.first) > 0 {
		n := min(sweepBundles, len(s.first))
		s.compare(s.first[:n])
		s.first = s.first[n:]
		return time.Since(began) * firstRest
	}
	if s.looked.IsZero() {
		s.looked = began
	}
	if began.Sub(s.looked) >= releaseEvery {
		s.looked = began
		s.release.give(time.Time{})
	}
	s.sweepStore()
	s.sweepLive()
	rest := min(max(sweepLeast, time.Since(began)*sweepRest), sweepMost)
	return time.Until(fleet.Beat(time.Now().Add(rest), restBeat))
}

// soon lets a bundle be compared before all others, as far as there is room.
func (s *sweeper) soon(hash fleet.Hash) {
	if len(s.first) < watchBundles {
		s.first = append(s.first, hash)
	}
}

func (s *sweeper) compare(hashes []fleet.Hash) {
	var odd []fleet.Hash
	for _, hash := range hashes {
		if edits, _ := s.renderer.CheckBundle(hash); len(edits) > 0 {
			odd = append(odd, hash)
		}
	}
	s.certs.add(nil, odd, false)
}

func (s *sweeper) sweepStore() {
	var hashes []fleet.Hash
	entries, _ := next(&s.store, s.renderer.OpenStore, sweepBundles)
	for _, e := range entries {
		if hash, err := fleet.ParseHash(e.Name()); err == nil {
			hashes = append(hashes, hash)
		}
	}
	s.compare(hashes)
}

func (s *sweeper) sweepLive() {
	var odd []string
	entries, ended := next(&s.live, s.renderer.OpenLive, sweepNames)
	for _, e := range entries {
		if s.served.odd(s.renderer.LiveEntry(e.Name())) {
			odd = append(odd, e.Name())
		} else {
			s.right++
		}
	}
	missing := ended && s.right < s.served.count()
	if ended {
		s.right = 0
	}
	s.certs.add(odd, nil, missing)
}

// next lists the next few entries of a folder, and reports whether they were
// the last. What cannot be read counts as the end: the next sweep begins anew.
func next(at **os.File, open func() (*os.File, error), n int) (entries []fs.DirEntry, ended bool) {
	if *at == nil {
		dir, err := open()
		if err != nil {
			return nil, true
		}
		*at = dir
	}
	entries, err := (*at).ReadDir(n)
	if err == nil && len(entries) == n {
		return entries, false
	}
	err = (*at).Close()
	*at = nil
	return entries, err == nil
}

func (s *sweeper) close() error {
	var errs []error
	for _, dir := range []*os.File{s.store, s.live} {
		if dir != nil {
			errs = append(errs, dir.Close())
		}
	}
	return errors.Join(errs...)
}
