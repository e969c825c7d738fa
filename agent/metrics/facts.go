package metrics

import (
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// MostNames is how many names have a metric of their own: those that expire
// first. 100,000 series of one agent would be of use to nobody.
const MostNames = 200

// Facts are what an agent knows at one moment.
type Facts struct {
	Report       fleet.Report
	Contact      time.Time   // with Consul, the last; zero: never
	Ring         *fleet.Ring // in force here; nil: none. Of its keys only names and times are shown
	Certificates Certificates
	Leading      *Leading // nil: another node leads
}

// Certificates are those that the inventory wants on the node.
type Certificates struct {
	Pending  int            // names whose wanted certificate is not in place yet
	Expiring map[string]int // how many end within each of Windows
	Soonest  []Expiry       // at most MostNames, the first to end first
}

// Expiry is when the certificate of a name ends.
type Expiry struct {
	Name     string
	NotAfter time.Time
}

// Windows are the times within which expiring certificates are counted.
var Windows = map[string]time.Duration{
	"0d": 0, "1d": 24 * time.Hour, "7d": 7 * 24 * time.Hour, "14d": 14 * 24 * time.Hour, "30d": 30 * 24 * time.Hour,
}

// Leading is what only a leader knows.
type Leading struct {
	Serving  int            // nodes in service
	Proved   int            // of them, those that have proved the ring in force
	Alive    int            // of all nodes, those with a passing check
	Issuance map[string]int // certificates obtained by ACME, by state
	Budgets  []Budget
	Archives []Archive
	Wave     Wave
}

// Wave is how far a version of the sites has come.
type Wave struct {
	Epoch uint64 // 0: there are none
	State string
}

// Archive is a copy of the fleet outside Consul.
type Archive struct {
	Name    string
	Lag     time.Duration // for how long a change has not been copied; 0: none
	Pending int           // objects known to wait
}

// Budget is what a CA still allows.
type Budget struct {
	CA   string
	Left float64   // new orders now; negative: not limited
	Held time.Time // no order before; zero: not held
}
