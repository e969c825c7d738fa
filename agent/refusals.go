package agent

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/status"
)

// How long a failure is taken for what would happen again.
const (
	refusedFor = 5 * time.Second // what Consul has for a bundle is no use
	awayFor    = time.Second     // Consul does not answer
)

// maxRefusals is how many bundles without use are remembered.
const maxRefusals = 1024

// refusals remembers what could not be fetched, so that handshakes for it cost
// Consul little. The zero value is empty.
type refusals struct {
	problems *problems

	mu   sync.Mutex
	away refusal // of every bundle
	of   map[fleet.Hash]refusal
}

type refusal struct {
	name  string // first asked for
	err   error
	until time.Time
}

// recent is why the bundle is not worth a try now; nil if it is.
func (r *refusals) recent(hash fleet.Hash, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if x := r.of[hash]; now.Before(x.until) {
		return x.err
	}
	if now.Before(r.away.until) {
		return r.away.err
	}
	return nil
}

// note remembers why a bundle could not be had, and returns that.
func (r *refusals) note(name string, hash fleet.Hash, err error, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !errors.Is(err, status.ErrUnusable) {
		r.away = refusal{name, err, now.Add(awayFor)}
		return err
	}
	if r.of == nil || len(r.of) >= maxRefusals {
		r.of = map[fleet.Hash]refusal{}
	}
	r.of[hash] = refusal{name, err, now.Add(refusedFor)}
	r.report()
	return err
}

// forget says that a bundle could be had.
func (r *refusals) forget(hash fleet.Hash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = refusal{}
	if _, in := r.of[hash]; in {
		delete(r.of, hash)
		r.report()
	}
}

// review forgets what the inventory does not ask for any more.
func (r *refusals) review(known *directory) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := len(r.of)
	for hash, x := range r.of {
		if e, ok := known.lookup(x.name); !ok || e.Removed || e.Bundle != hash {
			delete(r.of, hash)
		}
	}
	if len(r.of) != before {
		r.report()
	}
}

// report makes one problem of all; the caller holds the lock.
func (r *refusals) report() {
	first := refusal{}
	for _, x := range r.of {
		if first.name == "" || x.name < first.name {
			first = x
		}
	}
	if first.name == "" {
		r.problems.replace("on-demand")
		return
	}
	r.problems.replace("on-demand", fleet.Problem{Code: "certificate-refused", Severity: fleet.Alarm,
		Message: fmt.Sprintf("%s was asked for and cannot be served, and %d other certificates: %v", first.name, len(r.of)-1, first.err),
		Hint:    "import the certificate again"})
}
