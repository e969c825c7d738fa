package renderer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tlsfleet/tlsfleet/agent/site"
)

// Bounds of what is kept of backends.
const maxBackendsFile = 64 << 20

// Names of copies that are no sites.
const (
	sitesHead = "head"
	sitesWave = "WAVE" // no ID of a site has upper case
)

func (c Config) sitesDir() string     { return filepath.Join(c.StateDir, "sites") }
func (c Config) backendsFile() string { return filepath.Join(c.StateDir, "backends.json") }

func checkSiteCopy(name string) error {
	if name == sitesHead || name == sitesWave {
		return nil
	}
	return site.CheckID(name)
}

// SaveSites keeps sealed records of sites for a start without Consul, and
// forgets others: names are "head", "WAVE" or the ID of a site. Each is replaced by
// rename; after an error some of them may be the former ones.
func (r *Renderer) SaveSites(records map[string][]byte, forget []string) error {
	for name, sealed := range records {
		if err := checkSiteCopy(name); err != nil || len(sealed) > maxSealed {
			return fmt.Errorf("save site %.80q: %d bytes: %w", name, len(sealed), errors.Join(ErrForeign, err))
		}
	}
	if err := makeDir(r.cfg.sitesDir(), 0o700); err != nil {
		return fmt.Errorf("save sites: %w", err)
	}
	if err := writeEach(r.cfg.sitesDir(), records, 0o600); err != nil {
		return fmt.Errorf("save sites: %w", err)
	}
	for _, name := range forget {
		if err := checkSiteCopy(name); err != nil {
			return fmt.Errorf("forget site: %w", err)
		}
		if err := os.Remove(filepath.Join(r.cfg.sitesDir(), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget site: %w", err)
		}
	}
	return nil
}

// SiteCopies reads what SaveSites kept, by name. Records that cannot be read are
// named in the error; the map has all others.
func (r *Renderer) SiteCopies() (map[string][]byte, error) {
	entries, err := os.ReadDir(r.cfg.sitesDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read copies of sites: %w", err)
	}
	records := map[string][]byte{}
	var errs []error
	for _, e := range entries {
		if checkSiteCopy(e.Name()) != nil {
			continue
		}
		sealed, err := readSealed(filepath.Join(r.cfg.sitesDir(), e.Name()))
		if err != nil {
			errs = append(errs, fmt.Errorf("read copies of sites: %w", err))
			continue
		}
		records[e.Name()] = sealed
	}
	return records, errors.Join(errs...)
}

// SaveBackends keeps the last backends of services for a start without Consul.
func (r *Renderer) SaveBackends(byService map[string][]site.Backend) error {
	text, err := json.Marshal(byService)
	if err != nil {
		return fmt.Errorf("save backends: %w", err)
	}
	if err := writeFile(r.cfg.backendsFile(), text, 0o600); err != nil {
		return fmt.Errorf("save backends: %w", err)
	}
	return nil
}

// Backends reads what SaveBackends kept, each address checked.
func (r *Renderer) Backends() (map[string][]site.Backend, error) {
	info, err := os.Lstat(r.cfg.backendsFile())
	if errors.Is(err, fs.ErrNotExist) {
		return map[string][]site.Backend{}, nil
	}
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxBackendsFile) {
		err = ErrForeign
	}
	if err != nil {
		return nil, fmt.Errorf("read backends: %w", err)
	}
	text, err := os.ReadFile(r.cfg.backendsFile())
	if err != nil {
		return nil, fmt.Errorf("read backends: %w", err)
	}
	all := map[string][]site.Backend{}
	if err := json.Unmarshal(text, &all); err != nil { // site.Backend checks what it reads
		return nil, fmt.Errorf("read backends: %w", err)
	}
	return all, nil
}
