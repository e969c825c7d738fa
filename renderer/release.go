package renderer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Release is what Apply and Restore put in force.
type Release struct {
	Mode   fleet.Mode // ModeRing or ModePerHost
	Ring   fleet.Ring // ModeRing only
	Sealed []byte     // the ring as it is sealed in KV, kept for a start without Consul
	Reason string     // for people
	Urgent bool       // emergency: old keys and old workers go at once
	TLS    TLSServers // servers with live certificates

	Challenges Challenges // answered by nginx itself
	Sites      Sites      // virtual hosts
}

func (rel Release) check() error {
	if err := errors.Join(rel.TLS.check(), rel.Challenges.check()); err != nil {
		return err
	}
	switch rel.Mode {
	case fleet.ModeRing:
		return checkRing(rel.Ring)
	case fleet.ModePerHost:
		return nil
	case fleet.ModeNone:
	}
	return fmt.Errorf("make release: mode %q", rel.Mode)
}

// Active is the release nginx starts from. The zero value is none.
type Active struct {
	Release uint64
	Mode    fleet.Mode
	Epoch   uint64        // of the ring; 0 in mode per-host
	Key     fleet.KeyName // the key that seals; zero in mode per-host
	Sealed  []byte        // the ring as it was given to Apply
	Good    bool          // nginx was seen serving it
	MadeAt  time.Time     // nginx has read its configuration since, if it is Good
	TLS     TLSServers    // as it was given to Apply, except static names that had no certificate

	Challenges Challenges // as it was given to Apply
	Sites      SitesMade  // what became of the sites
}

// ReadActive is Active for those who do not hold the lock on the folder.
func ReadActive(stateDir string) (Active, error) {
	r := &Renderer{cfg: Config{StateDir: stateDir}}
	return r.Active()
}

// Active reads from disk which release is current.
func (r *Renderer) Active() (Active, error) {
	number, err := r.linked(currentLink)
	if err != nil || number == 0 {
		return Active{}, err
	}
	m, err := r.manifest(number)
	if err != nil {
		return Active{}, err
	}
	sealed, err := os.ReadFile(filepath.Join(r.cfg.releaseDir(number), sealedFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Active{}, fmt.Errorf("read active release: %w", err)
	}
	good, err := r.linked(goodLink)
	if err != nil {
		return Active{}, err
	}
	a := Active{Release: number, Mode: m.Mode, Epoch: m.Epoch, Key: m.Key, Sealed: sealed, Good: good == number, MadeAt: m.MadeAt, TLS: m.TLS, Sites: m.Sites}
	if m.Challenges.check() == nil { // a damaged one would spoil every release after it
		a.Challenges = m.Challenges
	}
	return a, nil
}

// manifest is the file release.json of a release.
type manifest struct {
	Release uint64          `json:"release"`
	Mode    fleet.Mode      `json:"mode"`
	Epoch   uint64          `json:"epoch"`
	Key     fleet.KeyName   `json:"key"`
	Keys    []fleet.KeyName `json:"keys,omitempty"` // nginx's order
	MadeAt  time.Time       `json:"made_at"`
	Reason  string          `json:"reason"`
	Urgent  bool            `json:"urgent,omitempty"`
	TLS     TLSServers      `json:"tls,omitzero"`

	Challenges Challenges `json:"challenges,omitzero"`
	Sites      SitesMade  `json:"sites,omitzero"`

	// Frame is what else was rendered; nil in releases of the first versions.
	Frame *frame `json:"frame,omitempty"`
}

func newManifest(number uint64, rel Release) manifest {
	m := manifest{
		Release: number, Mode: rel.Mode, Reason: rel.Reason, Urgent: rel.Urgent, TLS: rel.TLS,
		Challenges: rel.Challenges, MadeAt: time.Now().UTC(),
	}
	if rel.Mode == fleet.ModeRing {
		m.Epoch, m.Key, m.Keys = rel.Ring.Epoch, rel.Ring.Current.Name(), keyNames(rel.Ring)
	}
	return m
}

// manifest is that of a release. The last one read is remembered, because with
// 100,000 names it is large; what it has is never changed in place.
func (r *Renderer) manifest(number uint64) (manifest, error) {
	path := filepath.Join(r.cfg.releaseDir(number), manifestFile)
	return r.made.get(path, func() (manifest, []string, error) {
		m, err := readManifest(path, number)
		return m, []string{path}, err
	})
}

func readManifest(path string, number uint64) (manifest, error) {
	var m manifest
	text, err := os.ReadFile(path)
	if err != nil {
		return m, fmt.Errorf("read release %d: %w", number, err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("read release %d: %w", number, err)
	}
	if m.Release != number {
		return m, fmt.Errorf("read release %d: its %s is of release %d", number, manifestFile, m.Release)
	}
	return m, nil
}

// HasRelease reports whether there is an active release, or that cannot be told.
func (r *Renderer) HasRelease() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	current, err := r.linked(currentLink)
	return err != nil || current != 0
}

// linked is the release a symlink names; 0 if there is no symlink or its
// release is gone.
func (r *Renderer) linked(link string) (uint64, error) {
	target, err := os.Readlink(filepath.Join(r.cfg.releasesDir(), link))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", link, err)
	}
	number, ok := releaseNumber(target)
	if !ok {
		return 0, fmt.Errorf("read %s: it points to %q, which is no release", link, target)
	}
	if _, err := os.Stat(r.cfg.releaseDir(number)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return 0, nil
		}
		return 0, fmt.Errorf("read %s: %w", link, err)
	}
	return number, nil
}
