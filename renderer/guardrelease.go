package renderer

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/tlsfleet/tlsfleet/templates"
)

// placed is what this process knows of the release that it made current, so
// that it can tell when others change it. The caller of its methods holds r.mu.
type placed struct {
	number uint64
	good   uint64
	m      manifest // without the servers, which can be large
	sums   map[string][sha256.Size]byte
	sites  siteFiles // with their texts: what they are made from is not in the manifest
}

// remember takes what is on disk now for what has to be there.
func (r *Renderer) remember() error {
	r.placed = nil
	current, err := r.linked(currentLink)
	if err != nil {
		return err
	}
	good, err := r.linked(goodLink)
	if err != nil {
		return err
	}
	p := &placed{number: current, good: good, sums: map[string][sha256.Size]byte{}}
	if current != 0 {
		if p.m, err = r.manifest(current); err != nil {
			return err
		}
		p.m.TLS = TLSServers{}
		if err := p.sum(r.cfg.releaseDir(current)); err != nil {
			return err
		}
	}
	r.placed = p
	return nil
}

func (p *placed) sum(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		p.sums[e.Name()] = sha256.Sum256(text)
		if sum, ok := p.m.Sites.Files[e.Name()]; ok && sum == sha256.Sum256(text) {
			p.sites = append(p.sites, templates.File{Name: e.Name(), Text: text})
		}
	}
	return nil
}

// CheckRelease says what of the active release and the links to releases is
// not as this process left it.
func (r *Renderer) CheckRelease() ([]Edit, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.placed == nil {
		if err := r.remember(); err != nil {
			return nil, fmt.Errorf("check release: %w", err)
		}
	}
	if r.placed.number == 0 {
		return nil, nil
	}
	var edits []Edit
	for link, number := range map[string]uint64{currentLink: r.placed.number, goodLink: r.placed.good} {
		path := filepath.Join(r.cfg.releasesDir(), link)
		target, err := os.Readlink(path)
		switch {
		case number == 0:
		case err != nil:
			edits = append(edits, Edit{Path: path, What: absent(err)})
		case target != strconv.FormatUint(number, 10):
			edits = append(edits, Edit{Path: path, What: fmt.Sprintf("leads to %.100q", target), Content: true})
		}
	}
	return append(edits, r.placed.check(r.cfg.releaseDir(r.placed.number))...), nil
}

// check compares the files of the release.
func (p *placed) check(dir string) []Edit {
	if e := access(dir, -1, 0o750, true); e != nil {
		e.Exposes = false
		if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
			return []Edit{*e}
		}
	}
	var edits []Edit
	names := []string{badFile}
	for name, sum := range p.sums {
		names = append(names, name)
		path := filepath.Join(dir, name)
		if e := access(path, -1, 0o640, false); e != nil {
			e.Exposes = false // there is no key in it
			edits = append(edits, *e)
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil || sha256.Sum256(text) != sum {
			edits = append(edits, Edit{Path: path, What: "changed", Content: true})
		}
	}
	return append(edits, extras(dir, names...)...)
}

// MendRelease brings the active release and the links back to what this
// process made: the very same files, so that nginx need not be told. a is
// Active as it was before the edits. Files that are not of the release move
// to StateDir/foreign: nginx would read them. An error means that another
// release has to be made.
func (r *Renderer) MendRelease(a Active) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.placed == nil || r.placed.number == 0 {
		return nil
	}
	if err := r.mendRelease(a); err != nil {
		return fmt.Errorf("mend release %d: %w", r.placed.number, err)
	}
	return nil
}

func (r *Renderer) mendRelease(a Active) error {
	p := r.placed
	if err := makeDir(r.cfg.releasesDir(), 0o750); err != nil {
		return err
	}
	links := func() error {
		err := r.mendLink(currentLink, p.number)
		if p.good != 0 && p.good != p.number {
			if _, gone := os.Stat(r.cfg.releaseDir(p.good)); gone != nil {
				return err
			}
		}
		return errors.Join(err, r.mendLink(goodLink, p.good))
	}
	if len(p.check(r.cfg.releaseDir(p.number))) == 0 {
		return links()
	}
	files, err := r.again(a)
	if err != nil {
		// Not on a release that others have chosen, if its own can be read.
		if _, unread := r.manifest(p.number); unread == nil {
			err = errors.Join(err, links())
		}
		return err
	}
	if err := r.mendFiles(files); err != nil {
		return err
	}
	return links()
}

// again renders the files of the release once more.
func (r *Renderer) again(a Active) ([]templates.File, error) {
	if a.Release != r.placed.number {
		return nil, fmt.Errorf("release %d is known instead", a.Release)
	}
	m := r.placed.m
	m.TLS = a.TLS
	files, err := r.render(m, r.inspection())
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	files = append(files, templates.File{Name: manifestFile, Text: append(text, '\n')}, templates.File{Name: sealedFile, Text: a.Sealed})
	files = append(files, r.placed.sites...)
	found := map[string]bool{}
	var same []templates.File
	for _, f := range files {
		if want, ok := r.placed.sums[f.Name]; ok && want == sha256.Sum256(f.Text) {
			found[f.Name] = true
			same = append(same, f)
		}
	}
	for name := range r.placed.sums {
		if !found[name] && name != badFile {
			return nil, fmt.Errorf("%s would be rendered otherwise now", name)
		}
	}
	return same, nil
}

// mendFiles writes what differs and moves away what is not of the release.
func (r *Renderer) mendFiles(files []templates.File) error {
	dir := r.cfg.releaseDir(r.placed.number)
	info, err := os.Lstat(dir)
	if err == nil && !info.IsDir() {
		if _, err := r.setAside(dir); err != nil {
			return err
		}
	}
	if err != nil || !info.IsDir() {
		return r.writeRelease(r.placed.number, files)
	}
	if err := os.Chmod(dir, 0o750); err != nil { //nolint:gosec // as it was made
		return err
	}
	names := []string{badFile}
	for _, f := range files {
		names = append(names, f.Name)
		path := filepath.Join(dir, f.Name)
		text, err := os.ReadFile(path)
		if err == nil && string(text) == string(f.Text) && access(path, -1, 0o640, false) == nil {
			continue
		}
		if info, err := os.Lstat(path); err == nil && info.IsDir() {
			if _, err := r.setAside(path); err != nil {
				return err
			}
		}
		if err := writeFile(path, f.Text, 0o640); err != nil {
			return err
		}
	}
	for _, e := range extras(dir, names...) {
		if _, err := r.setAside(e.Path); err != nil {
			return err
		}
	}
	return nil
}

func (r *Renderer) mendLink(link string, number uint64) error {
	target := strconv.FormatUint(number, 10)
	path := filepath.Join(r.cfg.releasesDir(), link)
	info, err := os.Lstat(path)
	if err == nil && info.Mode()&os.ModeSymlink == 0 {
		if _, err := r.setAside(path); err != nil {
			return err
		}
	}
	if have, err := os.Readlink(path); number == 0 || err == nil && have == target {
		return nil
	}
	return flip(r.cfg.releasesDir(), link, target)
}
