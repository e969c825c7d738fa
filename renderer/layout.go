package renderer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Names under StateDir/nginx.
const (
	currentLink = "current" // the release nginx starts from
	goodLink    = "good"    // the last release that nginx was seen serving
	stagePrefix = ".stage-" // a release being written
	checkPrefix = ".check-" // a mirror for nginx -t
	linkPrefix  = ".link-"  // a symlink about to be renamed
)

// Names inside a release besides the templates.
const (
	manifestFile = "release.json"
	sealedFile   = "ring.sealed"
	badFile      = "bad" // why the release was taken back
)

func (c Config) lockFile() string    { return filepath.Join(c.StateDir, "lock") }
func (c Config) epochFile() string   { return filepath.Join(c.StateDir, "epoch") }
func (c Config) releasesDir() string { return filepath.Join(c.StateDir, "nginx") }
func (c Config) ticketsDir() string  { return filepath.Join(c.RunDir, "tickets") }

func (c Config) releaseDir(release uint64) string {
	return filepath.Join(c.releasesDir(), strconv.FormatUint(release, 10))
}

func (c Config) currentDir() string { return filepath.Join(c.releasesDir(), currentLink) }

func (c Config) keyFile(name fleet.KeyName) string {
	return filepath.Join(c.ticketsDir(), name.String()+".key")
}

// IncludeLine is what the http block of the operator's configuration needs.
func (c Config) IncludeLine() string {
	return fmt.Sprintf("include %s;", filepath.Join(c.currentDir(), "*.conf"))
}

// releases lists the numbers of the releases on disk, ascending.
func (r *Renderer) releases() ([]uint64, error) {
	entries, err := os.ReadDir(r.cfg.releasesDir())
	if err != nil {
		return nil, fmt.Errorf("list releases: %w", err)
	}
	var numbers []uint64
	for _, e := range entries {
		if n, ok := releaseNumber(e.Name()); ok && e.IsDir() {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// releaseNumber reads the name of a release folder.
func releaseNumber(name string) (uint64, bool) {
	n, err := strconv.ParseUint(name, 10, 64)
	return n, err == nil && n > 0 && strconv.FormatUint(n, 10) == name
}

// sweep removes what a killed agent left half-written.
func (r *Renderer) sweep() error {
	half := func(name string) bool {
		return strings.HasPrefix(name, stagePrefix) || strings.HasPrefix(name, checkPrefix) || strings.HasPrefix(name, linkPrefix)
	}
	if err := removeMatching(r.cfg.releasesDir(), half); err != nil {
		return err
	}
	return removeMatching(r.cfg.ticketsDir(), func(name string) bool { return strings.HasPrefix(name, ".") })
}

func removeMatching(dir string, match func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	for _, e := range entries {
		if !match(e.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove leftover: %w", err)
		}
	}
	return nil
}
