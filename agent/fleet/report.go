package fleet

import "time"

// Mode says which ticket keys a node's nginx uses.
type Mode string

// The modes of a node.
const (
	ModeNone    Mode = ""         // nothing applied yet
	ModeRing    Mode = "ring"     // the fleet's ring
	ModePerHost Mode = "per-host" // nginx's own keys, shared with nobody: an alarm
)

// ReloadResult is how a reload ended.
type ReloadResult string

// The results of a reload.
const (
	ReloadNone       ReloadResult = ""            // no reload yet
	ReloadOK         ReloadResult = "ok"          // proved
	ReloadRejected   ReloadResult = "rejected"    // nginx -t refused the staged release: nothing changed
	ReloadRolledBack ReloadResult = "rolled-back" // activated, not proved, taken back
	ReloadFailed     ReloadResult = "failed"      // not proved, and taking it back was not proved either
	ReloadNotRunning ReloadResult = "not-running" // nginx is not running; the release is in place and accepted by nginx -t
)

// Reload is the outcome of one reload of nginx.
type Reload struct {
	At      time.Time     `json:"at,omitzero"`
	Result  ReloadResult  `json:"result,omitempty"`
	Reason  string        `json:"reason,omitempty"` // what it was for
	Release uint64        `json:"release,omitempty"`
	Took    time.Duration `json:"took_ns,omitempty"`
	Err     string        `json:"err,omitempty"`
}

// Severity of a problem.
type Severity string

// The severities.
const (
	Warning Severity = "warning"
	Alarm   Severity = "alarm" // a person is needed
)

// Problem is something wrong on a node that a person should see.
type Problem struct {
	Code     string    `json:"code"` // stable, kebab-case
	Severity Severity  `json:"severity"`
	Message  string    `json:"message"`
	Hint     string    `json:"hint,omitempty"`
	Since    time.Time `json:"since"`
}

// Report is what a node says of itself in KV. It lives as long as the node's
// Consul session.
type Report struct {
	Node         string          `json:"node"`
	At           time.Time       `json:"at"`
	Version      string          `json:"version"`       // of tlsfleet
	NginxVersion string          `json:"nginx_version"` // "1.22.1"; empty if unknown
	Mode         Mode            `json:"mode"`
	Seen         uint64          `json:"seen"`            // highest ring epoch read from KV and accepted
	Applied      uint64          `json:"applied"`         // ring epoch in the active release; 0 in mode per-host
	Ring         string          `json:"ring"`            // Ring.Digest of the ring applied; empty in mode per-host
	Proved       uint64          `json:"proved"`          // ring epoch proved by handshake on every listener; 0 if none
	Release      uint64          `json:"release"`         // active release
	Inventory    uint64          `json:"inventory"`       // epoch of the certificate inventory followed
	Names        int             `json:"names"`           // names with a certificate on this node
	Sites        uint64          `json:"sites,omitempty"` // epoch of the sites that nginx serves, but for those that were left out
	SitesProof   SitesProof      `json:"sites_proof,omitzero"`
	Waves        bool            `json:"waves,omitempty"` // sites are followed as the leader lets the node, not as they are set
	Reload       Reload          `json:"reload"`
	Resumption   Resumption      `json:"resumption,omitzero"`
	Listeners    []ListenerProof `json:"listeners,omitempty"`
	Problems     []Problem       `json:"problems,omitempty"`
	Keys         []string        `json:"keys,omitempty"`         // ids of the keyring's keys; the first seals
	LeaderKeys   []string        `json:"leader_keys,omitempty"`  // the same of the leaders' keyring
	StaleCopies  []string        `json:"stale_copies,omitempty"` // ids of other keys that copies on this host are still sealed with
	Sealing      Sealing         `json:"sealing,omitzero"`       // on the leader
	Archives     []Archive       `json:"archives,omitempty"`     // on the leader; nil: it has none, or has just begun to lead
}

// Sealing is how far the leader is with sealing the records in Consul with the
// first key of its keyring.
type Sealing struct {
	Key     string   `json:"key"`               // id
	Leaders string   `json:"leaders,omitempty"` // id of the leaders' key
	Seen    int      `json:"seen"`              // records
	Total   int      `json:"total"`
	Done    bool     `json:"done"`
	Bad     int      `json:"bad,omitempty"`    // records that cannot be opened
	Behind  []string `json:"behind,omitempty"` // archives that have records under other keys
}

// SitesProof is what a canary has found out about an epoch of the sites.
type SitesProof struct {
	Epoch  uint64 `json:"epoch"`
	Proved bool   `json:"proved"`           // each site that has changed answers, as far as it has certificates and backends
	Failed string `json:"failed,omitempty"` // why the epoch cannot be served; empty: it can, or that is not known yet
	Bad    string `json:"bad,omitempty"`    // IDs of the sites that this is about, with spaces between; empty: of none alone
}

// Resumption is what became of session tickets that a node took at its own nginx
// and offered to those of other nodes, since its agent started. It is what
// sharing ticket keys is for.
type Resumption struct {
	Offered int       `json:"offered"` // to nodes that answered
	Resumed int       `json:"resumed"` // of them, taken
	At      time.Time `json:"at"`      // the last one
	Peer    string    `json:"peer"`    // the node it was offered to
	Err     string    `json:"err,omitempty"`
}

// Listener is one TLS listen socket of nginx, as its parsed configuration
// says (directive listen with ssl).
type Listener struct {
	Network    string `json:"network"`               // "tcp" or "unix"
	Address    string `json:"address"`               // dialable: "127.0.0.1:443", "[::1]:443", a socket path
	Listen     string `json:"listen"`                // as written in the configuration: "443", "[::]:443"
	ServerName string `json:"server_name,omitempty"` // a name it serves, for SNI; empty if it has none
	File       string `json:"file,omitempty"`        // configuration file of the default server
	Line       int    `json:"line,omitempty"`
	HiddenBy   string `json:"hidden_by,omitempty"`      // "file:line" of an ssl_session_ticket_key that seals instead of the ring's; empty: none
	TicketsOff bool   `json:"tickets_off,omitempty"`    // ssl_session_tickets off in its default server
	RejectsAll bool   `json:"rejects_all,omitempty"`    // no server on it ever completes a handshake
	ProxyProto bool   `json:"proxy_protocol,omitempty"` // expects a PROXY header (listen ... proxy_protocol)
}

// ListenerProof is what handshakes with one listener showed.
type ListenerProof struct {
	Listen  string       `json:"listen"`
	Address string       `json:"address"`
	Skipped string       `json:"skipped,omitempty"` // why there is nothing to prove; empty if there is
	TLS     []TicketSeen `json:"tls,omitempty"`
}

// TicketSeen is the outcome of one handshake.
type TicketSeen struct {
	Version string  `json:"version"`          // "1.2" or "1.3"
	Key     KeyName `json:"key"`              // name of the key that sealed the ticket
	Err     string  `json:"err,omitempty"`    // why no name was seen
	Absent  bool    `json:"absent,omitempty"` // the listener does not speak this version
}

// Node is a member of the fleet as Consul's catalog has it.
type Node struct {
	Name        string `json:"node"`
	Address     string `json:"address"`
	Maintenance bool   `json:"maintenance"` // taken out of service by an operator
	Healthy     bool   `json:"healthy"`     // its checks pass: the agent is alive
}

// InService reports whether the node has to prove a ring before the next
// rotation. A dead agent's nginx may still serve, so health does not count.
func (n Node) InService() bool { return !n.Maintenance }
