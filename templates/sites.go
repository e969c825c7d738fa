package templates

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"text/template"
)

// SitesFile has what sites share; a release with sites has it.
const SitesFile = "35-sites.conf"

// Sites is what SitesFile is rendered from.
type Sites struct {
	WebSocket bool         // one of the sites needs it
	Sizes     []Size       // of nginx's tables, where nothing else sets them
	Sockets   []SiteSocket // those that have no default server yet, each once
}

// SiteSocket is one socket of sites. Its default server answers nobody: it is
// there because which TLS versions a socket speaks, and which curves, tickets and
// client certificates it takes, is up to its default server.
type SiteSocket struct {
	Listen    string   // parameters, such as "8443 ssl"
	Plain     bool     // without TLS
	Protocols []string // those of its sites
	Curves    string   // those of its sites; empty: nginx's default
	Clients   *SiteClients
}

// RenderSites makes SitesFile.
func RenderSites(s Sites) (File, error) {
	type socket struct {
		Listen, Protocols []Value
		Curves            *Value
		Plain             bool
		Clients           *SiteVerify
	}
	var sockets []socket
	for _, x := range s.Sockets {
		switch {
		case len(strings.Fields(x.Listen)) == 0:
			return File{}, fmt.Errorf("render %s: a server without listen parameters", SitesFile)
		case !x.Plain && len(x.Protocols) == 0:
			return File{}, fmt.Errorf("render %s: no TLS versions on %s", SitesFile, x.Listen)
		}
		sockets = append(sockets, socket{vs(listen(x.Listen)), vs(x.Protocols), optional(x.Curves), x.Plain, x.Clients.view()})
		for _, v := range slices.Concat(sockets[len(sockets)-1].Listen, vs(x.Protocols), []Value{V(x.Curves)}) {
			if err := v.check(); err != nil {
				return File{}, fmt.Errorf("render %s: %w", SitesFile, err)
			}
		}
		if x.Clients != nil {
			if err := V(x.Clients.CA).check(); err != nil {
				return File{}, fmt.Errorf("render %s: %w", SitesFile, err)
			}
		}
	}
	set, err := template.New(SitesFile).ParseFS(sources, "nginx/site/"+SitesFile)
	if err != nil {
		return File{}, fmt.Errorf("parse %s: %w", SitesFile, err)
	}
	var text bytes.Buffer
	data := struct {
		WebSocket bool
		Sizes     []Size
		Sockets   []socket
	}{s.WebSocket, s.Sizes, sockets}
	if err := set.Execute(&text, data); err != nil {
		return File{}, fmt.Errorf("render %s: %w", SitesFile, err)
	}
	return File{SitesFile, text.Bytes()}, nil
}
