// Package config reads the agent's HCL file into checked values and tells when
// the file has changed. It is strict: what it does not know is an error, and
// every error names the line and what to do. It knows nothing of what the
// values are used for beyond their limits, and talks to neither Consul nor
// nginx.
package config

import (
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Config is the agent's configuration, complete and checked. Every path in it
// is absolute and clean.
type Config struct {
	Fleet               string // KV prefix tlsfleet/<Fleet>/; fleet.CheckName
	Node                string // name of this node; the host's name if not given
	Address             string // registered in Consul; empty: the Consul agent's own
	KeyringFile         string
	StateDir            string // survives a reboot
	RunDir              string // on tmpfs: holds the ticket keys in clear
	AllowPersistentKeys bool   // accept a RunDir that is not on tmpfs
	Socket              string // unix socket of the agent
	SocketGroup         string // group that may use it; empty: the owner only

	Keyring      Keyring
	Consul       Consul
	Nginx        Nginx
	Ticket       Ticket
	Certificates Certificates
	Sites        Sites
	ACME         ACME
	CAs          []CA // in the order of the file
	DNS          []DNS
	Notify       []Notify
	Archives     []Archive
	Reload       Reload
	Leader       Leader
	HTTP         HTTP
	Log          Log
}

// KeyringFrom says how a node comes by its keyring.
type KeyringFrom string

// The ways.
const (
	KeyringFile   KeyringFrom = "file"   // a person brings KeyringFile
	KeyringConsul KeyringFrom = "consul" // wrapped for this node; the agent keeps it in KeyringFile
)

// Keyring is where the keyring is from.
type Keyring struct {
	From            KeyringFrom
	IdentityFile    string // of this node (age)
	Operator        string // public key of whom this node takes a keyring from; seal.ParseOperatorKey
	OperatorKeyFile string // its private part, on the operator's host
}

// RegisterFile is where the operator keeps which nodes of a fleet were admitted.
func (k Keyring) RegisterFile(fleetName string) string { return k.OperatorKeyFile + "." + fleetName }

// Consul is how to reach the local Consul agent. Empty values are left to the
// CONSUL_* environment variables.
type Consul struct {
	Address       string // host:port, http(s)://host:port or unix:///path
	Scheme        string // "http" or "https"
	Token         fleet.Secret
	TokenFile     string
	Datacenter    string
	Namespace     string
	Partition     string
	CAFile        string
	CAPath        string
	CertFile      string
	KeyFile       string
	ServerName    string
	TLSSkipVerify bool
	ServiceTTL    time.Duration // TTL of the node's health check
}

// Nginx is the nginx of this host.
type Nginx struct {
	Binary         string
	ConfigFile     string
	PIDFile        string
	Prefix         string        // option -p of nginx; "": that of the running master
	DefaultServers []string      // parameters of the directive listen, one socket each: "443 ssl"
	ReleaseAddress string        // loopback address:port on which a release answers with its number
	VerifyTimeout  time.Duration // until a reload has to be proved
	OldWorkerLimit time.Duration // for old workers to drain after an emergency, then they are ended
	ReproveEvery   time.Duration // between proofs of an unchanged release
}

// Policy says what happens when a rotation is due and a node has not proved
// the ring in force by the deadline.
type Policy string

// The policies.
const (
	PolicyHold    Policy = "hold"    // wait for the node
	PolicyProceed Policy = "proceed" // rotate without it, and say so
)

// Ticket is the life of the session ticket keys.
type Ticket struct {
	RotateEvery     time.Duration
	SessionTimeout  time.Duration // directive ssl_session_timeout
	ApplyLag        time.Duration // longest time a node in contact takes to apply a ring
	Policy          Policy
	Deadline        time.Duration // from the due rotation until Policy decides
	AcceptEventKeys bool          // adopt the key in a Consul event
	WatchEvents     bool          // read Consul's event buffer
	ResumeEvery     time.Duration // between tickets that are offered to another node; 0: none are
	StaleAfter      time.Duration // out of contact for so long, a node stops sealing with the ring; 0: never
}

// CertMode says how nginx comes by the certificates.
type CertMode string

// The modes.
const (
	CertFiles    CertMode = "files"     // files only: the operator's own servers name them
	CertAuto     CertMode = "auto"      // static or variable, by nginx's version and the number of names
	CertVariable CertMode = "variable"  // one server for all names, files read at each handshake
	CertStatic   CertMode = "static"    // one server for each name, files read at each reload
	CertOnDemand CertMode = "on_demand" // only what was asked for through the gateway is kept
)

// Rendered reports whether the release has servers for the certificates.
func (m CertMode) Rendered() bool { return m == CertAuto || m == CertVariable || m == CertStatic }

// NameMode says which names the variable mode lets in.
type NameMode string

// The name modes.
const (
	NamesOpen   NameMode = "open"   // any name that has a certificate; a new one needs no reload
	NamesListed NameMode = "listed" // the names in the configuration; a new one needs a reload
)

// Certificates is how the fleet's certificates are served on this node.
type Certificates struct {
	Mode           CertMode
	Names          NameMode
	Listen         []string      // parameters of the directive listen for the rendered servers
	ServerInclude  string        // the operator's file with what the rendered servers do; empty: none
	WorkerGroup    string        // group that may read private keys; empty: that of nginx's user directive
	MaxLossPercent int           // of all names that may go at once without a person
	KeepReplaced   time.Duration // how long a replaced bundle stays for handshakes in flight
	GatewaySocket  string        // unix socket that answers with certificates and their keys; empty: none
	GatewayGroup   string        // group that may use it; empty: the one that may read private keys
	OnDemandMiB    int           // disk space for what mode on_demand keeps
}

// Sites is where the operator's part of virtual hosts is.
type Sites struct {
	Waves        bool          // a change is proved by canaries first; off: this node takes it as it is set
	Canary       fleet.Share   // of the nodes in service that are
	ProveWithin  time.Duration // for canaries to serve a change, and as long to prove it
	TemplatesDir string        // templates that take the place of tlsfleet's own
	SnippetsDir  string        // files that sites name
}

// Reload is the pace of nginx reloads.
type Reload struct {
	Splay       time.Duration // upper bound of the random delay
	Quiet       time.Duration // no further change for so long before a reload
	MaxQuiet    time.Duration // but no longer than this after the first change
	MinInterval time.Duration // between two reloads
	MaxShare    fleet.Share   // of the nodes in service that reload at once, as the leader's configuration has it
	SlotWait    time.Duration // for others that reload, then it reloads beside them
}

// Leader is this node's part in elections.
type Leader struct {
	KeyringFile string // seals what only leaders need; empty: Config.KeyringFile does
	Eligible    bool
	TTL         time.Duration // of the Consul session that holds the lock
}

// Log is how the agent logs.
type Log struct {
	Level  string // "trace", "debug", "info", "warn" or "error"
	Format string // "text" or "json"
}

// Default is the configuration of an empty file: all but Fleet, which has no
// default, Node, which is the host's name, and Socket, which is in RunDir.
func Default() Config {
	return Config{
		KeyringFile: "/etc/tlsfleet/keyring",
		StateDir:    "/var/lib/tlsfleet",
		RunDir:      "/run/tlsfleet",
		Keyring:     Keyring{From: KeyringFile, OperatorKeyFile: "/etc/tlsfleet/operator.key"},
		Consul:      Consul{ServiceTTL: 30 * time.Second},
		Nginx: Nginx{
			Binary:         "/usr/sbin/nginx",
			ConfigFile:     "/etc/nginx/nginx.conf",
			PIDFile:        "/run/nginx.pid",
			ReleaseAddress: "127.0.0.1:9181",
			VerifyTimeout:  30 * time.Second,
			OldWorkerLimit: 30 * time.Second,
			ReproveEvery:   time.Minute,
		},
		Ticket: Ticket{
			RotateEvery:    12 * time.Hour,
			SessionTimeout: 2 * time.Hour,
			ApplyLag:       15 * time.Minute,
			Policy:         PolicyHold,
			Deadline:       time.Hour,
			WatchEvents:    true,
			ResumeEvery:    time.Minute,
			StaleAfter:     72 * time.Hour,
		},
		Certificates: Certificates{
			Mode:           CertFiles,
			Names:          NamesListed,
			MaxLossPercent: 50,
			KeepReplaced:   time.Minute,
			OnDemandMiB:    256,
		},
		Sites: Sites{
			Waves: true, Canary: fleet.Share{Nodes: 1}, ProveWithin: 2 * time.Minute,
			TemplatesDir: "/etc/tlsfleet/templates", SnippetsDir: "/etc/tlsfleet/snippets",
		},
		ACME: ACME{HTTP01: HTTP01Stateless, ChallengeAddress: "127.0.0.1:9182", Parallel: 32, Preflight: true, HTTPPort: 80},
		Reload: Reload{
			Splay:       5 * time.Second,
			Quiet:       500 * time.Millisecond,
			MaxQuiet:    5 * time.Second,
			MinInterval: 10 * time.Second,
			MaxShare:    fleet.Share{Percent: 25},
			SlotWait:    5 * time.Minute,
		},
		Leader: Leader{Eligible: true, TTL: 15 * time.Second},
		HTTP:   HTTP{Address: "127.0.0.1:9180"},
		Log:    Log{Level: "info", Format: "text"},
	}
}
