package renderer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// HighWater is the highest ring epoch this host ever accepted; 0 if none.
func (r *Renderer) HighWater() (uint64, error) {
	text, err := os.ReadFile(r.cfg.epochFile())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read epoch: %w", err)
	}
	epoch, err := strconv.ParseUint(strings.TrimSuffix(string(text), "\n"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read epoch in %s: %w", r.cfg.epochFile(), err)
	}
	return epoch, nil
}

// SetHighWater raises the highest accepted epoch. A lower epoch changes
// nothing: the mark is never lowered.
func (r *Renderer) SetHighWater(epoch uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	have, err := r.HighWater()
	if err != nil {
		return err
	}
	if epoch <= have {
		return nil
	}
	if err := writeFile(r.cfg.epochFile(), []byte(strconv.FormatUint(epoch, 10)+"\n"), 0o600); err != nil {
		return fmt.Errorf("keep epoch %d: %w", epoch, err)
	}
	return nil
}
