package web

import (
	"context"
	"embed"
	"encoding/json"
	"net/http"
	"path"
	"time"
)

//go:embed assets
var assets embed.FS

// types are the files of the page by what they are.
var types = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
	".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

// policy lets the page load what is embedded, and nothing else run or be shown.
// Trusted Types (W3C) have the browser refuse markup made of strings.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// How often sources are asked at most while somebody looks, and how many searches
// are made at a time.
const (
	fleetAge    = 2 * time.Second
	backlogAge  = 5 * time.Second
	searches    = 4
	searchQueue = 5 * time.Second
)

// Pages is the dashboard of one agent.
type Pages struct {
	src     Source
	fleet   cached[Fleet]
	backlog cached[Backlog]
	slots   chan struct{}
	streams *streams
	mux     *http.ServeMux
}

// New makes the dashboard; Run has to run for its stream.
func New(src Source) *Pages {
	p := &Pages{src: src, slots: make(chan struct{}, searches), streams: newStreams(), mux: http.NewServeMux()}
	p.fleet.read, p.fleet.least = src.Fleet, fleetAge
	p.backlog.read, p.backlog.least = src.Backlog, backlogAge
	p.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		p.fleet.begin(r.Context()) // the page asks for it next
		file(w, "index.html")
	})
	p.mux.HandleFunc("GET /assets/{name}", func(w http.ResponseWriter, r *http.Request) { file(w, r.PathValue("name")) })
	p.mux.HandleFunc("GET /v1/fleet", p.answerFleet)
	p.mux.HandleFunc("GET /v1/names", p.answerNames)
	p.mux.HandleFunc("GET /v1/expiry", p.answerExpiry)
	p.mux.HandleFunc("GET /v1/waiting", p.answerWaiting)
	p.mux.HandleFunc("GET /v1/stream", p.streams.serve)
	return p
}

// ServeHTTP implements http.Handler.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.mux.ServeHTTP(w, r) }

func file(w http.ResponseWriter, name string) {
	text, err := assets.ReadFile(path.Join("assets", path.Base(name)))
	kind, known := types[path.Ext(name)]
	if err != nil || !known {
		answer(w, http.StatusNotFound, problem{"no such page"})
		return
	}
	head := w.Header()
	head.Set("Content-Type", kind)
	head.Set("Content-Security-Policy", policy)
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	if _, err := w.Write(text); err != nil { //nolint:gosec // a file of this package
		return // the client has gone
	}
}

// look is the fleet as far as it is known; its Error says what is not.
func (p *Pages) look(ctx context.Context) Fleet {
	f, err := p.fleet.get(ctx)
	if err != nil {
		f.Error = err.Error()
	}
	if f.Nodes == nil {
		f.Nodes = []Node{}
	}
	if f.Ring.Keys == nil {
		f.Ring.Keys = []Key{}
	}
	return f
}

func (p *Pages) answerFleet(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusOK, p.look(r.Context()))
}

// problem is the body of every answer that is not a success.
type problem struct {
	Error string `json:"error"`
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		return // the client has gone
	}
}
