package ticket

import (
	"math"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// maxKeep leaves room for current and next.
const maxKeep = fleet.MaxRingKeys - 2

// Keep is how many previous keys a ring needs so that no ticket outlives its
// key: ceil((sessionTimeout+applyLag)/interval)+1, at least 1 and at most
// fleet.MaxRingKeys-2.
//
// A key is retired in the ring at one rotation, but the slowest node seals
// with it for applyLag more, and such a ticket is good for sessionTimeout
// (directive ssl_session_timeout). The one on top pays for a rotation that an
// operator asks for between two scheduled ones; for more of them Change.KeepFor
// keeps keys beyond this number.
func Keep(sessionTimeout, applyLag, interval time.Duration) int {
	if interval <= 0 {
		return maxKeep
	}
	need := add(max(sessionTimeout, 0), max(applyLag, 0))
	keep := min(need/interval, maxKeep) + 1
	if need%interval != 0 {
		keep++
	}
	return int(min(keep, maxKeep))
}

// LifeBound is the longest time from the birth of a key until no node holds it
// any more, while rotations keep to their interval: it is next for one
// interval and current for another, then it is previous for Keep of them, and
// the slowest node drops it applyLag later. Rotations in between shorten that:
// a key kept for the sake of Change.KeepFor goes at the next rotation after. A rotation that is held up because
// a node has not proved the ring adds its delay; old workers of nginx keep the
// keys they started with until they exit (directive worker_shutdown_timeout).
func LifeBound(sessionTimeout, applyLag, interval time.Duration) time.Duration {
	life := max(applyLag, 0)
	for range Keep(sessionTimeout, applyLag, interval) + 2 {
		life = add(life, max(interval, 0))
	}
	return life
}

// add saturates; neither operand is negative.
func add(a, b time.Duration) time.Duration {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
