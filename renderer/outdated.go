package renderer

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// frame is what a release renders of the agent's configuration, besides the
// ring and the servers with certificates.
type frame struct {
	ReleaseAddress string        `json:"release_address"`
	DefaultServers []string      `json:"default_servers,omitempty"`
	SessionTimeout time.Duration `json:"session_timeout,omitempty"` // in ns; 0 where none is rendered
}

// frame is that of a release made now. in says what the operator sets at http
// level, where a second directive of a kind would be fatal to nginx.
func (r *Renderer) frame(in Inspection) *frame {
	f := &frame{ReleaseAddress: r.cfg.ReleaseAddress, DefaultServers: r.cfg.DefaultServers}
	if in.parsed && !in.own["ssl_session_timeout"] {
		f.SessionTimeout = r.cfg.SessionTimeout
	}
	return f
}

// address is where nginx answers for a release.
func (r *Renderer) address(m manifest) string {
	if m.Frame == nil || m.Frame.ReleaseAddress == "" {
		return r.cfg.ReleaseAddress
	}
	return m.Frame.ReleaseAddress
}

// Outdated compares the active release with what would be rendered now for
// the same keys, these servers and these answers to challenges. The reason names what differs; "" means
// that nothing does, or that there is no release. It says nothing about keys.
func (r *Renderer) Outdated(want TLSServers, answers Challenges) (reason string, err error) {
	number, err := r.linked(currentLink)
	if err != nil || number == 0 {
		return "", err
	}
	m, err := r.manifest(number)
	if err != nil {
		return "", err
	}
	in := r.inspection()
	now := r.frame(in)
	switch {
	case m.Frame == nil:
		return "the release does not say what it was rendered from", nil
	case m.Frame.ReleaseAddress != now.ReleaseAddress:
		return fmt.Sprintf("release_address is %s, not %s", now.ReleaseAddress, m.Frame.ReleaseAddress), nil
	case !slices.Equal(m.Frame.DefaultServers, now.DefaultServers):
		return fmt.Sprintf("default_servers are %q, not %q", now.DefaultServers, m.Frame.DefaultServers), nil
	case in.parsed && m.Frame.SessionTimeout != now.SessionTimeout:
		return fmt.Sprintf("session_timeout to be rendered is %s, not %s", now.SessionTimeout, m.Frame.SessionTimeout), nil
	case !m.TLS.Same(want):
		return "the servers rendered are not those wanted", nil
	case !m.Challenges.Same(answers):
		return "HTTP-01 challenges are not answered as wanted", nil
	case !in.parsed:
		return "", nil // what the operator sets is not known
	}
	return r.differs(m, in)
}

// differs names the first file of a release that would be rendered otherwise
// now: a newer tlsfleet, another run folder, or somebody edited it.
func (r *Renderer) differs(m manifest, in Inspection) (string, error) {
	files, err := r.render(m, in)
	if err != nil {
		return "", fmt.Errorf("compare release %d: %w", m.Release, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(r.cfg.releaseDir(m.Release), f.Name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("compare release %d: %w", m.Release, err)
		}
		if err != nil || !bytes.Equal(text, f.Text) {
			return f.Name + " would be rendered otherwise", nil
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Sites.Files)) {
		text, err := os.ReadFile(filepath.Join(r.cfg.releaseDir(m.Release), name))
		if err != nil || sha256.Sum256(text) != m.Sites.Files[name] {
			return name + " was changed by others", nil //nolint:nilerr // one that cannot be read is no other
		}
	}
	return "", nil
}
