package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// What tlsfleet promises not to do.
var (
	errLost    = errors.New("resumptions were lost")
	errReloads = errors.New("number of reloads")
)

// span is a stretch of time.
type span struct{ from, to time.Time }

func (s span) has(t time.Time) bool { return !t.Before(s.from) && t.Before(s.to) }

// record is what happened while one contestant rotated.
type record struct {
	windows []span // one per rotation
	reloads int    // of all nodes together

	mu    sync.Mutex
	start time.Time // what came before does not count
	tries []lab.Attempt
	tried int
}

// begin drops what clients did before.
func (r *record) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tries, r.tried = nil, 0
	r.start = time.Now()
}

func (r *record) add(a lab.Attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tries = append(r.tries, a)
	if a.Outcome == lab.Resumed || a.Outcome == lab.Lost {
		r.tried++
	}
}

// attempts is how many connections have offered a ticket so far.
func (r *record) attempts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tried
}

func (r *record) count(matches func(lab.Attempt) bool) lab.Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	var c lab.Counts
	for _, a := range r.tries {
		if !a.At.Before(r.start) && matches(a) {
			c.Add(a)
		}
	}
	return c
}

func (r *record) all() lab.Counts {
	return r.count(func(lab.Attempt) bool { return true })
}

func (r *record) inWindow(a lab.Attempt) bool {
	return slices.ContainsFunc(r.windows, func(w span) bool { return w.has(a.At) })
}

func (r *record) inWindows() lab.Counts { return r.count(r.inWindow) }

// promises is an error if a resumption was lost, or a node reloaded other than
// once per rotation.
func (r *record) promises() error {
	var errs []error
	if all := r.all(); all.Lost > 0 {
		errs = append(errs, fmt.Errorf("rotate %d times: %w: %d of %d", len(r.windows), errLost, all.Lost, all.Attempts))
	}
	if want := nodes * len(r.windows); r.reloads != want {
		errs = append(errs, fmt.Errorf("rotate %d times: %w: %d, want %d", len(r.windows), errReloads, r.reloads, want))
	}
	return errors.Join(errs...)
}

// describe shows on standard error what the figures are made of.
func (r *record) describe(log interface{ Logf(string, ...any) }) {
	var open time.Duration
	for _, w := range r.windows {
		open += w.to.Sub(w.from)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		all := r.count(func(a lab.Attempt) bool { return a.Version == version })
		in := r.count(func(a lab.Attempt) bool { return a.Version == version && r.inWindow(a) })
		bare := r.count(func(a lab.Attempt) bool { return a.Version == version && !a.Ticket })
		log.Logf("  %s: %s, in windows %s, connections without a new ticket %d", tls.VersionName(version), text(all), text(in), bare.Attempts)
	}
	held := r.count(func(a lab.Attempt) bool { return a.Held >= time.Second })
	log.Logf("  ticket held 1 s or longer: %s; mean window %s", text(held), (open / time.Duration(max(1, len(r.windows)))).Round(time.Millisecond))
	shown := 0
	for _, a := range r.tries {
		if a.Outcome == lab.Broken && !a.At.Before(r.start) && shown < mostLines {
			shown++
			log.Logf("  broken connection %s after the start, in a window: %t: %v", a.At.Sub(r.start).Round(time.Millisecond), r.inWindow(a), a.Err)
		}
	}
}

func text(c lab.Counts) string {
	return fmt.Sprintf("%d attempts %.2f %%", c.Attempts, c.Percent())
}
