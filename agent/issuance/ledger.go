package issuance

import (
	"maps"
	"slices"
	"time"
)

// Limit is a limit of a CA: so many at once, refilled evenly over a time. The
// zero Limit is none.
type Limit struct {
	Count int
	Per   time.Duration
}

// none reports whether nothing is limited.
func (l Limit) none() bool { return l.Count <= 0 || l.Per <= 0 }

// step is the time in which one comes back.
func (l Limit) step() time.Duration { return l.Per / time.Duration(l.Count) }

// Limits are what a CA publishes about the orders it takes of one account.
type Limits struct {
	Orders   Limit // new orders
	Domain   Limit // certificates for each registered domain
	Set      Limit // certificates for the exact same names
	Failures Limit // failed validations for each name
}

// LetsEncrypt are the limits of Let's Encrypt
// (https://letsencrypt.org/docs/rate-limits/, 2026).
var LetsEncrypt = Limits{
	Orders:   Limit{300, 3 * time.Hour},
	Domain:   Limit{50, 7 * 24 * time.Hour},
	Set:      Limit{5, 7 * 24 * time.Hour},
	Failures: Limit{5, time.Hour},
}

// Ledger is what of a CA's limits an account has used. It knows each bucket by
// the time at which it will be full again, so that what is full is forgotten.
// It is not safe for concurrent use.
type Ledger struct {
	Limits Limits

	full map[string]time.Time
}

// NewLedger is a ledger with nothing used but what Used once returned.
func NewLedger(l Limits, used map[string]time.Time) *Ledger {
	ledger := &Ledger{Limits: l, full: maps.Clone(used)}
	if ledger.full == nil {
		ledger.full = map[string]time.Time{}
	}
	return ledger
}

// Used is what a ledger has to be made of again: when each bucket is full
// again, and when that was so. Buckets that are full are left out.
func (l *Ledger) Used(now time.Time) map[string]time.Time {
	maps.DeleteFunc(l.full, func(_ string, t time.Time) bool { return !t.After(now) })
	used := maps.Clone(l.full)
	used[clockName] = now
	return used
}

// clockName is the time of Used among the buckets.
const clockName = "clock"

// UsedNow is what Used has returned, as of now: if that was by a clock that has
// been set back since, as much is used now as was then.
func UsedNow(used map[string]time.Time, now time.Time) map[string]time.Time {
	ahead := used[clockName].Sub(now)
	again := map[string]time.Time{}
	for name, full := range used {
		if ahead > skew {
			full = full.Add(-ahead)
		}
		if name != clockName {
			again[name] = full
		}
	}
	return again
}

// Clone is a ledger to try things on.
func (l *Ledger) Clone() *Ledger { return NewLedger(l.Limits, l.full) }

// bucket is one limit and its name in the ledger.
type bucket struct {
	name  string
	limit Limit
}

// holdName is the bucket that Hold empties.
const holdName = "hold"

func (l *Ledger) orders() bucket { return bucket{"orders", l.Limits.Orders} }

func (l *Ledger) failures(name string) bucket { return bucket{"failures/" + name, l.Limits.Failures} }

// counted are the buckets of an order for the item beside that of all orders.
func (l *Ledger) counted(it Item) []bucket {
	all := []bucket{{"set/" + it.ID(), l.Limits.Set}}
	for _, domain := range it.domains() {
		all = append(all, bucket{"domain/" + domain, l.Limits.Domain})
	}
	return all
}

// domains are the registered domains of the names.
func (it Item) domains() []string {
	var all []string
	for _, name := range it.Names {
		if d := Registered(name); !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	return all
}

// AnyRoom is when an order may be placed at the earliest, whatever for; now if
// it may be.
func (l *Ledger) AnyRoom(now time.Time) time.Time {
	return latest(l.free(l.orders(), now), l.held(now))
}

// Room is when an order for the item may be placed at the earliest, as far as
// its own names decide; now if it may be.
func (l *Ledger) Room(it Item, now time.Time) time.Time {
	at := now
	for _, b := range l.counted(it) {
		at = latest(at, l.free(b, now))
	}
	for _, name := range it.Names {
		at = latest(at, l.free(l.failures(name), now))
	}
	return at
}

// Take counts an order for the item. The caller has seen that there is room.
func (l *Ledger) Take(it Item, now time.Time) {
	for _, b := range append(l.counted(it), l.orders()) {
		l.use(b, now)
	}
}

// Return undoes Take for an order that was not placed after all.
func (l *Ledger) Return(it Item) {
	for _, b := range append(l.counted(it), l.orders()) {
		if full, ok := l.full[b.name]; ok && !b.limit.none() {
			l.full[b.name] = full.Add(-b.limit.step())
		}
	}
}

// TakeFailure counts a failed validation of a name.
func (l *Ledger) TakeFailure(name string, now time.Time) { l.use(l.failures(name), now) }

// Left is how many orders the limit of the whole account allows at once now,
// with the part of one that is coming back; negative if there is no limit. Until
// held, none is placed all the same; zero if it is not held.
func (l *Ledger) Left(now time.Time) (left float64, held time.Time) {
	if until := l.held(now); until.After(now) {
		held = until
	}
	b := l.orders()
	if b.limit.none() {
		return -1, held
	}
	missing := latest(now, l.full[b.name]).Sub(now)
	return max(0, float64(b.limit.Count)-float64(missing)/float64(b.limit.step())), held
}

// Hold lets no order be placed for a time, because the CA has said so.
func (l *Ledger) Hold(d time.Duration, now time.Time) {
	l.full[holdName] = latest(l.held(now), now.Add(min(d, mostHold)))
}

// mostHold bounds a hold; what is held for longer was so by a clock that has
// been set back since.
const mostHold = time.Hour

// held is until when no order may be placed.
func (l *Ledger) held(now time.Time) time.Time {
	if until := l.full[holdName]; !until.After(now.Add(mostHold)) {
		return until
	}
	return time.Time{}
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// free is when a bucket has one left: it is full again at a known time, and
// misses one for each step until then.
func (l *Ledger) free(b bucket, now time.Time) time.Time {
	if b.limit.none() {
		return now
	}
	return latest(now, l.fullAt(b, now).Add(b.limit.step()-b.limit.Per))
}

// fullAt is when a bucket is full again. An empty one takes Per: what is later
// was counted by a clock that has been set back since.
func (l *Ledger) fullAt(b bucket, now time.Time) time.Time {
	if most := now.Add(b.limit.Per); l.full[b.name].After(most) {
		return most
	}
	return l.full[b.name]
}

func (l *Ledger) use(b bucket, now time.Time) {
	if !b.limit.none() {
		l.full[b.name] = latest(now, l.fullAt(b, now)).Add(b.limit.step())
	}
}
