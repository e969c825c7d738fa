package renderer

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/templates"
)

// ErrNoCertificate means that a name of a site has no certificate to load.
var ErrNoCertificate = errors.New("no certificate for the name")

// SiteFrame is what the files of sites depend on beside the sites: this node.
type SiteFrame struct {
	Version     string                // nginx's; unknown counts as an old one
	Variable    bool                  // the release has servers in mode variable; else certificates by path
	LiveDir     string                // absolute path of the folder of live certificates
	Listen      []string              // parameters for sites that name no socket, such as "443 ssl"
	HTTPListen  []string              // the same without TLS, such as "80"
	SnippetsDir string                // absolute path of the operator's files
	Challenges  *templates.Challenges // answers to challenges without TLS; nil for none
	Template    *templates.SiteTemplate
	// Has says whether there is a live certificate of just this name, "*." in
	// front of a wildcard; it is called concurrently, as backends are. By path
	// nginx does not start without one.
	Has func(name string) bool
}

// RenderSites renders the file of each site with the backends that its requests
// go to, reads it back and compares it with the site. Files are in the order of
// the sites; those that cannot be used are left out and in the map by ID. Without
// backends a site answers 503. An error that wraps templates.ErrTemplate is about
// the operator's template, and then that of all sites that are not yet rendered;
// any other is about that site only.
func RenderSites(f SiteFrame, sites []site.Site, backends func(id string) []site.Backend) (files []templates.File, bad map[string]error) {
	all, errs := make([]templates.File, len(sites)), make([]error, len(sites))
	var spoiled atomic.Pointer[error] // by the template: it may take seconds for each site
	var c siteChecker
	var wait sync.WaitGroup
	share := runtime.GOMAXPROCS(0)
	for from := range share {
		wait.Go(func() {
			for i := from; i < len(sites); i += share {
				if why := spoiled.Load(); why != nil {
					errs[i] = *why
					continue
				}
				all[i], errs[i] = renderSite(f, &c, sites[i], backends(sites[i].ID))
				if errors.Is(errs[i], templates.ErrTemplate) {
					spoiled.Store(&errs[i])
				}
			}
		})
	}
	wait.Wait()
	bad = map[string]error{}
	for i, err := range errs {
		if err != nil {
			bad[sites[i].ID] = err
			continue
		}
		files = append(files, all[i])
	}
	return files, bad
}

// RenderSite is RenderSites for one site.
func RenderSite(f SiteFrame, s site.Site, backends []site.Backend) (templates.File, error) {
	return renderSite(f, &siteChecker{}, s, backends)
}

func renderSite(f SiteFrame, c *siteChecker, s site.Site, backends []site.Backend) (templates.File, error) {
	v, err := f.values(s, backends)
	if err != nil {
		return templates.File{}, fmt.Errorf("render site %s: %w", s.ID, err)
	}
	r, err := f.Template.Render(v)
	if err != nil {
		return templates.File{}, err
	}
	if err := c.check(r, v); err != nil {
		return templates.File{}, fmt.Errorf("check site %s: %w", s.ID, err)
	}
	return r.File, nil
}

// SiteFiles are the operator's files that the site includes: nginx does not
// start without them.
func SiteFiles(snippetsDir string, s site.Site) []string {
	var files []string
	for _, name := range s.Snippets {
		files = append(files, filepath.Join(snippetsDir, name))
	}
	if s.Clients != nil {
		files = append(files, filepath.Join(snippetsDir, s.Clients.CA))
	}
	return files
}

// values is what the template needs.
func (f SiteFrame) values(s site.Site, backends []site.Backend) (templates.Site, error) {
	if err := site.Validate(s); err != nil {
		return templates.Site{}, err
	}
	tls := s.TLS.Settings()
	v := templates.Site{
		ID: s.ID, Version: f.Version, Listen: f.listen(s), Plain: f.plain(s), Redirect: s.HTTP == site.HTTPRedirect, HTTP2: s.HTTP2, WebSocket: s.WebSocket,
		Variable: f.Variable, Live: f.LiveDir, Balance: balance(s.Backends),
		Protocols: tls.Protocols, Ciphers: tls.Ciphers, Curves: tls.Curves, ServerOrder: tls.ServerOrder, HSTS: hstsHeader(s.HSTS),
		Clients: siteClients(f.SnippetsDir, s.Clients), MaxBody: s.MaxBody.String(),
		ConnectTimeout: seconds(s.Timeouts.Connect), SendTimeout: seconds(s.Timeouts.Send),
		ReadTimeout: seconds(s.Timeouts.Read), ClientBodyTimeout: seconds(s.Timeouts.ClientBody),
		Challenges: f.Challenges,
	}
	v.RedirectPort = httpsPort(v.Listen)
	for _, name := range s.Snippets {
		v.Snippets = append(v.Snippets, filepath.Join(f.SnippetsDir, name))
	}
	for _, b := range backends {
		if err := b.Check(); err != nil {
			return v, fmt.Errorf("backend: %w", err)
		}
		v.Backends = append(v.Backends, templates.SiteBackend{Address: b.Address, Weight: b.Weight, Backup: b.Backup})
	}
	for _, name := range s.ServerNames {
		folder, err := f.folder(name)
		if err != nil {
			return v, err
		}
		v.Names = append(v.Names, templates.SiteName{Name: name, Folder: folder})
	}
	return v, nil
}

// folder is the entry in the live folder of what serves a name: its own, else
// that of the wildcard above it.
func (f SiteFrame) folder(name string) (string, error) {
	if f.Variable {
		return "", nil
	}
	_, above, _ := strings.Cut(name, ".")
	for _, served := range []string{name, fleet.Wildcard + above} {
		if f.Has(served) {
			return LiveFolder(served)
		}
	}
	return "", fmt.Errorf("%s: %w", name, ErrNoCertificate)
}

func (f SiteFrame) listen(s site.Site) []string {
	if len(s.Listen) == 0 {
		return f.Listen
	}
	list := make([]string, len(s.Listen))
	for i, l := range s.Listen {
		list[i] = l + " ssl"
		if s.ProxyProtocol {
			list[i] += " proxy_protocol"
		}
	}
	return list
}

func (f SiteFrame) plain(s site.Site) []string {
	switch {
	case s.HTTP == site.HTTPOff:
		return nil
	case len(s.HTTPListen) == 0:
		return f.HTTPListen
	}
	return s.HTTPListen
}

// httpsPort is the port that clients are sent to: 443 if there is such a socket.
func httpsPort(listen []string) int {
	port := 0
	for _, l := range listen {
		socket, ok := socketOf(l)
		if !ok {
			continue
		}
		a, err := netip.ParseAddrPort(strings.Replace(socket, "*:", "0.0.0.0:", 1))
		if err != nil {
			continue
		}
		if a.Port() == 443 {
			return 443
		}
		if port == 0 {
			port = int(a.Port())
		}
	}
	return port
}

// balance is the directive of the upstream.
func balance(b site.Backends) string {
	switch b.Method {
	case site.LeastConn, site.IPHash:
		return string(b.Method)
	case site.Random:
		return "random two least_conn"
	case site.Hash:
		return "hash " + hashVariable(b.HashKey) + " consistent"
	case site.RoundRobin:
	}
	return ""
}

// hashVariable is the nginx variable of what site.CheckHashKey takes.
func hashVariable(key string) string {
	kind, name, _ := strings.Cut(key, ":")
	name = strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	switch kind {
	case "path":
		return "$uri"
	case "client_ip":
		return "$remote_addr"
	case "host":
		return "$host"
	case "header":
		return "$http_" + name
	case "cookie":
		return "$cookie_" + name
	case "argument":
		return "$arg_" + name
	}
	return "$request_uri"
}

func hstsHeader(h *site.HSTS) string {
	if h == nil {
		return ""
	}
	parts := []string{fmt.Sprintf("max-age=%d", wholeSeconds(h.MaxAge))}
	if h.IncludeSubdomains {
		parts = append(parts, "includeSubDomains")
	}
	if h.Preload {
		parts = append(parts, "preload")
	}
	return strings.Join(parts, "; ")
}

func siteClients(dir string, k *site.Clients) *templates.SiteClients {
	if k == nil {
		return nil
	}
	return &templates.SiteClients{CA: filepath.Join(dir, k.CA), Optional: k.Mode == site.ClientOptional, Depth: k.Depth}
}

// SitesShared is the file that the sites of a release share. defaults are the
// sockets, as site.Socket spells them, that have a default server without it;
// sizes are those of nginx's tables that nothing else sets.
func SitesShared(f SiteFrame, sites []site.Site, defaults []string, sizes []templates.Size) (templates.File, error) {
	v := templates.Sites{Sizes: sizes}
	node, curves, seen := site.NodeSettings(), siteCurves(f, sites), map[string]bool{}
	add := func(parameters string, socket templates.SiteSocket) {
		name, ok := socketOf(parameters)
		if !ok || seen[name] || slices.Contains(defaults, name) {
			return
		}
		seen[name], socket.Listen = true, parameters
		if !socket.Plain {
			socket.Curves = curves[name]
		}
		v.Sockets = append(v.Sockets, socket)
	}
	for _, s := range sites {
		v.WebSocket = v.WebSocket || s.WebSocket
		clients, tls := siteClients(f.SnippetsDir, s.Clients), s.TLS.Settings()
		if len(s.Listen) == 0 {
			tls = node
		}
		for _, l := range f.listen(s) {
			add(l, templates.SiteSocket{Protocols: tls.Protocols, Clients: clients})
		}
		for _, l := range f.plain(s) {
			add(l, templates.SiteSocket{Plain: true})
		}
	}
	return templates.RenderSites(v)
}

// siteCurves is what the default servers of the sockets with TLS have to say, by
// socket as site.Socket spells it. No socket gets a list that no site there has
// too: one that OpenSSL does not know is that site's fault.
func siteCurves(f SiteFrame, sites []site.Site) map[string]string {
	all, node := map[string]string{}, site.NodeSettings()
	for _, s := range sites {
		curves := s.TLS.Settings().Curves
		if len(s.Listen) == 0 && curves != node.Curves {
			continue // kept from before that was refused
		}
		for _, l := range f.listen(s) {
			if name, ok := socketOf(l); ok {
				all[name] = curves
			}
		}
	}
	return all
}

// socketOf is the socket of listen parameters, as site.Socket spells it.
func socketOf(parameters string) (string, bool) {
	name, err := site.Socket(strings.Fields(parameters + " -")[0])
	return name, err == nil
}

func wholeSeconds(d site.Duration) int64 { return int64(time.Duration(d) / time.Second) }

func seconds(d site.Duration) string { return fmt.Sprintf("%ds", wholeSeconds(d)) }
