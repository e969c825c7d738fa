package status

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/net/netutil"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// leastToken is the shortest token, in bytes, that guards an address.
const leastToken = 16

// maxHTTPConns is how many connections are served at a time; more wait.
const maxHTTPConns = 256

// HTTPConfig is where and for whom the agent answers HTTP.
type HTTPConfig struct {
	Address      string // IP address and port
	CertFile     string // TLS; empty: plain
	KeyFile      string
	ClientCAFile string // a client certificate issued by one of these lets in
	TokenFile    string // so does this token
}

// HTTPHandler answers /metrics, /healthz (the agent lives), /readyz (its nginx
// serves with the fleet's ring; 503 with the reasons if not) and /v1/status (what the node
// reports); pages answers the rest. It has nothing that changes anything.
func HTTPHandler(src Source, metrics, pages http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /", pages)
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET "+healthPath, func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, struct{}{}) })
	mux.HandleFunc("GET "+readyPath, func(w http.ResponseWriter, _ *http.Request) {
		if missing := unready(src.Report()); len(missing) > 0 {
			answer(w, http.StatusServiceUnavailable, problem{strings.Join(missing, "; ")})
			return
		}
		answer(w, http.StatusOK, struct{}{})
	})
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, src.Report()) })
	return mux
}

// What a load balancer asks: without a token, because it tells nothing else.
const (
	healthPath = "/healthz"
	readyPath  = "/readyz"
)

// unready is why a node should not get connections.
func unready(r fleet.Report) []string {
	var missing []string
	if r.Mode != fleet.ModeRing || r.Proved == 0 {
		missing = append(missing, "nginx was not seen to serve with the fleet's ring")
	}
	for _, p := range r.Problems {
		if p.Severity == fleet.Alarm {
			missing = append(missing, p.Code+": "+p.Message)
		}
	}
	return missing
}

// ServeHTTP answers until ctx ends. The error before says why it cannot.
func ServeHTTP(ctx context.Context, cfg HTTPConfig, h http.Handler) error {
	gate, secure, err := cfg.gate(h)
	if err != nil {
		return fmt.Errorf("serve %s: %w", cfg.Address, err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", cfg.Address)
	if err != nil {
		return fmt.Errorf("serve http: %w", err)
	}
	l = netutil.LimitListener(l, maxHTTPConns)
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
	return serve(ctx, cfg.Address, l, gate)
}

// gate is h for those who may ask, and how they are spoken to: nil without TLS.
func (cfg HTTPConfig) gate(h http.Handler) (http.Handler, *tls.Config, error) {
	g := gate{next: h, open: true}
	if cfg.TokenFile != "" {
		token, err := os.ReadFile(cfg.TokenFile)
		if err != nil {
			return nil, nil, fmt.Errorf("read token: %w", err)
		}
		g.token, g.open = []byte(strings.TrimSpace(string(token))), false
		if len(g.token) < leastToken {
			return nil, nil, fmt.Errorf("read token %s: it has %d bytes: give %d or more", cfg.TokenFile, len(g.token), leastToken)
		}
	}
	if cfg.CertFile == "" {
		return g, nil, nil
	}
	pair, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("read certificate: %w", err)
	}
	secure := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if cfg.ClientCAFile != "" {
		issuers, err := os.ReadFile(cfg.ClientCAFile)
		if err != nil {
			return nil, nil, fmt.Errorf("read issuers of client certificates: %w", err)
		}
		secure.ClientCAs, secure.ClientAuth, g.open = x509.NewCertPool(), tls.VerifyClientCertIfGiven, false
		if !secure.ClientCAs.AppendCertsFromPEM(issuers) {
			return nil, nil, errors.New("read issuers of client certificates: " + cfg.ClientCAFile + " has none")
		}
	}
	return g, secure, nil
}

// gate lets in who may read.
type gate struct {
	next  http.Handler
	token []byte
	open  bool // to everybody who reaches it
}

func (g gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cache-Control", "no-store")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		head.Set("Allow", "GET, HEAD")
		answer(w, http.StatusMethodNotAllowed, problem{"nothing can be changed here"})
	case !g.open && !g.admits(r) && r.URL.Path != healthPath && r.URL.Path != readyPath:
		head.Set("WWW-Authenticate", `Basic realm="tlsfleet", charset="UTF-8"`)
		answer(w, http.StatusUnauthorized, problem{"give the token as bearer token, or as the password of any user"})
	case g.open && !isAddress(r.Host):
		// A page elsewhere whose name was made to lead here would name itself.
		answer(w, http.StatusMisdirectedRequest, problem{"use the address, not a name"})
	case foreign(r):
		answer(w, http.StatusForbidden, problem{"asked for by another site"})
	default:
		g.next.ServeHTTP(w, r)
	}
}

// admits reports whether the client has shown who it is.
func (g gate) admits(r *http.Request) bool {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return true
	}
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		_, given, ok = r.BasicAuth()
	}
	return ok && len(g.token) > 0 && subtle.ConstantTimeCompare([]byte(given), g.token) == 1
}

// isAddress reports whether a Host header has an IP address or localhost.
func isAddress(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || host == "localhost"
}

// foreign reports whether a browser asks on behalf of another site.
func foreign(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		return r.Header.Get("Sec-Fetch-Mode") != "navigate" // a link leads here
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	_, host, _ := strings.Cut(origin, "://")
	return host != r.Host
}
