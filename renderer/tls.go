package renderer

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/templates"
)

// TLSMode is how nginx gets certificates.
type TLSMode string

// Modes of TLSServers.
const (
	TLSNone     TLSMode = ""         // tlsfleet renders no servers
	TLSVariable TLSMode = "variable" // read at each full handshake: a renewal needs no reload
	TLSStatic   TLSMode = "static"   // one server for each name, loaded at each reload
)

// NameMode is which names variable mode answers to.
type NameMode string

// Kinds of names.
const (
	NamesOpen   NameMode = "open"   // every name that has a certificate, in lower case; a new one needs no release
	NamesListed NameMode = "listed" // those in the list, in any case
)

// TLSServers is what a release renders of servers with live certificates. The
// zero value renders nothing.
type TLSServers struct {
	Mode  TLSMode  `json:"mode"`
	Names NameMode `json:"names,omitempty"` // mode variable
	// List has names as fleet.CheckDomain takes them, sorted, each once. With
	// open names it needs only the wildcards and every name one label below
	// one, which they would hide otherwise; others change nothing.
	List []string `json:"list,omitempty"`
	// Listen has the parameters of each listen directive, without
	// default_server: "443 ssl http2".
	Listen []string `json:"listen,omitempty"`
	// ServerInclude is the absolute path, or pattern, of the operator's files
	// with what belongs into each server: locations, headers. May be empty.
	ServerInclude string `json:"server_include,omitempty"`
	Cache         bool   `json:"cache,omitempty"` // ssl_certificate_cache, nginx 1.27.4 and newer; mode variable
}

// staticNames is up to how many names static servers are chosen for.
const staticNames = 200

// PickTLSMode chooses the mode for an nginx version and a number of names:
// handshakes by variable cost several times the CPU of static ones until nginx
// can cache certificates (1.27.4), while a reload of static ones grows with
// the number of names. An unknown version counts as an old one.
func PickTLSMode(version string, names int) (mode TLSMode, cache bool) {
	switch {
	case templates.AtLeast(version, 1, 27, 4):
		return TLSVariable, true
	case names <= staticNames:
		return TLSStatic, false
	}
	return TLSVariable, false
}

func (t TLSServers) check() error {
	switch t.Mode {
	case TLSNone:
		return nil
	case TLSVariable:
		if t.Names != NamesOpen && t.Names != NamesListed {
			return fmt.Errorf("make release: TLS names %q", t.Names)
		}
	case TLSStatic:
		if t.Cache {
			return fmt.Errorf("make release: a certificate cache in TLS mode %s", t.Mode)
		}
	default:
		return fmt.Errorf("make release: TLS mode %q", t.Mode)
	}
	if len(t.Listen) == 0 {
		return fmt.Errorf("make release: TLS mode %s without a listen", t.Mode)
	}
	if t.ServerInclude != "" && !filepath.IsAbs(t.ServerInclude) {
		return fmt.Errorf("make release: the file for servers %q is not an absolute path", t.ServerInclude)
	}
	for i, name := range t.List {
		if err := fleet.CheckDomain(name); err != nil {
			return fmt.Errorf("make release: %w", err)
		}
		if i > 0 && t.List[i-1] >= name {
			return fmt.Errorf("make release: TLS names are not sorted at %s", name)
		}
	}
	return nil
}

// rendered is the list as far as nginx has to know it.
func (t TLSServers) rendered() []string {
	if t.Mode != TLSVariable || t.Names != NamesOpen {
		return t.List
	}
	wild := map[string]bool{}
	for _, name := range t.List {
		if base, ok := strings.CutPrefix(name, fleet.Wildcard); ok {
			wild[base] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(t.List), func(name string) bool {
		_, above, _ := strings.Cut(name, ".")
		return !wild[above] && !strings.HasPrefix(name, fleet.Wildcard)
	})
}

// values is what the templates need.
func (t TLSServers) values(liveDir string, in Inspection) (templates.TLS, error) {
	v := templates.TLS{
		Open: t.Names == NamesOpen, Static: t.Mode == TLSStatic, Live: liveDir, None: noneName,
		Listen: t.Listen, ServerInclude: t.ServerInclude, Cache: t.Cache, Keep: map[string]bool{},
	}
	maps.Copy(v.Keep, in.own)
	if in.mapBefore != nil {
		v.Keep["map_hash_bucket_size"], v.Keep["map_hash_max_size"] = true, true
	}
	for _, name := range t.rendered() {
		folder, err := LiveFolder(name)
		if err != nil {
			return v, err
		}
		v.Names = append(v.Names, templates.TLSName{Name: name, Folder: folder})
	}
	return v, nil
}
