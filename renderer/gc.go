package renderer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// keepReleases is how many releases stay besides current and good.
const keepReleases = 3

// markGood remembers that nginx serves the release, and removes what only
// older releases needed.
func (r *Renderer) markGood(number uint64) error {
	if err := flip(r.cfg.releasesDir(), goodLink, fmt.Sprint(number)); err != nil {
		return err
	}
	if r.placed != nil {
		r.placed.good = number
	}
	return r.collect()
}

// markBad keeps the reason why a release was taken back inside it.
func (r *Renderer) markBad(number uint64, reason string) error {
	return writeFile(filepath.Join(r.cfg.releaseDir(number), badFile), []byte(reason+"\n"), 0o640)
}

// collect removes old releases, except current, good and the newest others,
// and every key file that neither current nor good needs: a key lives no
// longer on disk than the ring says, whatever releases stay for inspection.
func (r *Renderer) collect() error {
	current, err := r.linked(currentLink)
	if err != nil {
		return err
	}
	good, err := r.linked(goodLink)
	if err != nil {
		return err
	}
	if err := r.collectReleases(current, good); err != nil {
		return err
	}
	keep := map[fleet.KeyName]bool{}
	for _, number := range []uint64{current, good} {
		if number == 0 {
			continue
		}
		m, err := r.manifest(number)
		if err != nil {
			return err
		}
		for _, name := range m.Keys {
			keep[name] = true
		}
	}
	return r.removeKeysExcept(keep)
}

func (r *Renderer) collectReleases(current, good uint64) error {
	numbers, err := r.releases()
	if err != nil {
		return err
	}
	kept := 0
	for _, number := range slices.Backward(numbers) {
		if number == current || number == good {
			continue
		}
		// The newest of all always stays: the next number is one more.
		if kept < keepReleases {
			kept++
			continue
		}
		if err := os.RemoveAll(r.cfg.releaseDir(number)); err != nil {
			return fmt.Errorf("remove release %d: %w", number, err)
		}
	}
	return nil
}
