package templates

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

// TLSFile has the servers with live certificates; a release without them has
// no such file.
const TLSFile = "30-tls.conf"

// NameVariable and DirVariable are nginx variables of TLSFile: the entry in
// the live folder, and the bundle that it leads to. Up to nginx 1.29.1 and by
// variable the text of ssl_certificate decides whether nodes share session
// tickets, so a change here loses them between old and new nodes.
const (
	NameVariable = "$tlsfleet_name"
	DirVariable  = "$tlsfleet_dir"
)

// TLS is what TLSFile is rendered from.
type TLS struct {
	Static        bool // one server for each name, certificates by fixed path
	Open          bool // every name in lower case besides Names; not with Static
	Names         []TLSName
	Live          string // absolute path of the folder with one entry for each name
	None          string // an entry that never exists
	Listen        []string
	ServerInclude string          // file or pattern included in each server; none if empty
	Cache         bool            // ssl_certificate_cache
	Keep          map[string]bool // http-level directives that are set elsewhere
	Sites         map[string]bool // names with a server elsewhere, in the file of a site
}

// Own is the names that are served here, and not by a site.
func (t TLS) Own() []TLSName {
	return slices.DeleteFunc(slices.Clone(t.Names), func(n TLSName) bool { return t.Sites[n.Name] })
}

// TLSName is one name, "*." in front of a wildcard, and its entry in the live folder.
type TLSName struct{ Name, Folder string }

const wildcard = "*."

// Exact is the names that are no wildcards.
func (t TLS) Exact() []TLSName {
	return slices.DeleteFunc(slices.Clone(t.Names), func(n TLSName) bool { return strings.HasPrefix(n.Name, wildcard) })
}

// Above is the wildcards, each as the name whose direct children it covers
// (RFC 9525, section 6.3).
func (t TLS) Above() []TLSName {
	var all []TLSName
	for _, n := range t.Names {
		if above, ok := strings.CutPrefix(n.Name, wildcard); ok {
			all = append(all, TLSName{above, n.Folder})
		}
	}
	return all
}

// oneLabel is how a server_name begins that one label below a wildcard
// matches; nginx's own wildcards match several.
const oneLabel = "~^[a-z0-9_-]+[.]"

// ServerName is a name as a server_name that answers to what its certificate
// covers and to nothing else. nginx tries such wildcards one by one.
func ServerName(name string) string {
	above, ok := strings.CutPrefix(name, wildcard)
	if !ok {
		return name
	}
	return oneLabel + strings.ReplaceAll(above, ".", "[.]") + "$"
}

// NameOf is the wildcard that ServerName made serverName from.
func NameOf(serverName string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(serverName, oneLabel)
	above, ended := strings.CutSuffix(rest, "$")
	name = wildcard + strings.ReplaceAll(above, "[.]", ".")
	return name, ok && ended && ServerName(name) == serverName
}

// quoteServerName is ServerName as one token.
func quoteServerName(name string) (string, error) {
	above, ok := strings.CutPrefix(name, wildcard)
	if !ok {
		return Quote(name)
	}
	if strings.Trim(above, "abcdefghijklmnopqrstuvwxyz0123456789._-") != "" {
		return "", fmt.Errorf("write server_name of %q: not a name", name)
	}
	return `"` + ServerName(name) + `"`, nil
}

// Size is one http-level directive about the size of a hash table.
type Size struct {
	Directive string
	Value     int
}

func (t TLS) check() error {
	switch {
	case len(t.Listen) == 0:
		return errors.New("servers without a listen")
	case !filepath.IsAbs(t.Live):
		return fmt.Errorf("live folder %q is not an absolute path", t.Live)
	case t.None == "" || strings.Contains(t.None, "/"):
		return fmt.Errorf("%q is no name of a missing entry", t.None)
	}
	for _, l := range t.Listen {
		if len(strings.Fields(l)) == 0 {
			return errors.New("a server without listen parameters")
		}
	}
	for _, n := range t.Names {
		if n.Name == "" || n.Folder == "" || strings.Contains(n.Folder, "/") || strings.HasPrefix(n.Folder, "~") || strings.HasPrefix(n.Name, "~") {
			return fmt.Errorf("name %q with the entry %q", n.Name, n.Folder)
		}
	}
	return nil
}

// Least sizes of nginx's hash tables.
const (
	cacheLine  = 64
	leastSize  = 2048
	leastSlots = 8 // names in a bucket
)

// Sizes are what nginx's tables of names have to be for the list, without the
// directives that are set elsewhere. A bucket holds leastSlots of the longest
// name (ngx_hash_elt_t) and its end mark.
func (t TLS) Sizes() []Size {
	longest, count := 0, len(t.Names)+len(t.Sites)
	for _, n := range t.Names {
		longest = max(longest, len(n.Name))
	}
	for name := range t.Sites {
		longest = max(longest, len(name))
	}
	bucket := leastSlots*(8+roundUp(longest+2, 8)) + 8
	bucket = max(2*cacheLine, roundUp(bucket, cacheLine))
	size := leastSize
	for size < 2*count {
		size *= 2
	}
	var all []Size
	for _, s := range []Size{
		{"server_names_hash_bucket_size", bucket}, {"server_names_hash_max_size", size},
		{"map_hash_bucket_size", bucket}, {"map_hash_max_size", size},
	} {
		if !t.Keep[s.Directive] {
			all = append(all, s)
		}
	}
	return all
}

// NameSizes is what nginx's table of server names has to be for names, without
// the directives that are set elsewhere.
func NameSizes(names []string, keep map[string]bool) []Size {
	t := TLS{Keep: map[string]bool{"map_hash_bucket_size": true, "map_hash_max_size": true}, Sites: map[string]bool{}}
	for directive, set := range keep {
		t.Keep[directive] = t.Keep[directive] || set
	}
	for _, name := range names {
		t.Sites[name] = true
	}
	return t.Sizes()
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

// socketFlags are the listen parameters that every server on a socket needs or
// may repeat; nginx takes all others once only.
var socketFlags = []string{"ssl", "http2", "quic", "proxy_protocol"}

// listenOf is listen parameters for the server of an index.
func listenOf(index int, parameters string) []string {
	if index == 0 {
		return strings.Fields(parameters)
	}
	return again(parameters)
}

// ListenAgain is the words of listen parameters for one more server on the same
// socket.
func ListenAgain(parameters string) []string { return again(parameters) }

// again is listen parameters for one more server on the same socket.
func again(parameters string) []string {
	fields := strings.Fields(parameters)
	return append(fields[:1:1], slices.DeleteFunc(fields[1:], func(f string) bool { return !slices.Contains(socketFlags, f) })...)
}

// quoteRoot is the path of the empty folder beside the live certificate of the
// name that a client asks for, as one token.
func quoteRoot(live string) (string, error) {
	const rest = "/" + NameVariable + "/root"
	quoted, err := Quote(live)
	if inside, ok := strings.CutSuffix(quoted, `"`); ok {
		return inside + rest + `"`, err
	}
	return quoted + rest, err
}

// renderTLS makes TLSFile; no file without servers.
func renderTLS(set *template.Template, t *TLS) ([]File, error) {
	if t == nil {
		return nil, nil
	}
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("render %s: %w", TLSFile, err)
	}
	var text bytes.Buffer
	if err := set.ExecuteTemplate(&text, TLSFile, t); err != nil {
		return nil, fmt.Errorf("render %s: %w", TLSFile, err)
	}
	return []File{{Name: TLSFile, Text: text.Bytes()}}, nil
}
