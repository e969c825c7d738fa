package renderer

import (
	"fmt"
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

// liveNameOf is the name whose file a parameter is.
func (c *config) liveNameOf(arg, liveDir string) (string, bool) {
	if strings.Contains(arg, "$") {
		return "", false
	}
	dir := filepath.Dir(c.absolute(arg))
	if above := filepath.Dir(dir); above != liveDir && (filepath.Base(above) != filepath.Base(liveDir) || !sameFile(above, liveDir)) {
		return "", false
	}
	return liveName(filepath.Base(dir))
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
