package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

// contactEvery is how often the time of contact is written while it lasts: less
// than a minute, so that none of the proofs that come each minute misses it.
const contactEvery = 50 * time.Second

// contactTime is when Consul was last reached, kept over restarts, so that a
// node that is cut off for long knows it however often it starts.
type contactTime struct {
	file  string
	at    time.Time
	saved time.Time
}

// openContact reads what stateDir remembers. A node that never had contact, or
// cannot tell, begins to count now.
func openContact(stateDir string, now time.Time) contactTime {
	c := contactTime{file: filepath.Join(stateDir, "contact"), at: now}
	data, err := os.ReadFile(c.file)
	if err != nil {
		return c
	}
	if at, err := time.Parse(time.RFC3339, string(data)); err == nil && at.Before(now) {
		c.at = at
	}
	return c
}

// last is when Consul was last reached.
func (c *contactTime) last() time.Time { return c.at }

// touch notes contact now, and writes it down now and then.
func (c *contactTime) touch() error {
	c.at = time.Now()
	if c.at.Sub(c.saved) < contactEvery {
		return nil
	}
	if err := renameio.WriteFile(c.file, []byte(c.at.UTC().Format(time.RFC3339)), 0o600, renameio.WithTempDir(filepath.Dir(c.file))); err != nil {
		return fmt.Errorf("save time of contact: %w", err)
	}
	c.saved = c.at
	return nil
}
