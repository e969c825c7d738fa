package dns01

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Bounds of the work on one record.
const (
	setTimeout   = 3 * time.Minute // some providers wait by themselves
	unsetTimeout = time.Minute     // of one try
	unsetTries   = 3
	unsetPause   = 2 * time.Second
)

// Responder answers challenges of names that are in its zones. It is safe for
// concurrent use.
type Responder struct {
	Zones
	lookup lookup
	log    hclog.Logger
	locks  locks

	mu   sync.Mutex
	open map[string]*opened // by token
}

// record is a TXT record that answers a challenge.
type record struct {
	domain, token, keyAuth string
	fqdn                   string // where it has to be, with a dot at its end
	value                  string
}

// opened is a record that is being set.
type opened struct {
	record
	zone     Zone
	provider provider
	settings *settings
	release  func()
}

// New makes a responder. resolver is the DNS server that is asked, host:port;
// empty: those of the host.
func New(zones Zones, resolver string, log hclog.Logger) *Responder {
	return &Responder{Zones: zones, lookup: newLookup(resolver), log: log, locks: locks{held: map[string]*lock{}}, open: map[string]*opened{}}
}

// Check is nil if a zone's provider can be made with its settings. Errors wrap
// ErrSettings or ErrProvider, or are the provider's, and have no secret in them.
func (z Zone) Check() error {
	_, _, err := open(z, nil)
	return err
}

// errNoZone is a name that no zone is for.
var errNoZone = errors.New("no dns block is for it")

// Present sets the record of a challenge and waits until name servers show it.
// Until CleanUp, which has to follow in any case, no other challenge uses the
// same record.
func (r *Responder) Present(ctx context.Context, name, token, keyAuthorization string) error {
	o, err := r.take(ctx, name, token, keyAuthorization)
	if err != nil {
		o = nil // nothing was set
	}
	r.mu.Lock()
	r.open[token] = o
	r.mu.Unlock()
	if err != nil {
		return err
	}
	if err := o.set(ctx); err != nil {
		return err
	}
	if err := r.lookup.await(ctx, o.record, o.zone.Nameservers, o.zone.Propagation); err != nil {
		return fmt.Errorf("await TXT %s: %w", o.fqdn, err)
	}
	return nil
}

// CleanUp takes the record of a challenge away, also one that a former leader
// has set. If the lease has ended it leaves that to who leads next, who may need the
// record. What cannot be taken away is logged.
func (r *Responder) CleanUp(ctx context.Context, name, token, keyAuthorization string) {
	r.mu.Lock()
	o, ok := r.open[token]
	delete(r.open, token)
	r.mu.Unlock()
	switch {
	case ok && o == nil, !ok && fleet.Leased(ctx) != nil:
		return
	case !ok:
		var err error
		if o, err = r.take(ctx, name, token, keyAuthorization); err != nil {
			r.left(ctx, name, err)
			return
		}
	}
	r.end(ctx, o)
}

// Prove shows that a record for a name can be set and is seen: by one of no
// meaning, which is taken away again. It is always the same for a name, so that
// one which a leader that died has left goes with the next.
func (r *Responder) Prove(ctx context.Context, name string) error {
	token := "preflight." + name
	defer r.CleanUp(ctx, name, token, token)
	return r.Present(ctx, name, token, token)
}

// take waits until the record of a challenge is nobody else's.
func (r *Responder) take(ctx context.Context, name, token, keyAuth string) (*opened, error) {
	n, ok := r.find(name)
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, errNoZone)
	}
	o := &opened{zone: r.Zones[n]}
	var err error
	if o.provider, o.settings, err = open(o.zone, r.lookup.servers); err != nil {
		return nil, fmt.Errorf("dns %q: %w", o.zone.Name, err)
	}
	sum := sha256.Sum256([]byte(keyAuth))
	o.record = record{domain: name, token: token, keyAuth: keyAuth, value: base64.RawURLEncoding.EncodeToString(sum[:])}
	if o.fqdn, err = r.lookup.effective(ctx, "_acme-challenge."+name+"."); err != nil {
		return nil, fmt.Errorf("find where the record of %s belongs: %w", name, err)
	}
	o.release, err = r.locks.take(ctx, o.fqdn)
	return o, err
}

func (o *opened) set(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, setTimeout)
	defer cancel()
	if err := o.provider.set(ctx, o.record); err != nil {
		return fmt.Errorf("dns %q: set TXT %s: %w", o.zone.Name, o.fqdn, o.settings.clean(explain(err)))
	}
	return nil
}

func (o *opened) unset(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, unsetTimeout)
	defer cancel()
	if err := o.provider.unset(ctx, o.record); err != nil {
		return fmt.Errorf("dns %q: remove TXT %s: %w", o.zone.Name, o.fqdn, o.settings.clean(explain(err)))
	}
	return nil
}

// end takes a record away while the lease lasts, and lets others have it.
func (r *Responder) end(ctx context.Context, o *opened) {
	defer func() {
		go func() { // a call that did not end in time is still at it
			o.provider.wait()
			o.release()
		}()
	}()
	for try := 1; fleet.Leased(ctx) == nil; try++ {
		err := o.unset(ctx)
		if err == nil {
			return
		}
		if try == unsetTries {
			r.left(ctx, o.domain, err)
			return
		}
		timer := time.NewTimer(unsetPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// left tells that a record stays.
func (r *Responder) left(ctx context.Context, name string, err error) {
	if fleet.Leased(ctx) == nil {
		r.log.Warn("record of a challenge may be left in DNS", "name", name, "err", err)
	}
}
