package renderer

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// WriteKeys writes the key files of a ring where they are missing, and
// nothing else: at boot, or after tmpfs was emptied. A file of the same name
// with other content is replaced and logged, because nginx would lose every
// ticket of that name.
func (r *Renderer) WriteKeys(ring fleet.Ring) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.writeKeys(ring)
}

func (r *Renderer) writeKeys(ring fleet.Ring) error {
	if err := checkRing(ring); err != nil {
		return err
	}
	// A tmpfs that was mounted anew has no folder any more.
	if err := makeDir(r.cfg.ticketsDir(), 0o700); err != nil {
		return err
	}
	for _, m := range ring.Members() {
		if err := r.writeKey(m.Key); err != nil {
			return fmt.Errorf("write ticket key %s: %w", m.Key.Name(), err)
		}
	}
	return nil
}

func (r *Renderer) writeKey(key fleet.TicketKey) error {
	path, raw := r.cfg.keyFile(key.Name()), key.Raw.Reveal()
	defer clear(raw)
	have, err := os.ReadFile(path)
	defer clear(have)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case bytes.Equal(have, raw) && access(path, -1, 0o600, false) == nil:
		return nil
	case bytes.Equal(have, raw): // written anew, whoever has it open
		r.cfg.Log.Warn("replacing ticket key file that others may read or own", "path", path)
	default:
		r.cfg.Log.Warn("replacing ticket key file with other content", "path", path)
	}
	return writeFile(path, raw, 0o600)
}

// checkRing refuses what nginx would accept and should not: sizes it does not
// know, zero names and two keys of one name.
func checkRing(ring fleet.Ring) error {
	seen := map[fleet.KeyName]bool{}
	for _, m := range ring.Members() {
		size, name := m.Key.Raw.Len(), m.Key.Name()
		switch {
		case size != fleet.KeySize128 && size != fleet.KeySize256:
			return fmt.Errorf("%w: %s key has %d bytes", ErrRing, m.Role, size)
		case name.IsZero():
			return fmt.Errorf("%w: %s key has a zero name", ErrRing, m.Role)
		case seen[name]:
			return fmt.Errorf("%w: two keys have the name %s", ErrRing, name)
		}
		seen[name] = true
	}
	return nil
}

// keyNames lists the names of the ring's keys in nginx's order.
func keyNames(ring fleet.Ring) []fleet.KeyName {
	var names []fleet.KeyName
	for _, m := range ring.Members() {
		names = append(names, m.Key.Name())
	}
	return names
}

// missingKeys lists key files of a release that are not on disk.
func (r *Renderer) missingKeys(m manifest) ([]string, error) {
	var missing []string
	for _, name := range m.Keys {
		_, err := os.Lstat(r.cfg.keyFile(name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, r.cfg.keyFile(name))
		case err != nil:
			return nil, fmt.Errorf("look for ticket key: %w", err)
		}
	}
	return missing, nil
}

// removeKeysExcept deletes every key file that is not in keep.
func (r *Renderer) removeKeysExcept(keep map[fleet.KeyName]bool) error {
	return removeMatching(r.cfg.ticketsDir(), func(file string) bool {
		var name fleet.KeyName
		hex, ok := strings.CutSuffix(file, ".key")
		return ok && hex != "" && name.UnmarshalText([]byte(hex)) == nil && !keep[name]
	})
}
