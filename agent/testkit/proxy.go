package testkit

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Proxy is an HTTP proxy in front of a real server that breaks the answers its
// rules say, and passes everything else through unchanged.
type Proxy struct {
	Addr string // "127.0.0.1:port"

	pass *httputil.ReverseProxy

	mu      sync.Mutex
	rules   []Rule
	changed chan struct{} // closed when the rules change: ends what hangs
	seen    []string      // "METHOD path" of each request
	keys    []string      // of Consul's KV that transactions read
	conns   map[net.Conn]struct{}
}

// Rule breaks the answers to the requests it matches.
type Rule struct {
	Method string // empty matches every method
	Path   string // start of the URL's path; empty matches every path
	Skip   int    // leave so many matching requests alone first
	Times  int    // then break so many; 0 breaks all
	Fault  Fault

	skipped, used int
}

// Fault is one way to break an answer. It may answer itself, or call pass for
// the real answer.
type Fault func(w http.ResponseWriter, r *http.Request, pass http.Handler)

// FaultProxy starts a proxy in front of target, "host:port", that ends with
// tb.
func FaultProxy(tb TB, target string) *Proxy {
	tb.Helper()
	return startProxy(tb, &url.URL{Scheme: "http", Host: target}, nil, nil)
}

// startProxy starts a proxy that is reached with the TLS of its server, if
// there is one, and reaches the target with that of its client.
func startProxy(tb TB, target *url.URL, server, client *tls.Config) *Proxy {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address(loopback, FreePort(tb, loopback)))
	if err != nil {
		tb.Fatalf("start proxy for %s: %v", target, err)
	}
	p := &Proxy{Addr: l.Addr().String(), changed: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	p.pass = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		FlushInterval: -1,
		Transport:     &http.Transport{DisableCompression: true, TLSClientConfig: client},
		ErrorHandler:  func(w http.ResponseWriter, r *http.Request, _ error) { Cut(w, r, nil) },
	}
	if server != nil {
		l = tls.NewListener(l, server)
	}
	web := &http.Server{Handler: p, ConnState: p.track, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- web.Serve(l) }()
	tb.Cleanup(func() {
		p.Set()
		if err := errors.Join(web.Close(), <-done); !errors.Is(err, http.ErrServerClosed) {
			tb.Logf("stop proxy for %s: %v", target, err)
		}
	})
	return p
}

// Set replaces all rules; the first that matches counts. What hung so far is
// cut. Without a rule the proxy is transparent.
func (p *Proxy) Set(rules ...Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = slices.Clone(rules)
	close(p.changed)
	p.changed = make(chan struct{})
}

// CutAll closes every connection of a client, blocking queries among them, as
// a server that dies does.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		// A connection that is closed already is as good as cut.
		_ = c.Close() //nolint:errcheck // see above
	}
}

// Seen counts the requests so far with this method (empty for any) and start
// of the path, broken ones included.
func (p *Proxy) Seen(method, path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, s := range p.seen {
		m, u, _ := strings.Cut(s, " ")
		if (method == "" || m == method) && strings.HasPrefix(u, path) {
			n++
		}
	}
	return n
}

// Counts is how often each request was seen so far, by "METHOD path", broken
// ones included.
func (p *Proxy) Counts() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := map[string]int{}
	for _, s := range p.seen {
		counts[s]++
	}
	return counts
}

// Read counts how often keys of Consul's KV with this start were asked for so
// far, alone or in a transaction.
func (p *Proxy) Read(key string) int {
	n := p.Seen(http.MethodGet, "/v1/kv/"+key)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range p.keys {
		if strings.HasPrefix(k, key) {
			n++
		}
	}
	return n
}

// note keeps the keys that a transaction reads. It takes each request in whole,
// because a transport closes a connection on which the answer overtakes the
// request, and with it the rest of the answer.
func (p *Proxy) note(r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if len(body) == 0 {
		r.Body = http.NoBody
	}
	if r.URL.Path != "/v1/txn" {
		return nil
	}
	var ops []struct{ KV struct{ Verb, Key string } }
	if err := json.Unmarshal(body, &ops); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, op := range ops {
		if strings.HasPrefix(op.KV.Verb, "get") {
			p.keys = append(p.keys, op.KV.Key)
		}
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := p.note(r); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fault, changed := p.choose(r)
	if fault == nil {
		p.pass.ServeHTTP(w, r)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	}()
	fault(w, r.WithContext(ctx), p.pass)
}

func (p *Proxy) choose(r *http.Request) (Fault, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, r.Method+" "+r.URL.Path)
	for i := range p.rules {
		if rule := &p.rules[i]; rule.matches(r) {
			return rule.Fault, p.changed
		}
	}
	return nil, nil
}

func (u *Rule) matches(r *http.Request) bool {
	if u.Method != "" && u.Method != r.Method || !strings.HasPrefix(r.URL.Path, u.Path) {
		return false
	}
	if u.skipped < u.Skip {
		u.skipped++
		return false
	}
	u.used++
	return u.Times == 0 || u.used <= u.Times
}

func (p *Proxy) track(c net.Conn, state http.ConnState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch state {
	case http.StateNew, http.StateActive, http.StateIdle:
		p.conns[c] = struct{}{}
	case http.StateHijacked, http.StateClosed:
		delete(p.conns, c)
	}
}
