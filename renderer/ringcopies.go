package renderer

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ResealRings replaces the sealed ring in the releases that nginx may go on or
// back to by what own makes of it. Nothing that nginx reads is touched.
func (r *Renderer) ResealRings(own func(sealed []byte) []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed := false
	for _, link := range []string{currentLink, goodLink} {
		number, err := r.linked(link)
		if err != nil {
			return fmt.Errorf("seal copies of the ring anew: %w", err)
		}
		if number == 0 {
			continue
		}
		path := filepath.Join(r.cfg.releaseDir(number), sealedFile)
		sealed, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("seal copies of the ring anew: %w", err)
		}
		again := own(sealed)
		if bytes.Equal(again, sealed) {
			continue
		}
		if err := writeFile(path, again, 0o640); err != nil {
			return fmt.Errorf("seal copies of the ring anew: %w", err)
		}
		changed = true
	}
	if !changed || r.placed == nil {
		return nil
	}
	return r.remember()
}
