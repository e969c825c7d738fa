package renderer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	crossplane "github.com/nginxinc/nginx-go-crossplane"

	"github.com/tlsfleet/tlsfleet/templates"
)

// maxConfigFile is the largest configuration file that is read.
const maxConfigFile = 64 << 20

// config is nginx's configuration as it is on disk.
type config struct {
	payload *crossplane.Payload
	ours    string // the folder StateDir/nginx
	main    string
}

// parseAll reads the configuration through its includes. What it cannot read
// stays out and is listed in payload.Errors: nginx -t is the judge, not this.
func (r *Renderer) parseAll() (*config, error) {
	p, err := crossplane.Parse(r.cfg.ConfigFile, parseOptions())
	if err != nil {
		return nil, fmt.Errorf("parse nginx configuration: %w", err)
	}
	return &config{payload: p, ours: r.cfg.releasesDir(), main: r.cfg.ConfigFile}, nil
}

func parseOptions() *crossplane.ParseOptions {
	return &crossplane.ParseOptions{
		SkipDirectiveContextCheck: true,
		SkipDirectiveArgsCheck:    true,
		Open:                      openWhole,
		LexOptions:                crossplane.LexOptions{Lexers: []crossplane.RegisterLexer{crossplane.LexWithLexer(luaBlock{}, luaDirectives()...)}},
	}
}

// openWhole reads a file at once, because the parser keeps every file open
// until it has read the last.
func openWhole(path string) (_ io.ReadCloser, err error) {
	f, err := os.Open(path) //nolint:gosec // a file nginx includes
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxConfigFile {
		return nil, fmt.Errorf("read %s: more than %d bytes", path, maxConfigFile)
	}
	return io.NopCloser(bytes.NewReader(text)), nil
}

// unread is why a file was not read at all; nil if every file was. Errors
// about single directives do not count: the parser knows fewer than nginx.
func (c *config) unread() error {
	for _, f := range c.payload.Config {
		if len(f.Errors) > 0 && len(f.Parsed) == 0 {
			return f.Errors[0].Error
		}
	}
	return nil
}

// at is a directive with the file it stands in.
type at struct {
	*crossplane.Directive
	file string
}

// place is "file:line".
func (d at) place() string { return fmt.Sprintf("%s:%d", d.file, d.Line) }

// root lists the directives of the main level.
func (c *config) root() []at { return c.expand(c.payload.Config[0].File, c.payload.Config[0].Parsed) }

// block lists the directives inside a block.
func (c *config) block(d at) []at { return c.expand(d.file, d.Block) }

// expand puts what an include names in its place. The include directive
// itself stays in front, so that its place is known.
func (c *config) expand(file string, ds crossplane.Directives) []at {
	var all []at
	for _, d := range ds {
		all = append(all, at{d, file})
		for _, i := range d.Includes {
			inc := c.payload.Config[i]
			all = append(all, c.expand(inc.File, inc.Parsed)...)
		}
	}
	return all
}

// http lists the directives of the http block; none if there is no such block.
func (c *config) http() []at {
	for _, d := range c.root() {
		if d.Directive.Directive == "http" {
			return c.block(d)
		}
	}
	return nil
}

// isOurInclude reports whether d includes the files of the current release.
func (c *config) isOurInclude(d *crossplane.Directive) bool {
	if !c.isReleaseInclude(d) {
		return false
	}
	pattern := c.absolute(d.Args[0])
	return !slices.ContainsFunc(templates.Names(), func(name string) bool {
		ok, err := filepath.Match(filepath.Base(pattern), name)
		return err != nil || !ok
	})
}

// isReleaseInclude reports whether d includes anything of the current release,
// as servers of the operator do with the answers to challenges.
func (c *config) isReleaseInclude(d *crossplane.Directive) bool {
	return d.Directive == "include" && len(d.Args) == 1 && c.isOurs(c.absolute(d.Args[0]))
}

// isOurs reports whether a file belongs to a release.
func (c *config) isOurs(file string) bool {
	dir := filepath.Dir(file)
	return filepath.Base(dir) == currentLink && sameFile(filepath.Dir(dir), c.ours)
}

// absolute resolves a path as nginx does: against the folder of the main file.
func (c *config) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(filepath.Dir(c.main), path)
}

func sameFile(a, b string) bool {
	if a == b {
		return true
	}
	ia, err := os.Stat(a)
	if err != nil {
		return false
	}
	ib, err := os.Stat(b)
	return err == nil && os.SameFile(ia, ib)
}
