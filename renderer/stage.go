package renderer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/templates"
)

// stage writes the next release into its folder, complete or not at all.
// in says what the operator sets at http level.
func (r *Renderer) stage(rel Release, in Inspection, version string) (manifest, siteFiles, error) {
	numbers, err := r.releases()
	if err != nil {
		return manifest{}, nil, err
	}
	number := uint64(1)
	if len(numbers) > 0 {
		number = numbers[len(numbers)-1] + 1
	}
	m := newManifest(number, rel)
	m.Frame = r.frame(in)
	var sites siteFiles
	if m.Sites, sites, err = r.makeSites(rel, in, version); err != nil {
		return manifest{}, nil, err
	}
	files, err := r.render(m, in)
	if err != nil {
		return manifest{}, nil, err
	}
	files = append(files, sites...)
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return manifest{}, nil, fmt.Errorf("stage release %d: %w", number, err)
	}
	files = append(files, templates.File{Name: manifestFile, Text: append(text, '\n')})
	if len(rel.Sealed) > 0 {
		files = append(files, templates.File{Name: sealedFile, Text: rel.Sealed})
	}
	if err := r.writeRelease(number, files); err != nil {
		return manifest{}, nil, fmt.Errorf("stage release %d: %w", number, err)
	}
	return m, sites, r.checkStaged(m, files)
}

// render makes the files of a release without those of sites.
func (r *Renderer) render(m manifest, in Inspection) ([]templates.File, error) {
	v := templates.Values{
		Release: m.Release, ReleaseAddress: m.Frame.ReleaseAddress, DefaultServers: m.Frame.DefaultServers,
		SessionTimeout: m.Frame.SessionTimeout, PerHost: m.Mode == fleet.ModePerHost,
		Challenges: m.Challenges.values(),
	}
	// nginx before 1.23.4 speaks no TLS 1.3 by default, and which versions a
	// socket speaks is up to its default server.
	v.Protocols = (m.TLS.Mode != TLSNone || len(v.DefaultServers) > 0) && in.parsed && !in.own["ssl_protocols"]
	if in.parsed && !in.own["ssl_ecdh_curve"] {
		v.Curves = map[string]string{}
		for _, l := range v.DefaultServers {
			if name, ok := socketOf(l); ok {
				v.Curves[l] = m.Sites.Curves[name]
			}
		}
	}
	if m.TLS.Mode != TLSNone {
		servers, err := m.TLS.values(r.cfg.liveDir(), in)
		if err != nil {
			return nil, err
		}
		servers.Sites = map[string]bool{}
		for _, name := range m.Sites.Names {
			servers.Sites[name] = true
		}
		v.TLS = &servers
	}
	for _, name := range m.Keys {
		v.KeyFiles = append(v.KeyFiles, r.cfg.keyFile(name))
	}
	return templates.Render(v)
}

// writeRelease fills a temporary folder and renames it.
func (r *Renderer) writeRelease(number uint64, files []templates.File) (err error) {
	temp := filepath.Join(r.cfg.releasesDir(), stagePrefix+strconv.FormatUint(number, 10))
	if err := os.Mkdir(temp, 0o750); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
		}
	}()
	if err := os.Chmod(temp, 0o750); err != nil { //nolint:gosec // whatever the umask
		return err
	}
	for _, f := range files {
		if err := writeFile(filepath.Join(temp, f.Name), f.Text, 0o640); err != nil {
			return err
		}
	}
	if err := os.Rename(temp, r.cfg.releaseDir(number)); err != nil {
		return err
	}
	return syncDir(r.cfg.releasesDir())
}

// checkStaged reads back what nginx will read: the files as rendered, every
// key file of the size nginx wants and with the name it is filed under.
func (r *Renderer) checkStaged(m manifest, files []templates.File) error {
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(r.cfg.releaseDir(m.Release), f.Name))
		if err != nil {
			return fmt.Errorf("check release %d: %w", m.Release, err)
		}
		if !bytes.Equal(text, f.Text) {
			return fmt.Errorf("check release %d: %s reads back with other content", m.Release, f.Name)
		}
	}
	for _, name := range m.Keys {
		if err := checkKeyFile(r.cfg.keyFile(name), name); err != nil {
			return fmt.Errorf("check release %d: %w", m.Release, err)
		}
	}
	return nil
}

func checkKeyFile(path string, name fleet.KeyName) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	defer clear(raw)
	if len(raw) != fleet.KeySize128 && len(raw) != fleet.KeySize256 || !bytes.HasPrefix(raw, name[:]) {
		return fmt.Errorf("key file %s: %w", path, ErrRing)
	}
	return nil
}
