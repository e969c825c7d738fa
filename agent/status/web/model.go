package web

import (
	"context"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// Source is where the pages get what they show.
type Source interface {
	// Fleet is the fleet as this node may see it; one call costs Consul a few reads.
	Fleet(ctx context.Context) (Fleet, error)
	// Backlog is what is obtained and waits; one call reads the whole journal.
	Backlog(ctx context.Context) (Backlog, error)
	// Names is one page of the names with a certificate, from memory.
	Names(q NameQuery) NamePage
	// Ends says how many certificates end in each span, from memory.
	Ends(now time.Time, span time.Duration, spans int) Ends
}

// Fleet is the fleet at one moment.
type Fleet struct {
	Fleet     string    `json:"fleet"`
	Self      string    `json:"self"` // the node that answers
	Version   string    `json:"version"`
	At        time.Time `json:"at"`
	Leader    string    `json:"leader"`            // empty: none now, or not known
	Limited   string    `json:"limited,omitempty"` // why only this node is shown; empty: all are
	Error     string    `json:"error,omitempty"`   // why this is older than it should be
	Ring      Ring      `json:"ring"`
	Inventory uint64    `json:"inventory"` // epoch of the certificates; 0: there are none
	Names     int       `json:"names"`     // with a certificate
	Nodes     []Node    `json:"nodes"`
	Archives  []Archive `json:"archives,omitempty"` // that the leader copies to, as far as it has told
}

// Archive is a copy of the fleet outside Consul.
type Archive struct {
	fleet.Archive
	Behind int `json:"lag_seconds"` // for how long a change has not been copied; 0: all is copied
}

// Ring is the ring in force. It never holds key bytes.
type Ring struct {
	Epoch   uint64      `json:"epoch"` // 0: none yet
	Changed time.Time   `json:"changed,omitzero"`
	Cause   fleet.Cause `json:"cause,omitempty"`
	By      string      `json:"by,omitempty"`
	Promote bool        `json:"promote"` // the next key is adopted and waits for its proof
	Proved  int         `json:"proved"`  // nodes in service that have proved it
	Serving int         `json:"in_service"`
	Skipped []string    `json:"skipped,omitempty"` // nodes passed over by the last change
	Policy  string      `json:"policy"`
	Due     time.Time   `json:"rotation_due,omitzero"`
	Error   string      `json:"error,omitempty"` // why it cannot be used
	Keys    []Key       `json:"keys"`
}

// Key is a ticket key by its public name.
type Key struct {
	Role     fleet.Role    `json:"role"`
	Name     fleet.KeyName `json:"name"`
	Bits     int           `json:"aes_bits"`
	Origin   fleet.Origin  `json:"origin"`
	Born     time.Time     `json:"born"`
	Promoted time.Time     `json:"promoted,omitzero"`
	Retired  time.Time     `json:"retired,omitzero"`
}

// Node is one node of the fleet.
type Node struct {
	Name       string           `json:"name"`
	Address    string           `json:"address,omitempty"`
	Leader     bool             `json:"leader"`
	Alive      bool             `json:"alive"`         // it reports
	Drained    bool             `json:"drained"`       // in maintenance
	Proved     bool             `json:"proved"`        // serves with the ring in force
	Why        string           `json:"why,omitempty"` // why it does not
	At         time.Time        `json:"at,omitzero"`   // of its report
	Mode       fleet.Mode       `json:"mode"`
	Applied    uint64           `json:"applied"` // epoch
	Release    uint64           `json:"release"`
	Reload     fleet.Reload     `json:"reload"`
	Version    string           `json:"version"`
	Nginx      string           `json:"nginx_version"`
	Inventory  uint64           `json:"inventory"`
	Names      int              `json:"names"`
	Resumption fleet.Resumption `json:"resumption,omitzero"`
	Problems   []fleet.Problem  `json:"problems"`
}

// Backlog is what the leader obtains and what of it waits.
type Backlog struct {
	States  map[issuance.State]int `json:"states"`            // certificates by state
	Waiting []Waiting              `json:"waiting"`           // waiting or parked, at most MaxWaiting: parked first, the longest first
	Refused int                    `json:"refused,omitempty"` // records that cannot be read
}

// MaxWaiting bounds Backlog.Waiting.
const MaxWaiting = 2000

// Waiting is a certificate that is not obtained for now.
type Waiting struct {
	Names    []string       `json:"names"`
	State    issuance.State `json:"state"`
	Since    time.Time      `json:"since"`
	Next     time.Time      `json:"next,omitzero"` // next try
	NotAfter time.Time      `json:"not_after,omitzero"`
	Failures int            `json:"failures"`
	Class    issuance.Class `json:"class,omitempty"`
	Stage    issuance.Stage `json:"stage,omitempty"`
	CA       string         `json:"ca,omitempty"`
	Reason   string         `json:"reason,omitempty"`
}

// NameQuery chooses names; Match and After are in lower case.
type NameQuery struct {
	Match  string // a part of the name, or its beginning
	Prefix bool
	After  string // names that sort behind it
	Limit  int
}

// NamePage is some names, sorted.
type NamePage struct {
	Names    []Name `json:"names"`
	Matching int    `json:"matching"`       // on all pages
	Total    int    `json:"total"`          // whatever they are called
	Next     string `json:"next,omitempty"` // ask for what is after it
}

// Name is a name with its certificate.
type Name struct {
	Name        string     `json:"name"`
	NotAfter    time.Time  `json:"not_after"`
	Bundle      fleet.Hash `json:"bundle"`
	Quarantined bool       `json:"quarantined,omitempty"` // this node serves an older one
}

// Ends counts certificates by when they end.
type Ends struct {
	From  time.Time `json:"from"`
	Span  int       `json:"span_s"` // seconds of each count
	Ended int       `json:"ended"`  // before From
	Count []int     `json:"count"`
	Later int       `json:"later"`
	Whole bool      `json:"whole"` // the node knows all of the inventory
}
