package issuance

import (
	"fmt"
	"strings"
	"time"
)

// Class is what a failure means for what comes next.
type Class string

// The classes.
const (
	Recoverable Class = "recoverable"  // tried again after 1, 10 and 100 minutes, then daily
	RateLimited Class = "rate-limited" // tried again when the CA lets it
	CADown      Class = "ca-down"      // no fault of the names: another CA, or later
	Cut         Class = "cut"          // the connection broke off amid an order: the same again in seconds
	Hopeless    Class = "hopeless"     // parked
)

func (c Class) known() bool {
	return c == Recoverable || c == RateLimited || c == CADown || c == Cut || c == Hopeless
}

// Stage is where an attempt failed.
type Stage string

// The stages of an attempt, in order.
const (
	StagePreflight Stage = "preflight" // before any CA was asked
	StageAccount   Stage = "account"
	StageOrder     Stage = "order"
	StageAnswer    Stage = "answer" // the answer to a challenge could not be made visible
	StageValidate  Stage = "validate"
	StageFinalize  Stage = "finalize"
	StageCheck     Stage = "check" // what came back is not what was ordered
)

func (s Stage) known() bool {
	switch s {
	case StagePreflight, StageAccount, StageOrder, StageAnswer, StageValidate, StageFinalize, StageCheck:
		return true
	}
	return false
}

// Failure is why an attempt failed.
type Failure struct {
	Class      Class
	Stage      Stage
	CA         string // empty: before a CA was chosen
	Type       string // last part of the ACME problem type (RFC 8555, section 6.7); may be empty
	Status     int    // HTTP status; 0: no answer
	Detail     string
	RetryAfter time.Duration // what the CA asked for; 0: nothing
	At         time.Time

	// Over means that the order leads to nothing any more: the CA has refused
	// it, has none, or another CA is asked next. Without it an order survives a
	// CA that is away, whether its URL is known or not: the CA may have it.
	Over bool
}

// Waits after failures. The ladder is the one that Let's Encrypt asks for.
const (
	// Hope is from how many failures in a row an item is parked.
	Hope = 10

	rateWait   = time.Hour       // rate limited without a Retry-After
	downWait   = 5 * time.Minute // the same of a CA that is down
	parkedLook = 24 * time.Hour  // a parked item's preflight
	leastWait  = time.Minute
	mostWait   = 24 * time.Hour
)

var ladder = []time.Duration{time.Minute, 10 * time.Minute, 100 * time.Minute, 24 * time.Hour}

// cutWaits is how soon an order goes on whose connection was cut so often before.
// A CA that restarts, or one of many behind an address, is back by then.
var cutWaits = []time.Duration{time.Second, 5 * time.Second, 25 * time.Second}

// Weigh is what a failure of the item means: a connection that was cut means that
// the CA is down once the quick tries of an order are used up, or if there is no
// order to go on with.
func (it Item) Weigh(f Failure) Failure {
	if f.Class == Cut && (it.State != Ordering || it.Order.Cuts >= len(cutWaits)) {
		f.Class = CADown
	}
	return f
}

// counts reports whether it is the names that failed.
func (f Failure) counts() bool { return f.Class == Recoverable || f.Class == Hopeless }

// reason is what two failures have in common that need the same to be done.
func (f Failure) reason() string { return fmt.Sprintf("%s %s %s", f.Class, f.Stage, f.Type) }

// wait is how long to leave the item alone after so many failures.
func (f Failure) wait(count int, u float64) time.Duration {
	switch f.Class {
	case RateLimited:
		return jitter(f.asked(rateWait), u)
	case CADown:
		return jitter(f.asked(downWait), u)
	default:
		rung := ladder[min(max(count, 1), len(ladder))-1]
		return max(jitter(rung, u), min(f.RetryAfter, mostWait))
	}
}

// asked is the CA's Retry-After within bounds, or a wait of our own.
func (f Failure) asked(other time.Duration) time.Duration {
	if f.RetryAfter <= 0 {
		return other
	}
	return min(max(f.RetryAfter, leastWait), 7*mostWait)
}

// jitter adds up to a tenth, so that many items do not come back at once.
func jitter(d time.Duration, u float64) time.Duration {
	return d + time.Duration(u*float64(d)/10)
}

// bounded cuts what the CA sent to what is kept.
func (f Failure) bounded() Failure {
	f.Detail = strings.ToValidUTF8(f.Detail, "?")
	if len(f.Detail) > maxDetail {
		f.Detail = strings.ToValidUTF8(f.Detail[:maxDetail], "")
	}
	f.Type = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, f.Type)
	f.Type = f.Type[:min(len(f.Type), 100)]
	return f
}
