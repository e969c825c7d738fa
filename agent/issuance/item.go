package issuance

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// State is where an item is in its life.
type State string

// The states. An item that was Issued before keeps its Cert in all of them.
const (
	Wanted    State = "wanted"    // to be obtained as soon as it may
	Preflight State = "preflight" // shown to answer for its names before a CA is asked
	Ordering  State = "ordering"  // key and CSR are journaled; the CA may have an order
	Issued    State = "issued"    // nothing to do before Next
	Waiting   State = "waiting"   // after a failure, until Next
	Parked    State = "parked"    // kept away from every CA until its preflight passes or an operator retries
)

// Known reports whether it is one of the states.
func (s State) Known() bool {
	switch s {
	case Wanted, Preflight, Ordering, Issued, Waiting, Parked:
		return true
	}
	return false
}

var (
	// ErrItem means that an item's parts cannot go together.
	ErrItem = errors.New("not a usable item")
	// ErrState means that a step does not follow from the item's state.
	ErrState = errors.New("not possible in this state")
)

// Bounds of an item.
const (
	MaxNames  = 100 // of one certificate; the most that public CAs take
	maxDetail = 500 // bytes of a failure's text that are kept
	maxOrder  = 64 << 10
)

// Item is one certificate to be obtained and kept fresh.
type Item struct {
	Names   []string // in stored form (fleet.CheckDomain), sorted, no duplicates
	Group   string   // whom it belongs to, for fair turns; never empty
	Profile string   // ACME profile to ask for; empty: the CA's default
	Added   time.Time

	State   State
	Changed time.Time // when State was entered
	Next    time.Time // Waiting, Parked: look again then; Issued: renew then
	Failed  Failures
	Order   *Order // Ordering, and Waiting while the CA may still have it; else nil
	Cert    *Cert  // what serves the names; nil before the first
}

// Failures are the failures since the last success. The zero value is none.
type Failures struct {
	Count  int // those that count against the names, in a row
	Last   *Failure
	Parked string // why the item was last parked, kept while it is tried again by itself; empty: it was not
}

// Order is an order under way. It is journaled before the CA hears of it, and
// again when it has a URL, so that whoever leads next goes on with it.
type Order struct {
	CA       string
	Key      fleet.Secret // PKCS #8, DER
	CSR      []byte       // PKCS #10, DER
	URL      string       // RFC 8555, section 7.4; empty: perhaps not yet placed
	Replaces string       // identifier of the certificate it replaces (RFC 9773, section 5)
	Begun    time.Time
	Cuts     int // connections that were cut and quickly tried again; at most three
}

// Cert is a certificate as its renewal needs it.
type Cert struct {
	Bundle    fleet.Hash
	ID        string // as a CA knows it (RFC 9773, section 4.1); empty: it cannot be asked about
	CA        string
	NotBefore time.Time
	NotAfter  time.Time
	Window    *Window // what the CA suggested; nil: nothing so far
}

// New is an item that begins its life. The group is by default the registered
// domain of its first name. Errors wrap ErrItem or fleet.ErrDomain.
func New(names []string, group, profile string, now time.Time) (Item, error) {
	names = slices.Clone(names)
	slices.Sort(names)
	if err := CheckNames(names); err != nil {
		return Item{}, err
	}
	if group == "" {
		group = Registered(names[0])
	}
	now = whole(now)
	it := Item{Names: names, Group: group, Profile: profile, Added: now, State: Wanted, Changed: now}
	return it, Validate(it)
}

// ID names an item in KV by its names: 32 hexadecimal digits.
func ID(names []string) string {
	sum := sha256.Sum256([]byte(strings.Join(names, "\n")))
	return hex.EncodeToString(sum[:16])
}

// ID names the item in KV.
func (it Item) ID() string { return ID(it.Names) }

// Due reports whether something is to be done for the item at a time.
func (it Item) Due(now time.Time) bool { return !now.Before(it.at(now)) }

// skew is by how much the clocks of leaders may differ. What was written later
// than that from now was written by a clock that has been set back since.
const skew = time.Hour

// at is when something is to be done for the item. A time that only a wrong
// clock can have written is not waited for.
func (it Item) at(now time.Time) time.Time {
	switch it.State {
	case Waiting, Parked:
		if it.Changed.After(now.Add(skew)) {
			return time.Time{}
		}
		return it.Next
	case Issued:
		if c := it.Cert; c != nil && it.Next.After(c.NotAfter) {
			return RenewAt(it.ID(), c.NotBefore, c.NotAfter)
		}
		return it.Next
	default:
		return time.Time{}
	}
}

// whole is the time as it is kept: UTC, whole seconds.
func whole(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

func (it Item) enter(s State, now time.Time) Item {
	it.State, it.Changed, it.Next = s, whole(now), time.Time{}
	return it
}

func (it Item) wrong(step string) error {
	return fmt.Errorf("%s %s: %w: it is %s", step, it.Names[0], ErrState, it.State)
}
