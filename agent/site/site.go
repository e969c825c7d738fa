package site

// Site is one virtual host: which names it answers to, where its requests go,
// and how TLS is spoken. New has the defaults; a Site is never changed in place
// once it is checked.
type Site struct {
	ID            string   `json:"-"`                        // a word for people, and a file name: CheckID
	ServerNames   []string `json:"server_names"`             // as fleet.CheckDomain takes them, each once
	Listen        []string `json:"listen,omitempty"`         // sockets of its own for TLS; none: the node's
	ProxyProtocol bool     `json:"proxy_protocol,omitempty"` // on those sockets
	HTTP          HTTPMode `json:"http"`
	HTTPListen    []string `json:"http_listen,omitempty"` // sockets without TLS; none: port 80
	HTTP2         bool     `json:"http2"`
	WebSocket     bool     `json:"websocket,omitempty"`
	MaxBody       Size     `json:"max_body_size"`      // 0: no limit
	Snippets      []string `json:"snippets,omitempty"` // files of the operator, by name
	Backends      Backends `json:"backends"`
	TLS           TLS      `json:"tls"`
	HSTS          *HSTS    `json:"hsts,omitempty"` // nil: no header
	Clients       *Clients `json:"client_certificates,omitempty"`
	Timeouts      Timeouts `json:"timeouts"`
}

// HTTPMode is what is answered without TLS.
type HTTPMode string

// The modes.
const (
	HTTPRedirect HTTPMode = "redirect" // to the same address with https
	HTTPServe    HTTPMode = "serve"    // the same as with TLS
	HTTPOff      HTTPMode = "off"      // nothing
)

// Method is how requests are spread over backends.
type Method string

// The methods, by their names in nginx.
const (
	RoundRobin Method = "round_robin"
	LeastConn  Method = "least_conn"
	IPHash     Method = "ip_hash"
	Random     Method = "random" // the less busy of two
	Hash       Method = "hash"   // consistent, by HashKey
)

// Backends is where requests go: a service in Consul, or fixed addresses.
type Backends struct {
	Service     string    `json:"service,omitempty"`
	Tag         string    `json:"tag,omitempty"`        // instances with this tag only
	Datacenter  string    `json:"datacenter,omitempty"` // of the service; empty: the node's own
	PassingOnly bool      `json:"passing_only"`         // not those with a warning either
	Weights     bool      `json:"weights"`              // as Consul has them; false: all the same
	KeepLast    bool      `json:"keep_last"`            // with no instance left, go on with the last ones
	Addresses   []Backend `json:"addresses,omitempty"`
	Method      Method    `json:"method"`
	HashKey     string    `json:"hash_key,omitempty"` // see CheckHashKey
}

// Clients is the verification of client certificates.
type Clients struct {
	CA    string     `json:"ca"` // file of the operator, by name
	Mode  ClientMode `json:"mode"`
	Depth int        `json:"depth"` // of the chain
}

// ClientMode is whether a client may come without a certificate.
type ClientMode string

// The modes of Clients.
const (
	ClientRequired ClientMode = "required"
	ClientOptional ClientMode = "optional" // the backend is told
)

// HSTS is the header Strict-Transport-Security (RFC 6797).
type HSTS struct {
	MaxAge            Duration `json:"max_age"` // whole seconds; 0 ends it
	IncludeSubdomains bool     `json:"include_subdomains,omitempty"`
	Preload           bool     `json:"preload,omitempty"`
}

// Timeouts are nginx's proxy_connect_timeout, proxy_send_timeout,
// proxy_read_timeout and client_body_timeout.
type Timeouts struct {
	Connect    Duration `json:"connect"`
	Send       Duration `json:"send"`
	Read       Duration `json:"read"`
	ClientBody Duration `json:"client_body"`
}

// New is a site of which only the ID is said.
func New(id string) Site {
	return Site{
		ID: id, HTTP: HTTPRedirect, HTTP2: true, MaxBody: 1 << 20,
		Backends: Backends{PassingOnly: true, Weights: true, KeepLast: true, Method: RoundRobin},
		TLS:      TLS{Policy: Intermediate},
		Timeouts: Timeouts{Connect: 5 * second, Send: 60 * second, Read: 60 * second, ClientBody: 60 * second},
	}
}

func newHSTS() *HSTS       { return &HSTS{MaxAge: 365 * 24 * hour} }
func newClients() *Clients { return &Clients{Mode: ClientRequired, Depth: 1} }
