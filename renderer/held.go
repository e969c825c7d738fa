package renderer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// heldNames finds the directives that make nginx load a certificate when it
// reads its configuration: paths without variables under StateDir/live/<name>.
// The places are "file:line", by name.
func (c *config) heldNames(liveDir string) map[string][]string {
	held := map[string][]string{}
	var walk func(ds []at)
	walk = func(ds []at) {
		for _, d := range ds {
			if strings.Contains(d.Directive.Directive, "certificate") {
				for _, arg := range d.Args {
					place := d.place()
					if name, ok := c.liveNameOf(arg, liveDir); ok && !slices.Contains(held[name], place) {
						held[name] = append(held[name], place)
					}
				}
			}
			if len(d.Block) > 0 {
				walk(c.block(d))
			}
		}
	}
	walk(c.root())
	return held
}

// liveNameOf is the name whose file a parameter is, by whatever path it gets
// there.
func (c *config) liveNameOf(arg, liveDir string) (string, bool) {
	if strings.Contains(arg, "$") || isNoFile(arg) {
		return "", false
	}
	if path := c.absolute(arg); filepath.Dir(filepath.Dir(path)) == liveDir {
		return liveName(filepath.Base(filepath.Dir(path)))
	}
	if !filepath.IsAbs(arg) {
		arg = filepath.Dir(c.main) + "/" + arg
	}
	return throughLive(arg, liveDir)
}

// isNoFile reports whether a parameter of nginx's certificate directives names
// something else than a file (ngx_event_openssl.c).
func isNoFile(arg string) bool {
	for _, scheme := range []string{"data:", "engine:", "store:"} {
		if strings.HasPrefix(arg, scheme) {
			return true
		}
	}
	return false
}

// maxLinks is how many symbolic links a path may lead through (path_resolution(7)).
const maxLinks = 40

// throughLive walks a path as the kernel does and finds the entry of liveDir
// that it leads through.
func throughLive(path, liveDir string) (name string, ok bool) {
	rest := strings.Split(path, "/")
	dir := "/"
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			dir = filepath.Dir(dir)
			continue
		}
		if len(rest) > 0 && sameFile(dir, liveDir) {
			return liveName(part)
		}
		next := filepath.Join(dir, part)
		target, err := os.Readlink(next)
		if err != nil {
			dir = next // no link, or nothing: nginx finds out
			continue
		}
		if links++; links > maxLinks {
			return "", false
		}
		if filepath.IsAbs(target) {
			dir = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return "", false
}

// loaded lists the names nginx loads when it starts, now or after a roll back:
// what its configuration says, and what current and good do. The caller holds
// r.mu.
func (r *Renderer) loaded() (map[string][]string, error) {
	held := map[string][]string{}
	if c, err := r.parse(); err == nil {
		held = c.heldNames(r.cfg.liveDir())
	}
	for _, link := range []string{currentLink, goodLink} {
		number, err := r.linked(link)
		if err != nil {
			return nil, err
		}
		if number == 0 {
			continue
		}
		m, err := r.manifest(number)
		if err != nil {
			return nil, err
		}
		if m.TLS.Mode != TLSStatic {
			continue
		}
		for _, name := range m.TLS.List {
			held[name] = append(held[name], fmt.Sprintf("release %d", number))
		}
	}
	return held, nil
}
