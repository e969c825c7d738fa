package renderer

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// errNoMirror means that a staged release cannot be tested before the flip.
var errNoMirror = errors.New("no mirror of the nginx configuration can be made")

// mirror is a second view of the file system for nginx -t, in which current
// is another release. Every path in it is the real path under root: folders
// on the way to a changed file are real, everything beside them is a symlink
// to the original, so relative paths, globs and ".." find what they find
// otherwise. Changed are only the files of the include chain from the main
// file to our release, and in them only the absolute paths of those includes.
type mirror struct {
	root    string
	main    string            // the main configuration file in the mirror
	current []string          // where the chain looks for the current release
	files   map[string][]byte // changed files by their real path
}

// newMirror plans the mirror of a configuration under root.
func newMirror(c *config, root string) (*mirror, error) {
	m := &mirror{root: root, main: root + c.main, files: map[string][]byte{}}
	chain := c.chain()
	if len(chain) == 0 {
		return nil, fmt.Errorf("%w: no include of our release", errNoMirror)
	}
	changes := map[string][]at{}
	for _, d := range chain {
		if c.isReleaseInclude(d.Directive) {
			m.current = append(m.current, filepath.Dir(c.absolute(d.Args[0])))
		}
		changes[d.file] = append(changes[d.file], d)
	}
	for file, ds := range changes {
		text, err := os.ReadFile(file) //nolint:gosec // a file nginx includes
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNoMirror, err)
		}
		if m.files[file], err = moveIncludes(text, ds, root); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", errNoMirror, file, err)
		}
	}
	return m, nil
}

// chain lists the include directives that lead from the main file to ours,
// ours included.
func (c *config) chain() []at {
	leads := make(map[int]bool) // files by index; false while being looked at
	var found []at
	var walk func(file string, ds []*directive) bool
	walk = func(file string, ds []*directive) bool {
		leading := false
		for _, d := range ds {
			yes := c.isReleaseInclude(d)
			if !yes {
				for _, i := range d.Includes {
					if _, seen := leads[i]; !seen {
						leads[i] = false
						leads[i] = walk(c.payload.Config[i].File, c.payload.Config[i].Parsed)
					}
					yes = yes || leads[i]
				}
			}
			if yes {
				found = append(found, at{d, file})
			}
			leading = walk(file, d.Block) || yes || leading
		}
		return leading
	}
	walk(c.payload.Config[0].File, c.payload.Config[0].Parsed)
	return found
}

// make writes the mirror with current pointing to target, an absolute path;
// no target leaves current out.
func (m *mirror) make(target string) error {
	if err := os.RemoveAll(m.root); err != nil {
		return fmt.Errorf("make mirror: %w", err)
	}
	made := map[string]bool{} // real folders in the mirror, by real path
	for path := range maps.Keys(m.files) {
		addParents(made, path)
	}
	own := map[string]bool{} // paths that are not linked to the original
	for _, path := range m.current {
		addParents(made, path)
		own[path] = true
	}
	for path := range m.files {
		own[path] = true
	}
	for _, dir := range slices.Sorted(maps.Keys(made)) {
		if err := m.makeDir(dir, func(path string) bool { return made[path] || own[path] }); err != nil {
			return fmt.Errorf("make mirror: %w", err)
		}
	}
	for path, text := range m.files {
		if err := os.WriteFile(m.root+path, text, 0o600); err != nil {
			return fmt.Errorf("make mirror: %w", err)
		}
	}
	for _, path := range slices.Compact(slices.Sorted(slices.Values(m.current))) {
		if target == "" {
			continue
		}
		if err := os.Symlink(target, m.root+path); err != nil {
			return fmt.Errorf("make mirror: %w", err)
		}
	}
	return nil
}

// makeDir makes one real folder whose entries lead to the original's.
func (m *mirror) makeDir(dir string, skip func(path string) bool) error {
	if err := os.MkdirAll(m.root+dir, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	// Nothing beside the chain can be reached through a folder that may be
	// entered but not listed, or that is gone.
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if skip(path) || strings.HasPrefix(path, filepath.Dir(m.root)+"/"+checkPrefix) {
			continue
		}
		if err := os.Symlink(path, m.root+path); err != nil {
			return err
		}
	}
	return nil
}

func (m *mirror) remove() error {
	if err := os.RemoveAll(m.root); err != nil {
		return fmt.Errorf("remove mirror: %w", err)
	}
	return nil
}

// original turns the paths of the mirror in a message into real ones.
func (m *mirror) original(text, target string) string {
	for _, path := range m.current {
		text = strings.ReplaceAll(text, m.root+path, target)
	}
	return strings.ReplaceAll(text, m.root, "")
}

// addParents adds every folder above path.
func addParents(set map[string]bool, path string) {
	for dir := filepath.Dir(path); !set[dir]; dir = filepath.Dir(dir) {
		set[dir] = true
	}
}

// mirrorDir is where the mirror for a release is made.
func (c Config) mirrorDir(release uint64) string {
	return filepath.Join(c.releasesDir(), checkPrefix+strconv.FormatUint(release, 10))
}
