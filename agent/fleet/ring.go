package fleet

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// Limits of a ring.
const (
	MaxRingKeys   = 32  // keys in a ring, all roles together
	MaxRingEvents = 256 // event ids a ring remembers: as many as Consul buffers
	MaxNodes      = 512 // nodes that a ring can name as skipped
)

// Role is what a ticket key does.
type Role string

// The roles, in the order keys pass through them.
const (
	RoleNext     Role = "next"     // opens only; already on every node when its turn comes
	RoleCurrent  Role = "current"  // seals and opens
	RolePrevious Role = "previous" // opens only
)

// Cause says why an epoch of the ring was made.
type Cause string

// The causes of a new epoch.
const (
	CauseCreated   Cause = "created"   // first ring of the fleet
	CauseSchedule  Cause = "schedule"  // rotate_every passed
	CauseCLI       Cause = "cli"       // tlsfleet rotate-ticket
	CauseEvent     Cause = "event"     // consul event -name=tlsfleet-rotate-ticket
	CauseAdopt     Cause = "adopt"     // an outside key became next
	CausePromote   Cause = "promote"   // an adopted key became current
	CauseEmergency Cause = "emergency" // every key replaced at once
)

// Ring is the fleet's ticket keys with their roles, in one version. Package
// ticket makes, changes and checks rings; a Ring is never changed in place.
type Ring struct {
	Epoch     uint64      // from 1, one more with every change
	Next      TicketKey   // current after the coming rotation
	Current   TicketKey   // seals
	Previous  []TicketKey // newest first
	Changed   time.Time   // when this epoch was made, whole seconds UTC
	Cause     Cause
	By        string   // the node or operator that made it
	Promote   bool     // Next is adopted: make it current once every node proved this epoch
	Emergency bool     // apply at once, without splay
	Skipped   []string // nodes that had not proved the ring before (policy proceed, emergency)
	Events    []string // ids of the Consul events this ring has acted on, newest last
}

// Member is a key with its role.
type Member struct {
	Role Role
	Key  TicketKey
}

// Members lists the keys in the order nginx has to read them: current first,
// because the first seals (ssl_session_ticket_key), then next, then previous
// newest first.
func (r Ring) Members() []Member {
	ms := make([]Member, 0, 2+len(r.Previous))
	ms = append(ms, Member{RoleCurrent, r.Current}, Member{RoleNext, r.Next})
	for _, k := range r.Previous {
		ms = append(ms, Member{RolePrevious, k})
	}
	return ms
}

// Digest names this very ring: its epoch and its keys with their roles. Two
// rings of one epoch, as a restored snapshot can bring about, differ in it.
func (r Ring) Digest() string {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, r.Epoch))
	for _, m := range r.Members() {
		name := m.Key.Name()
		h.Write(name[:])
		h.Write([]byte(m.Role))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Acted reports whether the ring has already acted on the event with this id.
func (r Ring) Acted(eventID string) bool {
	for _, id := range r.Events {
		if id == eventID {
			return true
		}
	}
	return false
}
