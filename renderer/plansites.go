package renderer

import (
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/site"
)

// SitesPlan is what a release made now would have of sites.
type SitesPlan struct {
	Made  SitesMade
	Same  bool       // as the active release: made from the same
	Files []SiteFile // whose text changes, by name
}

// SiteFile is the file of a site, or with what they share, as it is and as it
// would be.
type SiteFile struct {
	Name     string
	ID       string // of the site; empty: what they share
	Was, Now []byte // nil: there is none
}

// PlanSites compares the sites of the active release with those of one made now.
func (v *Viewer) PlanSites(rel Release, in Inspection) (SitesPlan, error) {
	was := v.r.madeSites()
	made, files, err := v.r.makeSites(rel, in, in.NginxVersion)
	if err != nil {
		return SitesPlan{}, err
	}
	p := SitesPlan{Made: made, Same: made.Input == was.Input}
	now, all := map[string][]byte{}, map[string]fleet.Hash{}
	for _, f := range files {
		now[f.Name] = f.Text
	}
	maps.Copy(all, was.Files)
	maps.Copy(all, made.Files)
	number, err := v.r.linked(currentLink)
	if err != nil {
		return SitesPlan{}, err
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if was.Files[name] == made.Files[name] {
			continue
		}
		f := SiteFile{Name: name, Now: now[name]}
		f.ID, _ = siteOf(name)
		if _, had := was.Files[name]; had {
			if f.Was, err = os.ReadFile(filepath.Join(v.r.cfg.releaseDir(number), name)); err != nil {
				return SitesPlan{}, err
			}
		}
		p.Files = append(p.Files, f)
	}
	return p, nil
}

// Backends is Renderer.Backends.
func (v *Viewer) Backends() (map[string][]site.Backend, error) { return v.r.Backends() }
